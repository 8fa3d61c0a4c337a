"""Faults against the real daemon, days of its life, and mutants: `python -m faults.campaign`, in tests/."""
