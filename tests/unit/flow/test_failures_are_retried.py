"""What was set aside is tried again, now and then, in nobody's way; and never copied twice."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest
from fakes import FakeMailbox, breathe, mail
from harness import TIMES, Bench, a_route, bench_of

from mailsyncd.errors import ConnectionLost, FailureKind, MailsyncError, MessageRejected, Sent
from mailsyncd.flow import destination
from mailsyncd.flow.failures import resolved, wanted_now
from mailsyncd.flow.preflight import Preflight
from mailsyncd.flow.repairs import Rules
from mailsyncd.model import Failure, Status
from mailsyncd.policy import RETRY_DELAYS, next_attempt

ROUTE = a_route()
HOUR = 3600.0
SWEEP = 310.0


def box_of(bench: Bench) -> FakeMailbox:
    return bench.boxes[ROUTE]


async def failures_of(bench: Bench) -> dict[int, Failure]:
    return {one.uid: one for one in await bench.store.failures(ROUTE.key)}


@pytest.fixture(autouse=True)
def slow_tick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Days go by here: let the writer look at its watermarks less often than every second."""
    monkeypatch.setattr(destination, "TICK", 60.0)


def refusing(bench: Bench, bad: bytes) -> list[float]:
    """The destination refuses `bad`; returns when it did."""
    tries: list[float] = []

    def before(body: bytes) -> MailsyncError | None:
        if body != bad:
            return None
        tries.append(bench.clock.now())
        return MessageRejected("BAD Command Argument Error. 11")

    bench.outlook.before = before
    return tries


def reborn(bench: Bench) -> Bench:
    """The next daemon, on the same state and mailboxes."""
    again = bench_of(
        ROUTE, clock=bench.clock, outlook=bench.outlook, store=bench.store, times=bench.times, life=600.0
    )
    again.boxes[ROUTE] = box_of(bench)
    again.routes.reconcile(again.plans())
    return again


async def test_a_refused_message_is_tried_by_its_schedule_and_then_only_by_hand() -> None:
    bench = bench_of(ROUTE, life=600.0)
    tries = refusing(bench, mail(1))
    box_of(bench).deliver(mail(1))
    async with bench.running():
        await bench.clock.advance(70)
        assert len(tries) == 3
        watermark = await bench.store.watermark(ROUTE.key)
        assert watermark is not None
        assert watermark.last_uid == 1
        box_of(bench).deliver(mail(2))
        await bench.clock.advance(72 * HOUR)
        later = [when - tries[2] for when in tries[3:]]
        failure = (await failures_of(bench))[1]
    assert bench.outlook.bodies("Gmail/ann") == [mail(2)]
    assert [round(when / HOUR) for when in later] == [1, 7, 31]
    assert (failure.retry_count, failure.next_attempt_at, failure.resolved) == (3, None, False)


async def test_a_message_that_the_source_can_not_give_is_tried_five_times_over_a_day() -> None:
    bench = bench_of(ROUTE, life=600.0)
    tries: list[float] = []

    def refuse(uids: object) -> MailsyncError | None:
        if not isinstance(uids, list) or 2 not in uids:
            return None
        tries.append(bench.clock.now())
        return MessageRejected("NO [UNAVAILABLE]", FailureKind.SOURCE_UNREADABLE)

    box_of(bench).refuse_read = refuse
    for n in (1, 2, 3):
        box_of(bench).deliver(mail(n))
    async with bench.running():
        await bench.clock.advance(120)
        assert sorted(bench.outlook.bodies("Gmail/ann")) == [mail(1), mail(3)]
        await bench.clock.advance(60 * HOUR)
        failure = (await failures_of(bench))[2]
    occasions = sorted({round((when - tries[0]) / HOUR) for when in tries})
    assert occasions == [0, 1, 4, 12, 24]
    assert (failure.kind, failure.next_attempt_at) == (FailureKind.SOURCE_UNREADABLE, None)


async def test_the_status_counts_what_is_set_aside_at_once_and_what_is_resolved_no_more() -> None:
    bench = bench_of(ROUTE, life=600.0)
    tries = refusing(bench, mail(1))
    box_of(bench).deliver(mail(1))
    async with bench.running():
        while bench.watch(ROUTE).status().failed == 0:
            await bench.clock.advance(1)
        assert len(tries) == 3
        assert bench.watch(ROUTE).status().set_aside == 1, "before the next sweep"
        bench.outlook.before = lambda body: None
        while not bench.outlook.bodies("Gmail/ann"):
            await bench.clock.advance(10)
        await bench.clock.advance(1)
        assert bench.watch(ROUTE).status().set_aside == 0


