"""What counts as late: new mail that waits, and a backlog that stands still; not a backlog that moves."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest
from fakes import LIMITS, FakeOutlook, VirtualClock, mail
from harness import Bench, a_route, bench_of

from mailsyncd.flow.pull import AT_ONCE

ROUTE = a_route()
BACKLOG = AT_ONCE + 100


def slowly() -> Bench:
    """Four seconds a message, and a backlog."""
    clock = VirtualClock()
    outlook = FakeOutlook(clock, limits=replace(LIMITS, window=1, per_second=0.25))
    bench = bench_of(ROUTE, clock=clock, outlook=outlook, life=600.0)
    for number in range(BACKLOG):
        bench.boxes[ROUTE].deliver(mail(number))
    return bench


def late(bench: Bench) -> float:
    return bench.watch(ROUTE).status().late


async def test_a_backlog_that_moves_is_not_late_however_long_it_takes() -> None:
    bench = slowly()
    async with bench.running():
        for _ in range(10):
            await bench.clock.advance(60)
            assert late(bench) < 10
        status = bench.watch(ROUTE).status()
        assert status.oldest_age is not None
        assert status.oldest_age > 590
        assert 0 < len(bench.outlook.bodies(ROUTE.folder)) < BACKLOG


async def test_a_backlog_that_stands_still_is_late_from_when_it_moved_last() -> None:
    bench = slowly()
    async with bench.running():
        await bench.clock.advance(300)
        bench.outlook.hold = asyncio.Event()
        await bench.clock.advance(25)
        assert 15 < late(bench) < 30
        bench.outlook.hold.set()
        await bench.clock.advance(10)
        assert late(bench) < 10


async def test_new_mail_is_late_by_as_long_as_it_waits() -> None:
    bench = bench_of(ROUTE)
    async with bench.running():
        await bench.clock.advance(5)
        assert late(bench) == 0
        bench.outlook.hold = asyncio.Event()
        bench.boxes[ROUTE].deliver(mail(1))
        await bench.clock.advance(20)
        assert late(bench) == pytest.approx(20, abs=1)
        bench.outlook.hold.set()
        await bench.clock.advance(1)
        assert late(bench) == 0


async def test_old_mail_that_waits_for_the_next_days_budget_is_not_late() -> None:
    bench = bench_of(ROUTE, download_budget=100_000, life=600.0)
    for number in range(BACKLOG):
        bench.boxes[ROUTE].deliver(mail(number, size=1_000))
    async with bench.running():
        await bench.clock.advance(900)
        status = bench.watch(ROUTE).status()
        assert status.unsettled > 0
        assert late(bench) < 60
