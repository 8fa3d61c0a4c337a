"""A message that ends every connection it is sent over (B38, B40): by a hang-up, or by silence."""

from __future__ import annotations

from dataclasses import replace

import pytest
from fakes import mail
from harness import Bench, a_route, bench_of

from mailsyncd.errors import ConnectionLost, FailureKind, MailsyncError, Sent, Transient
from mailsyncd.flow import destination
from mailsyncd.flow.stragglers import UNCLEAR_TRIES, Stragglers

ROUTE = a_route()
HOUR = 3600.0
POISON = b"Subject: poison\r\nMessage-ID: <poison@example.net>\r\n\r\none\ntwo\n"


@pytest.fixture(autouse=True)
def slow_tick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hours go by here: let the writer look at its watermarks less often than every second."""
    monkeypatch.setattr(destination, "TICK", 20.0)


def poisoned(sent: Sent) -> tuple[Bench, list[float]]:
    """Returns also when the poison was tried."""
    bench = bench_of(ROUTE, life=600.0)
    tries: list[float] = []

    def before(body: bytes) -> MailsyncError | None:
        if body != POISON:
            return None
        tries.append(bench.clock.monotonic())
        return ConnectionLost("no answer within its deadline", sent)

    bench.outlook.before = before
    return bench, tries


@pytest.mark.parametrize("sent", list(Sent))
async def test_it_is_set_aside_after_some_tries_and_holds_up_nobody(sent: Sent) -> None:
    bench, tries = poisoned(sent)
    box = bench.boxes[ROUTE]
    healthy = [mail(n) for n in range(20)]
    for body in [*healthy[:5], POISON, *healthy[5:]]:
        box.deliver(body)
    async with bench.running():
        await bench.clock.advance(300)
        assert sorted(bench.outlook.bodies(ROUTE.folder)) == sorted(healthy)
        await bench.clock.advance(4 * HOUR)
        (failure,) = await bench.store.failures(ROUTE.key)
        assert (failure.uid, failure.kind) == (6, FailureKind.REJECTED)
        assert "no connection outlives it" in failure.error
        assert "fix_bare_lf" in failure.error
        assert len(tries) <= UNCLEAR_TRIES + 5
        mark = await bench.store.watermark(ROUTE.key)
        assert mark is not None
        assert mark.last_uid == 21
    assert len(bench.outlook.bodies(ROUTE.folder)) == 20


@pytest.mark.parametrize("sent", list(Sent))
async def test_where_nothing_passes_no_message_is_blamed_and_all_pass_soon_after(sent: Sent) -> None:
    bench = bench_of(ROUTE, life=600.0)
    bodies = [mail(n) for n in range(12)]
    for body in bodies:
        bench.boxes[ROUTE].deliver(body)
    bench.outlook.before = lambda body: ConnectionLost("cut", sent)
    async with bench.running():
        await bench.clock.advance(6 * HOUR)
        assert await bench.store.failures(ROUTE.key) == []
        bench.outlook.before = lambda body: None
        await bench.clock.advance(600)
    assert sorted(bench.outlook.bodies(ROUTE.folder)) == sorted(bodies)


@pytest.mark.parametrize("sent", list(Sent))
async def test_a_reload_while_it_waits_for_its_turn_ends_in_one_copy(sent: Sent) -> None:
    bench, tries = poisoned(sent)
    box = bench.boxes[ROUTE]
    box.deliver(POISON)
    async with bench.running():
        await bench.clock.advance(130)
        box.deliver(mail(1))
        while len(tries) < 5:
            await bench.clock.advance(10)
        bench.outlook.before = lambda body: None
        assert bench.routes.reconcile([replace(one, identity="new") for one in bench.plans()]).changed
        await bench.clock.advance(2 * HOUR)
        assert await bench.store.failures(ROUTE.key) == []
    assert sorted(bench.outlook.bodies(ROUTE.folder)) == sorted([POISON, mail(1)])


async def test_a_reload_does_not_make_it_wait_anew() -> None:
    bench, tries = poisoned(Sent.NOTHING)
    bench.boxes[ROUTE].deliver(POISON)
    async with bench.running():
        await bench.clock.advance(130)
        last = tries[-1]  # and it waits for a minute
        bench.boxes[ROUTE].deliver(mail(1))
        for _ in range(3):
            assert bench.routes.reconcile([replace(one, identity=object()) for one in bench.plans()]).changed
            await bench.clock.advance(3)
        await bench.clock.advance(last + 60 + 25 - bench.clock.monotonic())
    assert tries[-1] > last


async def test_a_refused_message_that_waits_for_its_turn_is_copied_once_though_its_route_is_restarted() -> (
    None
):
    bench = bench_of(ROUTE, life=600.0)
    refusals: list[float] = []

    def before(body: bytes) -> MailsyncError | None:
        if body == POISON and len(refusals) < 4:
            refusals.append(bench.clock.monotonic())
            return Transient("NO something went wrong")
        return None

    bench.outlook.before = before
    bench.boxes[ROUTE].deliver(POISON)
    async with bench.running():
        for n in range(6):
            bench.boxes[ROUTE].deliver(mail(n))
            await bench.clock.advance(30)
        assert bench.routes.reconcile([replace(one, identity="new") for one in bench.plans()]).changed
        await bench.clock.advance(5 * HOUR)
    assert bench.outlook.bodies(ROUTE.folder).count(POISON) == 1


def test_two_lost_connections_may_be_chance() -> None:
    stragglers, key = Stragglers(), ("r", 1, 1)
    waits = []
    for _ in range(7):
        stragglers.lost(key)
        waits.append(stragglers.wait(key))
    assert waits == [0.0, 0.0, 5.0, 10.0, 20.0, 40.0, 60.0]
    stragglers.accepted(("r", 1, 2))
    assert [stragglers.lost(key) for _ in range(5)] == [1, 2, 3, 4, 5]
    assert stragglers.wait(key) == 240.0
    stragglers.accepted(key)
    assert stragglers.wait(key) == 0.0