async def test_a_retry_that_succeeds_resolves_the_failure_and_lets_it_expire() -> None:
    bench = bench_of(ROUTE, life=600.0)
    refusing(bench, mail(1))
    box_of(bench).deliver(mail(1))
    async with bench.running():
        await bench.clock.advance(70)
        bench.outlook.before = lambda body: None
        await bench.clock.advance(HOUR + SWEEP)
    assert bench.outlook.bodies("Gmail/ann") == [mail(1)]
    failure = (await failures_of(bench))[1]
    assert (failure.resolved, failure.next_attempt_at) == (True, None)
    assert failure.expires_at == int(failure.updated_at + TIMES.record_ttl)
    assert (await bench.store.counts(ROUTE.key)).failed == 0
    (record,) = await bench.store.records(ROUTE.key, 7)
    assert record.status is Status.DONE


async def test_a_restart_keeps_the_schedule() -> None:
    bench = bench_of(ROUTE, life=600.0)
    tries = refusing(bench, mail(1))
    box_of(bench).deliver(mail(1))
    async with bench.running():
        await bench.clock.advance(70)
    again = reborn(bench)
    async with again.running():
        await bench.clock.advance(50 * 60)
        assert len(tries) == 3
        await bench.clock.advance(20 * 60)
        assert len(tries) == 4
    third = reborn(bench)
    async with third.running():
        await bench.clock.advance(5 * HOUR)
        assert len(tries) == 4
        await bench.clock.advance(2 * HOUR)
    assert len(tries) == 5
    assert (await failures_of(bench))[1].retry_count == 2


@pytest.mark.parametrize("kind", [FailureKind.OVERSIZE, FailureKind.LINE_TOO_LONG, FailureKind.VANISHED])
def test_what_would_only_fail_again_is_left_to_a_person(kind: FailureKind) -> None:
    assert next_attempt(kind, 0, 1.0) is None


@pytest.mark.parametrize("kind", list(FailureKind))
def test_every_schedule_is_bounded(kind: FailureKind) -> None:
    now, count = 0.0, 0
    while (then := next_attempt(kind, count, now)) is not None:
        assert then > now
        now, count = then, count + 1
    assert count == len(RETRY_DELAYS.get(kind, ())) <= 5
    assert now <= 31 * HOUR


async def test_by_hand_any_kind_is_tried_by_the_next_sweep() -> None:
    bench = bench_of(ROUTE, life=600.0)
    box_of(bench).deliver(mail(1, size=10_001))
    async with bench.running():
        await bench.clock.advance(70)
    await bench.clock.advance(HOUR)
    larger = replace(bench, times=replace(TIMES, max_message=20_000))
    again = reborn(larger)
    async with again.running():
        await bench.clock.advance(HOUR)
        assert box_of(bench).reads == []
        failure = (await failures_of(bench))[1]
        await bench.store.fail(ROUTE.key, wanted_now(failure, bench.clock.now()), None)
        await bench.clock.advance(SWEEP)
    assert bench.outlook.bodies("Gmail/ann") == [mail(1, size=10_001)]
    assert (await failures_of(bench))[1].resolved


async def test_what_is_discarded_is_not_tried_again() -> None:
    bench = bench_of(ROUTE, life=600.0)
    tries = refusing(bench, mail(1))
    box_of(bench).deliver(mail(1))
    async with bench.running():
        await bench.clock.advance(70)
        failure = (await failures_of(bench))[1]
        await bench.store.fail(ROUTE.key, resolved(failure, bench.clock.now(), 1.0, "discarded"), None)
        await bench.clock.advance(48 * HOUR)
    assert len(tries) == 3


async def test_a_message_that_vanished_meanwhile_stays_listed_as_vanished() -> None:
    bench = bench_of(ROUTE, life=600.0)
    tries = refusing(bench, mail(1))
    uid = box_of(bench).deliver(mail(1))
    async with bench.running():
        await bench.clock.advance(70)
        size = (await failures_of(bench))[uid].size
        del box_of(bench).messages[uid]
        await bench.clock.advance(48 * HOUR)
    failure = (await failures_of(bench))[uid]
    assert (failure.kind, failure.resolved, failure.next_attempt_at) == (FailureKind.VANISHED, False, None)
    assert failure.size == size == len(mail(1))
    assert len(tries) == 3


