"""UIDVALIDITY changes at the source: a window is searched again, and nothing is copied twice."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

import pytest
from fakes import mail
from harness import Bench, a_route, bench_of

from mailsyncd.errors import Transient
from mailsyncd.model import Mailbox, Start, StartKind, Watermark
from mailsyncd.policy import Past, instant, watermark_after_change

ROUTE = a_route()


def stamp(bench: Bench, hours_ago: float) -> str:
    when = datetime.fromtimestamp(bench.clock.now(), UTC) - timedelta(hours=hours_ago)
    return when.strftime("%d-%b-%Y %H:%M:%S +0000")


def stamp_before(stamp: str, *, days: int) -> str:
    when = datetime.fromtimestamp(instant(stamp) or 0, UTC) - timedelta(days=days)
    return when.strftime("%d-%b-%Y %H:%M:%S +0000")


async def test_after_a_change_only_what_is_new_within_the_window_is_copied() -> None:
    bench = bench_of(ROUTE)
    box = bench.boxes[ROUTE]
    for n in (1, 2, 2):
        box.deliver(mail(n), when=stamp(bench, 1))
    async with bench.running():
        await bench.clock.advance(2)
        old = dict(box.messages)
        box.uidvalidity, box.messages, box.uidnext = 8, {}, 100
        for body, when, _ in old.values():
            box.deliver(body, when=when)
        box.deliver(mail(2), when=stamp(bench, 1))  # a third twin, which is new
        box.deliver(mail(3), when=stamp(bench, 100))  # too old for the window
        box.deliver(mail(4), when=stamp(bench, 2))
        box.cut()
        await bench.clock.advance(10)
        box.deliver(mail(5), when=stamp(bench, 500))  # after the change: wanted, however old
        await bench.clock.advance(10)
    assert bench.outlook.bodies("Gmail/ann") == [mail(1), mail(2), mail(2), mail(2), mail(4), mail(5)]
    watermark = await bench.store.watermark(ROUTE.key)
    assert watermark is not None
    assert (watermark.uidvalidity, watermark.last_uid) == (8, 106)


async def test_what_comes_after_the_change_is_new_though_its_bytes_were_known_before() -> None:
    bench = bench_of(ROUTE)
    box = bench.boxes[ROUTE]
    for n in (1, 2):
        box.deliver(mail(n), when=stamp(bench, 1))
    async with bench.running():
        await bench.clock.advance(2)
        box.uidvalidity, box.messages, box.uidnext = 8, {}, 100
        box.deliver(mail(1), when=stamp(bench, 1))  # mail(2) has left the mailbox
        box.cut()
        await bench.clock.advance(10)
        box.deliver(mail(2), when=stamp(bench, 0))
        await bench.clock.advance(10)
    assert bench.outlook.bodies("Gmail/ann") == [mail(1), mail(2), mail(2)]


async def test_what_was_known_before_the_change_is_kept_for_as_long_as_the_window_is_searched() -> None:
    bench = bench_of(ROUTE)
    box = bench.boxes[ROUTE]
    for n in (1, 2):
        box.deliver(mail(n), when=stamp(bench, 1))
    async with bench.running():
        await bench.clock.advance(2)
        box.uidvalidity, box.messages, box.uidnext = 8, {}, 100
        for n in (1, 2):
            box.deliver(mail(n), when=stamp(bench, 1))
        box.refuse_read = lambda uids: Transient("not now") if 101 in uids else None
        box.cut()
        await bench.clock.advance(10)
        progress = bench.watch(ROUTE).progress
        assert progress is not None
        assert progress.unsettled
        box.refuse_read = lambda uids: None
        await bench.clock.advance(400)
        progress = bench.watch(ROUTE).progress
        assert progress is not None
        assert (progress.unsettled, progress.twins) == (0, None)
    assert bench.outlook.bodies("Gmail/ann") == [mail(1), mail(2)]


async def test_with_gmails_ids_nothing_of_before_the_change_is_held_in_memory() -> None:
    bench = bench_of(ROUTE)
    box = bench.boxes[ROUTE]
    box.deliver(mail(1), when=stamp(bench, 1), gm_msgid="1")
    async with bench.running():
        await bench.clock.advance(2)
        box.uidvalidity, box.messages, box.uidnext = 8, {}, 100
        box.deliver(mail(1), when=stamp(bench, 1), gm_msgid="1")
        box.refuse_read = lambda uids: Transient("not now")
        box.cut()
        await bench.clock.advance(10)
        progress = bench.watch(ROUTE).progress
        assert progress is not None
        assert (progress.unsettled, progress.twins) == (1, None)


@pytest.mark.parametrize("settled_between", [True, False])
async def test_two_changes_in_a_row_double_nothing(settled_between: bool) -> None:
    """Whether or not the window of the first was searched before the second."""
    bench = bench_of(ROUTE)
    box = bench.boxes[ROUTE]
    for n in (1, 2):
        box.deliver(mail(n), when=stamp(bench, 1))
    async with bench.running():
        await bench.clock.advance(2)
        box.refuse_read = lambda uids: None if settled_between else Transient("not now")
        for uidvalidity, bodies in ((8, (1, 2, 3)), (9, (1, 2, 3, 3, 4))):
            box.uidvalidity, box.messages, box.uidnext = uidvalidity, {}, 100
            for n in bodies:
                box.deliver(mail(n), when=stamp(bench, 1))
            box.cut()
            await bench.clock.advance(30)
        box.refuse_read = lambda uids: None
        await bench.clock.advance(400)
    assert sorted(bench.outlook.bodies("Gmail/ann")) == sorted(mail(n) for n in (1, 2, 3, 3, 4))


async def test_with_gmails_ids_the_ids_decide() -> None:
    bench = bench_of(ROUTE)
    box = bench.boxes[ROUTE]
    for n in (1, 2):
        box.deliver(mail(1), when=stamp(bench, 1), gm_msgid=str(n))
    async with bench.running():
        await bench.clock.advance(2)
        box.uidvalidity, box.messages, box.uidnext = 8, {}, 1
        for n in (1, 2, 3):
            box.deliver(mail(1), when=stamp(bench, 1), gm_msgid=str(n))
        box.cut()
        await bench.clock.advance(10)
    assert bench.outlook.bodies("Gmail/ann") == [mail(1)] * 3


async def test_a_start_date_outlives_a_restart_half_way() -> None:
    day = date(2023, 11, 13)
    route = a_route(start=Start(StartKind.DATE, day))
    bench = bench_of(route)
    box = bench.boxes[route]
    box.deliver(mail(1), when="01-Jan-2020 00:00:00 +0000")
    box.deliver(mail(2), when="13-Nov-2023 00:00:00 +0000")
    box.deliver(mail(3), when="12-Nov-2023 23:59:59 +0000")
    box.deliver(mail(4), when="13-Nov-2023 00:30:00 +0100")
    bench.outlook.folders["Gmail/ann"] = []
    async with bench.running():
        await bench.clock.advance(3)
    again = bench_of(route, clock=bench.clock, outlook=bench.outlook, store=bench.store)
    again.boxes[route] = box
    again.routes.reconcile(again.plans())
    box.deliver(mail(5), when="01-Jan-2020 00:00:00 +0000")
    async with again.running():
        await bench.clock.advance(200)
    assert bench.outlook.bodies("Gmail/ann") == [mail(2), mail(5)]


@pytest.mark.parametrize("jump", [3600.0, -3600.0, 400 * 86_400.0, -400 * 86_400.0])
@pytest.mark.parametrize("ahead", [False, True])
async def test_a_wall_clock_that_is_wrong_changes_nothing(jump: float, ahead: bool) -> None:
    """Wrong only at the change, or already when the last message was copied before it."""
    bench = bench_of(ROUTE)
    box = bench.boxes[ROUTE]
    yesterday, today = stamp(bench, 20), stamp(bench, 0)
    for n in (1, 2):
        box.deliver(mail(n), when=yesterday)
    bench.clock.jumped = jump if ahead else 0.0
    async with bench.running():
        await bench.clock.advance(3)
        bench.clock.jumped = jump
        old = dict(box.messages)
        box.uidvalidity, box.messages, box.uidnext = 8, {}, 100
        box.deliver(mail(3), when=stamp_before(yesterday, days=30))  # settled, and never copied
        for body, when, _ in old.values():
            box.deliver(body, when=when)
        box.deliver(mail(4), when=today)  # came before the change was seen
        box.cut()
        await bench.clock.advance(10)
    assert bench.outlook.bodies("Gmail/ann") == [mail(1), mail(2), mail(4)]


def test_a_window_that_was_not_searched_to_its_end_is_not_made_smaller() -> None:
    old = Watermark(7, 10, 1e9, backlog_until=100, since=5e8)
    again = watermark_after_change(
        Past(old), Mailbox(8, 200, 150), 1e9 + 60, window=86_400, memory=90 * 86_400
    )
    assert again.since == 5e8
    done = replace(old, last_uid=99)
    assert watermark_after_change(
        Past(done), Mailbox(8, 200, 150), 1e9 + 60, window=86_400, memory=90 * 86_400
    ).since == pytest.approx(1e9 - 86_400)


def test_a_watermark_that_had_passed_nothing_leaves_nothing_out() -> None:
    """However long ago that was, or whatever day the clock shows."""
    for now in (1e9 + 60, 1e9 + 400 * 86_400):
        again = watermark_after_change(
            Past(Watermark(7, 0, 1e9)), Mailbox(8, 4, 3), now, window=86_400, memory=90 * 86_400
        )
        assert again.since is None


def test_what_came_after_the_watermark_was_true_is_looked_at_however_long_ago_that_was() -> None:
    old = Watermark(7, 10, 1e9)
    again = watermark_after_change(
        Past(old), Mailbox(8, 200, 150), 1e9 + 60 * 86_400, window=86_400, memory=90 * 86_400
    )
    assert again.since == 1e9


def test_numberings_are_remembered_until_a_window_was_searched_to_its_end() -> None:
    def changed(old: Watermark, to: int) -> Watermark:
        return watermark_after_change(Past(old), Mailbox(to, 100, 50), 1e9, window=86_400, memory=90 * 86_400)

    mark = changed(changed(Watermark(7, 10, 1e9), 8), 9)
    assert mark.rescan_of == (7, 8)
    assert changed(mark, 7).rescan_of == (8, 9)
    assert changed(replace(mark, last_uid=99), 10).rescan_of == (9,)
    for to in range(20, 40):
        mark = changed(mark, to)
    assert len(mark.rescan_of) == 8
