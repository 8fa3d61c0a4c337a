"""Bodies are read ahead in several commands at once, one of which is kept for new mail."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Sequence
from random import Random

import pytest
from fakes import VirtualClock, mail
from harness import a_route

from mailsyncd.flow import read
from mailsyncd.flow.allowance import Allowance
from mailsyncd.flow.gate import Gate
from mailsyncd.flow.preflight import Preflight
from mailsyncd.flow.queue import RefQueue
from mailsyncd.flow.read import FIRST, LEAST, MOST, READERS, Pace, Reader
from mailsyncd.flow.ready import ReadyQueue, Setback
from mailsyncd.model import Lane, Listing, Mailbox, Message, MessageRef, Via
from mailsyncd.state.memory import MemoryStore

ROUTE = a_route()
SIZE = len(mail(1))


class SlowSource:
    """Answers a read when told to."""

    mailbox = Mailbox(7, 10_000, 9_999)

    def __init__(self) -> None:
        self.asked: list[Sequence[int]] = []
        self.answer = asyncio.Event()

    async def read(self, uids: Sequence[int]) -> AsyncIterator[tuple[int, bytes]]:
        self.asked.append(uids)
        await self.answer.wait()
        for uid in uids:
            yield uid, mail(uid)


class SlowPreflight:
    """Takes its time over a message, in whatever thread it is asked."""

    def __init__(self) -> None:
        self.asked, self.go_on = asyncio.Event(), threading.Event()
        self._loop = asyncio.get_running_loop()

    def message(self, ref: MessageRef, body: bytes) -> Message | Setback:
        self._loop.call_soon_threadsafe(self.asked.set)
        assert self.go_on.wait(5), "nobody lets it go on: it holds up the event loop"
        return Preflight().message(ref, body)


class Bench:
    def __init__(self, memory: int = 1 << 24, budget: int = 0) -> None:
        clock = VirtualClock()
        store = MemoryStore()
        self.admitted = asyncio.Event()
        self.admitted.set()
        self.source, self.queue, self.ready = SlowSource(), RefQueue(10_000), ReadyQueue(memory)
        gate = Gate(store, clock, Random(1), grace=60.0)
        self.allowance = Allowance("ann@gmail.example", budget, store, gate, clock, "one")
        self.reader = Reader(
            self.source,  # type: ignore[arg-type]
            ROUTE.key,
            self.queue,
            self.ready,
            Preflight(),
            self.allowance,
            clock,
            self.admit,
        )

    async def admit(self) -> None:
        await self.admitted.wait()

    async def queued(self, count: int, lane: Lane, first: int = 1) -> None:
        for uid in range(first, first + count):
            listing = Listing(uid, SIZE, "", None)
            await self.queue.put(MessageRef(ROUTE, 7, listing, lane, Via.SWEEP, 0.0))


async def settle() -> None:
    for _ in range(200):
        await asyncio.sleep(0)


async def test_a_backlog_is_read_in_several_commands_at_once_and_in_order() -> None:
    bench = Bench()
    await bench.queued(10 * FIRST, Lane.OLD)
    running = asyncio.ensure_future(bench.reader.run())
    await settle()
    assert [min(uids) for uids in bench.source.asked] == [1 + n * FIRST for n in range(READERS)]
    bench.source.answer.set()
    await settle()
    assert sorted(ready.ref.uid for ready in bench.ready) == list(range(1, 10 * FIRST + 1))
    bench.queue.close()
    await running


async def test_until_a_route_is_admitted_new_mail_is_read_and_nothing_handed_on() -> None:
    bench = Bench()
    bench.admitted.clear()
    bench.source.answer.set()
    await bench.queued(10 * FIRST, Lane.OLD)
    await bench.queued(3, Lane.LIVE, first=5_000)
    running = asyncio.ensure_future(bench.reader.run())
    await settle()
    assert [list(uids) for uids in bench.source.asked] == [[5_000, 5_001, 5_002]]
    assert len(bench.ready) == 0
    bench.admitted.set()
    await settle()
    assert len(bench.ready) == 10 * FIRST + 3
    bench.queue.close()
    await running


async def test_what_was_read_before_a_route_was_admitted_has_its_place_again() -> None:
    bench = Bench()
    bench.admitted.clear()
    bench.source.answer.set()
    await bench.queued(3, Lane.LIVE)
    running = asyncio.ensure_future(bench.reader.run())
    await settle()
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert (len(bench.queue), len(bench.ready), bench.ready.used) == (3, 0, 0)


async def test_new_mail_is_asked_for_while_all_other_commands_wait_for_old_mail() -> None:
    bench = Bench()
    await bench.queued(10 * FIRST, Lane.OLD)
    running = asyncio.ensure_future(bench.reader.run())
    await settle()
    await bench.queued(1, Lane.LIVE, first=5_000)
    await settle()
    assert list(bench.source.asked[-1]) == [5_000]
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert len(bench.queue) == 10 * FIRST + 1, "what was not read has its place again"
    assert bench.ready.used == 0


async def test_new_mail_is_asked_for_while_old_mail_waits_for_memory() -> None:
    bench = Bench(memory=2 * FIRST * (SIZE + 2048))
    await bench.queued(10 * FIRST, Lane.OLD)
    running = asyncio.ensure_future(bench.reader.run())
    await settle()
    assert len(bench.source.asked) == 1, "old mail may fill three quarters"
    await bench.queued(1, Lane.LIVE, first=5_000)
    await settle()
    assert list(bench.source.asked[-1]) == [5_000]
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_a_message_larger_than_all_the_room_goes_beside_it_one_at_a_time() -> None:
    ready = ReadyQueue(1000)
    await ready.reserve([300, 300], Lane.OLD)
    await ready.reserve([5000], Lane.OLD)
    another = asyncio.ensure_future(ready.reserve([800], Lane.OLD))
    await settle()
    assert ready.used == 5600
    assert not another.done()
    ready.release(5000)
    await another
    for size in (300, 300, 800):
        ready.release(size)
    assert ready.used == 0


async def test_a_large_message_does_not_wait_until_all_before_it_is_settled() -> None:
    ready = ReadyQueue(1000)
    await ready.reserve([500], Lane.OLD)
    await ready.reserve([300], Lane.OLD)
    await ready.reserve([100], Lane.OLD)
    another = asyncio.ensure_future(ready.reserve([300], Lane.OLD))
    await settle()
    assert not another.done(), "one at a time"
    ready.release(300)
    await another
    assert ready.used == 900


async def test_a_batch_larger_than_all_the_room_is_read_alone() -> None:
    ready = ReadyQueue(1000)
    await ready.reserve([800, 900], Lane.OLD)
    another = asyncio.ensure_future(ready.reserve([800, 900], Lane.OLD))
    await settle()
    assert not another.done()
    for size in (800, 900):
        ready.release(size)
    await another


async def test_what_needs_much_room_is_not_passed_over_by_what_needs_little() -> None:
    ready = ReadyQueue(1000)
    await ready.reserve([600], Lane.OLD)
    much = asyncio.ensure_future(ready.reserve([350, 350], Lane.OLD))
    await settle()
    little = asyncio.ensure_future(ready.reserve([100], Lane.OLD))
    await ready.reserve([100], Lane.LIVE)
    await settle()
    assert not much.done()
    assert not little.done()
    ready.release(100)
    ready.release(600)
    await much
    assert ready.used >= 700
    little.cancel()


async def test_what_is_being_read_counts_for_the_days_budget() -> None:
    """Or each command in flight could go over it by a batch."""
    bench = Bench(budget=FIRST * SIZE)
    await bench.queued(10 * FIRST, Lane.OLD)
    running = asyncio.ensure_future(bench.reader.run())
    await settle()
    assert len(bench.source.asked) == 1
    bench.source.answer.set()
    await settle()
    assert len(bench.source.asked) == 1
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


def test_batches_grow_where_they_come_soon_and_shrink_where_they_come_late() -> None:
    pace = Pace()
    pace.took(0.1, FIRST, 0)
    assert pace.count == MOST
    for _ in range(9):
        pace.took(5.0, pace.count, 0)
    assert pace.count == LEAST
    pace.took(0.1, 1, 1_000)
    assert pace.count == LEAST, "one message tells nothing about ten"
    pace.took(0.1, 1, pace.octets)
    assert pace.count == 2 * LEAST


@pytest.fixture
def hashing(monkeypatch: pytest.MonkeyPatch) -> Bench:
    """With a message that counts as heavy."""
    monkeypatch.setattr(read, "HEAVY", SIZE)
    bench = Bench()
    bench.source.answer.set()
    return bench


async def test_a_heavy_message_is_hashed_beside_the_event_loop(hashing: Bench) -> None:
    hashing.reader.preflight = slow = SlowPreflight()  # type: ignore[assignment]
    await hashing.queued(1, Lane.LIVE)
    running = asyncio.ensure_future(hashing.reader.run())
    await slow.asked.wait()
    assert not len(hashing.ready)
    slow.go_on.set()
    await hashing.ready.wait()
    assert isinstance(hashing.ready.get().item, Message)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_a_session_that_ends_while_a_message_is_hashed_leaves_it_in_the_queue(hashing: Bench) -> None:
    hashing.reader.preflight = slow = SlowPreflight()  # type: ignore[assignment]
    await hashing.queued(1, Lane.LIVE)
    running = asyncio.ensure_future(hashing.reader.run())
    await slow.asked.wait()
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    slow.go_on.set()
    assert (len(hashing.ready), hashing.ready.used, len(hashing.queue)) == (0, 0, 1)
