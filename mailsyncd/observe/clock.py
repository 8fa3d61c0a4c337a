"""The real clock."""

from __future__ import annotations

import asyncio
import time


class SystemClock:
    """The Clock that a running daemon uses."""

    def monotonic(self) -> float:
        return time.monotonic()

    def now(self) -> float:
        return time.time()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)
