"""One daemon's way to everything outside it: frozen by SIGSTOP, or cut off for ever by SIGKILL."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from travel import TravelClock

from mailsyncd.errors import StateUnavailable
from mailsyncd.state.memory import MemoryStore


class Wire:
    """What is frozen neither begins a call nor hears its answer; what is dead never will."""

    def __init__(self) -> None:
        self.thawed = asyncio.Event()
        self.thawed.set()
        self.dead = False

    async def passes(self, seconds: float = 0.0) -> None:
        await asyncio.sleep(seconds)
        while self.dead or not self.thawed.is_set():
            if self.dead:
                await asyncio.get_running_loop().create_future()
            await self.thawed.wait()


class WireClock:
    """The time of day is known to a frozen daemon too, but it wakes only when thawed."""

    def __init__(self, clock: TravelClock, wire: Wire) -> None:
        self._clock, self._wire = clock, wire
        self.monotonic, self.now = clock.monotonic, clock.now

    async def sleep(self, seconds: float) -> None:
        await self._wire.passes(max(0.0, seconds))


class WireStore:
    """A StateStore over the wire: it may be away, and it may lose an answer after it committed.

    `acknowledged` holds the claimants that were told that their PENDING stands.
    """

    def __init__(self, store: MemoryStore, wire: Wire) -> None:
        self._store, self._wire = store, wire
        self.away = False
        self.lost_answers = 0  # how many of the next calls take effect and are not answered
        self.latency = 0.0
        self.acknowledged: set[object] = set()

    def __getattr__(self, name: str) -> Callable[..., Any]:
        call = getattr(self._store, name)

        async def over_the_wire(*arguments: Any, **named: Any) -> Any:
            await self._wire.passes(self.latency)
            if self.away:
                raise StateUnavailable("the state store is away")
            answer = await call(*arguments, **named)
            lost, self.lost_answers = self.lost_answers > 0, max(0, self.lost_answers - 1)
            await self._wire.passes(self.latency)
            if lost or self.away:
                raise StateUnavailable("the state store's answer was lost")
            if (name, answer) in (("claim", None), ("adopt", True)):
                self.acknowledged.add(arguments[-1].claimed_by)
            return answer

        return over_the_wire
