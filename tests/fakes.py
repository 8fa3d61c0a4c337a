"""Fakes for the flow: a clock that only moves when told, a mailbox on either side.

They obey the ports' docstrings; the real adapters pass their own suites against real servers.
"""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from itertools import count

from mailsyncd.errors import ConnectionLost, MailsyncError, Sent
from mailsyncd.model import Appended, Listing, Mailbox, TailMessage, Wake
from mailsyncd.policy import fingerprint, instant
from mailsyncd.ports import SinkLimits

LIMITS = SinkLimits(window=8, window_bytes=1 << 20, per_second=None, max_message=None)
WHEN = "17-Jul-2026 09:40:08 +0000"


async def breathe(rounds: int = 60) -> None:
    """Let every task that can run do so."""
    for _ in range(rounds):
        await asyncio.sleep(0)


class VirtualClock:
    """Time stands still but for advance()."""

    def __init__(self, start: float = 1_700_000_000.0) -> None:
        self._time = start
        self.jumped = 0.0  # what somebody has set the wall clock to be off by
        self._timers: list[tuple[float, int, asyncio.Future[None]]] = []
        self._number = count()

    def monotonic(self) -> float:
        return self._time

    def now(self) -> float:
        return self._time + self.jumped

    async def sleep(self, seconds: float) -> None:
        if seconds <= 0:
            await asyncio.sleep(0)
            return
        timer = asyncio.get_running_loop().create_future()
        heapq.heappush(self._timers, (self._time + seconds, next(self._number), timer))
        await timer

    async def advance(self, seconds: float) -> None:
        """Move on, firing the timers on the way in their order."""
        await breathe()
        end = self._time + seconds
        while self._timers and self._timers[0][0] <= end:
            self._time, _, timer = heapq.heappop(self._timers)
            if not timer.done():
                timer.set_result(None)
                await breathe()
        self._time = end
        await breathe()


async def within(clock: VirtualClock, seconds: float, event: asyncio.Event) -> bool:
    """Whether the event comes before so much time has passed."""
    timer = asyncio.create_task(clock.sleep(seconds))
    waiter = asyncio.create_task(event.wait())
    try:
        await asyncio.wait([timer, waiter], return_when=asyncio.FIRST_COMPLETED)
    finally:
        timer.cancel()
        waiter.cancel()
    return event.is_set()


def mail(number: int, *, size: int = 0, message_id: str | None = None) -> bytes:
    """A small message, unlike any of another number."""
    mid = f"<{number}@example.net>" if message_id is None else message_id
    head = f"From: a@example.net\r\nSubject: number {number}\r\n"
    head += f"Message-ID: {mid}\r\n" if mid else ""
    return (head + "\r\nbody\r\n").encode().ljust(size, b".")


def _marked(uid: int, body: bytes, when: str) -> TailMessage:
    mark = fingerprint(body)
    return TailMessage(uid, mark.message_id, instant(when) or 0, mark.digest)


@dataclass
class FakeMailbox:
    """A source mailbox, and the one session at a time that looks at it."""

    clock: VirtualClock
    uidvalidity: int = 7
    messages: dict[int, tuple[bytes, str, str | None]] = field(default_factory=dict)
    uidnext: int = 1
    sessions: int = 0
    reads: list[int] = field(default_factory=list)
    fail_connect: list[MailsyncError] = field(default_factory=list)
    refuse_read: Callable[[Sequence[int]], MailsyncError | None] = lambda uids: None
    ends_mono: float | None = None
    lists_at_once: bool = True
    hidden: set[int] = field(default_factory=set)  # counted by UIDNEXT, and listed by nothing yet
    _news: asyncio.Event = field(default_factory=asyncio.Event)
    _lost: MailsyncError | None = None

    def deliver(self, body: bytes, *, when: str = WHEN, gm_msgid: str | None = None) -> int:
        uid = self.uidnext
        self.uidnext += 1
        self.messages[uid] = (body, when, gm_msgid)
        self._news.set()
        return uid

    def cut(self) -> None:
        """Lose the connection."""
        self._lost = ConnectionLost("cut")
        self._news.set()

    @asynccontextmanager
    async def session(self) -> AsyncIterator[FakeSourceSession]:
        await asyncio.sleep(0)
        if self.fail_connect:
            raise self.fail_connect.pop(0)
        self._lost = None
        self.sessions += 1
        yield FakeSourceSession(self)


class FakeSourceSession:
    def __init__(self, box: FakeMailbox) -> None:
        self._box = box

    @property
    def mailbox(self) -> Mailbox:
        return Mailbox(self._box.uidvalidity, self._box.uidnext, len(self._box.messages))

    @property
    def ends_mono(self) -> float | None:
        return self._box.ends_mono

    @property
    def lists_at_once(self) -> bool:
        return self._box.lists_at_once

    async def _turn(self) -> None:
        await asyncio.sleep(0)
        if self._box._lost:
            raise self._box._lost

    async def search(
        self, after: int, *, before: int | None = None, since: date | None = None, raw: str | None = None
    ) -> list[int]:
        self._box._news.clear()
        await self._turn()
        found = []
        for uid, (_, when, _) in sorted(self._box.messages.items()):
            day = datetime.fromtimestamp(instant(when) or 0, UTC).date()
            if uid > after and (before is None or uid < before) and (since is None or day >= since):
                found.append(uid)
        return [uid for uid in found if uid not in self._box.hidden]

    async def describe(self, uids: Sequence[int]) -> list[Listing]:
        await self._turn()
        return [
            Listing(uid, len(self._box.messages[uid][0]), *self._box.messages[uid][1:])
            for uid in sorted(uids)
            if uid in self._box.messages and uid not in self._box.hidden
        ]

    async def newest(self, after: int) -> list[Listing]:
        self._box._news.clear()
        return await self.describe([uid for uid in self._box.messages if uid > after])

    async def marks(self, uids: Sequence[int]) -> list[TailMessage]:
        await self._turn()
        found = self._box.messages
        return [_marked(uid, *found[uid][:2]) for uid in sorted(uids) if uid in found]

    async def read(self, uids: Sequence[int]) -> AsyncIterator[tuple[int, bytes]]:
        await self._turn()
        if refusal := self._box.refuse_read(uids):
            raise refusal
        for uid in uids:
            await self._turn()
            if uid in self._box.messages:
                self._box.reads.append(uid)
                yield uid, self._box.messages[uid][0]

    async def wait(self, seconds: float) -> Wake:
        news = await within(self._box.clock, seconds, self._box._news)
        await self._turn()
        return Wake.NEWS if news else Wake.TIMEOUT

    async def close(self) -> None:
        pass


