"""The path of a message on fakes: what arrives is copied, once, as it is."""

from __future__ import annotations

from fakes import breathe, mail
from harness import a_route, bench_of

from mailsyncd.errors import (
    ConnectionLost,
    DestinationFull,
    MessageRejected,
    RouteBlocked,
    Sent,
    Throttled,
    Transient,
)
from mailsyncd.model import START_NOW, Status
from mailsyncd.status import RouteState

ROUTE = a_route()


async def test_what_was_there_and_what_arrives_is_copied_once_and_unchanged() -> None:
    bench = bench_of(ROUTE)
    box = bench.boxes[ROUTE]
    bodies = [mail(n) for n in range(3)]
    box.deliver(bodies[0])
    async with bench.running():
        await bench.clock.advance(2)
        for body in bodies[1:]:
            box.deliver(body)
        await bench.clock.advance(2)
    assert bench.outlook.bodies("Gmail/ann") == bodies
    assert [copy.when for copy in bench.outlook.folders["Gmail/ann"]] == ["17-Jul-2026 09:40:08 +0000"] * 3
    assert {record.status for record in await bench.store.records(ROUTE.key, 7)} == {Status.DONE}
    watermark = await bench.store.watermark(ROUTE.key)
    assert watermark is not None
    assert watermark.last_uid == 3


async def test_a_route_that_starts_now_leaves_the_old_mail_where_it_is() -> None:
    route = a_route(start=START_NOW)
    bench = bench_of(route)
    bench.boxes[route].deliver(mail(1))
    async with bench.running():
        await bench.clock.advance(2)
        bench.boxes[route].deliver(mail(2))
        await bench.clock.advance(2)
    assert bench.outlook.bodies("Gmail/ann") == [mail(2)]


async def test_a_restart_copies_nothing_again() -> None:
    bench = bench_of(ROUTE)
    box = bench.boxes[ROUTE]
    for n in range(5):
        box.deliver(mail(n))
    async with bench.running():
        await bench.clock.advance(2)
    again = bench_of(ROUTE, clock=bench.clock, outlook=bench.outlook, store=bench.store)
    again.boxes[ROUTE] = box
    again.routes.reconcile(again.plans())
    box.reads.clear()
    async with again.running():
        await bench.clock.advance(200)
    assert len(bench.outlook.bodies("Gmail/ann")) == 5
    assert box.reads == []


async def test_a_backlog_larger_than_the_queue_goes_over_while_live_mail_overtakes_it() -> None:
    bench = bench_of(ROUTE, queue_size=20, budget=2_000)
    box = bench.boxes[ROUTE]
    old = [mail(n, size=150) for n in range(400)]
    for body in old:
        box.deliver(body)
    async with bench.running():
        while len(bench.outlook.bodies("Gmail/ann")) < 50:
            await breathe(1)
        box.deliver(mail(1000))
        while mail(1000) not in bench.outlook.bodies("Gmail/ann"):
            await breathe(1)
        assert len(bench.outlook.bodies("Gmail/ann")) < 250
        await breathe(5_000)
    assert sorted(bench.outlook.bodies("Gmail/ann")) == sorted([*old, mail(1000)])
    assert bench.ready.used == 0


async def test_a_message_back_in_the_inbox_under_a_new_uid_is_not_copied_again() -> None:
    bench = bench_of(ROUTE)
    box = bench.boxes[ROUTE]
    box.deliver(mail(1), gm_msgid="42")
    async with bench.running():
        await bench.clock.advance(2)
        box.deliver(mail(1), gm_msgid="42")
        await bench.clock.advance(2)
    assert bench.outlook.bodies("Gmail/ann") == [mail(1)]
    assert bench.watch(ROUTE).tally.skipped == 1


async def test_too_large_a_message_is_listed_as_a_failure_without_being_read() -> None:
    bench = bench_of(ROUTE)
    box = bench.boxes[ROUTE]
    box.deliver(mail(1, size=10_001))
    box.deliver(mail(2))
    async with bench.running():
        await bench.clock.advance(2)
    (failure,) = await bench.store.failures(ROUTE.key)
    assert failure.kind.value == "oversize"
    assert box.reads == [2]
    watermark = await bench.store.watermark(ROUTE.key)
    assert watermark is not None
    assert watermark.last_uid == 2


