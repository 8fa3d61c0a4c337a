"""An event loop in which nobody waits: when there is nothing to do, time jumps to the next timer.

Every timer counts in it, asyncio's own timeouts too, so that days of a daemon's life pass in a
second, in the same order each time.
"""

from __future__ import annotations

import asyncio
import selectors
from typing import Any


class _Jumping(selectors.SelectSelector):
    """Answers at once, and lets the time pass that it was to wait for."""

    def __init__(self) -> None:
        super().__init__()
        self.time = 1000.0

    def select(self, timeout: float | None = None) -> list[Any]:
        if timeout is None:
            raise RuntimeError("everybody waits, and for nothing that will ever happen")
        self.time += max(0.0, timeout)
        return []


class TravelLoop(asyncio.SelectorEventLoop):
    """Made for one test; close it."""

    def __init__(self) -> None:
        self._jumping = _Jumping()
        super().__init__(self._jumping)

    def time(self) -> float:
        return self._jumping.time


class TravelClock:
    """A ports.Clock by the running loop's time. `jumped`: by how much somebody set the wall clock."""

    STARTED = 1_700_000_000.0

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self.jumped = 0.0

    def monotonic(self) -> float:
        return self._loop.time()

    def true_now(self) -> float:
        """What a server's clock shows, which nobody has set."""
        return self.STARTED + self._loop.time()

    def now(self) -> float:
        return self.true_now() + self.jumped

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(max(0.0, seconds))