@dataclass
class Copy:
    uid: int
    body: bytes
    when: str
    seen: bool


@dataclass
class FakeOutlook:
    """A destination with folders. `before` and `after` may raise around the moment of storing."""

    clock: VirtualClock
    uidvalidity: int = 3
    folders: dict[str, list[Copy]] = field(default_factory=dict)
    uidnext: dict[str, int] = field(default_factory=dict)
    has_uidplus: bool = True
    limits: SinkLimits = LIMITS
    before: Callable[[bytes], MailsyncError | None] = lambda body: None
    after: Callable[[bytes], MailsyncError | None] = lambda body: None
    hold: asyncio.Event | None = None
    fail_connect: list[MailsyncError] = field(default_factory=list)
    refuse_open: MailsyncError | None = None
    on_open: Callable[[str, bool], MailsyncError | None] = lambda name, create: None
    opens: int = 0
    sessions: int = 0
    appends: int = 0
    tails: int = 0
    in_flight: int = 0
    most_in_flight: int = 0
    current: FakeSinkSession | None = None

    def store(self, folder: str, body: bytes, when: str, seen: bool = False) -> int:
        uid = self.uidnext.setdefault(folder, 1)
        self.uidnext[folder] = uid + 1
        self.folders.setdefault(folder, []).append(Copy(uid, body, when, seen))
        return uid

    def bodies(self, folder: str) -> list[bytes]:
        return [copy.body for copy in self.folders.get(folder, [])]

    @asynccontextmanager
    async def session(self, wanted: asyncio.Event | None = None) -> AsyncIterator[FakeSinkSession]:
        await (wanted.wait() if wanted else asyncio.sleep(0))
        if self.fail_connect:
            raise self.fail_connect.pop(0)
        self.sessions += 1
        self.current = FakeSinkSession(self)
        yield self.current


class FakeSinkSession:
    def __init__(self, outlook: FakeOutlook) -> None:
        self._outlook = outlook
        self.lost = False
        self.ends_mono: float | None = None
        self._cut = asyncio.Event()

    @property
    def limits(self) -> SinkLimits:
        return self._outlook.limits

    def cut(self) -> None:
        self.lost = True
        self._cut.set()

    async def _turn(self) -> None:
        await asyncio.sleep(0)
        if self.lost:
            raise ConnectionLost("cut")

    async def open(self, folder: str, *, create: bool) -> Mailbox:
        await self._turn()
        self._outlook.opens += 1
        if error := self._outlook.refuse_open or self._outlook.on_open(folder, create):
            raise error
        copies = self._outlook.folders.setdefault(folder, [])
        return Mailbox(self._outlook.uidvalidity, self._outlook.uidnext.setdefault(folder, 1), len(copies))

    async def append(
        self,
        folder: str,
        body: bytes,
        internaldate: str,
        *,
        seen: bool,
        guard: Callable[[], object] = lambda: None,
    ) -> Appended:
        outlook = self._outlook
        await self._turn()
        guard()
        outlook.appends += 1
        outlook.in_flight += 1
        outlook.most_in_flight = max(outlook.most_in_flight, outlook.in_flight)
        try:
            if outlook.hold:
                await outlook.hold.wait()
            if error := outlook.before(body):
                self._note(error)
                raise error
            uid = outlook.store(folder, body, internaldate, seen)
            await asyncio.sleep(0)
            if error := outlook.after(body):
                self._note(error)
                raise error
            if self.lost:
                raise ConnectionLost("cut", Sent.EVERYTHING)
        finally:
            outlook.in_flight -= 1
        return Appended(outlook.uidvalidity, uid) if outlook.has_uidplus else Appended(None, None)

    def _note(self, error: MailsyncError) -> None:
        if isinstance(error, ConnectionLost):
            self.cut()

    async def tail(
        self, folder: str, from_uid: int, *, before: int | None = None, newest: int | None = None
    ) -> list[TailMessage]:
        await self._turn()
        self._outlook.tails += 1
        copies = self._outlook.folders.get(folder, [])
        copies = copies if newest is None else copies[max(0, len(copies) - newest) :]
        end = float("inf") if before is None else before
        return [_marked(copy.uid, copy.body, copy.when) for copy in copies if from_uid <= copy.uid < end]

    async def rest(self, seconds: float) -> None:
        if await within(self._outlook.clock, seconds, self._cut):
            raise ConnectionLost("cut")

    async def close(self) -> None:
        pass
