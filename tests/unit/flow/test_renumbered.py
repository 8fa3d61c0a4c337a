"""UIDVALIDITY changes, of source or folder, in the middle of things: what was copied, or may have been,
under the old numbers is neither copied again nor taken for another's copy."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest
from fakes import FakeMailbox, mail
from harness import Bench, a_route, bench_of
from turmoil.world import ANN, BEA, World

from mailsyncd.errors import ConnectionLost, DestinationFull, FailureKind, MessageRejected, Sent
from mailsyncd.model import Event, Record, Route, Status
from mailsyncd.ports import Refused
from mailsyncd.status import WriterState

ROUTE, FOLDER = a_route(), "Gmail/ann"


def renumber(box: FakeMailbox, *, keep_ids: bool = False) -> None:
    """Without X-GM-MSGID, unless they are kept, so that only the bytes tell which message is which."""
    kept = list(box.messages.values())
    box.uidvalidity, box.messages, box.uidnext = box.uidvalidity + 1, {}, 1
    for body, when, gm_msgid in kept:
        box.deliver(body, when=when, gm_msgid=gm_msgid if keep_ids else None)
    box.cut()


def successor(bench: Bench) -> Bench:
    again = bench_of(ROUTE, clock=bench.clock, outlook=bench.outlook, store=bench.store, owner="two")
    again.boxes[ROUTE] = bench.boxes[ROUTE]
    again.routes.reconcile(again.plans())
    return again


async def test_a_message_under_way_while_the_source_is_renumbered_is_copied_once() -> None:
    bench = bench_of(ROUTE)
    bench.outlook.hold = asyncio.Event()
    for n in range(12):  # more than are in flight at once: some are read and wait
        bench.boxes[ROUTE].deliver(mail(n))
    async with bench.running():
        await bench.clock.advance(1)
        assert bench.outlook.in_flight == 4
        renumber(bench.boxes[ROUTE])
        await bench.clock.advance(5)
        bench.outlook.hold.set()
        await bench.clock.advance(30)
    assert sorted(bench.outlook.bodies(FOLDER)) == sorted(map(mail, range(12)))


async def test_a_message_in_doubt_while_the_source_is_renumbered_is_copied_once() -> None:
    bench = bench_of(ROUTE)
    losses = [ConnectionLost("cut", Sent.EVERYTHING)]
    bench.outlook.before = lambda body: losses.pop() if losses else None
    bench.boxes[ROUTE].deliver(mail(1))
    async with bench.running():
        await bench.clock.advance(2)
        renumber(bench.boxes[ROUTE])
        await bench.clock.advance(20)
        bench.outlook.store(FOLDER, mail(1), "17-Jul-2026 09:40:08 +0000")  # committed late
        await bench.clock.advance(200)
    assert bench.outlook.bodies(FOLDER) == [mail(1)]
    assert not await bench.store.pending(ROUTE.key)
    (same,) = await bench.store.records(ROUTE.key, 8)
    assert same.same_as == (7, 1)


async def test_a_message_in_doubt_that_came_to_nothing_is_copied_under_its_new_number() -> None:
    bench = bench_of(ROUTE)
    losses = [ConnectionLost("cut", Sent.EVERYTHING)]
    bench.outlook.before = lambda body: losses.pop() if losses else None
    bench.boxes[ROUTE].deliver(mail(1))
    async with bench.running():
        await bench.clock.advance(2)
        renumber(bench.boxes[ROUTE])
        await bench.clock.advance(300)
    assert bench.outlook.bodies(FOLDER) == [mail(1)]
    assert not await bench.store.pending(ROUTE.key)
    assert all(one.resolved for one in await bench.store.failures(ROUTE.key))
    assert bench.watch(ROUTE).tally.failed == 0


async def test_a_message_in_doubt_that_is_too_old_to_be_listed_anew_is_a_failure() -> None:
    bench = bench_of(ROUTE)
    box = bench.boxes[ROUTE]
    box.deliver(mail(1))
    async with bench.running():
        await bench.clock.advance(2)
        losses = [ConnectionLost("cut", Sent.EVERYTHING)]
        bench.outlook.before = lambda body: losses.pop() if losses else None
        box.deliver(mail(2), when="17-Jul-2020 09:40:08 +0000")  # moved here out of an archive
        await bench.clock.advance(2)
        renumber(box)
        await bench.clock.advance(300)
    (failure,) = await bench.store.failures(ROUTE.key)
    assert (failure.kind, failure.resolved) == (FailureKind.VANISHED, False)


async def test_a_source_that_is_renumbered_twice_in_a_row_is_copied_once() -> None:
    bench = bench_of(ROUTE)
    for n in (1, 2, 3):
        bench.boxes[ROUTE].deliver(mail(n))
    async with bench.running():
        await bench.clock.advance(3)
        bench.outlook.refuse_open = ConnectionLost("cut")  # nothing can be settled meanwhile
        assert bench.outlook.current is not None
        bench.outlook.current.cut()
        for _ in range(2):
            renumber(bench.boxes[ROUTE])
            await bench.clock.advance(30)
        bench.outlook.refuse_open = None
        await bench.clock.advance(600)
    assert bench.outlook.bodies(FOLDER) == [mail(1), mail(2), mail(3)]


async def test_one_copy_excuses_one_message_even_if_a_restart_lies_between() -> None:
    bench = bench_of(ROUTE)
    box = bench.boxes[ROUTE]
    box.deliver(mail(1))
    async with bench.running():
        await bench.clock.advance(3)
    renumber(box)
    for n in range(2, 22):
        box.deliver(mail(n))
    box.deliver(mail(1))  # another, which came before the change was seen
    again = successor(bench)
    again.outlook.before = lambda body: DestinationFull("no room")
    async with again.running():
        await bench.clock.advance(30)
    mark = await bench.store.watermark(ROUTE.key)
    assert mark is not None
    assert (mark.uidvalidity, mark.last_uid) == (8, 1)  # that one was copied before, the others wait
    last = successor(again)
    again.outlook.before = lambda body: None
    async with last.running():
        await bench.clock.advance(600)
    assert sorted(bench.outlook.bodies(FOLDER)) == sorted([mail(1), *map(mail, range(1, 22))])


async def test_what_came_after_the_change_is_not_excused_by_a_copy_of_before() -> None:
    bench = bench_of(ROUTE)
    box = bench.boxes[ROUTE]
    box.deliver(mail(1))
    async with bench.running():
        await bench.clock.advance(3)
        box.messages.clear()
        renumber(box)
        await bench.clock.advance(10)
        box.deliver(mail(1))
        await bench.clock.advance(10)
    assert bench.outlook.bodies(FOLDER) == [mail(1), mail(1)]


async def test_a_doubt_about_a_renumbered_folder_leaves_older_copies_to_their_records() -> None:
    bench = bench_of(ROUTE)
    outlook, box = bench.outlook, bench.boxes[ROUTE]
    box.deliver(mail(1))
    async with bench.running():
        await bench.clock.advance(3)
        refusals = [DestinationFull("no room")]
        outlook.before = lambda body: refusals.pop() if refusals else None
        outlook.hold = asyncio.Event()
        box.deliver(mail(1))
        await bench.clock.advance(1)
        outlook.uidvalidity = 4
        outlook.hold.set()
        await bench.clock.advance(300)
    assert outlook.bodies(FOLDER) == [mail(1), mail(1)]


async def test_an_append_that_outlasts_its_session_is_looked_for() -> None:
    """A session ends with its token, and the server takes longer over a message than it is waited for."""
    bench = bench_of(ROUTE)
    outlook = bench.outlook
    outlook.hold = asyncio.Event()
    box = bench.boxes[ROUTE]
    box.deliver(mail(1))
    async with bench.running():
        await bench.clock.advance(1)
        assert outlook.in_flight == 1
        assert outlook.current is not None
        outlook.current.ends_mono = bench.clock.monotonic()
        bench.destination._settings = type(bench.destination._settings)(90.0, 1e6, drain_timeout=0.0)
        box.deliver(mail(2))
        await bench.clock.advance(1)
        await asyncio.sleep(0.01)  # the one timer that is the event loop's
        outlook.hold.set()
        await bench.clock.advance(120)
    assert sorted(outlook.bodies(FOLDER)) == [mail(1), mail(2)]
    records = await bench.store.records(ROUTE.key, 7)
    assert [one.status for one in records] == [Status.DONE, Status.DONE]


async def test_a_doubt_leaves_alone_copies_from_before_the_folder_was_renumbered_twice() -> None:
    bench = bench_of(ROUTE)
    outlook, box = bench.outlook, bench.boxes[ROUTE]
    box.deliver(mail(1))
    async with bench.running():
        await bench.clock.advance(3)
        outlook.uidvalidity = 4
        outlook.current.cut()  # type: ignore[union-attr]
        await bench.clock.advance(3)
        refusals = [DestinationFull("no room")]
        outlook.before = lambda body: refusals.pop() if refusals else None
        outlook.hold = asyncio.Event()
        box.deliver(mail(1))
        await bench.clock.advance(1)
        outlook.uidvalidity = 5
        outlook.hold.set()
        await bench.clock.advance(300)
    assert outlook.bodies(FOLDER) == [mail(1), mail(1)]


async def test_copies_under_a_number_that_no_watermark_noted_are_not_taken_for_a_strangers() -> None:
    """A daemon died before it stored a watermark, then the folder and the mailbox were numbered anew."""
    bench = bench_of(ROUTE)
    box = bench.boxes[ROUTE]
    box.deliver(mail(1), gm_msgid="1")
    async with bench.running() as task:
        await bench.clock.advance(0.5)
        assert bench.outlook.bodies(FOLDER) == [mail(1)]
        await bench.die(task)
    bench.outlook.uidvalidity = 4
    box.uidvalidity, box.messages, box.uidnext = 8, {}, 1
    box.deliver(mail(1), gm_msgid="1")
    box.deliver(mail(2), gm_msgid="2")
    again = Bench(bench.clock, bench.outlook, bench.boxes, bench.store, owner="two")
    async with again.running():
        await bench.clock.advance(400)
    assert bench.outlook.bodies(FOLDER) == [mail(1), mail(2)]


async def test_what_was_appended_is_not_appended_again_when_its_done_is_cut_short() -> None:
    """The state store has the DONE, and is too slow to say so before the connection is left."""
    bench = bench_of(ROUTE)
    bench.destination._settings = type(bench.destination._settings)(90.0, 1e6, drain_timeout=0.0)
    bench.boxes[ROUTE].deliver(mail(1))
    finish, answered = bench.store.finish, asyncio.Event()

    async def slow_finish(route: str, record: Record, events: Sequence[Event] = ()) -> bool:
        finished = await finish(route, record, events)
        await answered.wait()
        return finished

    bench.store.finish = slow_finish  # type: ignore[method-assign]
    async with bench.running():
        await bench.clock.advance(0.5)
        bench.outlook.current.cut()  # type: ignore[union-attr]
        await bench.clock.advance(0.5)
        await asyncio.sleep(0.01)  # the one timer that is the event loop's
        answered.set()
        await bench.clock.advance(300)
    assert bench.outlook.bodies(FOLDER) == [mail(1)]


async def test_a_failure_is_listed_once_though_the_source_was_renumbered_since() -> None:
    bench = bench_of(ROUTE)
    box = bench.boxes[ROUTE]
    bench.outlook.before = lambda body: MessageRejected("too ugly") if body == mail(1) else None
    for n in (1, 2):
        box.deliver(mail(n), gm_msgid=str(n))
    async with bench.running():
        await bench.clock.advance(300)
        renumber(box, keep_ids=True)
        await bench.clock.advance(300)
        found = {one.uidvalidity: one.resolved for one in await bench.store.failures(ROUTE.key)}
        assert found == {7: True, 8: False}
        bench.outlook.before = lambda body: None
        renumber(box, keep_ids=True)
        await bench.clock.advance(300)
    assert bench.outlook.bodies(FOLDER) == [mail(2), mail(1)]
    assert all(one.resolved for one in await bench.store.failures(ROUTE.key))


async def test_what_could_not_be_read_between_two_changes_of_uidvalidity_is_known_from_before_both() -> None:
    bench = bench_of(ROUTE)
    box = bench.boxes[ROUTE]
    box.deliver(mail(1))
    unreadable = MessageRejected("cannot be read", FailureKind.SOURCE_UNREADABLE)
    async with bench.running():
        await bench.clock.advance(3)
        box.refuse_read = lambda uids: unreadable
        renumber(box)
        await bench.clock.advance(60)
        assert bench.watch(ROUTE).tally.failed == 1
        box.refuse_read = lambda uids: None
        renumber(box)
        await bench.clock.advance(60)
    assert bench.outlook.bodies(FOLDER) == [mail(1)]


async def test_mail_between_changes_of_uidvalidity_is_copied_though_the_clock_is_a_year_ahead() -> None:
    bench = bench_of(ROUTE)
    box = bench.boxes[ROUTE]
    for n in range(1, 4):
        box.deliver(mail(n), gm_msgid=str(n))
    async with bench.running():
        await bench.clock.advance(5)
        bench.clock.jumped = 1000 * 86_400.0
        for n in range(4, 8):
            renumber(box, keep_ids=True)
            if n != 6:
                box.deliver(mail(n), gm_msgid=str(n))
            await bench.clock.advance(20)
    assert sorted(bench.outlook.bodies(FOLDER)) == sorted(map(mail, (1, 2, 3, 4, 5, 7)))


async def test_a_claim_that_was_cut_short_is_settled_though_the_source_was_renumbered_since() -> None:
    bench = bench_of(ROUTE)
    bench.destination._settings = type(bench.destination._settings)(90.0, 1e6, drain_timeout=0.0)
    bench.boxes[ROUTE].deliver(mail(1))
    claim, slow = bench.store.claim, [True]

    async def slow_claim(route: str, record: Record) -> Refused | None:
        refused = await claim(route, record)
        if slow and slow.pop():
            await asyncio.Event().wait()
        return refused

    bench.store.claim = slow_claim  # type: ignore[method-assign]
    async with bench.running():
        await bench.clock.advance(0.5)
        renumber(bench.boxes[ROUTE])
        bench.outlook.current.cut()  # type: ignore[union-attr]
        await bench.clock.advance(0.2)
        await asyncio.sleep(0.01)  # the one timer that is the event loop's
        await bench.clock.advance(60)
        assert bench.destination.status().epoch == 1
    assert bench.outlook.bodies(FOLDER) == [mail(1)]
    assert not await bench.store.pending(ROUTE.key)


def test_copies_into_a_folder_that_was_renumbered_unseen_are_not_taken_for_a_strangers() -> None:
    """The destination says neither where a copy is (no UIDPLUS) nor that the folder has new numbers."""
    world = World()
    world.destination.has_uidplus = False
    try:
        first = world.start()
        for n in range(3):
            world.deliver(ANN, mail(n))
        for n in range(21, 24):
            world.deliver(BEA, mail(n))
        world.run(asyncio.sleep(0.5))
        world.destination.renumber(ANN.folder)
        second = world.start()
        for n in range(3, 12):
            world.deliver(ANN, mail(n))
        world.run(asyncio.sleep(0.26))
        first.wire.thawed.clear()
        world.run(asyncio.sleep(130))
        for n in range(12, 21):
            world.deliver(ANN, mail(n))
        world.run(asyncio.sleep(0.1))
        first.wire.thawed.set()
        world.run(asyncio.sleep(65))
        world.boxes[ANN].renumber()
        world.run(world.stop(second))
        world.settle()
        assert world.destination.ever.total() == 24
    finally:
        world.close()


@pytest.mark.timeout(60)  # the loop itself would stand still, and its time with it
@pytest.mark.parametrize("route", [ANN, BEA])
def test_what_is_renumbered_under_suspicion_is_given_up_while_a_pause_lasts(route: Route) -> None:
    """What was refused has no number any more, what is new may be tried within the pause."""
    world = World(route)
    try:
        daemon = world.start()
        world.destination.poison |= {mail(n): MessageRejected("no", vague=True) for n in range(4)}
        for n in range(4):
            world.deliver(route, mail(n))
        world.run(asyncio.sleep(100))
        assert daemon.bench.destination.status().state is WriterState.FULL
        for _ in range(3):
            world.boxes[route].renumber()
            world.deliver(route, mail(10))
            world.run(asyncio.sleep(50))
        world.destination.poison.clear()
        world.settle()
    finally:
        world.close()