async def test_failures_of_another_uidvalidity_stay_and_are_not_tried() -> None:
    bench = bench_of(ROUTE, life=600.0)
    old = Failure(6, 1, FailureKind.REJECTED, "no", 0, 1.0, next_attempt_at=1.0)
    await bench.store.fail(ROUTE.key, old, None)
    async with bench.running():
        box_of(bench).deliver(mail(1))
        await bench.clock.advance(HOUR)
    assert bench.outlook.bodies("Gmail/ann") == [mail(1)]
    assert await bench.store.failures(ROUTE.key) == [old]


async def test_a_refused_message_that_was_stored_all_the_same_is_found_and_not_copied_twice() -> None:
    bench = bench_of(ROUTE, life=600.0)
    bench.outlook.after = lambda body: MessageRejected("BAD Command Argument Error. 11")
    box_of(bench).deliver(mail(1))
    async with bench.running():
        await bench.clock.advance(48 * HOUR)
    assert bench.outlook.bodies("Gmail/ann") == [mail(1)]
    assert await failures_of(bench) == {}


async def test_the_last_quick_refusal_is_looked_after_as_well() -> None:
    bench = bench_of(ROUTE, life=600.0)
    tries: list[bytes] = []

    def before(body: bytes) -> MailsyncError | None:
        tries.append(body)
        return MessageRejected("BAD") if len(tries) < 3 else None

    bench.outlook.before = before
    bench.outlook.after = lambda body: MessageRejected("BAD")
    box_of(bench).deliver(mail(1))
    async with bench.running():
        await bench.clock.advance(48 * HOUR)
    assert bench.outlook.bodies("Gmail/ann") == [mail(1)]
    assert await failures_of(bench) == {}


async def test_a_copy_that_turns_up_after_the_refusals_is_found_before_the_retry() -> None:
    bench = bench_of(ROUTE, life=600.0)
    tries = refusing(bench, mail(1))
    box_of(bench).deliver(mail(1))
    async with bench.running():
        await bench.clock.advance(70)
        for n in range(2, 5):
            box_of(bench).deliver(mail(n))
        await bench.clock.advance(70)
        bench.outlook.store("Gmail/ann", mail(1), "17-Jul-2026 09:40:08 +0000")
        await bench.clock.advance(HOUR + SWEEP)
    assert len(tries) == 3
    assert bench.outlook.bodies("Gmail/ann").count(mail(1)) == 1
    assert (await failures_of(bench))[1].resolved


async def test_a_crash_in_a_retry_ends_in_one_copy() -> None:
    bench = bench_of(ROUTE, life=600.0)
    refusing(bench, mail(1))
    box_of(bench).deliver(mail(1))
    async with bench.running() as task:

        def crash(body: bytes) -> MailsyncError:
            task.cancel()
            return ConnectionLost("a process that is gone hears no answer", Sent.EVERYTHING)

        await bench.clock.advance(70)
        bench.outlook.before = lambda body: None
        bench.outlook.after = crash
        await bench.clock.advance(HOUR + SWEEP)
        assert task.done()
        assert bench.outlook.bodies("Gmail/ann") == [mail(1)]
        assert not (await failures_of(bench))[1].resolved
    bench.outlook.after = lambda body: None
    again = reborn(bench)
    async with again.running():
        await bench.clock.advance(HOUR)
    assert bench.outlook.bodies("Gmail/ann") == [mail(1)]
    assert (await failures_of(bench))[1].resolved


async def test_many_failures_hold_up_nobody_and_each_is_tried_once_when_due() -> None:
    bench = bench_of(ROUTE, life=600.0, queue_size=20)
    bad = {mail(n) for n in range(30)}
    tries: list[bytes] = []

    def before(body: bytes) -> MailsyncError | None:
        if body not in bad:
            return None
        tries.append(body)
        return MessageRejected("BAD")

    bench.outlook.before = before
    for n in range(30):
        box_of(bench).deliver(mail(n))
    async with bench.running():
        await bench.clock.advance(120)
        await breathe(20_000)
        assert len(tries) == 90
        await bench.clock.advance(HOUR)
        box_of(bench).deliver(mail(100))
        await breathe(200)
        await bench.clock.advance(2 * SWEEP)
        await breathe(20_000)
    assert sorted(tries[90:]) == sorted(bad)
    assert mail(100) in bench.outlook.bodies("Gmail/ann")
    assert bench.ready.used == 0


