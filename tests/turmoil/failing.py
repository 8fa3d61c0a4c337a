"""Every awaited call of the ports, counted; and the n-th of them failing, before or after it took effect.

A call fails as its adapter says that it may: a session that lost its connection is of no more use.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from mailsyncd.errors import ConnectionLost, MailsyncError, Sent, StateUnavailable, Transient


class How(Enum):
    BEFORE = "once, before it took effect"
    AFTER = "once, and its effect is not heard of"
    FOR_EVER = "and every later one of its port"
    CANCELLED = "the daemon is cancelled while it waits for it"
    CANCELLED_LATE = "the daemon is cancelled when it has taken effect"


class Port(Enum):
    SOURCE = "source"
    SINK = "sink"
    STORE = "store"
    TOKEN = "token"


_AWAITED = {
    Port.SOURCE: {"search", "describe", "newest", "marks", "wait", "close"},
    Port.SINK: {"open", "append", "tail", "rest", "close"},
}


@dataclass
class Faults:
    """`sites` are the calls so far, as port.method; `nth` counts from 1, and 0 fails none."""

    nth: int = 0
    how: How = How.BEFORE
    sites: list[str] = field(default_factory=list)
    cancel: Callable[[], object] = lambda: None
    _ailing: Port | None = None

    def over(self) -> None:
        """The faults stop."""
        self.nth, self._ailing = 0, None

    @asynccontextmanager
    async def call(self, port: Port, name: str) -> AsyncIterator[None]:
        """Around one awaited call."""
        self.sites.append(f"{port.value}.{name}")
        hit = len(self.sites) == self.nth
        if hit and self.how is How.FOR_EVER:
            self._ailing = port
        if (hit and self.how is How.BEFORE) or self._ailing is port:
            await asyncio.sleep(0)
            raise _failure(port, Sent.NOTHING)
        if hit and self.how is How.CANCELLED:
            self.cancel()
        yield
        if hit and self.how is How.CANCELLED_LATE:
            self.cancel()
            await asyncio.sleep(0.01)
        if hit and self.how is How.AFTER:
            raise _failure(port, Sent.EVERYTHING)


def _failure(port: Port, sent: Sent) -> MailsyncError:
    if port is Port.STORE:
        return StateUnavailable("the call failed")
    if port is Port.TOKEN:
        return Transient("the token endpoint can't be had")
    return ConnectionLost("the call failed", sent)


class FailingStore:
    """A StateStore."""

    def __init__(self, store: Any, faults: Faults) -> None:
        self._store, self._faults = store, faults

    def __getattr__(self, name: str) -> Callable[..., Any]:
        method = getattr(self._store, name)

        async def counted(*arguments: Any, **named: Any) -> Any:
            async with self._faults.call(Port.STORE, name):
                return await method(*arguments, **named)

        return counted


class FailingTokens:
    """A TokenSource."""

    def __init__(self, faults: Faults) -> None:
        self._faults = faults

    async def token(self) -> str:
        async with self._faults.call(Port.TOKEN, "token"):
            await asyncio.sleep(0)
        return "a token"

    def reject(self, token: str) -> None:
        """There is always another."""

    def lifetime(self) -> float | None:
        return None


class FailingMailbox:
    """A Source or a Sink: it asks for a token, then connects."""

    def __init__(self, mailbox: Any, port: Port, faults: Faults) -> None:
        self._mailbox, self._port, self._faults = mailbox, port, faults
        self._tokens = FailingTokens(faults)

    @asynccontextmanager
    async def session(self, *wanted: asyncio.Event | None) -> AsyncIterator[FailingSession]:
        await self._tokens.token()
        async with self._mailbox.session(*wanted) as session:
            async with self._faults.call(self._port, "session"):
                await asyncio.sleep(0)
            yield FailingSession(session, self._port, self._faults)


class FailingSession:
    """A SourceSession or a SinkSession."""

    def __init__(self, session: Any, port: Port, faults: Faults) -> None:
        self._session, self._port, self._faults = session, port, faults

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._session, name)
        if name not in _AWAITED[self._port]:
            return found

        async def counted(*arguments: Any, **named: Any) -> Any:
            try:
                async with self._faults.call(self._port, name):
                    return await found(*arguments, **named)
            except ConnectionLost:
                self._session.cut()
                raise

        return counted

    async def read(self, uids: list[int]) -> AsyncIterator[tuple[int, bytes]]:
        bodies = self._session.read(uids)
        while True:
            try:
                async with self._faults.call(self._port, "read"):
                    one = await anext(bodies, None)
            except ConnectionLost:
                self._session.cut()
                raise
            if one is None:
                return
            yield one
