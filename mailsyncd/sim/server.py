"""A simulated IMAP server on loopback: listens, keeps its sessions, and does as tests tell it.

Use it with `async with`; leaving ends every connection.
"""

from __future__ import annotations

import asyncio
import ssl
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from random import Random
from types import TracebackType
from typing import ClassVar, NamedTuple, Self

from mailsyncd.ports import Clock
from mailsyncd.sim import append, folders, messages, signin
from mailsyncd.sim.backend import AccessTokens, Backend
from mailsyncd.sim.channel import Channel, Limits, Side
from mailsyncd.sim.faults import Fault
from mailsyncd.sim.mailstore import Account, NoSuchMailbox, StoredMailbox, StoredMessage
from mailsyncd.sim.personality import Personality
from mailsyncd.sim.session import Session

_COMMANDS = {**signin.COMMANDS, **folders.COMMANDS, **append.COMMANDS, **messages.COMMANDS}
_LONGEST_TRANSCRIPT = 200_000


class Line(NamedTuple):
    """A line of the transcript, without literals, passwords and tokens."""

    connection: int
    side: Side
    text: str


class ImapServer:
    """One server with one personality: its make's own, unless another is given. `port` is known once it
    is entered."""

    own: ClassVar[Personality]

    def __init__(
        self,
        clock: Clock,
        *,
        tokens: AccessTokens | None = None,
        passwords: Mapping[str, str] | None = None,
        personality: Personality | None = None,
        seed: int = 0,
        tls: ssl.SSLContext | None = None,
        port: int = 0,
    ) -> None:
        self.port = port
        self.accepted = 0
        self.most_at_once = 0
        self.turns_away = False  # new connections are ended before the greeting
        self.backend = Backend(
            personality or self.own,
            clock,
            Random(seed),
            tokens=tokens,
            passwords=passwords,
            later=self._later,
        )
        self._tls = tls
        self._transcript: deque[Line] = deque(maxlen=_LONGEST_TRANSCRIPT)
        self._next_limits: deque[Limits] = deque()
        self._sessions: dict[asyncio.Task[None], Session] = {}
        self._timers: set[asyncio.TimerHandle] = set()
        self._failures: list[Exception] = []
        self._silent = False
        self._listener: asyncio.Server | None = None

    async def __aenter__(self) -> Self:
        self._listener = await asyncio.start_server(
            self._accept, "127.0.0.1", self.port, ssl=self._tls, backlog=128
        )
        self.port = self._listener.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Stop listening, end all connections. A session's own bug comes to light here."""
        if self._listener is not None:
            self._listener.close()
        for timer in self._timers:
            timer.cancel()
        sessions = dict(self._sessions)
        for task, session in sessions.items():
            session.channel.abort()
            task.cancel()
        if sessions:
            await asyncio.wait(sessions)
        if self._failures:
            raise ExceptionGroup("sessions of a simulated server failed", self._failures)

    # ---------------------------------------------------------------- content

    def account(self, user: str) -> Account:
        return self.backend.account(user)

    def mailbox(self, user: str, name: str = "INBOX") -> StoredMailbox:
        return self.account(user).mailbox(name)

    def messages(self, user: str, mailbox: str = "INBOX") -> list[StoredMessage]:
        """What is there, by UID; nothing if the mailbox is not there at all."""
        try:
            return list(self.mailbox(user, mailbox))
        except NoSuchMailbox:
            return []

    def deliver(
        self,
        user: str,
        raw: bytes,
        *,
        internaldate: datetime | None = None,
        mailbox: str = "INBOX",
        flags: Iterable[str] = (),
        category: str = "",
    ) -> int:
        """New mail arrives. Returns its UID."""
        return self.backend.store(
            self.mailbox(user, mailbox), raw, internaldate, flags, category=category
        ).uid

    def renumber(self, user: str, mailbox: str = "INBOX", *, first_uid: int = 1) -> int:
        """Change UIDVALIDITY and every UID, and end the account's sessions. Returns the new one."""
        box = self.mailbox(user, mailbox)
        box.renumber(self.account(user).next_uidvalidity(), first_uid)
        self.drop_all(user)
        return box.uidvalidity

    # ------------------------------------------------------------ observation

    @property
    def transcript(self) -> list[Line]:
        return list(self._transcript)

    @property
    def connections(self) -> int:
        """How many are open now."""
        return len(self._sessions)

    @property
    def commits_to_come(self) -> int:
        """How many messages are still to be stored for clients that have gone (Act.LATE)."""
        return len(self._timers)

    # ----------------------------------------------------------------- faults

    def script(self, *faults: Fault) -> None:
        """These faults are to strike, each counting the commands it matches from now on."""
        self.backend.script.add(faults)

    def weather(self, seed: int, rate: float, *faults: Fault) -> None:
        """From now on faults strike at random, in a way that `seed` repeats."""
        self.backend.script.weather(Random(seed), rate, faults)

    def clear_faults(self) -> None:
        self.backend.script.clear()
        self._next_limits.clear()
        self.turns_away = False
        self.speak()

    def cut_next(self, *, received: int | None = None, sent: int | None = None) -> None:
        """The next connection is cut at exactly this byte of what comes in, or of what goes out."""
        self._next_limits.append(Limits(received, sent))

    def cut(self, user: str | None = None, *, received: int | None = None, sent: int | None = None) -> None:
        """Open connections (all, or one user's) are cut after so many more bytes, in or out."""
        for session in self._of(user):
            session.channel.cut_after(received=received, sent=sent)

    def drop_all(self, user: str | None = None) -> int:
        """End connections without a word (all, or one user's). Returns how many."""
        dropped = self._of(user)
        for session in dropped:
            session.channel.abort()
        return len(dropped)

    async def expire_sessions(self, user: str | None = None, text: str | None = None) -> int:
        """Say BYE to connections (all, or one user's) and end them. Returns how many."""
        expired = self._of(user)
        for session in expired:
            await session.bye(text or session.words.expired)
        return len(expired)

    def fall_silent(self, user: str | None = None) -> None:
        """Half-open: nothing more is read or written; without `user`, on new connections either."""
        self._silent = self._silent or user is None
        for session in self._of(user):
            session.channel.fall_silent()

    def speak(self) -> None:
        self._silent = False
        for session in self._of(None):
            session.channel.resume()

    # ---------------------------------------------------------------- plumbing

    def _of(self, user: str | None) -> list[Session]:
        return [
            session
            for session in self._sessions.values()
            if user is None or (session.account and session.account.user.lower() == user.lower())
        ]

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted += 1
        number = self.accepted
        if self.turns_away:
            writer.transport.abort()
            return

        def note(side: Side, text: str) -> None:
            self._transcript.extend(Line(number, side, line) for line in text.split("\r\n"))

        limits = self._next_limits.popleft() if self._next_limits else Limits()
        bytewise = self.backend.personality.bytewise
        channel = Channel(reader, writer, note, limits, bytewise=bytewise)
        if self._silent:
            channel.fall_silent()
        session = Session(number, self.backend, channel, _COMMANDS)
        task = asyncio.get_running_loop().create_task(session.run())
        self._sessions[task] = session
        self.most_at_once = max(self.most_at_once, len(self._sessions))
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._sessions.pop(task, None)
        error = None if task.cancelled() else task.exception()
        if isinstance(error, Exception):
            self._failures.append(error)

    def _later(self, seconds: float, act: Callable[[], None]) -> None:
        def run() -> None:
            self._timers.discard(timer)
            act()

        timer = asyncio.get_running_loop().call_later(seconds, run)
        self._timers.add(timer)
