"""A source mailbox in which anything may happen at any time, and a daemon's view of it.

It obeys the docstrings of ports.SourceSession; every session is a connection of its own.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime

from fakes import _marked
from travel import TravelClock

from mailsyncd.errors import ConnectionLost, MailsyncError
from mailsyncd.model import Listing, Mailbox, TailMessage, Wake
from mailsyncd.policy import instant
from turmoil.wire import Wire

LATENCY = 0.02  # seconds for a command


@dataclass(frozen=True)
class Mail:
    """A message in a source mailbox. `identity` tells byte-identical ones apart, and stays with a
    message that leaves and comes back, or is numbered anew."""

    identity: int
    body: bytes
    when: str
    gm_msgid: str | None


class Box:
    def __init__(self, clock: TravelClock, *, has_gm: bool) -> None:
        self.clock = clock
        self.has_gm = has_gm
        self.uidvalidity, self.uidnext = 7, 1
        self.messages: dict[int, Mail] = {}
        self.numbered: dict[tuple[int, int], Mail] = {}  # every number that any message ever had
        self.archive: list[Mail] = []
        self.sessions: list[BoxSession] = []
        self.refuse_connect: list[MailsyncError] = []
        self.refuse_read: list[MailsyncError] = []
        self.lives: float | None = None  # seconds that a session's token is good for

    # ------------------------------------------------------------ what happens to it

    def deliver(self, identity: int, body: bytes, *, silently: bool = False) -> None:
        when = datetime.fromtimestamp(self.clock.true_now(), UTC).strftime("%d-%b-%Y %H:%M:%S +0000")
        self._add(Mail(identity, body, when, str(1_000_000 + identity) if self.has_gm else None))
        self._tell(silently)

    def _add(self, mail: Mail) -> None:
        self.messages[self.uidnext] = self.numbered[self.uidvalidity, self.uidnext] = mail
        self.uidnext += 1

    def _tell(self, silently: bool) -> None:
        for session in self.sessions:
            if not silently:
                session.stirred.set()

    def expunge(self, uid: int) -> None:
        del self.messages[uid]

    def archive_one(self, uid: int) -> None:
        self.archive.append(self.messages.pop(uid))

    def inbox_again(self) -> None:
        """Back from the archive, with a new UID."""
        self._add(self.archive.pop(0))
        self._tell(False)

    def renumber(self) -> None:
        """UIDVALIDITY changes, and every connection ends."""
        kept = list(self.messages.values())
        self.messages, self.uidvalidity, self.uidnext = {}, self.uidvalidity + 1, 1
        for mail in kept:
            self._add(mail)
        self.cut()

    def cut(self) -> None:
        for session in self.sessions:
            session.cut()

    # ------------------------------------------------------------------ a daemon's view

    def seen_over(self, wire: Wire) -> BoxView:
        return BoxView(self, wire)


class BoxView:
    """The source as one daemon sees it."""

    def __init__(self, box: Box, wire: Wire) -> None:
        self._box, self._wire = box, wire

    @asynccontextmanager
    async def session(self) -> AsyncIterator[BoxSession]:
        await self._wire.passes(LATENCY)
        if self._box.refuse_connect:
            raise self._box.refuse_connect.pop(0)
        session = BoxSession(self._box, self._wire)
        self._box.sessions.append(session)
        try:
            yield session
        finally:
            self._box.sessions.remove(session)


class BoxSession:
    def __init__(self, box: Box, wire: Wire) -> None:
        self._box, self._wire = box, wire
        self.lost = False
        self.stirred = asyncio.Event()
        self._uidvalidity, self._uidnext = box.uidvalidity, box.uidnext
        self.lists_at_once = bool(box.uidvalidity % 2)  # both kinds of servers
        self.ends_mono = None if box.lives is None else box.clock.monotonic() + box.lives

    def cut(self) -> None:
        self.lost = True
        self.stirred.set()

    @property
    def mailbox(self) -> Mailbox:
        return Mailbox(self._uidvalidity, self._uidnext, len(self._box.messages))

    async def _turn(self) -> None:
        await self._wire.passes(LATENCY)
        if self.lost:
            raise ConnectionLost("the source was cut")

    async def search(
        self, after: int, *, before: int | None = None, since: date | None = None, raw: str | None = None
    ) -> list[int]:
        self.stirred.clear()
        await self._turn()

        def is_wanted(uid: int, mail: Mail) -> bool:
            day = datetime.fromtimestamp(instant(mail.when) or 0, UTC).date()
            return uid > after and (before is None or uid < before) and (since is None or day >= since)

        return sorted(uid for uid, mail in self._box.messages.items() if is_wanted(uid, mail))

    async def describe(self, uids: Sequence[int]) -> list[Listing]:
        await self._turn()
        return self._listings(uids.__contains__)

    async def newest(self, after: int) -> list[Listing]:
        self.stirred.clear()
        await self._turn()
        return self._listings(lambda uid: uid > after)

    def _listings(self, wanted: Callable[[int], bool]) -> list[Listing]:
        return [
            Listing(uid, len(mail.body), mail.when, mail.gm_msgid)
            for uid, mail in sorted(self._box.messages.items())
            if wanted(uid)
        ]

    async def marks(self, uids: Sequence[int]) -> list[TailMessage]:
        await self._turn()
        found = self._box.messages
        return [_marked(uid, found[uid].body, found[uid].when) for uid in sorted(uids) if uid in found]

    async def read(self, uids: Sequence[int]) -> AsyncIterator[tuple[int, bytes]]:
        await self._turn()
        if self._box.refuse_read:
            raise self._box.refuse_read.pop(0)
        for uid in uids:
            await self._turn()
            if uid in self._box.messages:
                yield uid, self._box.messages[uid].body

    async def wait(self, seconds: float) -> Wake:
        try:
            async with asyncio.timeout(seconds):
                await self.stirred.wait()
        except TimeoutError:
            await self._turn()
            return Wake.TIMEOUT
        await self._turn()
        return Wake.NEWS

    async def close(self) -> None:
        """Nothing to say."""
