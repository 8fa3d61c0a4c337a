"""Silence when a server asks for it, and no login storm whatever a server does."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import pairwise

import pytest
from fakes import FakeMailbox, FakeOutlook, FakeSinkSession, FakeSourceSession, VirtualClock, breathe, mail
from harness import a_route, bench_of

from mailsyncd.errors import ConnectionLost, Throttled
from mailsyncd.flow import destination
from mailsyncd.status import WriterState

ROUTE = a_route()
HOUR = 3600.0


@pytest.fixture(autouse=True)
def slow_tick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hours go by here: let the writer look at its watermarks less often than every second."""
    monkeypatch.setattr(destination, "TICK", 30.0)


class DroppingOutlook(FakeOutlook):
    """Greets, signs in, and hangs up 0.1 s later."""

    logins: list[float]

    @asynccontextmanager
    async def session(self, wanted: asyncio.Event | None = None) -> AsyncIterator[FakeSinkSession]:
        async with super().session(wanted) as session:
            self.logins.append(self.clock.monotonic())
            dropper = asyncio.create_task(self._drop(session))
            try:
                yield session
            finally:
                dropper.cancel()

    async def _drop(self, session: FakeSinkSession) -> None:
        await self.clock.sleep(0.1)
        session.cut()


class DroppingMailbox(FakeMailbox):
    logins: list[float]
    planned: bool = False

    @asynccontextmanager
    async def session(self) -> AsyncIterator[FakeSourceSession]:
        self.ends_mono = self.clock.monotonic() + 0.1 if self.planned else None
        async with super().session() as session:
            self.logins.append(self.clock.monotonic())
            dropper = asyncio.create_task(self._drop())
            try:
                yield session
            finally:
                dropper.cancel()

    async def _drop(self) -> None:
        await self.clock.sleep(0.1)
        if not self.planned:
            self.cut()


def are_rare(logins: list[float]) -> bool:
    """At most one in 30 s after the first ten."""
    later = logins[9:]
    return len(logins) > 12 and all(b - a >= 30 for a, b in pairwise(later))


async def test_a_destination_that_drops_every_session_sees_no_login_storm() -> None:
    clock = VirtualClock()
    outlook = DroppingOutlook(clock)
    outlook.logins = []
    bench = bench_of(ROUTE, clock=clock, outlook=outlook)
    async with bench.running():
        await clock.advance(2 * HOUR)
    assert are_rare(outlook.logins)


@pytest.mark.parametrize("planned", [False, True])
async def test_a_source_that_drops_every_session_or_ends_it_too_soon_sees_no_login_storm(
    planned: bool,
) -> None:
    bench = bench_of(ROUTE)
    box = bench.boxes[ROUTE] = DroppingMailbox(bench.clock)
    box.logins, box.planned = [], planned
    bench.routes.reconcile(bench.plans())
    async with bench.running():
        await bench.clock.advance(2 * HOUR)
    assert are_rare(box.logins)


async def test_the_routes_of_one_account_share_its_rare_logins() -> None:
    clock = VirtualClock()
    logins: list[float] = []
    bench = bench_of(*(a_route(folder=f"Gmail/{n}") for n in range(4)), clock=clock)
    for route in bench.boxes:
        box = bench.boxes[route] = DroppingMailbox(clock)
        box.logins, box.planned = logins, False
    bench.routes.reconcile(bench.plans())
    async with bench.running():
        await clock.advance(2 * HOUR)
    first, every = clock.monotonic() - HOUR, sorted(logins)
    last_hour = [when for when in every if when >= first]
    assert len(last_hour) > 12
    assert all(b - a >= 30 for a, b in pairwise(last_hour))


async def test_a_destination_whose_sessions_end_as_planned_but_at_once_sees_no_login_storm() -> None:
    clock = VirtualClock()
    outlook = DroppingOutlook(clock)
    outlook.logins = []
    make = outlook.session

    @asynccontextmanager
    async def session(wanted: asyncio.Event | None = None) -> AsyncIterator[FakeSinkSession]:
        async with make(wanted) as one:
            one.ends_mono = clock.monotonic()
            yield one

    outlook.session = session  # type: ignore[method-assign]
    bench = bench_of(ROUTE, clock=clock, outlook=outlook)
    async with bench.running():
        await clock.advance(2 * HOUR)
    assert are_rare(outlook.logins)


