"""The wait between two connections, which ends early once what it is waited for is mended."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

from mailsyncd.errors import SignInNeeded
from mailsyncd.ports import Clock
from mailsyncd.tasks import first_of, until


class Pause:
    """`ends_mono`: when the last one is over at the latest."""

    def __init__(self, clock: Clock) -> None:
        self.ends_mono = 0.0
        self._clock = clock
        self._mended: asyncio.Event | None = None

    def after(self, error: Exception) -> None:
        """Why the next one is made."""
        self._mended = error.mended if isinstance(error, SignInNeeded) else None

    async def wait(self, seconds: float, *others: Coroutine[Any, Any, None]) -> None:
        """So long, or until it is mended, or one of the others ends."""
        self.ends_mono = self._clock.monotonic() + seconds
        mended = () if self._mended is None else (until(self._mended),)
        await first_of(self._clock.sleep(seconds), *mended, *others)
        self._mended = None
