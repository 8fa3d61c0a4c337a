"""A daemon that is frozen at any moment, for any time, and goes on: one writer at a time, nothing
lost, nothing copied twice, whatever the wall clock says (I2, I3)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from random import Random
from typing import Any

import pytest
from fakes import FakeMailbox, FakeOutlook, FakeSinkSession, VirtualClock, mail
from harness import Bench, a_route
from turmoil.world import ANN, World

from mailsyncd.errors import DestinationFull
from mailsyncd.model import Appended
from mailsyncd.state.memory import MemoryStore
from mailsyncd.tasks import first_of

ROUTE = a_route()
LIFE, SETTLE = 20.0, 5.0
JUMPS = (0.0, 3600.0, -3600.0, 400 * 86_400.0, -400 * 86_400.0)


class Frost:
    """SIGSTOP and SIGCONT for one of several daemons in a process: its awaits end only when thawed."""

    def __init__(self) -> None:
        self.thawed = asyncio.Event()
        self.thawed.set()

    def around(self, call: Callable[..., Any]) -> Callable[..., Any]:
        """The call neither begins nor returns while there is frost."""

        async def frosted(*arguments: Any, **named: Any) -> Any:
            await self.thawed.wait()
            try:
                return await call(*arguments, **named)
            finally:
                await self.thawed.wait()

        return frosted


class FrostyStore:
    def __init__(self, store: MemoryStore, frost: Frost) -> None:
        self._store, self._frost = store, frost

    def __getattr__(self, name: str) -> Any:
        return self._frost.around(getattr(self._store, name))


class FrostyClock:
    def __init__(self, clock: VirtualClock, frost: Frost) -> None:
        self._clock = clock
        self.monotonic, self.now, self.sleep = clock.monotonic, clock.now, frost.around(clock.sleep)


class FrostySession(FakeSinkSession):
    """An APPEND asks the guard, and may then be frozen before its answer is heard, but not between
    the two: that is the one moment which nothing can cover."""

    def __init__(self, outlook: FakeOutlook, frost: Frost) -> None:
        super().__init__(outlook)
        self._frost = frost

    async def _turn(self) -> None:
        for _ in range(15):  # a slow line: many an APPEND waits here for its turn
            await super()._turn()
        await self._frost.thawed.wait()

    async def append(self, *arguments: Any, **named: Any) -> Appended:
        appended = await super().append(*arguments, **named)
        await self._frost.thawed.wait()
        return appended


class FrostyOutlook:
    """One daemon's way to a destination that is everyone's."""

    def __init__(self, outlook: FakeOutlook, frost: Frost) -> None:
        self._outlook, self._frost = outlook, frost

    @asynccontextmanager
    async def session(self, wanted: asyncio.Event | None = None) -> AsyncIterator[FrostySession]:
        await self._frost.thawed.wait()
        yield FrostySession(self._outlook, self._frost)


@dataclass(frozen=True, slots=True)
class Shared:
    """What is everyone's."""

    outlook: FakeOutlook
    box: FakeMailbox
    store: MemoryStore


def frosty_bench(owner: str, clock: VirtualClock, shared: Shared) -> tuple[Bench, Frost]:
    frost = Frost()
    bench = Bench(
        FrostyClock(clock, frost),  # type: ignore[arg-type]
        FrostyOutlook(shared.outlook, frost),  # type: ignore[arg-type]
        {ROUTE: shared.box},
        FrostyStore(shared.store, frost),
        owner,
        life=LIFE,
        settle_window=SETTLE,
    )
    return bench, frost


async def a_run(seed: int) -> tuple[list[bytes], list[bytes], int]:
    """Two daemons, mail, and frosts at random moments; what was sent, what arrived, and how often
    the lease changed hands."""
    rng, clock = Random(seed), VirtualClock()
    shared = Shared(FakeOutlook(clock), FakeMailbox(clock), MemoryStore())
    benches = [frosty_bench(owner, clock, shared) for owner in ("one", "two")]
    tasks = [asyncio.create_task(bench.run()) for bench, _ in benches]
    sent = []
    for number in range(rng.randint(4, 10)):
        for copy in range(rng.randint(1, 6)):
            sent.append(mail(number * 10 + copy))
            shared.box.deliver(sent[-1])
        writing = [frost for bench, frost in benches if bench.destination.status().epoch is not None]
        frost = rng.choice(writing or [frost for _, frost in benches])
        for _ in range(rng.randint(0, 90)):  # into the middle of what is under way
            await asyncio.sleep(0)
        if rng.random() < 0.6:
            frost.thawed.clear()
        clock.jumped = rng.choice(JUMPS)
        await clock.advance(rng.choice((0.1, LIFE / 2, LIFE + 3, LIFE + SETTLE + 10, 2 * LIFE)))
        for _, one in benches:
            if rng.random() < 0.5:
                one.thawed.set()
    for _, one in benches:
        one.thawed.set()
    await clock.advance(4 * LIFE)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    lease = await shared.store.lease("me@outlook.example")
    return sorted(sent), sorted(shared.outlook.bodies("Gmail/ann")), lease.epoch if lease else 0


@pytest.mark.parametrize("decade", range(20))
async def test_a_daemon_frozen_at_any_moment_copies_nothing_twice_when_it_goes_on(decade: int) -> None:
    for seed in range(10 * decade, 10 * decade + 10):
        sent, copies, _ = await a_run(seed)
        assert copies == sent, f"seed {seed}"


async def test_the_frosts_do_make_the_lease_change_hands() -> None:
    epochs = [(await a_run(seed))[2] for seed in range(20)]
    assert sum(epochs) / len(epochs) >= 2


@pytest.mark.parametrize("jump", JUMPS[1:])
async def test_a_wall_clock_that_jumps_moves_no_lease(jump: float) -> None:
    clock = VirtualClock()
    shared = Shared(FakeOutlook(clock), FakeMailbox(clock), MemoryStore())
    (one, _), (two, _) = (frosty_bench(owner, clock, shared) for owner in ("one", "two"))

    async def both() -> None:
        await first_of(one.run(), two.run())

    task = asyncio.create_task(both())
    await clock.advance(5)
    for number in range(6):
        clock.jumped = 0.0 if number % 2 else jump
        shared.box.deliver(mail(number))
        await clock.advance(LIFE * 1.3)
        lease = await shared.store.lease("me@outlook.example")
        assert lease is not None
        assert (lease.owner, lease.epoch) == ("one", 1)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert shared.outlook.bodies("Gmail/ann") == [mail(n) for n in range(6)]


def test_a_daemon_that_slept_through_its_lease_takes_no_claim_from_its_successor() -> None:
    world = World(ANN)
    try:
        sleeper, successor = world.start(), world.start()
        world.run(asyncio.sleep(65))
        world.destination.full = DestinationFull("no room")
        for n in range(4):
            world.deliver(ANN, mail(n))
        world.run(asyncio.sleep(0.1))
        sleeper.wire.thawed.clear()
        world.run(asyncio.sleep(130))
        assert successor.bench.destination.status().epoch == 2
        sleeper.wire.thawed.set()
        world.run(asyncio.sleep(2))
        records = world.run(world.store.records(ANN.key, 7))
        assert {one.claimed_by.epoch for one in records} == {2}
        world.settle()
    finally:
        world.close()
