"""One writer at a time, whatever the clocks say."""

from __future__ import annotations

import asyncio
import random
from dataclasses import replace

from fakes import FakeOutlook, VirtualClock, breathe, mail
from harness import Bench, a_route, bench_of
from structlog.testing import capture_logs

from mailsyncd.flow.gate import Gate
from mailsyncd.flow.lease import Identity, Tenancy
from mailsyncd.model import Lease
from mailsyncd.state.memory import MemoryStore
from mailsyncd.status import WriterState

ROUTE = a_route()


def two_daemons(**settings: object) -> tuple[Bench, Bench]:
    """With one configuration, one source, one destination and one state store."""
    clock = VirtualClock()
    shared = {"clock": clock, "outlook": FakeOutlook(clock), "store": MemoryStore(), **settings}
    one, two = bench_of(ROUTE, owner="one", **shared), bench_of(ROUTE, owner="two", **shared)
    two.boxes[ROUTE] = one.boxes[ROUTE]
    two.routes.reconcile(two.plans())
    return one, two


async def test_of_two_daemons_one_copies_and_the_other_waits() -> None:
    one, two = two_daemons()
    async with one.running(), two.running():
        one.boxes[ROUTE].deliver(mail(1))
        await one.clock.advance(200)
        assert two.destination.status().state is WriterState.STANDBY
    assert one.outlook.bodies("Gmail/ann") == [mail(1)]


async def test_a_daemon_that_stops_hands_over_at_once() -> None:
    one, two = two_daemons()
    async with one.running() as first, two.running():
        one.destination.stop()
        await first
        await one.clock.advance(2.5)
        assert two.destination.status().state is WriterState.WRITING
        one.boxes[ROUTE].deliver(mail(1))
        await one.clock.advance(2)
    assert one.outlook.bodies("Gmail/ann") == [mail(1)]


async def test_a_daemon_that_died_is_succeeded_after_its_leases_life() -> None:
    one, two = two_daemons()
    async with one.running() as first, two.running():
        await one.die(first)
        await one.clock.advance(55)
        assert two.destination.status().state is WriterState.STANDBY
        await one.clock.advance(10)
        assert two.destination.status().state is WriterState.WRITING


async def test_a_daemon_that_is_certainly_gone_is_succeeded_at_once() -> None:
    one, two = two_daemons(gone=frozenset({"one"}))
    async with one.running() as first:
        await one.die(first)
    async with two.running():
        assert two.destination.status().state is WriterState.WRITING


async def test_a_single_cycle_leaves_a_daemon_that_is_at_work_alone() -> None:
    one, two = two_daemons()
    async with one.running():
        await one.clock.advance(200)
        assert not await two.destination.run_once()


async def test_a_single_cycle_soon_after_a_death_leaves_it_to_a_later_one() -> None:
    one, two = two_daemons()
    async with one.running() as first:
        await one.die(first)
    await one.clock.advance(30)
    assert not await two.destination.run_once()


async def left_behind(one: Bench) -> None:
    async with one.running() as first:
        await one.die(first)
    await one.clock.advance(300)
    one.boxes[ROUTE].deliver(mail(1))


async def test_a_single_cycle_takes_over_what_was_left_behind_once_it_has_watched_it() -> None:
    one, two = two_daemons()
    await left_behind(one)
    with capture_logs() as lines:
        cycle = asyncio.create_task(two.destination.run_once())
        await one.clock.advance(58)
        assert one.outlook.bodies("Gmail/ann") == []
        await one.clock.advance(10)
        assert await cycle
    assert one.outlook.bodies("Gmail/ann") == [mail(1)]
    assert [line["event"] for line in lines].count("lease.left_behind") == 1


async def test_a_single_cycle_gives_way_to_a_daemon_whose_clock_is_behind() -> None:
    one, two = two_daemons()
    await left_behind(one)
    cycle = asyncio.create_task(two.destination.run_once())
    await one.clock.advance(30)
    seen = await one.store.lease(one.email)
    assert seen is not None
    await one.store.put_lease(one.email, replace(seen, beat=seen.beat + 1), expected=seen)
    await one.clock.advance(3)
    assert not await cycle


async def test_a_single_cycle_that_is_out_of_time_waits_no_longer() -> None:
    one, two = two_daemons()
    await left_behind(one)
    cycle = asyncio.create_task(two.destination.run_once())
    await one.clock.advance(30)
    two.destination.stop()
    await one.clock.advance(3)
    assert not await cycle


async def test_what_the_dead_left_pending_is_found_or_copied_after_the_settle_window() -> None:
    one, two = two_daemons(gone=frozenset({"one"}))
    box, outlook = one.boxes[ROUTE], one.outlook
    outlook.hold = asyncio.Event()
    box.deliver(mail(1))
    box.deliver(mail(2))
    async with one.running() as first:
        await one.clock.advance(1)
        assert len(await one.store.pending(ROUTE.key)) == 2
        await one.die(first)
    outlook.hold = None
    outlook.store("Gmail/ann", mail(1), "17-Jul-2026 09:40:08 +0000")  # it had arrived all the same
    async with two.running():
        await two.clock.advance(30)
        assert outlook.bodies("Gmail/ann") == [mail(1)]
        await two.clock.advance(70)
    assert outlook.bodies("Gmail/ann") == [mail(1), mail(2)]
    assert await one.store.pending(ROUTE.key) == []


async def test_a_writer_that_cannot_renew_stops_before_its_lease_can_be_taken() -> None:
    bench = bench_of(ROUTE, grace=1e9)
    store = bench.store
    assert isinstance(store, MemoryStore)
    async with bench.running():
        await bench.clock.advance(5)
        store.down = True
        await bench.clock.advance(50)
        store.down = False
        bench.boxes[ROUTE].deliver(mail(1))
        await breathe()
        assert bench.outlook.bodies("Gmail/ann") == []
        await bench.clock.advance(130)
    assert bench.outlook.bodies("Gmail/ann") == [mail(1)]


async def test_a_writer_whose_lease_was_taken_gives_up_and_appends_nothing_more() -> None:
    bench = bench_of(ROUTE)
    async with bench.running():
        await bench.clock.advance(5)
        mine = await bench.store.lease("me@outlook.example")
        assert mine is not None
        theirs = Lease("another", mine.epoch + 1, 1, 60.0, bench.clock.now())
        assert await bench.store.put_lease("me@outlook.example", theirs, expected=mine)
        await bench.clock.advance(25)
        assert bench.destination.status().state is WriterState.STANDBY
        bench.boxes[ROUTE].deliver(mail(1))
        await bench.clock.advance(20)
        assert bench.outlook.bodies("Gmail/ann") == []


async def test_a_command_waits_a_whole_life_for_a_lease_that_nobody_renews() -> None:
    clock, store = VirtualClock(), MemoryStore()
    left = Lease("a daemon elsewhere", 7, 40, 60.0, clock.now() - 86_400)
    assert await store.put_lease("me@outlook.com", left, expected=None)
    gate = Gate(store, clock, random.Random(1), grace=60.0)
    mine = Tenancy(store, gate, "me@outlook.com", Identity("a command", lambda _: False), clock, life=60.0)
    seen = await mine.try_take()
    await clock.advance(59)
    assert await mine.try_take(seen) == seen
    await clock.advance(2)
    assert await mine.try_take(seen) is None
    assert (mine.held, mine.epoch) == (True, 8)
