"""Mail that arrives at any moment of a session's beginning, line by line of its dialogue, is seen by the
route at once: no gap between the first listing and IDLE leaves it to the sweep."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from random import Random

import pytest
from fakes import FakeOutlook, VirtualClock, mail
from harness import TIMES, a_route

from mailsyncd.account import Endpoint, Secret
from mailsyncd.flow.allowance import Allowance
from mailsyncd.flow.belt import Belt
from mailsyncd.flow.gate import Gate
from mailsyncd.flow.queue import RefQueue
from mailsyncd.flow.ready import ReadyQueue
from mailsyncd.flow.vouch import Vouch
from mailsyncd.flow.watch import Watch
from mailsyncd.imap.gmail import GmailSource
from mailsyncd.imap.pace import Pace
from mailsyncd.imap.session import PasswordLogin
from mailsyncd.model import START_ALL, START_NOW, Start
from mailsyncd.observe.clock import SystemClock
from mailsyncd.sim import GMAIL, GmailServer
from mailsyncd.sim.personality import Personality
from mailsyncd.sim.server import Line
from mailsyncd.state.memory import MemoryStore
from mailsyncd.tasks import begun

ANN = "ann@gmail.example"
AT_ONCE = 10.0  # seconds that it may take on a busy machine; a sweep is 150 s away at the least


class Told(deque[Line]):
    """A transcript that tells of each line as it is written down: a server's before it is sent."""

    def __init__(self, tell: Callable[[Line], None]) -> None:
        super().__init__(maxlen=10_000)
        self._tell = tell

    def extend(self, lines: Iterable[Line]) -> None:
        for line in lines:
            self.append(line)
            self._tell(line)


@asynccontextmanager
async def watching(gmail: GmailServer, start: Start) -> AsyncIterator[Watch]:
    """A route's own loop over a real session; nobody takes what it finds."""
    clock, rng, store = SystemClock(), Random(1), MemoryStore()
    gate = Gate(store, clock, rng, grace=60)
    route, vouch = a_route(ANN, start=start), Vouch(store, gate)
    vouch.serve([route])
    async with FakeOutlook(VirtualClock()).session() as nothing_there:
        await vouch.look(nothing_there)
    belt = Belt(RefQueue(100), ReadyQueue(100_000), store, gate, clock, rng, vouch)
    source = GmailSource(
        Endpoint("127.0.0.1", gmail.port, tls=False),
        PasswordLogin(ANN, Secret("pw")),
        "INBOX",
        clock=clock,
        rng=rng,
        pace=Pace(clock),
        max_literal=1 << 20,
    )
    allowance = Allowance(ANN, 0, store, gate, clock, "one")
    watch = Watch(route, source, belt, TIMES, allowance)
    async with begun(watch.run()):
        yield watch


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(AT_ONCE):
        while not true():  # noqa: ASYNC110 - there is no event for what a route has seen
            await asyncio.sleep(0.002)


def idles(gmail: GmailServer) -> int:
    return sum(line.text.startswith("+ idling") for line in gmail.transcript)


async def lines_until_idle(
    personality: Personality, start: Start, *, before: int, pushed: int, moment: int
) -> int:
    """How many lines a dialogue has until IDLE: from EXAMINE's on, or, where some mail is `pushed` into a
    first IDLE, from there to the second. At the line of number `moment` one more message arrives, which
    must be seen as all others are."""
    lines, since = 0, "* " if pushed else "EXAMINE"
    arrived: list[int] = []

    def tell(line: Line) -> None:
        nonlocal lines
        if lines or (idles(gmail) >= bool(pushed) and since in line.text):
            lines += 1
        if lines == moment + 1 and not arrived:
            arrived.append(gmail.deliver(ANN, mail(99)))

    async with GmailServer(SystemClock(), passwords={ANN: "pw"}, personality=personality) as gmail:
        for number in range(before):
            gmail.deliver(ANN, mail(number))
        gmail._transcript = Told(tell)
        async with watching(gmail, start) as watch:
            if pushed:
                await until(lambda: idles(gmail) == 1)
                for number in range(pushed):
                    gmail.deliver(ANN, mail(50 + number))
            await until(lambda: idles(gmail) > bool(pushed))
            until_idle = lines
            wanted = (before if start is START_ALL else 0) + pushed + (moment < until_idle)
            await until(lambda: watch.progress is not None and watch.progress.unsettled == wanted)
    return until_idle


@pytest.mark.parametrize("bytewise", [False, True])
@pytest.mark.parametrize(
    ("start", "before", "pushed"),
    [(START_ALL, 0, 0), (START_ALL, 2, 0), (START_NOW, 2, 0), (START_NOW, 2, 1), (START_NOW, 0, 3)],
)
async def test_whatever_the_line_at_which_mail_arrives_it_is_seen_at_once(
    start: Start, before: int, pushed: int, bytewise: bool
) -> None:
    lines_at = partial(
        lines_until_idle, replace(GMAIL, bytewise=bytewise), start, before=before, pushed=pushed
    )
    lines = await lines_at(moment=10_000)
    assert lines > 5
    for moment in range(1, lines):
        assert await lines_at(moment=moment) >= moment
