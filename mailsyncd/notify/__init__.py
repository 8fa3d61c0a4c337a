"""Tells the daemon's person what needs them, by a command or a webhook. Nothing here decides about mail."""
