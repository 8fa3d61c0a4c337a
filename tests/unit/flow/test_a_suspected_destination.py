"""A destination that may be full, and says so or not; and messages that it really can't take."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import pytest
from fakes import mail
from harness import Bench, a_route, bench_of

from mailsyncd.errors import ConnectionLost, DestinationFull, MailsyncError, MessageRejected, Transient
from mailsyncd.flow import destination
from mailsyncd.status import WriterState

ROUTE = a_route()
FOLDER = "Gmail/ann"


@pytest.fixture(autouse=True)
def slow_tick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hours go by here: let the writer look at its watermarks less often than every second."""
    monkeypatch.setattr(destination, "TICK", 30.0)


def vague(body: bytes) -> MailsyncError:
    return MessageRejected("BAD Command Argument Error. 11", vague=True)


def unclear(body: bytes) -> MailsyncError:
    return Transient("NO Server Unavailable. 15")


def in_turn(body: bytes) -> MailsyncError:
    return vague(body) if sum(body) % 2 else unclear(body)


def refusing(bench: Bench, refuse: Callable[[bytes], MailsyncError | None]) -> list[tuple[float, bytes]]:
    """What was refused, and when."""
    refused: list[tuple[float, bytes]] = []

    def before(body: bytes) -> MailsyncError | None:
        error = refuse(body)
        if error is not None:
            refused.append((bench.clock.monotonic(), body))
        return error

    bench.outlook.before = before
    return refused


def deliver(bench: Bench, *numbers: int) -> list[bytes]:
    bodies = [mail(n) for n in numbers]
    for body in bodies:
        bench.boxes[ROUTE].deliver(body)
    return bodies


@pytest.mark.parametrize("answer", [vague, unclear, in_turn])
async def test_a_full_mailbox_that_says_something_else_fails_no_message(
    answer: Callable[[bytes], MailsyncError],
) -> None:
    bench = bench_of(ROUTE)
    full = [True]
    refused = refusing(bench, lambda body: answer(body) if full else None)
    bodies = deliver(bench, *range(20))
    async with bench.running():
        await bench.clock.advance(3 * 3600)
        status = bench.destination.status()
        assert status.state is WriterState.FULL
        assert "different messages were refused in a row" in status.detail
        assert bench.outlook.sessions == 1
        in_the_last_hour = [when for when, _ in refused if when > bench.clock.monotonic() - 3600]
        assert 3 <= len(in_the_last_hour) <= 10
        full.clear()
        await bench.clock.advance(900)
        assert bench.destination.status().state is WriterState.WRITING
        await bench.clock.advance(60)
    assert sorted(bench.outlook.bodies(FOLDER)) == sorted(bodies)
    assert await bench.store.failures(ROUTE.key) == []


async def test_it_is_told_once_that_the_destination_is_suspected_and_once_that_it_goes_on(
    capsys: pytest.CaptureFixture[str],
) -> None:
    bench = bench_of(ROUTE)
    full = [True]
    refusing(bench, lambda body: vague(body) if full else None)
    deliver(bench, *range(8))
    async with bench.running():
        await bench.clock.advance(1800)
        full.clear()
        await bench.clock.advance(1800)
    said = capsys.readouterr().out
    errors = [line for line in said.splitlines() if "[error" in line]
    assert len(errors) == 1
    assert "writer.suspected" in errors[0]
    assert said.count("writer.resumed") == 1


async def test_new_mail_is_tried_at_once_so_that_poison_in_a_row_holds_nobody_up() -> None:
    bench = bench_of(ROUTE)
    poison = set(deliver(bench, *range(8)))
    refusing(bench, lambda body: vague(body) if body in poison else None)
    async with bench.running():
        await bench.clock.advance(1800)
        assert bench.destination.status().state is WriterState.FULL
        assert await bench.store.failures(ROUTE.key) == []
        (healthy,) = deliver(bench, 100)
        await bench.clock.advance(5)
        assert bench.outlook.bodies(FOLDER) == [healthy]
        await bench.clock.advance(60)
        assert len(await bench.store.failures(ROUTE.key)) == 8
        assert bench.destination.status().state is WriterState.WRITING


@pytest.mark.parametrize("hang_up_after", [2, 3, 10])
async def test_healthy_mail_behind_poison_gets_through_though_the_server_hangs_up_after_errors(
    hang_up_after: int,
) -> None:
    bench = bench_of(ROUTE)
    poison = set(deliver(bench, *range(10)))
    healthy = deliver(bench, *range(100, 140))
    errors = [0, 0]  # in this session, and its number

    def before(body: bytes) -> MailsyncError | None:
        if errors[1] != bench.outlook.sessions:
            errors[:] = [0, bench.outlook.sessions]
        if errors[0] >= hang_up_after:
            return ConnectionLost("BYE Connection closed. 14")
        if body in poison:
            errors[0] += 1
            return vague(body)
        return None

    bench.outlook.before = before
    async with bench.running():
        await bench.clock.advance(90)
        assert sorted(bench.outlook.bodies(FOLDER)) == sorted(healthy)
        await bench.clock.advance(3600)
        failures = await bench.store.failures(ROUTE.key)
    assert sorted(one.uid for one in failures) == list(range(1, 11))
    assert sorted(bench.outlook.bodies(FOLDER)) == sorted(healthy)


async def test_a_full_mailbox_that_says_so_is_probed_more_and_more_seldom_and_by_one_message() -> None:
    bench = bench_of(ROUTE)
    full = [True]
    refused = refusing(bench, lambda body: DestinationFull("NO [OVERQUOTA]") if full else None)
    bodies = deliver(bench, *range(12))
    async with bench.running():
        await bench.clock.advance(4 * 3600)
        times = sorted({when for when, _ in refused})
        gaps = [round(later - earlier) for earlier, later in pairwise(times)]
        assert gaps[:5] == [60, 120, 240, 480, 900]
        assert bench.destination.status().state is WriterState.FULL
        full.clear()
        await bench.clock.advance(901)
    assert sorted(bench.outlook.bodies(FOLDER)) == sorted(bodies)
    assert await bench.store.failures(ROUTE.key) == []


async def test_run_once_ends_with_the_reason_when_there_is_no_room() -> None:
    bench = bench_of(ROUTE)
    refusing(bench, lambda body: DestinationFull("NO [OVERQUOTA] full"))
    deliver(bench, 1)
    with pytest.raises(DestinationFull, match="OVERQUOTA"):
        await bench.destination.run_once()
    assert await bench.store.failures(ROUTE.key) == []
