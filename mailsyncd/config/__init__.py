"""The configuration: TOML and environment in, frozen values out, every mistake told at once.

load.py is the way in; values.py is what the rest of mailsyncd sees. pydantic stays in here.
"""
