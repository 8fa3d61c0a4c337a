"""Messages that the destination does not take while it takes others."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest
from fakes import mail
from harness import a_route, bench_of

from mailsyncd.errors import DestinationFull, MailsyncError, Transient
from mailsyncd.flow import destination
from mailsyncd.flow.stragglers import PAUSES, Stragglers
from mailsyncd.flow.suspicion import Key
from mailsyncd.status import WriterState

ROUTE = a_route()
HOUR = 3600.0


@pytest.fixture(autouse=True)
def slow_tick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hours go by here: let the writer look at its watermarks less often than every second."""
    monkeypatch.setattr(destination, "TICK", 30.0)


def key(uid: int) -> Key:
    return ("route", 7, uid)


def test_a_message_waits_only_when_others_pass_and_longer_each_time() -> None:
    stragglers = Stragglers()
    assert [stragglers.refused(key(1)) for _ in range(5)] == [0] * 5
    assert stragglers.wait(key(1)) == 0
    waits = []
    for uid in range(100, 112):
        stragglers.accepted(key(uid))
        stragglers.refused(key(1))
        waits.append(stragglers.wait(key(1)))
    assert waits[:4] == [60, 120, 240, 480]
    assert waits[-1] == PAUSES[1]
    stragglers.accepted(key(1))
    assert stragglers.wait(key(1)) == 0


def test_what_is_remembered_of_stragglers_is_bounded() -> None:
    stragglers = Stragglers()
    for uid in range(5000):
        stragglers.refused(key(uid))
    assert len(stragglers._known) <= 1000


async def test_a_large_message_for_which_there_is_no_room_holds_up_nobody_and_is_seldom_fetched() -> None:
    bench = bench_of(ROUTE, life=600.0)
    box = bench.boxes[ROUTE]
    full = [True]
    bench.outlook.before = lambda body: (
        DestinationFull("NO [OVERQUOTA]") if full and len(body) > 5000 else None
    )
    large = box.deliver(mail(0, size=9000))
    async with bench.running():
        for n in range(1, 121):
            box.deliver(mail(n))
            await bench.clock.advance(120)
        assert len(bench.outlook.bodies("Gmail/ann")) == 120
        assert bench.destination.status().state is WriterState.WRITING
        assert 5 <= Counter(box.reads)[large] <= 12
        full.clear()
        await bench.clock.advance(6 * HOUR)
    assert mail(0, size=9000) in bench.outlook.bodies("Gmail/ann")
    assert await bench.store.failures(ROUTE.key) == []


async def test_a_message_refused_without_a_reason_while_others_pass_is_set_aside_in_the_end() -> None:
    bench = bench_of(ROUTE, life=600.0)
    box = bench.boxes[ROUTE]
    tries: list[float] = []

    def before(body: bytes) -> MailsyncError | None:
        if body != mail(0):
            return None
        tries.append(bench.clock.monotonic())
        return Transient("NO something new")

    bench.outlook.before = before
    box.deliver(mail(0))
    began = bench.clock.monotonic()
    async with bench.running():
        for n in range(1, 300):
            box.deliver(mail(n))
            await bench.clock.advance(60)
        (failure,) = await bench.store.failures(ROUTE.key)
    assert len(bench.outlook.bodies("Gmail/ann")) == 299
    assert failure.kind.value == "rejected"
    assert "something new" in failure.error
    assert 1.5 * HOUR < failure.updated_at - began < 5 * HOUR
    assert len(tries) < 30


@pytest.mark.parametrize("error", [Transient("NO something new"), DestinationFull("NO [OVERQUOTA]")])
async def test_run_once_does_not_wait_for_a_straggler(error: MailsyncError) -> None:
    bench = bench_of(ROUTE)
    bench.outlook.before = lambda body: error if body == mail(1) else None
    for n in (1, 2):
        bench.boxes[ROUTE].deliver(mail(n))

    async def tick() -> None:
        while True:
            await bench.clock.advance(1)

    ticking = asyncio.create_task(tick())
    try:
        async with asyncio.timeout(20):
            with pytest.raises(type(error)):
                await bench.destination.run_once()
    finally:
        ticking.cancel()
    assert await bench.store.failures(ROUTE.key) == []
