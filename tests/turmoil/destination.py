"""A destination server that takes its time, answers as it likes, and commits late; and a daemon's view.

It obeys the docstrings of ports.SinkSession. An APPEND is a literal on its way (a cut leaves nothing
behind), then a message in the server's hands (a cut leaves its fate open), then an answer on its way.
"""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

from fakes import Copy, _marked

from mailsyncd.errors import ConnectionLost, LeaseLost, MailsyncError, RouteBlocked, Sent
from mailsyncd.model import Appended, Mailbox, TailMessage
from mailsyncd.ports import SinkLimits
from turmoil.wire import Wire

LIMITS = SinkLimits(window=8, window_bytes=1 << 20, per_second=None, max_message=None)
UPLINK, THINKING, DOWNLINK = 0.05, 0.1, 0.05  # seconds for an APPEND's three parts
DEADLINE = 60.0  # seconds until a connection whose APPEND is not answered is thrown away


@dataclass(frozen=True)
class Reply:
    """What the server makes of an APPEND: stored or not, then this answer; `silent`: none at all."""

    error: MailsyncError | None = None
    stored: bool = True
    silent: bool = False


class Transit:
    """An APPEND of which the server has every byte."""

    def __init__(self, folder: str, copy: Copy) -> None:
        self.folder, self.copy = folder, copy
        self.answer: asyncio.Future[Appended] = asyncio.get_running_loop().create_future()
        self.answer.add_done_callback(lambda one: one.cancelled() or one.exception())
        self.timer: asyncio.TimerHandle | None = None


class Destination:
    def __init__(self) -> None:
        self.uidvalidity: dict[str, int] = {}
        self.uidnext: dict[str, int] = {}
        self.copies: dict[str, list[Copy]] = {}
        self.ever: Counter[tuple[str, bytes]] = Counter()  # how often each was stored
        self.has_uidplus = True
        self.sessions: list[SinkSession] = []
        self.refuse_connect: list[MailsyncError] = []
        self.replies: deque[Reply] = deque()
        self.full: MailsyncError | None = None
        self.poison: dict[bytes, MailsyncError] = {}
        self.late: deque[float | None] = deque()  # fates of what a cut leaves; None: never committed
        self.committing = 0
        self.slow = 1.0
        self.lives: float | None = None

    # -------------------------------------------------------------------- the server

    def open(self, folder: str) -> Mailbox:
        self.uidvalidity.setdefault(folder, 3)
        self.uidnext.setdefault(folder, 1)
        copies = self.copies.setdefault(folder, [])
        return Mailbox(self.uidvalidity[folder], self.uidnext[folder], len(copies))

    def renumber(self, folder: str) -> None:
        """UIDVALIDITY changes: the messages stay, their numbers don't."""
        self.open(folder)
        self.uidvalidity[folder] += 1
        for number, copy in enumerate(self.copies[folder], 1):
            copy.uid = number
        self.uidnext[folder] = len(self.copies[folder]) + 1

    def receive(self, transit: Transit) -> None:
        """The last byte has come."""
        reply = self._reply(transit.copy.body)
        loop = asyncio.get_running_loop()
        transit.timer = loop.call_later(THINKING * self.slow, self._decide, transit, reply)

    def _reply(self, body: bytes) -> Reply:
        if body in self.poison:
            return Reply(self.poison[body], stored=False)
        if self.full is not None:
            return Reply(self.full, stored=False)
        return self.replies.popleft() if self.replies else Reply()

    def _decide(self, transit: Transit, reply: Reply) -> None:
        transit.timer = None
        if reply.stored:
            self._commit(transit)
        if transit.answer.done() or reply.silent:
            return
        if reply.error is not None:
            transit.answer.set_exception(reply.error)
        else:
            numbers = (
                (self.uidvalidity[transit.folder], transit.copy.uid) if self.has_uidplus else (None, None)
            )
            transit.answer.set_result(Appended(*numbers))

    def _commit(self, transit: Transit) -> None:
        folder = transit.folder
        self.open(folder)
        transit.copy.uid = self.uidnext[folder]
        self.uidnext[folder] += 1
        self.copies[folder].append(transit.copy)
        self.ever[folder, transit.copy.body] += 1

    def _commit_late(self, transit: Transit) -> None:
        self.committing -= 1
        self._commit(transit)

    def abandon(self, transit: Transit) -> None:
        """Its connection is gone. What was not yet stored is stored late, or never."""
        if not transit.answer.done():
            transit.answer.set_exception(ConnectionLost("the destination was cut", Sent.EVERYTHING))
        if transit.timer is not None:
            transit.timer.cancel()
            transit.timer = None
            after = self.late.popleft() if self.late else 0.0
            if after is not None:
                self.committing += 1
                transit.answer.get_loop().call_later(after, self._commit_late, transit)

    def cut(self) -> None:
        for session in list(self.sessions):
            session.cut()


