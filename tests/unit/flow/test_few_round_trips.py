"""Nothing is asked twice, nothing is waited for in turn that can be asked side by side, and nobody is
dialled for nothing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace

import pytest
import structlog
from fakes import FakeSinkSession, FakeSourceSession, breathe, mail
from harness import Bench, a_route, bench_of

from mailsyncd.errors import ConnectionLost, MailsyncError, RouteBlocked, Sent, Throttled, Transient
from mailsyncd.model import Mailbox, Record, Status

ROUTE = a_route()


async def once(bench: Bench, seconds: float = 10.0) -> bool:
    """run-once, which must come to its end in that time."""
    task = asyncio.create_task(bench.destination.run_once())
    await bench.clock.advance(seconds)
    assert task.done()
    return task.result()


def successor(bench: Bench) -> Bench:
    """Another process on the same mail and state."""
    return replace(bench, owner="two", gone=frozenset({"one"}))


def made_on_demand(bench: Bench) -> None:
    """Folders are not there until one is to be made."""

    def missing(name: str, create: bool) -> MailsyncError | None:
        return None if create or name in bench.outlook.folders else RouteBlocked("no such folder")

    bench.outlook.on_open = missing


@pytest.mark.parametrize("count", [1, 10])
async def test_a_folder_is_asked_for_its_numbers_once(count: int) -> None:
    bench = bench_of(ROUTE)
    bench.outlook.folders["Gmail/ann"] = []
    for number in range(count):
        bench.boxes[ROUTE].deliver(mail(number))
    assert await once(bench)
    assert len(bench.outlook.bodies("Gmail/ann")) == count
    assert bench.outlook.opens == 1


async def test_where_the_folder_is_missing_one_message_asks_for_all() -> None:
    bench = bench_of(ROUTE)
    made_on_demand(bench)
    for number in range(10):
        bench.boxes[ROUTE].deliver(mail(number))
    assert await once(bench)
    assert len(bench.outlook.bodies("Gmail/ann")) == 10
    assert bench.outlook.opens == 2


async def test_several_folders_are_asked_for_side_by_side(monkeypatch: pytest.MonkeyPatch) -> None:
    routes = [a_route(gmail=f"{name}@x.example", folder=name) for name in ("a", "b", "c")]
    bench = bench_of(*routes)
    plain, asked = FakeSinkSession.open, asyncio.Event()

    async def slow(session: FakeSinkSession, folder: str, *, create: bool) -> Mailbox:
        found = await plain(session, folder, create=create)
        if bench.outlook.opens == len(routes):
            asked.set()
        await asked.wait()
        return found

    monkeypatch.setattr(FakeSinkSession, "open", slow)
    async with bench.running():
        await bench.clock.advance(2)
        for box in bench.boxes.values():
            box.deliver(mail(1))
        await bench.clock.advance(2)
    assert [len(bench.outlook.bodies(route.folder)) for route in routes] == [1, 1, 1]


async def test_a_folder_is_made_while_the_first_messages_for_it_are_being_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    bench = bench_of(ROUTE)
    made_on_demand(bench)
    plain = FakeSourceSession.read

    async def slow(session: FakeSourceSession, uids: Sequence[int]) -> AsyncIterator[tuple[int, bytes]]:
        while ROUTE.folder not in bench.outlook.folders:  # noqa: ASYNC110 - nobody tells when it is
            await asyncio.sleep(0)
        async for one in plain(session, uids):
            yield one

    monkeypatch.setattr(FakeSourceSession, "read", slow)
    bench.boxes[ROUTE].deliver(mail(1))
    async with bench.running():
        await bench.clock.advance(2)
    assert bench.outlook.bodies(ROUTE.folder) == [mail(1)]


async def test_no_folder_is_made_while_there_is_nothing_for_it() -> None:
    bench = bench_of(ROUTE)
    made_on_demand(bench)
    async with bench.running():
        await bench.clock.advance(700)
        assert bench.outlook.folders == {}
        bench.boxes[ROUTE].deliver(mail(1))
        await bench.clock.advance(2)
    assert bench.outlook.bodies(ROUTE.folder) == [mail(1)]


async def test_a_folder_that_can_not_be_opened_ahead_is_told_of_once_and_tried_with_the_message() -> None:
    bench = bench_of(ROUTE)
    bench.outlook.refuse_open = RouteBlocked("no such folder")
    with structlog.testing.capture_logs() as logs:
        async with bench.running():
            bench.boxes[ROUTE].deliver(mail(1))
            await bench.clock.advance(2)
            assert [one["event"] for one in logs if one["log_level"] == "error"] == ["route.blocked"]
            bench.outlook.refuse_open = None
            await bench.clock.advance(70)
    assert bench.outlook.bodies(ROUTE.folder) == [mail(1)]


async def test_a_destination_that_wants_a_pause_gets_it_from_a_folder_opened_ahead_too() -> None:
    bench = bench_of(ROUTE)
    throttled = Throttled("slow down", 30.0, Sent.NOTHING)
    bench.outlook.on_open = lambda name, create: throttled if create else RouteBlocked("no such folder")
    bench.boxes[ROUTE].refuse_read = lambda uids: Transient("not yet")
    bench.boxes[ROUTE].deliver(mail(1))
    async with bench.running():
        await bench.clock.advance(2)
        asked = bench.outlook.opens
        bench.outlook.on_open, bench.boxes[ROUTE].refuse_read = lambda name, create: None, lambda uids: None
        await bench.clock.advance(20)
        assert (bench.outlook.opens, bench.outlook.folders) == (asked, {})
        await bench.clock.advance(60)
    assert bench.outlook.bodies(ROUTE.folder) == [mail(1)]


async def test_a_connection_that_is_lost_as_a_folder_is_opened_ahead_asks_for_no_pause() -> None:
    bench = bench_of(ROUTE)
    made_on_demand(bench)
    bench.boxes[ROUTE].deliver(mail(1))
    plain, cuts = bench.outlook.on_open, [ConnectionLost("cut")]

    def cut(name: str, create: bool) -> MailsyncError | None:
        return cuts.pop() if create and cuts else plain(name, create)

    bench.outlook.on_open = cut
    with structlog.testing.capture_logs() as logs:
        async with bench.running():
            await bench.clock.advance(1.5)
    assert cuts == []
    assert [one["event"] for one in logs if one["event"] == "writer.retrying"] == []
    assert bench.outlook.bodies(ROUTE.folder) == [mail(1)]


async def test_the_destination_is_not_dialled_where_nothing_is_new() -> None:
    bench = bench_of(ROUTE)
    bench.boxes[ROUTE].deliver(mail(1))
    assert await once(bench)
    sessions = bench.outlook.sessions
    later = successor(bench)
    assert await once(later)
    assert later.watch(ROUTE).complete
    assert bench.outlook.sessions == sessions
    bench.boxes[ROUTE].deliver(mail(2))
    latest = replace(bench, owner="three", gone=frozenset({"one", "two"}))
    assert await once(latest)
    assert bench.outlook.bodies("Gmail/ann") == [mail(1), mail(2)]


async def test_the_destination_is_dialled_for_what_an_earlier_life_left_pending() -> None:
    bench = bench_of(ROUTE, settle_window=2.0)
    bench.outlook.after = lambda body: ConnectionLost("cut", Sent.EVERYTHING)
    bench.boxes[ROUTE].deliver(mail(1))
    async with bench.running() as task:
        await bench.clock.advance(0.5)
        await bench.die(task)
    assert [one.status for one in await pending(bench)] == [Status.PENDING]
    bench.outlook.after = lambda body: None
    assert await once(successor(bench), 200.0)
    assert await pending(bench) == []
    assert bench.outlook.bodies("Gmail/ann") == [mail(1)]


async def pending(bench: Bench) -> list[Record]:
    return await bench.store.pending(ROUTE.key)


async def test_run_once_ends_as_soon_as_the_last_message_is_settled() -> None:
    bench = bench_of(ROUTE)
    for number in range(3):
        bench.boxes[ROUTE].deliver(mail(number))
    task = asyncio.create_task(bench.destination.run_once())
    for _ in range(50):
        await breathe()
    assert task.done()  # and the clock has not moved
    assert bench.watch(ROUTE).complete
