"""Mailboxes that do what mailboxes rarely do."""

from __future__ import annotations

import asyncio
from contextlib import nullcontext
from dataclasses import replace

import pytest
from fakes import FakeMailbox, FakeSourceSession, mail
from harness import Bench, a_route, bench_of

from mailsyncd.errors import RouteBlocked
from mailsyncd.flow import destination
from mailsyncd.flow.oddities import QUIET, RENUMBERINGS, Oddities
from mailsyncd.model import Claimant, Listing, Mailbox, Record, Status, Watermark
from mailsyncd.status import RouteState

ROUTE = a_route()
HOUR = 3600.0


@pytest.fixture(autouse=True)
def slow_tick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hours go by here: let the writer look at its watermarks less often than every second."""
    monkeypatch.setattr(destination, "TICK", 10.0)


def copies(bench: Bench) -> list[bytes]:
    return sorted(bench.outlook.bodies(ROUTE.folder))


# ------------------------------------------------------------------- suddenly empty


async def test_a_mailbox_that_is_empty_of_a_sudden_is_told_of_once_and_left_alone(
    capsys: pytest.CaptureFixture[str],
) -> None:
    bench = bench_of(ROUTE, queue_size=1000)
    box = bench.boxes[ROUTE]
    bodies = [mail(n) for n in range(500)]
    for body in bodies:
        box.deliver(body)
    async with bench.running():
        await bench.clock.advance(60)
        appends, opens = bench.outlook.appends, bench.outlook.opens
        box.messages.clear()
        box._news.set()
        await bench.clock.advance(HOUR)
        status = bench.watch(ROUTE).status()
        assert (status.state, status.unsettled, status.failed) == (RouteState.WATCHING, 0, 0)
        assert "it held 500 messages before" in status.detail
        assert (bench.outlook.appends, bench.outlook.opens) == (appends, opens)
        assert copies(bench) == sorted(bodies)
        box.deliver(mail(1000))
        await bench.clock.advance(60)
        assert bench.watch(ROUTE).status().detail == ""
    assert copies(bench) == sorted([*bodies, mail(1000)])
    assert capsys.readouterr().out.count("route.suddenly_empty") == 1


@pytest.mark.parametrize(
    ("counts", "told"),
    [
        ((5000, 0, 0, 0), [5000]),
        ((5000, 4000, 99, 0), []),
        ((100, 0, 100, 0), [100, 100]),
        ((0, 0), []),
        ((99, 0), []),
    ],
)
def test_only_many_at_once_are_a_surprise(counts: tuple[int, ...], told: list[int]) -> None:
    oddities = Oddities()
    assert [oddities.emptied_from for exists in counts if oddities.emptied(exists)] == told


# ------------------------------------------------------------------ renumbered often


def test_five_renumberings_without_a_quiet_hour_stop_the_route_until_an_hour_is_quiet() -> None:
    oddities, stored = Oddities(), Watermark(1, 10, 0.0)
    for n in range(1, RENUMBERINGS):
        oddities.check(Mailbox(n + 1, 50, 5), stored, n * 3000.0)
    with pytest.raises(RouteBlocked, match="5 times"):
        oddities.check(Mailbox(99, 50, 5), stored, 15_000.0)
    with pytest.raises(RouteBlocked):
        oddities.check(Mailbox(99, 50, 5), stored, 15_000.0 + QUIET - 1)
    oddities.check(Mailbox(99, 50, 5), stored, 15_000.0 + QUIET)


def test_renumberings_with_an_hour_between_are_each_the_first() -> None:
    oddities, stored = Oddities(), Watermark(1, 10, 0.0)
    for n in range(1, 50):
        oddities.check(Mailbox(n + 1, 50, 5), stored, n * QUIET)


async def test_a_mailbox_renumbered_at_every_look_neither_loses_nor_doubles_a_message() -> None:
    bench = bench_of(ROUTE, life=600.0)
    box = bench.boxes[ROUTE]
    bodies = [mail(n) for n in range(6)]
    for n, body in enumerate(bodies):
        box.deliver(body, when="14-Nov-2023 21:40:08 +0000", gm_msgid=str(n))
    async with bench.running():
        await bench.clock.advance(30)
        for _ in range(20):
            box.uidvalidity += 1
            box.cut()
            await bench.clock.advance(300)
        status = bench.watch(ROUTE).status()
        assert status.state is RouteState.BLOCKED
        assert "renumbered" in status.detail
        late = mail(100)
        box.deliver(late, when="14-Nov-2023 23:40:08 +0000", gm_msgid="100")
        await bench.clock.advance(2 * HOUR)
        assert bench.watch(ROUTE).status().state is RouteState.WATCHING
    assert copies(bench) == sorted([*bodies, late])


# ----------------------------------------------------------------- numbers that go back


async def test_numbers_that_go_back_stop_the_route_and_are_taken_up_when_they_are_right_again() -> None:
    bench = bench_of(ROUTE, life=600.0)
    box = bench.boxes[ROUTE]
    for n in range(10):
        box.deliver(mail(n))
    async with bench.running():
        await bench.clock.advance(30)
        box.uidnext = 4
        box.cut()
        await bench.clock.advance(700)
        status = bench.watch(ROUTE).status()
        assert status.state is RouteState.BLOCKED
        assert "UIDNEXT" in status.detail
        box.uidnext = 11
        box.deliver(mail(10))
        await bench.clock.advance(400)
        assert bench.watch(ROUTE).status().state is RouteState.WATCHING
    assert copies(bench) == sorted(mail(n) for n in range(11))


def put_back(box: FakeMailbox, *, to: int) -> None:
    """As from a backup: what came later is gone, and its numbers will be given out again."""
    for uid in range(to, box.uidnext):
        del box.messages[uid]
    box.uidnext = to


def more_mail(box: FakeMailbox) -> None:
    for n in range(10, 20):
        box.deliver(mail(n), when=f"14-Nov-2023 22:40:{n:02} +0000")


async def test_a_mailbox_put_back_from_a_backup_is_not_gone_on_with_when_its_numbers_have_caught_up() -> None:
    bench = bench_of(ROUTE, life=600.0)
    box = bench.boxes[ROUTE]
    for n in range(10):
        box.deliver(mail(n), when=f"14-Nov-2023 21:40:{n:02} +0000")
    async with bench.running():
        await bench.clock.advance(30)
        put_back(box, to=4)
        box.cut()
        await bench.clock.advance(700)
        assert "UIDNEXT" in bench.watch(ROUTE).status().detail
        more_mail(box)
        await bench.clock.advance(1000)
        status = bench.watch(ROUTE).status()
        assert status.state is RouteState.BLOCKED
        assert "another message under number 4 than" in status.detail
    assert len(copies(bench)) == 10


async def test_a_mailbox_put_back_while_no_daemon_ran_is_noticed_at_start() -> None:
    bench = bench_of(ROUTE, life=600.0)
    box = bench.boxes[ROUTE]
    for n in range(10):
        box.deliver(mail(n), when=f"14-Nov-2023 21:40:{n:02} +0000")
    async with bench.running():
        await bench.clock.advance(30)
    put_back(box, to=4)
    more_mail(box)
    after = Bench(bench.clock, bench.outlook, {ROUTE: box}, bench.store, gone=frozenset({"one"}), owner="two")
    async with after.running():
        await bench.clock.advance(700)
        status = after.watch(ROUTE).status()
        assert status.state is RouteState.BLOCKED
        assert "another message under number 4 than" in status.detail
    assert len(copies(bench)) == 10


@pytest.mark.parametrize(
    ("date", "gm_msgid", "is_same"),
    [
        ("14-Nov-2023 21:40:08 +0000", "1", True),
        ("14-Nov-2023 23:40:08 +0200", "1", True),
        ("15-Nov-2023 21:40:08 +0000", "1", True),
        ("14-Nov-2023 21:40:08 +0000", "2", False),
        ("14-Nov-2023 21:40:08 +0000", None, True),
        ("15-Nov-2023 21:40:08 +0000", None, False),
        ("", None, True),
    ],
)
def test_a_number_means_the_same_message_by_its_id_or_else_by_its_date(
    date: str, gm_msgid: str | None, is_same: bool
) -> None:
    when = "14-Nov-2023 21:40:08 +0000"
    record = Record(7, 4, Status.DONE, Claimant(1, "x"), 0.0, "", 10, when, "", gm_msgid="1")
    oddities, listing = Oddities(), Listing(4, 10, date, gm_msgid)
    with nullcontext() if is_same else pytest.raises(RouteBlocked, match="number 4 than"):
        oddities.compare([record], [listing])
    assert oddities.doubted is not is_same


def test_a_next_number_that_is_only_guessed_stops_nothing() -> None:
    Oddities().check(Mailbox(7, 4, 3, is_exact=False), Watermark(7, 10, 0.0), 0.0)


@pytest.mark.parametrize("uidnext", [0, 11])
def test_a_next_number_that_is_unknown_or_right_is_no_reason_to_stop(uidnext: int) -> None:
    Oddities().check(Mailbox(7, uidnext, 0), Watermark(7, 10, 0.0), 0.0)


# ------------------------------------------------------------------- news about nothing


async def test_news_of_nothing_and_mail_that_goes_as_it_comes_disturb_nobody() -> None:
    bench = bench_of(ROUTE, queue_size=1000)
    box = bench.boxes[ROUTE]
    kept = []
    async with bench.running():
        for n in range(60):
            uid = box.deliver(mail(n))
            if n % 3:
                del box.messages[uid]
            else:
                kept.append(mail(n))
            box._news.set()
            await bench.clock.advance(0.5)
        await bench.clock.advance(700)
    assert copies(bench) == sorted(kept)
    records = await bench.store.records(ROUTE.key, 7)
    assert {one.status for one in records} <= {Status.DONE, Status.FAILED}
    mark = await bench.store.watermark(ROUTE.key)
    assert mark is not None
    assert mark.last_uid >= max(n + 1 for n in range(60) if n % 3 == 0)


# ------------------------------------------------- counted before it can be listed


def counting_early(bench: Bench) -> FakeMailbox:
    """A mailbox with two messages, of which the newer is counted by UIDNEXT and can't be listed."""
    (box,) = bench.boxes.values()
    box.lists_at_once = False
    for number in (1, 2):
        box.deliver(mail(number))
    box.hidden = {2}
    return box


