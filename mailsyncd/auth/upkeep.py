"""What keeps accounts signed in while nobody asks: one task that renews ahead of time, looks for new
refresh tokens where one is needed, and warns of ends that can be foreseen."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection

from mailsyncd.auth.tokens import RefreshingTokens
from mailsyncd.ports import Clock

TICK = 2.0  # seconds
LEARN = 3600.0  # seconds between looks at what is known of a token's life

Sources = Callable[[], Collection[RefreshingTokens]]


class Upkeep:
    """Of the accounts that `sources` gives, which may be others each time."""

    def __init__(self, sources: Sources, clock: Clock) -> None:
        self._sources = sources
        self._clock = clock
        self._tasks: dict[RefreshingTokens, asyncio.Task[None]] = {}
        self._learnt: dict[RefreshingTokens, float] = {}

    async def run(self) -> None:
        """Until cancelled. Each account in a task of its own: an endpoint that is slow holds up no other."""
        try:
            while True:
                self._begin_what_is_due()
                await self._clock.sleep(TICK)
        finally:
            for task in self._tasks.values():
                task.cancel()
            await asyncio.gather(*self._tasks.values(), return_exceptions=True)

    def _begin_what_is_due(self) -> None:
        for one, task in list(self._tasks.items()):
            if task.done():
                del self._tasks[one]
                task.result()
        sources, now = self._sources(), self._clock.monotonic()
        self._learnt = {one: at for one, at in self._learnt.items() if one in sources}
        for one in sources:
            if one in self._tasks:
                continue
            if now - self._learnt.get(one, -LEARN) >= LEARN:
                self._learnt[one] = now
                self._begin(one, one.learn)
            elif one.due:
                self._begin(one, one.tend)

    def _begin(self, one: RefreshingTokens, work: Callable[[], Awaitable[None]]) -> None:
        async def run() -> None:
            await work()

        self._tasks[one] = asyncio.create_task(run())
