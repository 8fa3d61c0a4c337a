"""Several destinations are shared out evenly over the daemons that run, and again when one comes or
goes; and nobody hands over without need."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from random import Random

import pytest
from fakes import FakeMailbox, FakeOutlook, VirtualClock, breathe, mail
from harness import Bench, a_route
from hypothesis import given
from hypothesis import strategies as st

from mailsyncd.flow.gate import Gate
from mailsyncd.flow.lease import Identity
from mailsyncd.flow.share import Share
from mailsyncd.model import Lease, Member
from mailsyncd.policy import fair_share
from mailsyncd.state.memory import MemoryStore
from mailsyncd.status import WriterState
from mailsyncd.tasks import all_of, first_of

LIFE = 60.0

# ------------------------------------------------------------------ the arithmetic

holdings = st.dictionaries(st.text("abcdefgh", min_size=1, max_size=3), st.integers(0, 30), min_size=1)


@given(holdings, st.integers(0, 100))
def test_the_shares_are_all_there_is_and_differ_by_one_at_the_most(
    held: dict[str, int], destinations: int
) -> None:
    shares = [fair_share(owner, held, destinations) for owner in held]
    assert sum(shares) == destinations
    assert max(shares) - min(shares) <= 1


@given(holdings, st.integers(0, 100))
def test_who_holds_more_has_no_smaller_share(held: dict[str, int], destinations: int) -> None:
    for one in held:
        for other in held:
            if held[one] > held[other]:
                assert fair_share(one, held, destinations) >= fair_share(other, held, destinations)


@given(st.lists(st.text("abcdefgh", min_size=1, max_size=3), min_size=1, unique=True), st.integers(0, 100))
def test_who_holds_a_fair_share_keeps_it(owners: list[str], destinations: int) -> None:
    least, larger = divmod(destinations, len(owners))
    held = {owner: least + (n < larger) for n, owner in enumerate(owners)}
    assert {owner: fair_share(owner, held, destinations) for owner in owners} == held


# --------------------------------------------------------------- daemons, side by side


@dataclass
class World:
    """What all daemons see: one store, and a source and a destination for each name."""

    count: int
    clock: VirtualClock = field(default_factory=VirtualClock)
    store: MemoryStore = field(default_factory=MemoryStore)

    def __post_init__(self) -> None:
        self.emails = [f"dst{n:02}@outlook.example" for n in range(self.count)]
        self.boxes = {email: FakeMailbox(self.clock) for email in self.emails}
        self.outlooks = {email: FakeOutlook(self.clock) for email in self.emails}

    async def owners(self) -> dict[str, str]:
        found = {}
        for email in self.emails:
            lease = await self.store.lease(email)
            found[email] = lease.owner if lease else ""
        return found

    async def shares(self) -> Counter[str]:
        return Counter((await self.owners()).values())

    def deliver(self, number: int) -> None:
        for box in self.boxes.values():
            box.deliver(mail(number))

    def copied_once(self, numbers: range) -> bool:
        return all(
            sorted(one.bodies("F")) == sorted(mail(n) for n in numbers) for one in self.outlooks.values()
        )


class Daemon:
    """A daemon with a destination for each name in the world, or for those given."""

    def __init__(self, world: World, owner: str, emails: list[str] | None = None) -> None:
        self.world, self.owner = world, owner
        gate = Gate(world.store, world.clock, Random(1), grace=60)
        identity = Identity(owner, lambda other: False)
        self.share = Share(world.store, gate, identity, world.clock, life=LIFE)
        self.benches = [self._bench(email) for email in emails or world.emails]

    def _bench(self, email: str) -> Bench:
        world = self.world
        route = a_route(f"from-{email}", "F")
        boxes = {route: world.boxes[email]}
        return Bench(
            world.clock,
            world.outlooks[email],
            boxes,
            world.store,
            self.owner,
            email=email,
            share=self.share,
            settle_window=5,
        )

    async def run(self) -> None:
        await first_of(self.share.run(), all_of(*(bench.run() for bench in self.benches)))

    async def end(self) -> None:
        """As on SIGTERM."""
        for bench in self.benches:
            bench.destination.stop()
        await self.share.leave()

    def states(self) -> Counter[WriterState]:
        return Counter(bench.destination.status().state for bench in self.benches)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[asyncio.Task[None]]:
        task = asyncio.create_task(self.run())
        try:
            await breathe()
            yield task
        finally:
            await self.kill(task)

    async def kill(self, task: asyncio.Task[None]) -> None:
        """As by kill -9: not even a lease is given up."""
        if not task.done():
            for bench in self.benches:
                bench.destination._tenancy._lease = None
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_a_daemon_alone_has_everything_at_once_and_announces_nothing() -> None:
    world = World(5)
    async with Daemon(world, "one").running():
        await world.clock.advance(0.6)
        assert await world.shares() == {"one": 5}
        assert await world.store.members() == []


async def test_one_destination_stays_where_it_is() -> None:
    world = World(1)
    async with Daemon(world, "b").running(), Daemon(world, "a").running() as _:
        await world.clock.advance(600)
        assert await world.shares() == {"b": 1}


async def test_three_daemons_share_twenty_evenly_and_again_when_one_dies_and_one_comes() -> None:
    world = World(20)
    async with AsyncExitStack() as stack:
        tasks = {}
        for name in "abc":
            daemon = Daemon(world, name)
            tasks[name] = (daemon, await stack.enter_async_context(daemon.running()))
            await world.clock.advance(1)
        world.deliver(1)
        await world.clock.advance(30)
        assert sorted((await world.shares()).values()) == [6, 7, 7]
        await tasks["b"][0].kill(tasks["b"][1])
        world.deliver(2)
        await world.clock.advance(LIFE + 5)
        assert await world.shares() == {"a": 10, "c": 10}
        await stack.enter_async_context(Daemon(world, "d").running())
        world.deliver(3)
        await world.clock.advance(30)
        shares = await world.shares()
        assert sorted(shares.values()) == [6, 7, 7]
        assert set(shares) == {"a", "c", "d"}
        world.deliver(4)
        await world.clock.advance(30)
    assert world.copied_once(range(1, 5))


async def test_what_is_shared_out_evenly_stays_where_it_is() -> None:
    world = World(7)
    async with Daemon(world, "a").running(), Daemon(world, "b").running(), Daemon(world, "c").running():
        await world.clock.advance(60)
        before = await world.owners()
        assert sorted(Counter(before.values()).values()) == [2, 2, 3]
        epochs = [(await world.store.lease(email)).epoch for email in world.emails]  # type: ignore[union-attr]
        await world.clock.advance(1200)
        assert await world.owners() == before
        after = [(await world.store.lease(email)).epoch for email in world.emails]  # type: ignore[union-attr]
        assert after == epochs


async def test_a_daemon_that_leaves_hands_all_over_within_a_second() -> None:
    world = World(8)
    one, two = Daemon(world, "one"), Daemon(world, "two")
    async with one.running() as task, two.running():
        await world.clock.advance(60)
        assert await world.shares() == {"one": 4, "two": 4}
        await one.end()
        await breathe()
        await world.clock.advance(1)
        assert await world.shares() == {"two": 8}
        assert two.states() == {WriterState.WRITING: 8}
        await world.clock.advance(5)
        assert not task.cancelled()


async def test_a_dead_daemons_note_gives_it_no_share() -> None:
    """It announced itself and died: whoever starts now must not leave anything for it."""
    world = World(3)
    ghost = Daemon(world, "ghost")
    await world.store.announce(ghost.share._note(leaving=False))
    async with Daemon(world, "one").running():
        await world.clock.advance(0.6)
        assert await world.shares() == {"one": 3}


async def test_daemons_with_other_destinations_do_not_share() -> None:
    """What the one gave up, the other would never take."""
    world = World(4)
    async with Daemon(world, "one").running():
        await world.clock.advance(5)
        async with Daemon(world, "two", world.emails[:2]).running():
            await world.clock.advance(300)
            assert await world.shares() == {"one": 4}


async def test_more_daemons_than_destinations_leave_some_standing_by() -> None:
    world = World(2)
    daemons = [Daemon(world, name) for name in "abcd"]
    async with AsyncExitStack() as stack:
        for daemon in daemons:
            await stack.enter_async_context(daemon.running())
        await world.clock.advance(120)
        assert sorted((await world.shares()).values()) == [1, 1]
        assert sorted(daemon.share.status().share for daemon in daemons) == [0, 0, 1, 1]
        assert {daemon.share.status().daemons for daemon in daemons} == {4}


async def test_a_holder_writes_its_lease_and_nothing_else_and_a_waiter_its_note() -> None:
    world = World(1)
    writes: Counter[str] = Counter()
    put = world.store._table.put

    def counted(pk: str, sk: str, item: dict[str, object]) -> None:
        writes[sk] += 1
        put(pk, sk, item)

    async with Daemon(world, "one").running(), Daemon(world, "two").running():
        await world.clock.advance(30)
        world.store._table.put = counted  # type: ignore[method-assign]
        await world.clock.advance(600)
    assert writes == {"LEASE": 30, "two": 30}


@pytest.mark.parametrize("seed", range(20))
async def test_whoever_comes_and_goes_in_the_end_all_is_shared_and_copied_once(seed: int) -> None:
    rng = Random(seed)
    world = World(rng.randint(1, 9))
    running: dict[str, tuple[Daemon, asyncio.Task[None]]] = {}
    names = iter("abcdefghijklmnopqrstuvwxyz")
    rounds = range(1, 9)
    for number in rounds:
        kind = rng.choice(["come", "come", "end", "kill"]) if running else "come"
        if kind == "come":
            daemon = Daemon(world, next(names))
            running[daemon.owner] = (daemon, asyncio.create_task(daemon.run()))
        else:
            daemon, task = running.pop(rng.choice(sorted(running)))
            if kind == "end":
                await daemon.end()
            else:
                await daemon.kill(task)
        world.deliver(number)
        world.clock.jumped = rng.choice([0.0, 3600.0, -3600.0, 400 * 86_400.0, -400 * 86_400.0])
        await world.clock.advance(rng.uniform(0, 90))
    if not running:
        daemon = Daemon(world, next(names))
        running[daemon.owner] = (daemon, asyncio.create_task(daemon.run()))
    await world.clock.advance(LIFE + 60)
    shares = await world.shares()
    for daemon, task in running.values():
        await daemon.kill(task)
    assert world.copied_once(rounds)
    wanted = [shares[owner] for owner in running]
    assert sum(wanted) == world.count
    assert max(wanted) - min(wanted) <= 1


async def test_a_lease_is_not_taken_early_by_one_whose_first_look_took_long() -> None:
    """The holder renewed while we waited for the answer: what we saw is younger than our question."""
    world = World(1)
    holder = Lease("holder", 1, 1, LIFE, 0.0)
    slow = world.store.lease
    asked = asyncio.Event()

    async def lease(destination: str) -> Lease | None:
        if not asked.is_set():
            asked.set()
            await world.clock.sleep(50)
            await world.store.put_lease(destination, holder, expected=None)
        return await slow(destination)

    world.store.lease = lease  # type: ignore[method-assign]
    async with Daemon(world, "one").running():
        await asked.wait()
        await world.clock.advance(50 + LIFE - 1)
        assert await world.shares() == {"holder": 1}
        await world.clock.advance(3)
        assert await world.shares() == {"one": 1}


async def test_a_note_of_another_pool_or_of_one_who_leaves_counts_for_nothing() -> None:
    world = World(2)
    one = Daemon(world, "one")
    async with one.running():
        await world.clock.advance(11)
        pool = one.share._pool()
        for beat in range(3):
            for note in (
                Member("stranger", "another pool", beat, LIFE, 0, 0),
                Member("leaver", pool, beat, LIFE, 0, 0, leaving=True),
            ):
                await world.store.announce(note)
            await world.clock.advance(20)
        assert await world.shares() == {"one": 2}
        await world.store.announce(Member("comer", pool, 1, LIFE, 0, 0))
        await world.clock.advance(15)
        assert await world.shares() == {"one": 1, "": 1}
        await world.clock.advance(LIFE)
        assert await world.shares() == {"one": 2}