async def test_a_message_that_is_counted_before_it_can_be_listed_is_copied_when_it_can() -> None:
    bench = bench_of(ROUTE)
    box = counting_early(bench)
    async with bench.running():
        await bench.clock.advance(30)
        assert copies(bench) == [mail(1)]
        box.hidden.clear()
        await bench.clock.advance(400)
    assert copies(bench) == [mail(1), mail(2)]


async def test_run_once_passes_over_nothing_that_was_promised() -> None:
    bench = bench_of(ROUTE)
    box = counting_early(bench)
    assert await once(bench)
    assert copies(bench) == [mail(1)]
    box.hidden.clear()
    assert await once(replace(bench, owner="two", gone=frozenset({"one"})))
    assert copies(bench) == [mail(1), mail(2)]


async def test_what_stays_away_was_deleted_and_is_passed_over() -> None:
    bench = bench_of(ROUTE)
    box = counting_early(bench)
    del box.messages[2]
    async with bench.running():
        await bench.clock.advance(30)
        assert (await watermark(bench)).last_uid == 1
        await bench.clock.advance(400)
        assert (await watermark(bench)).last_uid == 2
        box.deliver(mail(3))
        await bench.clock.advance(10)
    assert copies(bench) == [mail(1), mail(3)]


@pytest.mark.parametrize("raw", [None, "from:ann"])
async def test_a_message_that_can_be_listed_only_after_a_newer_one_is_copied_too(raw: str | None) -> None:
    bench = bench_of(replace(ROUTE, filter=raw))
    box = counting_early(bench)
    async with bench.running():
        await bench.clock.advance(5)
        box.deliver(mail(3))
        await bench.clock.advance(15)
        assert copies(bench) == [mail(1), mail(3)]
        assert (await watermark(bench)).last_uid == 1
        box.hidden.clear()
        box.deliver(mail(4))
        await bench.clock.advance(15)
        assert (await watermark(bench)).last_uid == 4
    assert copies(bench) == [mail(1), mail(2), mail(3), mail(4)]


