"""How much may be in flight to a destination: by count, by bytes, and by pace.

Starts small, grows while all is well, falls to one on trouble (design: manners by server).
"""

from __future__ import annotations

import asyncio

from mailsyncd.ports import Clock, SinkLimits

FIRST = 4  # messages in flight on a fresh connection


class Window:
    def __init__(self, limits: SinkLimits, clock: Clock) -> None:
        self._limits = limits
        self._clock = clock
        self._size = min(FIRST, limits.window)
        self._bytes = 0
        self._changed = asyncio.Event()
        self._next_turn = clock.monotonic()
        self.in_flight = 0

    def fits(self, size: int) -> bool:
        """Whether there is room for a message. One larger than the window in bytes goes alone."""
        if not self.in_flight:
            return True
        return self.in_flight < self._size and self._bytes + size <= self._limits.window_bytes

    async def room(self, size: int) -> None:
        """Wait until it fits."""
        while not self.fits(size):
            self._changed.clear()
            await self._changed.wait()

    async def turn(self) -> None:
        """Wait for the turn, where the destination wants a pace."""
        if self._limits.per_second:
            now = self._clock.monotonic()
            turn = max(self._next_turn, now - 1.0)
            self._next_turn = turn + 1 / self._limits.per_second
            if turn > now:
                await self._clock.sleep(turn - now)

    def enter(self, size: int) -> None:
        """One more is in flight."""
        self.in_flight += 1
        self._bytes += size

    def leave(self, size: int) -> None:
        self.in_flight -= 1
        self._bytes -= size
        self._changed.set()

    async def empty(self) -> None:
        """Wait until nothing is in flight."""
        while self.in_flight:
            self._changed.clear()
            await self._changed.wait()

    def went_well(self) -> None:
        self._size = min(self._size + 1, self._limits.window)

    def went_badly(self) -> None:
        self._size = 1
