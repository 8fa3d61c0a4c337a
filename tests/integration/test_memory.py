"""The daemon's memory, as the system counts it: under 120 MiB and twice the largest message, whatever
waits; and a backlog that fills every queue neither grows it nor holds up new mail."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import pytest
from between_sims import MIB, OUTLOOK_USER, Between, Child, between

pytestmark = [pytest.mark.real, pytest.mark.xdist_group("memory")]

ANN, BOB = "ann@gmail.example", "bob@gmail.example"
ROUTES = {ANN: "Gmail/ann", BOB: "Gmail/bob"}
BASE = 120.0  # MiB
LARGE = 150_000_000
SLOW = [pytest.mark.slow, pytest.mark.timeout(900)]
NEW, BURST = 1_000_000, 2_000_000  # the numbers from which mail is new
BACKLOG = [3_000, pytest.param(20_000, marks=SLOW)]


def mail(number: int, size: int = 600) -> bytes:
    head = b"From: a@example.org\r\nSubject: %d\r\nMessage-ID: <%d@example.org>\r\n\r\n" % (number, number)
    return head + (b"x" * 76 + b"\r\n") * ((size - len(head)) // 78)


def deliver(stage: Between, user: str, count: int, size: int = 600, first: int = 1) -> None:
    for number in range(first, first + count):
        stage.gmail.deliver(user, mail(number, size))


async def watched(stage: Between, child: Child, seconds: float) -> None:
    """Until all is copied, with no new peak above the base."""
    ends = time.monotonic() + seconds
    while stage.missing:
        await child.until(lambda: True)
        assert time.monotonic() < ends, f"{stage.missing} messages are still missing"
        assert child.memory("VmHWM") < BASE
        await asyncio.sleep(0.5)


def _has_copied(child: Child, count: int) -> bool:
    return len(child.events("message.copied")) == count


def _peak(child: Child) -> float:
    """MiB; for those who look with -s, too."""
    mib = child.memory("VmHWM")
    print(f"{mib:.0f} MiB at most")
    return mib


@asynccontextmanager
async def stalled(stage: Between) -> AsyncIterator[None]:
    """The destination takes connections, and says and reads nothing more."""
    stage.outlook.fall_silent()
    try:
        yield
    finally:
        stage.outlook.speak()


@pytest.mark.parametrize(
    "unit",
    [
        pytest.param(b"x" * 76 + b"\r\n", id="mail"),
        pytest.param(b"X: y\r\n", id="header only", marks=SLOW),
        pytest.param(b"X:\r\n ", id="folds only", marks=SLOW),
    ],
)
async def test_a_message_of_150_mb_is_in_memory_once(tmp_path: Path, unit: bytes) -> None:
    size = {"max_message_size": LARGE}
    async with between(tmp_path, {ANN: "Gmail/ann"}, daemon=size, destination=size, largest=LARGE) as stage:
        head = b"Subject: large\r\n" + (b"" if unit.startswith(b"X") else b"\r\n")
        raw = head + unit * ((LARGE - len(head)) // len(unit))
        async with stage.daemon() as child:
            for copies in (1, 2):
                stage.gmail.deliver(ANN, raw)
                await child.until(partial(_has_copied, child, copies), 180)
                assert _peak(child) < BASE + len(raw) / MIB
                await child.until(lambda: child.memory() < BASE, 5)
        assert stage.verdict(ANN).is_clean


@pytest.mark.parametrize(
    ("rule", "unit"),
    [
        pytest.param("wrap_long_lines", b"x" * 3000 + b"\r\n", marks=SLOW),
        pytest.param("fix_bare_lf", b"x" * 76 + b"\n", marks=SLOW),
    ],
)
async def test_a_repair_takes_as_much_again(tmp_path: Path, rule: str, unit: bytes) -> None:
    size = {"max_message_size": LARGE}
    keys = {**size, rule: True, "max_line_length": 998}
    async with between(tmp_path, {ANN: "Gmail/ann"}, daemon=size, destination=keys, largest=LARGE) as stage:
        raw = b"Subject: large\r\n\r\n" + unit * (LARGE // len(unit) * 9 // 10)
        async with stage.daemon() as child:
            stage.gmail.deliver(ANN, raw)
            await child.until(lambda: bool(child.events("message.copied")), 180)
            assert _peak(child) < BASE + 2 * LARGE / MIB
            await child.until(lambda: child.memory() < BASE, 5)


@pytest.mark.parametrize(
    ("count", "size"),
    [
        (3_000, 600),
        (100, 1_000_000),
        pytest.param(50_000, 600, marks=SLOW),
    ],
)
async def test_memory_does_not_grow_with_what_waits(tmp_path: Path, count: int, size: int) -> None:
    async with between(tmp_path, ROUTES) as stage:
        deliver(stage, ANN, count // 2, size)
        deliver(stage, BOB, count // 2, size)
        async with stage.daemon() as child:
            await watched(stage, child, 60 + count / 100)
            assert _peak(child) < BASE
        assert stage.verdict(ANN).is_clean
        assert stage.verdict(BOB).is_clean


@pytest.mark.parametrize("count", BACKLOG)
async def test_a_writer_that_stalls_fills_the_queues_and_no_more(tmp_path: Path, count: int) -> None:
    async with between(tmp_path, ROUTES, daemon={"queue_size": 200}) as stage:
        deliver(stage, ANN, count)
        async with stage.daemon() as child:
            await child.until(lambda: stage.copied(ANN) > 20)
            async with stalled(stage):
                await _full(child)
                full, connections = child.memory(), stage.gmail.accepted
                deliver(stage, ANN, 1000, first=count + 1)
                for number in range(50):
                    deliver(stage, BOB, 1, first=number)
                    await asyncio.sleep(0.05)
                await child.until(lambda: _listed(child, "push") >= 50, 30)
                assert child.memory() < min(full * 1.1, BASE)
                assert stage.gmail.accepted == connections  # IDLE was kept on both
            await watched(stage, child, 60 + count / 100)
        assert stage.verdict(ANN).is_clean
        assert stage.verdict(BOB).is_clean


async def _full(child: Child) -> None:
    """Until nothing more is read ahead."""
    last = 0.0
    async with asyncio.timeout(60):
        while abs(child.memory() - last) > 0.1:
            last = child.memory()
            await asyncio.sleep(1.0)


def _listed(child: Child, via: str) -> int:
    return sum(int(str(row["new"])) for row in child.events("mailbox.listed") if row["via"] == via)


@pytest.mark.parametrize("count", BACKLOG)
async def test_new_mail_does_not_wait_for_a_backlog(tmp_path: Path, count: int) -> None:
    """Neither on the backlog's own route nor on another; and the backlog goes on, one for one."""
    pace = {"per_second": 40.0}
    async with between(tmp_path, ROUTES, destination=pace) as stage:
        deliver(stage, ANN, count)
        async with stage.daemon() as child:
            await child.until(lambda: stage.copied(ANN) > 100)
            for number in range(60):
                deliver(stage, (ANN, BOB)[number % 2], 1, first=NEW + number)
                await asyncio.sleep(0.1)
            deliver(stage, ANN, 50, first=BURST)
            await child.until(lambda: _new_copies(stage) == 110, 30)
            assert stage.missing > count // 5  # it was a backlog all the time
            delays = sorted(_delays(stage))
            numbers = _numbers(stage, ANN)
        assert len(delays) == 110
        assert delays[int(len(delays) * 0.99)] < 10.0
        burst = [at for at, number in enumerate(numbers) if number >= BURST]
        between_them = sum(number < NEW for number in numbers[burst[0] : burst[-1]])
        assert 25 < between_them < 100
        print(f"p50 {delays[len(delays) // 2]:.2f} s, p99 {delays[int(len(delays) * 0.99)]:.2f} s")


def _numbers(stage: Between, user: str) -> list[int]:
    """Of the copies, in the order they came."""
    copies = stage.outlook.messages(OUTLOOK_USER, stage.routes[user])
    return [int(one.raw.split(b"Subject: ")[1].split(b"\r")[0]) for one in copies]


def _new_copies(stage: Between) -> int:
    return sum(number >= NEW for user in stage.routes for number in _numbers(stage, user))


def _delays(stage: Between) -> list[float]:
    """Seconds from arrival to copy, of the new mail."""
    found = []
    for user in stage.routes:
        sent = {one.raw: one.stored_mono for one in stage.gmail.messages(user)}
        copies = stage.outlook.messages(OUTLOOK_USER, stage.routes[user])
        for copy, number in zip(copies, _numbers(stage, user), strict=True):
            if number >= NEW:
                found.append(copy.stored_mono - sent[copy.raw])
    return found