class SinkView:
    """The destination as one daemon sees it. `law` is asked before the first byte of a message goes
    out, and before the last."""

    def __init__(self, destination: Destination, wire: Wire, law: Callable[[str, bytes], None]) -> None:
        self.destination, self.wire, self.law = destination, wire, law

    @asynccontextmanager
    async def session(self, wanted: asyncio.Event | None = None) -> AsyncIterator[SinkSession]:
        if wanted is not None:
            await wanted.wait()
        await self.wire.passes(UPLINK)
        if self.destination.refuse_connect:
            raise self.destination.refuse_connect.pop(0)
        session = SinkSession(self)
        self.destination.sessions.append(session)
        try:
            yield session
        finally:
            session.cut()


class SinkSession:
    limits = LIMITS

    def __init__(self, view: SinkView) -> None:
        self._server, self.wire, self._law = view.destination, view.wire, view.law
        self._line = asyncio.Lock()
        self._gone = asyncio.Event()
        self._transits: list[Transit] = []
        lives = self._server.lives
        self.ends_mono = None if lives is None else asyncio.get_running_loop().time() + lives

    @property
    def lost(self) -> bool:
        return self._gone.is_set()

    def cut(self) -> None:
        self._gone.set()
        if self in self._server.sessions:
            self._server.sessions.remove(self)
        for transit in self._transits:
            self._server.abandon(transit)
        self._transits.clear()

    async def _turn(self, seconds: float = UPLINK) -> None:
        await self.wire.passes(seconds)
        if self.lost:
            raise ConnectionLost("the destination was cut")

    async def open(self, folder: str, *, create: bool) -> Mailbox:
        await self._turn()
        if not create and folder not in self._server.copies:
            raise RouteBlocked(f"there is no {folder}")
        seen = self._server.open(folder)
        await self._turn()
        return seen

    async def append(
        self,
        folder: str,
        body: bytes,
        internaldate: str,
        *,
        seen: bool,
        guard: Callable[[], object] = lambda: None,
    ) -> Appended:
        await self._send(folder, body, guard)
        transit = Transit(folder, Copy(0, body, internaldate, seen))
        self._server.receive(transit)
        self._transits.append(transit)
        try:
            async with asyncio.timeout(DEADLINE):
                appended = await asyncio.shield(transit.answer)
        except TimeoutError:
            self.cut()
            raise ConnectionLost("no answer", Sent.EVERYTHING) from None
        finally:
            await self.wire.passes(DOWNLINK)
        if self.lost:
            raise ConnectionLost("the destination was cut", Sent.EVERYTHING)
        self._transits.remove(transit)
        return appended

    async def _send(self, folder: str, body: bytes, guard: Callable[[], object]) -> None:
        """The command and its literal, in turn. Whatever cuts it short leaves nothing behind."""
        async with self._line:
            await self._turn(0)
            guard()
            self._law(folder, body)
            try:
                await self._turn()
                guard()
            except (asyncio.CancelledError, LeaseLost):
                self.cut()
                raise
            self._law(folder, body)

    async def tail(
        self, folder: str, from_uid: int, *, before: int | None = None, newest: int | None = None
    ) -> list[TailMessage]:
        await self._turn()
        copies = self._server.copies.get(folder, [])
        copies = copies if newest is None else copies[max(0, len(copies) - newest) :]
        end = float("inf") if before is None else before
        found = [_marked(copy.uid, copy.body, copy.when) for copy in copies if from_uid <= copy.uid < end]
        await self._turn()
        return found

    async def rest(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._gone.wait()
        except TimeoutError:
            return
        raise ConnectionLost("the destination was cut")

    async def close(self) -> None:
        """Nothing to say."""