async def test_a_trifle_of_a_pause_at_every_login_is_no_leave_for_a_storm() -> None:
    bench = bench_of(ROUTE)
    bench.outlook.fail_connect = [Throttled("NO Request is throttled", 1.0) for _ in range(10_000)]
    bench.boxes[ROUTE].fail_connect = [Throttled("NO Request is throttled", 1.0) for _ in range(10_000)]
    async with bench.running():
        await bench.clock.advance(HOUR)
    for left in (bench.outlook.fail_connect, bench.boxes[ROUTE].fail_connect):
        assert 10_000 - len(left) <= 10 + HOUR / 30


async def test_no_login_follows_a_throttle_that_ends_in_a_hang_up_before_its_time() -> None:
    bench = bench_of(ROUTE)
    answers = [Throttled("BAD Request is throttled", 300.0)]

    def throttle(body: bytes) -> Throttled | None:
        if answers and bench.outlook.current:
            bench.outlook.current.cut()
            return answers.pop()
        return None

    bench.outlook.before = throttle
    bench.boxes[ROUTE].deliver(mail(1))
    async with bench.running():
        await bench.clock.advance(299)
        assert (bench.outlook.sessions, bench.outlook.appends) == (1, 1)
        await bench.clock.advance(10)
        assert bench.outlook.sessions == 2
    assert bench.outlook.bodies("Gmail/ann") == [mail(1)]


async def test_nothing_is_asked_of_the_folder_either_while_the_server_wants_silence() -> None:
    bench = bench_of(ROUTE)
    answers = [Throttled("NO Request is throttled", 120.0)]
    bench.outlook.before = lambda body: answers.pop() if answers else None
    bench.boxes[ROUTE].deliver(mail(1))
    asked: list[float] = []
    opened = FakeSinkSession.open

    async def noted(self: FakeSinkSession, *args: object, **options: object) -> object:
        asked.append(bench.clock.monotonic())
        return await opened(self, *args, **options)  # type: ignore[arg-type]

    async with bench.running():
        assert bench.outlook.current
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(FakeSinkSession, "open", noted)
            began = bench.clock.monotonic()
            await bench.clock.advance(119)
            assert [when for when in asked if when > began] == []
            await bench.clock.advance(10)
            assert asked[-1] >= began + 120


@pytest.mark.parametrize("pause", [300.0, 3600.0])
async def test_a_stop_is_heeded_at_once_in_the_midst_of_a_pause(pause: float) -> None:
    bench = bench_of(ROUTE)
    bench.outlook.before = lambda body: Throttled("NO Request is throttled", pause)
    bench.boxes[ROUTE].deliver(mail(1))
    async with bench.running() as task:
        await bench.clock.advance(10)
        assert bench.destination.status().state is WriterState.THROTTLED
        bench.destination.stop()
        await breathe(200)
        assert task.done()


async def test_a_pause_is_kept_though_another_message_is_accepted_meanwhile() -> None:
    bench = bench_of(ROUTE)
    hold = asyncio.Event()
    bench.outlook.hold = hold
    bench.outlook.before = lambda body: Throttled("NO throttled", 100.0) if body == mail(1) else None
    for n in (1, 2, 3):
        bench.boxes[ROUTE].deliver(mail(n))
    async with bench.running():
        await bench.clock.advance(5)
        hold.set()
        await bench.clock.advance(1)
        assert sorted(bench.outlook.bodies("Gmail/ann")) == [mail(2), mail(3)]
        bench.boxes[ROUTE].deliver(mail(4))
        await bench.clock.advance(90)
        assert mail(4) not in bench.outlook.bodies("Gmail/ann")
        await bench.clock.advance(20)
    assert mail(4) in bench.outlook.bodies("Gmail/ann")


async def test_a_login_that_fails_over_too_many_connections_waits_its_time() -> None:
    bench = bench_of(ROUTE)
    box = bench.boxes[ROUTE]
    box.fail_connect = [Throttled("NO [ALERT] Too many simultaneous connections", 120.0), ConnectionLost("x")]
    async with bench.running():
        await bench.clock.advance(119)
        assert box.sessions == 0
        await bench.clock.advance(10)
    assert box.sessions == 1
