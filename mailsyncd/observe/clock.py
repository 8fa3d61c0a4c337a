"""The real clock."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from functools import partial


class SystemClock:
    """The Clock that a running daemon uses."""

    # A lease, or an access token, runs out while this machine is suspended: other machines' clocks
    # go on. CLOCK_MONOTONIC stands still then, on Linux, and would have us trust it on waking up.
    # asyncio's timers stand still with it. Sleeps may so come to last longer, which no decision
    # relies on: whoever wakes up asks monotonic().
    _MONOTONIC = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)

    def __init__(self) -> None:
        # Asked twenty times a message, and so without a function of ours between.
        self.monotonic: Callable[[], float] = partial(time.clock_gettime, self._MONOTONIC)

    def now(self) -> float:
        return time.time()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)