async def test_a_refused_message_is_set_aside_after_three_tries_and_holds_up_nobody() -> None:
    bench = bench_of(ROUTE)
    bad = mail(1)
    bench.outlook.before = lambda body: MessageRejected("BAD") if body == bad else None
    for n in (1, 2, 3):
        bench.boxes[ROUTE].deliver(mail(n))
    async with bench.running():
        await bench.clock.advance(30)
    assert bench.outlook.bodies("Gmail/ann") == [mail(2), mail(3)]
    assert bench.outlook.appends == 5
    (failure,) = await bench.store.failures(ROUTE.key)
    assert (failure.uid, failure.retry_count) == (1, 0)


async def test_a_message_the_source_cannot_read_is_found_and_set_aside() -> None:
    bench = bench_of(ROUTE)
    box = bench.boxes[ROUTE]
    box.refuse_read = lambda uids: MessageRejected("NO") if 2 in uids else None
    for n in (1, 2, 3):
        box.deliver(mail(n))
    async with bench.running():
        await bench.clock.advance(10)
    assert sorted(bench.outlook.bodies("Gmail/ann")) == [mail(1), mail(3)]
    (failure,) = await bench.store.failures(ROUTE.key)
    assert failure.uid == 2


async def test_a_cut_before_the_last_byte_is_retried_plainly() -> None:
    bench = bench_of(ROUTE)
    cuts = [ConnectionLost("cut", Sent.NOTHING)]
    bench.outlook.before = lambda body: cuts.pop() if cuts else None
    bench.boxes[ROUTE].deliver(mail(1))
    async with bench.running():
        await bench.clock.advance(5)
    assert bench.outlook.bodies("Gmail/ann") == [mail(1)]
    assert bench.boxes[ROUTE].reads == [1]


async def test_a_cut_after_the_last_byte_is_looked_for_and_found() -> None:
    bench = bench_of(ROUTE)
    cuts = [ConnectionLost("cut", Sent.EVERYTHING)]
    bench.outlook.after = lambda body: cuts.pop() if cuts else None
    bench.boxes[ROUTE].deliver(mail(1))
    async with bench.running():
        await bench.clock.advance(5)
    assert bench.outlook.bodies("Gmail/ann") == [mail(1)]
    (record,) = await bench.store.records(ROUTE.key, 7)
    assert (record.status, record.dest_uid) == (Status.DONE, 1)


async def test_a_doubt_that_is_not_found_waits_for_the_settle_window_while_others_go_on() -> None:
    bench = bench_of(ROUTE)
    cuts = [ConnectionLost("cut", Sent.EVERYTHING)]
    bench.outlook.before = lambda body: cuts.pop() if cuts and body == mail(1) else None
    bench.boxes[ROUTE].deliver(mail(1))
    async with bench.running():
        await bench.clock.advance(5)
        bench.boxes[ROUTE].deliver(mail(2))
        await bench.clock.advance(60)
        assert bench.outlook.bodies("Gmail/ann") == [mail(2)]
        stored = await bench.store.watermark(ROUTE.key)
        assert stored is not None
        assert stored.last_uid == 0
        await bench.clock.advance(40)
    assert bench.outlook.bodies("Gmail/ann") == [mail(2), mail(1)]


async def test_a_late_commit_within_the_settle_window_is_found() -> None:
    bench = bench_of(ROUTE)
    cuts = [ConnectionLost("cut", Sent.EVERYTHING)]
    bench.outlook.before = lambda body: cuts.pop() if cuts else None
    bench.boxes[ROUTE].deliver(mail(1))
    async with bench.running():
        await bench.clock.advance(80)
        bench.outlook.store("Gmail/ann", mail(1), "17-Jul-2026 09:40:08 +0000")
        await bench.clock.advance(40)
    assert bench.outlook.bodies("Gmail/ann") == [mail(1)]


