"""A message a day about the day: one, whatever is cut, killed or refused, and in nobody's way."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

from fakes import mail
from harness import Bench, a_route, bench_of

from mailsyncd.errors import ConnectionLost, MailsyncError, MessageRejected, RouteBlocked, Sent
from mailsyncd.flow.digest import APART, TRIES, Digest, Plan

ROUTE = a_route()
FOLDER = "mailsyncd"
DAY = 86_400.0


def with_digest(**settings: object) -> Bench:
    bench = bench_of(ROUTE, **settings)
    tenancy = bench.destination._tenancy
    hour = datetime.fromtimestamp(bench.clock.now(), UTC).hour  # of the moment at which the clock stands
    bench.routes.digest = Digest(bench.email, tenancy, bench.routes.watches, bench.clock, Plan(FOLDER, hour))
    return bench


def digests(bench: Bench) -> list[str]:
    return [body.decode() for body in bench.outlook.bodies(FOLDER)]


async def test_there_is_one_a_day_and_it_tells_the_day() -> None:
    bench = with_digest()
    async with bench.running():
        await bench.clock.advance(10)
        assert len(digests(bench)) == 1
        for number in range(3):
            bench.boxes[ROUTE].deliver(mail(number))
        await bench.clock.advance(APART + 300)
        assert len(digests(bench)) == 1
        bench.clock.jumped += DAY  # the wall clock alone: a day of ticks takes long
        await bench.clock.advance(300)
        assert len(digests(bench)) == 2
        bench.clock.jumped += DAY
        await bench.clock.advance(APART + 300)
        assert len(digests(bench)) == 3
    first, second, third = digests(bench)
    assert f"{ROUTE.name}: 0 copied" in first
    assert f"{ROUTE.name}: 3 copied, 0 skipped, 0 set aside, 0 waiting" in second
    assert f"{ROUTE.name}: 0 copied" in third
    assert len({one.partition("Message-ID: ")[2].partition("\r\n")[0] for one in digests(bench)}) == 3


async def test_restarts_and_other_daemons_make_no_second_one() -> None:
    first = with_digest()
    async with first.running():
        await first.clock.advance(10)
    for number in range(5):
        again = with_digest(clock=first.clock, outlook=first.outlook, store=first.store, owner=str(number))
        async with again.running() as task:
            await first.clock.advance(200)
            await again.die(task)
    assert len(digests(first)) == 1


async def test_a_lost_answer_makes_no_second_one() -> None:
    bench = with_digest()
    lost: list[MailsyncError | None] = [ConnectionLost("cut", Sent.EVERYTHING)]
    bench.outlook.after = lambda body: lost.pop() if lost and b"digest" in body else None
    async with bench.running():
        await bench.clock.advance(2 * APART + 600)
    assert len(digests(bench)) == 1
    assert lost == []


async def test_what_is_refused_is_tried_a_few_times_and_holds_up_no_mail() -> None:
    bench = with_digest()
    tried: list[bytes] = []

    def refuse(body: bytes) -> MailsyncError | None:
        if b"digest" in body:
            tried.append(body)
            return MessageRejected("no")
        return None

    bench.outlook.before = refuse
    async with bench.running():
        bench.boxes[ROUTE].deliver(mail(1))
        await bench.clock.advance(5)
        assert bench.outlook.bodies(ROUTE.folder) == [mail(1)]
        await bench.clock.advance((TRIES + 1) * (APART + 300))
        assert len(tried) == TRIES
        assert bench.outlook.sessions == 1
        bench.outlook.before = lambda body: None
        bench.clock.jumped += DAY
        await bench.clock.advance(APART + 300)
        assert len(digests(bench)) == 1


async def test_a_folder_that_may_not_be_made_holds_up_no_mail() -> None:
    bench = with_digest()
    bench.outlook.on_open = lambda name, create: RouteBlocked("no") if name == FOLDER else None
    async with bench.running():
        await bench.clock.advance(10)
        bench.boxes[ROUTE].deliver(mail(1))
        await bench.clock.advance(10)
        assert bench.outlook.bodies(ROUTE.folder) == [mail(1)]


async def test_who_stands_by_writes_none() -> None:
    first = bench_of(ROUTE)
    second = with_digest(clock=first.clock, store=first.store, owner="two")
    async with first.running(), second.running():
        await first.clock.advance(300)
        first.clock.jumped += DAY
        await first.clock.advance(300)
    assert digests(second) == []


async def test_it_is_written_with_nothing_in_flight() -> None:
    bench = with_digest()
    plan, digest = bench.routes.digest.plan, bench.routes.digest  # type: ignore[union-attr]
    assert digest is not None
    digest.plan = None
    async with bench.running():
        await bench.clock.advance(10)
        bench.outlook.hold = asyncio.Event()
        bench.boxes[ROUTE].deliver(mail(1))
        await bench.clock.advance(5)
        digest.plan = plan
        await bench.clock.advance(300)
        assert (bench.outlook.in_flight, digests(bench)) == (1, [])
        bench.outlook.hold.set()
        await bench.clock.advance(300)
        assert len(digests(bench)) == 1
