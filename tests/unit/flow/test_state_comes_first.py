"""Invariant I1: nothing is appended without an acknowledged PENDING, whatever the store does."""

from __future__ import annotations

import asyncio

import pytest
from fakes import mail
from harness import a_route, bench_of
from turmoil.world import ANN, World

from mailsyncd.errors import StateUnavailable
from mailsyncd.model import Record
from mailsyncd.ports import Refused
from mailsyncd.state.memory import MemoryStore

ROUTE = a_route()


async def test_while_the_store_is_away_nothing_is_appended_and_then_it_goes_on() -> None:
    bench = bench_of(ROUTE)
    store = bench.store
    assert isinstance(store, MemoryStore)
    async with bench.running():
        await bench.clock.advance(2)
        store.down = True
        bench.boxes[ROUTE].deliver(mail(1))
        await bench.clock.advance(30)
        assert bench.outlook.appends == 0
        assert bench.gate.closed
        store.down = False
        await bench.clock.advance(6)
    assert bench.outlook.bodies("Gmail/ann") == [mail(1)]


async def test_a_store_that_stays_away_for_longer_than_the_grace_time_ends_the_daemon() -> None:
    bench = bench_of(ROUTE, life=1e6)
    store = bench.store
    assert isinstance(store, MemoryStore)
    async with bench.running() as task:
        await bench.clock.advance(2)
        store.down = True
        bench.boxes[ROUTE].deliver(mail(1))
        await bench.clock.advance(70)
        assert task.done()
        with pytest.raises(StateUnavailable):
            await task
    assert bench.outlook.appends == 0


async def test_an_answer_lost_after_the_append_is_asked_for_again_and_nothing_is_repeated() -> None:
    bench = bench_of(ROUTE)
    store = bench.store
    assert isinstance(store, MemoryStore)

    def lose_the_store(body: bytes) -> None:
        store.down = True

    bench.outlook.after = lose_the_store
    bench.boxes[ROUTE].deliver(mail(1))
    async with bench.running():
        await bench.clock.advance(20)
        bench.outlook.after = lambda body: None
        store.down = False
        await bench.clock.advance(10)
    assert bench.outlook.bodies("Gmail/ann") == [mail(1)]
    assert await store.pending(ROUTE.key) == []


async def test_a_store_that_answers_but_refuses_every_write_is_no_better_than_none() -> None:
    class ReadOnly(MemoryStore):
        async def claim(self, route: str, record: Record) -> Refused | None:
            raise StateUnavailable("denied")

    bench = bench_of(ROUTE, life=1e6, store=ReadOnly())
    bench.boxes[ROUTE].deliver(mail(1))
    async with bench.running() as task:
        await bench.clock.advance(70)
        assert task.done()
        with pytest.raises(StateUnavailable, match="denied"):
            await task
    assert bench.outlook.appends == 0


async def test_a_full_window_does_not_hold_up_the_end() -> None:
    bench = bench_of(ROUTE)
    bench.outlook.hold = asyncio.Event()
    for n in range(20):
        bench.boxes[ROUTE].deliver(mail(n))
    async with bench.running() as task:
        await bench.clock.advance(2)
        bench.destination.stop()
        bench.outlook.hold.set()
        await asyncio.wait_for(task, 10)
    assert len(bench.outlook.bodies("Gmail/ann")) < 20


def test_a_daemon_that_is_told_to_stop_while_the_store_is_away_does_not_wait_for_it() -> None:
    world = World(ANN)
    try:
        daemon = world.start()
        world.deliver(ANN, mail(1))
        world.run(asyncio.sleep(0.6))  # it is DONE, and the watermark is not yet stored
        daemon.store.away = True
        world.run(world.stop(daemon))
        assert not world.violations
        assert world.destination.ever.total() == 1
        world.settle()
    finally:
        world.close()