async def test_nor_does_a_successor_pass_over_it() -> None:
    bench = bench_of(ROUTE)
    box = counting_early(bench)
    box.deliver(mail(3))
    assert await once(bench)
    assert copies(bench) == [mail(1), mail(3)]
    box.hidden.clear()
    assert await once(replace(bench, owner="two", gone=frozenset({"one"})))
    assert copies(bench) == [mail(1), mail(2), mail(3)]


async def test_single_cycles_take_a_gap_below_what_was_copied_long_ago_for_deleted() -> None:
    bench = bench_of(ROUTE)
    box = counting_early(bench)
    box.deliver(mail(3))
    del box.messages[2]
    assert await once(bench)
    assert (await watermark(bench)).last_uid == 1
    await bench.clock.advance(300)
    assert await once(replace(bench, owner="two", gone=frozenset({"one"})))
    assert (await watermark(bench)).last_uid == 3


async def test_a_slow_answer_proves_no_more_than_a_quick_one(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = bench_of(ROUTE)
    box = counting_early(bench)
    plain = FakeSourceSession.newest

    async def slow(session: FakeSourceSession, after: int) -> list[Listing]:
        found = await plain(session, after)
        await bench.clock.sleep(90.0)
        return found

    async with bench.running():
        await bench.clock.advance(1)
        monkeypatch.setattr(FakeSourceSession, "newest", slow)
        box.cut()
        await bench.clock.advance(60)
        box.hidden.clear()
        await bench.clock.advance(700)
    assert copies(bench) == [mail(1), mail(2)]


async def watermark(bench: Bench) -> Watermark:
    stored = await bench.store.watermark(ROUTE.key)
    assert stored is not None
    return stored


async def once(bench: Bench) -> bool:
    """run-once, which must come to its end."""
    task = asyncio.create_task(bench.destination.run_once())
    await bench.clock.advance(60)
    assert task.done()
    return task.result()
