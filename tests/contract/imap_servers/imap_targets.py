"""What the protocol suite talks to: a server, simulated or real, and one user of it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass

from raw_imap import RawImap

from mailsyncd.sim import GmailServer, ImapServer, OutlookServer, PlainServer

ME = "me@outlook.example"
MAIL = b"Subject: one\r\nMessage-ID: <one@example.org>\r\n\r\nbody\r\n"

Connected = Callable[[ImapServer, str], Awaitable[RawImap]]


@dataclass
class Target:
    """A running server and one user of it, who has an empty INBOX."""

    name: str
    host: str
    port: int
    user: str
    token: str
    connections: list[RawImap]

    async def greeted(self) -> RawImap:
        """A connection that has not signed in."""
        imap = await RawImap.connect(self.host, self.port)
        self.connections.append(imap)
        return imap

    async def __call__(self) -> RawImap:
        """A connection that has."""
        imap = await self.greeted()
        answer = await imap.xoauth2(self.user, self.token)
        assert answer.status == "OK", answer
        return imap


SIMULATORS: dict[str, type[GmailServer] | type[OutlookServer] | type[PlainServer]] = {
    "gmail": GmailServer,
    "outlook": OutlookServer,
    "plain": PlainServer,
}


def bodies(server: ImapServer, mailbox: str = "INBOX") -> list[bytes]:
    """What the simulator holds for ME."""
    return [message.raw for message in server.messages(ME, mailbox)]


async def cut_off(imap: RawImap) -> None:
    """Return when the connection has ended without another word, by reset or in order."""
    with suppress(ConnectionError):
        assert await imap.response() == b""
