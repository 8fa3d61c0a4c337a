"""What may be sent over a connection at all: a mistake of ours must not reach a mailbox (I4)."""

from __future__ import annotations

from collections.abc import Sequence

from aioimaplib.aioimaplib import CONTROL_CHARS, Commands

from mailsyncd.imap.commands import Argument


def require(name: str, arguments: Sequence[Argument], *, state: str, allowed: frozenset[str] | None) -> None:
    """The allow-list, the table of commands, and no line end inside an argument. Raises AssertionError."""
    if allowed is not None and name not in allowed:
        raise AssertionError(f"{name} is not among the commands that may be sent here")
    known = Commands.get(name.split(" ", 1)[0])
    if name != "UNSELECT" and (known is None or state not in known.valid_states):
        raise AssertionError(f"{name} is not legal in state {state}")
    if any(isinstance(one, str) and CONTROL_CHARS.search(one) for one in arguments):
        raise AssertionError(f"a line end inside an argument of {name}")
