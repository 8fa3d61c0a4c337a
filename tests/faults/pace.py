"""One time for several processes, faster than the world's, that waits for its keeper.

The keeper's event loop moves it on. While the machine holds the keeper up it stands still for all,
so that nothing is late by anybody's clock only because the machine is slow.
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


class SharedTime:
    """Seconds since the epoch, in a file."""

    def __init__(self, path: Path | str) -> None:
        with open(path, "r+b") as file:
            self._seconds = memoryview(mmap.mmap(file.fileno(), 8)).cast("d")

    @classmethod
    def beginning(cls, path: Path, seconds: float) -> Self:
        path.write_bytes(bytes(8))
        made = cls(path)
        made.advance(seconds)
        return made

    def read(self) -> float:
        return self._seconds[0]

    def advance(self, seconds: float) -> None:
        self._seconds[0] += seconds


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
    """Sleeps a fraction of what it is asked for, and then as long as the time has not come."""

    def __init__(self, speed: float) -> None:
        super().__init__()
        self._speed = speed

    def select(self, timeout: float | None = None) -> list[Any]:
        return super().select(max(timeout / self._speed, STEP / 2) if timeout else timeout)


class Keeper(selectors.DefaultSelector):
    """Moves the time on, `speed` seconds for each of the world's in which it was not held up."""

    def __init__(self, shared: SharedTime, speed: float) -> None:
        super().__init__()
        self._shared = shared
        self._speed = speed
        self._looked = time.monotonic()

    def select(self, timeout: float | None = None) -> list[Any]:
        found = super().select(STEP if timeout is None else min(timeout / self._speed, STEP))
        now = time.monotonic()
        self._shared.advance(min(now - self._looked, LONGEST_STEP) * self._speed)
        self._looked = now
        return found


class SharedLoop(asyncio.SelectorEventLoop):
    """An event loop by whose time everything goes, asyncio.timeout too."""

    def __init__(self, shared: SharedTime, selector: selectors.BaseSelector) -> None:
        self._shared = shared
        super().__init__(selector)

    def time(self) -> float:
        return self._shared.read()
