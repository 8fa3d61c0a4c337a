"""One time for several processes, faster than the world's, that waits for each of them.

The keeper's event loop moves it on, but never far beyond what each follower's has seen of it. While
the machine holds one of them up it stands still for all, so that nothing is late by anybody's clock
only because the machine is slow.
"""

from __future__ import annotations

import asyncio
import mmap
import selectors
import time
from pathlib import Path
from typing import Any, Self

STEP = 0.01  # real seconds between two looks at the time
LONGEST_STEP = 2 * STEP  # a keeper that took longer was held up
LEAD = 5.0  # seconds of the shared time by which it may be ahead of a follower
PATIENCE = 1.0  # real seconds that are given to a follower: it may be dead, or stopped
FOLLOWERS = 2
SIZE = 8 * (1 + FOLLOWERS)


class SharedTime:
    """Seconds since the epoch, in a file; beside it what each follower has seen, 0 if it is gone."""

    def __init__(self, path: Path | str) -> None:
        with open(path, "r+b") as file:
            self._seconds = memoryview(mmap.mmap(file.fileno(), SIZE)).cast("d")

    @classmethod
    def beginning(cls, path: Path, seconds: float) -> Self:
        path.write_bytes(bytes(SIZE))
        made = cls(path)
        made.advance(seconds)
        return made

    def read(self) -> float:
        return self._seconds[0]

    def advance(self, seconds: float) -> None:
        """By so much, or as far as the followers allow."""
        ends = [seen + LEAD for seen in self._seconds[1:] if seen]
        self._seconds[0] = max(self._seconds[0], min(self._seconds[0] + seconds, *ends, float("inf")))

    def look(self, follower: int) -> None:
        """It has seen what time it is."""
        self._seconds[1 + follower] = self._seconds[0]

    def go_on_without_those_behind(self) -> None:
        """Until they look again."""
        for follower in range(FOLLOWERS):
            if self._seconds[1 + follower] + LEAD <= self._seconds[0]:
                self._seconds[1 + follower] = 0.0


class SharedClock:
    """See ports.Clock; in step with SharedLoop. Its wall clock is `offset` seconds off."""

    def __init__(self, shared: SharedTime, offset: float = 0.0) -> None:
        self._shared = shared
        self._offset = offset

    def monotonic(self) -> float:
        return self._shared.read()

    def now(self) -> float:
        return self._shared.read() + self._offset

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


class Follower(selectors.DefaultSelector):
    """Sleeps a fraction of what it is asked for, and looks at the time as often as it moves."""

    def __init__(self, shared: SharedTime, number: int) -> None:
        super().__init__()
        self._shared = shared
        self._number = number

    def select(self, timeout: float | None = None) -> list[Any]:
        found = super().select(STEP / 2 if timeout is None or timeout > 0.0 else 0)
        self._shared.look(self._number)
        return found


class Keeper(selectors.DefaultSelector):
    """Moves the time on, `speed` seconds for each of the world's in which it was not held up."""

    def __init__(self, shared: SharedTime, speed: float) -> None:
        super().__init__()
        self._shared = shared
        self._speed = speed
        self._looked = self._moved = time.monotonic()

    def select(self, timeout: float | None = None) -> list[Any]:
        found = super().select(STEP if timeout is None else min(timeout / self._speed, STEP))
        now, before = time.monotonic(), self._shared.read()
        self._shared.advance(min(now - self._looked, LONGEST_STEP) * self._speed)
        self._looked = now
        if self._shared.read() > before:
            self._moved = now
        elif now > self._moved + PATIENCE:
            self._shared.go_on_without_those_behind()
        return found


class SharedLoop(asyncio.SelectorEventLoop):
    """An event loop by whose time everything goes, asyncio.timeout too."""

    def __init__(self, shared: SharedTime, selector: selectors.BaseSelector) -> None:
        self._shared = shared
        super().__init__(selector)

    def time(self) -> float:
        return self._shared.read()
