"""dedupe = "folder": what the folder holds, by whatever way, is not copied into it again."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from fakes import FakeOutlook, VirtualClock, mail
from harness import Bench, a_route, bench_of

from mailsyncd.errors import ConnectionLost, MailsyncError, Sent, Transient
from mailsyncd.flow import duplicates
from mailsyncd.model import Dedupe, Status

ANN = a_route("ann@gmail.example", "All", dedupe=Dedupe.FOLDER)
BOB = a_route("bob@gmail.example", "All", dedupe=Dedupe.FOLDER)
WHEN = {ANN: "17-Jul-2026 09:40:08 +0000", BOB: "17-Jul-2026 09:41:55 +0200"}


def deliver(bench: Bench, body: bytes, *routes: object) -> None:
    for route, box in bench.boxes.items():
        if not routes or route in routes:
            box.deliver(body, when=WHEN[route])


def copies(bench: Bench) -> list[bytes]:
    return sorted(bench.outlook.bodies("All"))


async def settled(bench: Bench) -> bool:
    """Every message of every route is done, and none has failed."""
    records = [one for route in bench.boxes for one in await bench.store.records(route.key, 7)]
    count = sum(len(box.messages) for box in bench.boxes.values())
    return len(records) == count and {one.status for one in records} == {Status.DONE}


async def test_a_mail_that_two_routes_see_is_copied_once_though_both_come_at_the_same_time() -> None:
    bench = bench_of(ANN, BOB)
    bodies = [mail(n) for n in range(20)]
    async with bench.running():
        for body in bodies:
            deliver(bench, body)
        await bench.clock.advance(60)
        assert copies(bench) == sorted(bodies)
        assert await settled(bench)
        tallies = [bench.watch(route).tally for route in (ANN, BOB)]
        assert sum(one.copied for one in tallies) == sum(one.skipped for one in tallies) == 20


async def test_by_default_each_route_copies_it() -> None:
    bench = bench_of(a_route("ann@gmail.example", "All"), a_route("bob@gmail.example", "All"))
    for box in bench.boxes.values():
        box.deliver(mail(1))
    async with bench.running():
        await bench.clock.advance(60)
    assert copies(bench) == [mail(1), mail(1)]


async def test_an_initial_copy_leaves_out_what_another_program_has_copied() -> None:
    clock = VirtualClock()
    outlook = FakeOutlook(clock)
    bodies = [mail(n) for n in range(30)]
    for body in bodies[::2]:
        outlook.store("All", body, "1-Jan-2020 00:00:00 +0000")
    bench = bench_of(ANN, clock=clock, outlook=outlook)
    for body in bodies:
        deliver(bench, body)
    async with bench.running():
        await bench.clock.advance(120)
        assert await settled(bench)
    assert copies(bench) == sorted(bodies)


async def test_mail_without_message_id_and_different_mail_under_one_is_all_copied() -> None:
    bench = bench_of(ANN, BOB)
    nameless = mail(1, message_id="")
    one, other = mail(2, message_id="<same@example.net>"), mail(3, message_id="<same@example.net>")
    async with bench.running():
        for body in (nameless, one, other):
            deliver(bench, body)
        await bench.clock.advance(60)
        assert await settled(bench)
    assert copies(bench) == sorted([nameless, nameless, one, other])


@pytest.mark.parametrize("stored", [True, False])
async def test_while_one_route_is_in_doubt_the_other_waits(stored: bool) -> None:
    bench = bench_of(ANN, BOB)
    cuts: list[MailsyncError] = [ConnectionLost("cut", Sent.EVERYTHING)]
    step: Callable[[bytes], MailsyncError | None] = lambda body: cuts.pop() if cuts else None  # noqa: E731
    setattr(bench.outlook, "after" if stored else "before", step)
    async with bench.running():
        deliver(bench, mail(1), ANN)
        await bench.clock.advance(1)
        deliver(bench, mail(1), BOB)
        await bench.clock.advance(300)
        assert await settled(bench)
    assert copies(bench) == [mail(1)]


async def test_where_the_first_is_refused_the_other_is_copied() -> None:
    bench = bench_of(ANN, BOB)
    refusals: list[MailsyncError] = [Transient("NO not now") for _ in range(3)]
    bench.outlook.before = lambda body: refusals.pop() if refusals else None
    async with bench.running():
        deliver(bench, mail(1))
        await bench.clock.advance(600)
        assert await settled(bench)
    assert copies(bench) == [mail(1)]


async def test_a_restart_in_the_midst_ends_in_one_copy_each() -> None:
    bench = bench_of(ANN, BOB)
    bodies = [mail(n) for n in range(40)]
    async with bench.running() as task:
        for body in bodies:
            deliver(bench, body)
        while len(copies(bench)) < 10:
            await bench.clock.advance(0.001)
        await bench.die(task)
    again = Bench(bench.clock, bench.outlook, bench.boxes, bench.store, owner="two", gone=frozenset({"one"}))
    async with again.running():
        await bench.clock.advance(300)
        assert await settled(again)
    assert copies(bench) == sorted(bodies)


async def test_over_a_new_connection_only_what_is_new_in_the_folder_is_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(duplicates, "PAGE", 10)
    bench = bench_of(ANN)
    for n in range(95):
        bench.outlook.store("All", mail(n), "1-Jan-2020 00:00:00 +0000")
    async with bench.running():
        await bench.clock.advance(10)
        tails = bench.outlook.tails
        assert tails >= 10
        assert bench.outlook.current
        bench.outlook.store("All", mail(200), "1-Jan-2020 00:00:00 +0000")
        bench.outlook.current.cut()
        await bench.clock.advance(30)
        assert bench.outlook.tails == tails + 1
        deliver(bench, mail(200))
        deliver(bench, mail(50))
        deliver(bench, mail(300))
        await bench.clock.advance(30)
    assert len(copies(bench)) == 97


async def test_what_is_remembered_of_a_folder_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(duplicates, "MOST", 10)
    bench = bench_of(ANN)
    for n in range(30):
        bench.outlook.store("All", mail(n), "1-Jan-2020 00:00:00 +0000")
    async with bench.running():
        await bench.clock.advance(10)
        deliver(bench, mail(1))
        deliver(bench, mail(29))
        await bench.clock.advance(30)
    assert len(copies(bench)) == 31
