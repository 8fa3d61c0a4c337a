"""The memory of mailsyncd: SQLite by default, DynamoDB for the cloud, a dict for tests.

One port (ports.StateStore), one conformance suite (tests/contract/state). items.py says how
things are written down, rules.py what may be written when.
"""
