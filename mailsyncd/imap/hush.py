"""Silence over one connection, for as long as the server asked for it.

It begins in the very moment in which the answer is read, so that no command which waits for its
turn on the wire goes out after it.
"""

from __future__ import annotations

from mailsyncd.errors import Sent, Throttled


class Hush:
    def __init__(self) -> None:
        self._why = ""
        self._until = float("-inf")

    def begin(self, asked: Throttled, now: float) -> None:
        if now + asked.pause > self._until:
            self._why, self._until = str(asked), now + asked.pause

    def check(self, now: float) -> None:
        """Raises Throttled, with nothing sent, while nothing may be."""
        if now < self._until:
            raise Throttled(self._why, self._until - now, Sent.NOTHING)
