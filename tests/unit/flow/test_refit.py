"""A destination goes by new settings while it runs: over a new connection if it takes that, with what was in
flight finished over the old one, and with no route the wiser."""

from __future__ import annotations

import asyncio

from fakes import FakeOutlook, mail
from harness import Bench, a_route, bench_of

from mailsyncd.errors import RouteBlocked, Throttled
from mailsyncd.flow.times import DestinationSettings
from mailsyncd.status import WriterState

ROUTE = a_route()
TIMES = DestinationSettings(5.0, 86_400.0, 5.0)


def other(bench: Bench) -> FakeOutlook:
    """The same folders by another way in."""
    made = FakeOutlook(bench.clock)
    made.folders, made.uidnext = bench.outlook.folders, bench.outlook.uidnext
    return made


async def test_what_is_in_flight_is_finished_before_the_new_connection() -> None:
    bench = bench_of(ROUTE)
    second = other(bench)
    async with bench.running():
        await bench.clock.advance(10)
        bench.outlook.hold = asyncio.Event()
        bench.boxes[ROUTE].deliver(mail(1))
        await bench.clock.advance(2)
        bench.destination.refit(TIMES, 100_000, second)
        await bench.clock.advance(1)
        assert (bench.outlook.in_flight, second.sessions) == (1, 0)
        bench.outlook.hold.set()
        bench.boxes[ROUTE].deliver(mail(2))
        await bench.clock.advance(5)
        assert (second.sessions, second.appends, bench.outlook.appends) == (1, 1, 1)
        assert bench.boxes[ROUTE].sessions == 1
    assert bench.outlook.bodies(ROUTE.folder) == [mail(1), mail(2)]


async def test_without_a_new_sink_the_connection_stays() -> None:
    bench = bench_of(ROUTE)
    async with bench.running():
        await bench.clock.advance(10)
        bench.destination.refit(TIMES, 100_000, None)
        bench.boxes[ROUTE].deliver(mail(1))
        await bench.clock.advance(5)
        assert (bench.outlook.sessions, bench.boxes[ROUTE].sessions) == (1, 1)
    assert bench.outlook.bodies(ROUTE.folder) == [mail(1)]


async def test_one_that_is_blocked_is_tried_again_at_once() -> None:
    bench = bench_of(ROUTE)
    bench.outlook.fail_connect = [RouteBlocked("wrong password")]
    second = other(bench)
    async with bench.running():
        await bench.clock.advance(10)
        assert bench.destination.status().state is WriterState.BLOCKED
        bench.destination.refit(TIMES, 100_000, second)
        await bench.clock.advance(1)
        assert second.sessions == 1


async def test_a_look_again_tries_a_blocked_one_at_once_and_leaves_a_throttled_one_alone() -> None:
    bench = bench_of(ROUTE)
    bench.outlook.fail_connect = [RouteBlocked("off"), Throttled("slow down", 200.0)]
    async with bench.running():
        await bench.clock.advance(10)
        bench.destination.look_again()
        await bench.clock.advance(1)
        assert bench.destination.status().state is WriterState.THROTTLED
        bench.destination.look_again()
        bench.destination.refit(TIMES, 100_000, bench.outlook)
        await bench.clock.advance(100)
        assert bench.outlook.sessions == 0
        await bench.clock.advance(150)
        assert bench.outlook.sessions == 1


async def test_many_changes_in_a_row_lose_and_double_nothing() -> None:
    bench = bench_of(ROUTE)
    async with bench.running():
        for number in range(40):
            bench.boxes[ROUTE].deliver(mail(number))
            bench.destination.refit(TIMES, 100_000, bench.outlook)
            await bench.clock.advance(0.3)
        await bench.clock.advance(30)
        assert bench.boxes[ROUTE].sessions == 1
    assert sorted(bench.outlook.bodies(ROUTE.folder)) == sorted(map(mail, range(40)))
