"""A writer that makes no step for half an hour hangs; one that rests, waits or stands by does not."""

from __future__ import annotations

import asyncio

from fakes import mail
from harness import a_route, bench_of

from mailsyncd.errors import RouteBlocked, Throttled

ROUTE = a_route()


async def test_a_writer_whose_append_never_ends_hangs() -> None:
    bench = bench_of(ROUTE)
    bench.outlook.hold = asyncio.Event()
    async with bench.running():
        await bench.clock.advance(10)
        bench.boxes[ROUTE].deliver(mail(1))
        await bench.clock.advance(1000)
        assert not bench.destination.hangs
        await bench.clock.advance(1000)
        assert bench.destination.hangs
        bench.outlook.hold.set()
        await bench.clock.advance(10)
        assert not bench.destination.hangs


async def test_an_idle_writer_rests_and_one_that_is_refused_waits() -> None:
    bench = bench_of(ROUTE)
    async with bench.running():
        for _ in range(30):
            await bench.clock.advance(200)
            assert not bench.destination.hangs
        bench.outlook.fail_connect = [Throttled("slow down", 300.0)] * 10 + [RouteBlocked("no")] * 10
        assert bench.outlook.current is not None
        bench.outlook.current.cut()
        for _ in range(30):
            await bench.clock.advance(200)
            assert not bench.destination.hangs


async def test_one_that_stands_by_does_not_hang() -> None:
    first = bench_of(ROUTE)
    second = bench_of(ROUTE, clock=first.clock, store=first.store, owner="two")
    async with first.running(), second.running():
        await first.clock.advance(7200)
        assert not second.destination.hangs