async def test_twenty_identical_messages_are_twenty_even_when_half_are_in_doubt() -> None:
    bench = bench_of(ROUTE)
    seen = []

    def cut_the_eleventh(body: bytes) -> ConnectionLost | None:
        seen.append(body)
        return ConnectionLost("cut", Sent.EVERYTHING) if len(seen) in (11, 12) else None

    bench.outlook.after = cut_the_eleventh
    for _ in range(20):
        bench.boxes[ROUTE].deliver(mail(1))
    async with bench.running():
        await bench.clock.advance(200)
    assert bench.outlook.bodies("Gmail/ann") == [mail(1)] * 20


async def test_a_no_after_the_commit_is_found_and_not_repeated() -> None:
    bench = bench_of(ROUTE)
    answers = [Transient("NO")]
    bench.outlook.after = lambda body: answers.pop() if answers else None
    bench.boxes[ROUTE].deliver(mail(1))
    async with bench.running():
        await bench.clock.advance(10)
    assert bench.outlook.bodies("Gmail/ann") == [mail(1)]


async def test_a_throttle_is_waited_out_in_silence() -> None:
    bench = bench_of(ROUTE)
    answers = [Throttled("slow down", 120.0)]
    bench.outlook.before = lambda body: answers.pop() if answers else None
    bench.boxes[ROUTE].deliver(mail(1))
    async with bench.running():
        await bench.clock.advance(5)
        bench.boxes[ROUTE].deliver(mail(2))
        await bench.clock.advance(110)
        assert bench.outlook.appends == 1
        await bench.clock.advance(20)
    assert sorted(bench.outlook.bodies("Gmail/ann")) == [mail(1), mail(2)]
    assert await bench.store.failures(ROUTE.key) == []


async def test_a_full_destination_fails_no_message() -> None:
    bench = bench_of(ROUTE)
    full = [True]
    bench.outlook.before = lambda body: DestinationFull("OVERQUOTA") if full else None
    for n in range(5):
        bench.boxes[ROUTE].deliver(mail(n))
    async with bench.running():
        await bench.clock.advance(300)
        full.clear()
        await bench.clock.advance(150)
    assert sorted(bench.outlook.bodies("Gmail/ann")) == [mail(n) for n in range(5)]
    assert await bench.store.failures(ROUTE.key) == []


async def test_a_broken_route_leaves_the_other_alone() -> None:
    other = a_route("bob@gmail.example", "Gmail/bob")
    bench = bench_of(ROUTE, other)
    bench.boxes[ROUTE].fail_connect = [RouteBlocked("consent revoked")] * 5
    bench.boxes[other].deliver(mail(1))
    async with bench.running():
        await bench.clock.advance(5)
        assert bench.watch(ROUTE).state is RouteState.BLOCKED
        assert bench.watch(ROUTE).status().detail == "consent revoked"
    assert bench.outlook.bodies("Gmail/bob") == [mail(1)]


async def test_a_folder_that_cannot_be_opened_blocks_its_route_and_says_so() -> None:
    bench = bench_of(ROUTE)
    bench.outlook.refuse_open = RouteBlocked("there is no folder Gmail/ann")
    bench.boxes[ROUTE].deliver(mail(1))
    async with bench.running():
        await bench.clock.advance(5)
        status = bench.watch(ROUTE).status()
        assert (status.state, status.detail) == (RouteState.BLOCKED, "there is no folder Gmail/ann")
        bench.outlook.refuse_open = None
        await bench.clock.advance(70)
    assert bench.outlook.bodies("Gmail/ann") == [mail(1)]


async def test_a_lost_source_connection_is_made_again_and_nothing_is_missed() -> None:
    bench = bench_of(ROUTE)
    box = bench.boxes[ROUTE]
    async with bench.running():
        await bench.clock.advance(2)
        box.cut()
        box.deliver(mail(1))
        await bench.clock.advance(5)
        assert box.sessions == 2
    assert bench.outlook.bodies("Gmail/ann") == [mail(1)]