async def test_run_once_tries_what_is_due_and_waits_for_it() -> None:
    bench = bench_of(ROUTE, life=600.0)
    refusing(bench, mail(1))
    box_of(bench).deliver(mail(1))
    async with bench.running():
        await bench.clock.advance(70)
    bench.outlook.before = lambda body: None
    await bench.clock.advance(2 * HOUR)
    again = reborn(bench)
    assert await run_once(again)
    assert bench.outlook.bodies("Gmail/ann") == [mail(1)]
    assert again.watch(ROUTE).complete


async def run_once(bench: Bench) -> bool:
    task = asyncio.create_task(bench.destination.run_once())
    while not task.done():
        await bench.clock.advance(1)
    return await task


# ------------------------------------------------------------------- line length, repairs

LONG = b"Subject: long\r\nMessage-ID: <long@example.net>\r\n\r\n" + b"x" * 3_000 + b"\r\n"
BARE = b"Subject: bare\r\nMessage-ID: <bare@example.net>\r\n\r\none\ntwo\n"


def fitted(max_line: int | None, rules: Rules | None = None) -> Bench:
    return bench_of(ROUTE, times=replace(TIMES, preflight=Preflight(max_line, rules or Rules())))


async def test_too_long_a_line_is_set_aside_unsent_and_the_rule_that_would_help_is_named() -> None:
    bench = fitted(2_000)
    box_of(bench).deliver(LONG)
    box_of(bench).deliver(mail(2))
    async with bench.running():
        await bench.clock.advance(70)
    assert bench.outlook.bodies("Gmail/ann") == [mail(2)]
    assert bench.outlook.appends == 1
    failure = (await failures_of(bench))[1]
    assert (failure.kind, failure.next_attempt_at) == (FailureKind.LINE_TOO_LONG, None)
    assert all(text in failure.error for text in ("3,000", "2,000", "wrap_long_lines"))
    assert bench.ready.used == 0


async def test_a_copy_that_a_person_put_there_is_no_sign_of_a_store_that_forgot() -> None:
    bench = fitted(2_000)
    box_of(bench).deliver(LONG)
    async with bench.running():
        await bench.clock.advance(70)
        failure = (await failures_of(bench))[1]
    bench.outlook.store("Gmail/ann", LONG, "17-Jul-2026 09:40:08 +0000")
    await bench.store.fail(ROUTE.key, wanted_now(failure, bench.clock.now()), None)
    again = reborn(replace(bench, times=TIMES))
    async with again.running():
        await bench.clock.advance(HOUR)
    assert bench.outlook.appends == 1
    assert (await failures_of(bench))[1].resolved


async def test_a_repaired_message_is_sent_and_its_record_says_so() -> None:
    bench = fitted(2_000, Rules(wrap_long_lines=True, fix_bare_lf=True))
    for body in (LONG, BARE, mail(3)):
        box_of(bench).deliver(body)
    async with bench.running():
        await bench.clock.advance(70)
    sent = bench.outlook.bodies("Gmail/ann")
    assert sent[0].replace(b"\r\n", b"") == LONG.replace(b"\r\n", b"")
    assert max(map(len, sent[0].split(b"\r\n"))) == 2_000
    assert sent[1] == BARE.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
    assert sent[2] == mail(3)
    records = await bench.store.records(ROUTE.key, 7)
    assert [one.repairs for one in records] == [("wrap_long_lines",), ("fix_bare_lf",), ()]
    assert [one.size for one in records] == [len(LONG), len(BARE), len(mail(3))]


async def test_a_repaired_message_whose_answer_was_lost_is_recognised() -> None:
    bench = fitted(2_000, Rules(wrap_long_lines=True))
    cuts = [ConnectionLost("cut", Sent.EVERYTHING)]
    bench.outlook.after = lambda body: cuts.pop() if cuts else None
    box_of(bench).deliver(LONG)
    async with bench.running():
        await bench.clock.advance(300)
    assert len(bench.outlook.bodies("Gmail/ann")) == 1
    (record,) = await bench.store.records(ROUTE.key, 7)
    assert (record.status, record.repairs) == (Status.DONE, ("wrap_long_lines",))


async def test_a_refusal_names_the_rule_that_would_help() -> None:
    bench = fitted(None)
    refusing(bench, BARE)
    box_of(bench).deliver(BARE)
    async with bench.running():
        await bench.clock.advance(70)
    assert "fix_bare_lf" in (await failures_of(bench))[1].error
