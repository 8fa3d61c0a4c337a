"""What a message is recognised by, read by the adapters of either side from every server."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

from imap_targets import Target

from mailsyncd.account import Endpoint
from mailsyncd.imap.gmail import GmailSource
from mailsyncd.imap.outlook import OutlookSink
from mailsyncd.imap.pace import Pace
from mailsyncd.imap.profiles import choose
from mailsyncd.imap.session import TokenLogin
from mailsyncd.model import TailMessage
from mailsyncd.observe.clock import SystemClock
from mailsyncd.policy import fingerprint, instant
from mailsyncd.sim.corpus import corpus

WHEN = "17-Jul-2026 09:40:%02d -0330"


@dataclass
class OneToken:
    value: str

    async def token(self) -> str:
        return self.value

    def reject(self, token: str) -> None:
        raise AssertionError("the server refused a good token")

    def lifetime(self) -> float | None:
        return None


def source(server: Target) -> GmailSource:
    login = TokenLogin(server.user, OneToken(server.token))
    endpoint = Endpoint(server.host, server.port, tls=False)
    return GmailSource(
        endpoint,
        login,
        "INBOX",
        clock=SystemClock(),
        rng=Random(1),
        pace=Pace(SystemClock()),
        max_literal=1 << 20,
    )


def sink(server: Target) -> OutlookSink:
    login = TokenLogin(server.user, OneToken(server.token))
    endpoint = Endpoint(server.host, server.port, tls=False)
    return OutlookSink(endpoint, login, choose(server.host), clock=SystemClock(), rng=Random(1))


async def filled(server: Target, count: int) -> list[TailMessage]:
    """Mail of every kind in INBOX, and what it must be recognised by."""
    imap, marked = await server(), []
    for uid, mail in enumerate(corpus(5, count), 1):
        when = WHEN % uid
        assert (await imap.append(b"INBOX", mail.raw, b'"%s"' % when.encode())).status == "OK"
        mark = fingerprint(mail.raw)
        marked.append(TailMessage(uid, mark.message_id, instant(when) or 0, mark.digest))
    return marked


async def test_either_side_recognises_a_message_by_the_same_marks(server: Target) -> None:
    marked = await filled(server, 22)
    async with source(server).session() as session:
        assert await session.marks(range(1, 23)) == marked
    async with sink(server).session() as session:
        assert await session.tail("INBOX", 1) == marked


async def test_marks_are_given_of_those_that_are_asked_for_and_there(server: Target) -> None:
    marked = await filled(server, 5)
    async with source(server).session() as session:
        assert await session.marks([2, 5, 99]) == [marked[1], marked[4]]
        assert await session.marks([]) == []


async def test_marking_leaves_a_message_unseen(server: Target) -> None:
    await filled(server, 1)
    async with source(server).session() as session:
        assert len(await session.marks([1])) == 1
    imap = await server()
    await imap.ok(b"EXAMINE INBOX")
    assert b"Seen" not in (await imap.ok(b"UID FETCH 1 (FLAGS)")).one(rb"\* 1 FETCH (.*)")[1]


async def test_a_tail_can_be_cut_at_both_ends(server: Target) -> None:
    marked = await filled(server, 6)
    async with sink(server).session() as session:
        assert await session.tail("INBOX", 2, before=5) == marked[1:4]
        assert await session.tail("INBOX", 7) == []
        assert await session.tail("INBOX", 9, before=20) == []


async def test_of_a_tail_only_the_newest_can_be_had(server: Target) -> None:
    marked = await filled(server, 6)
    imap = await server()
    await imap.ok(b"SELECT INBOX")
    await imap.ok(b"UID STORE 5 +FLAGS (\\Deleted)")
    await imap.ok(b"EXPUNGE")
    async with sink(server).session() as session:
        assert await session.tail("INBOX", 1, newest=2) == [marked[3], marked[5]]
        assert await session.tail("INBOX", 6, newest=2) == marked[5:]
        assert await session.tail("INBOX", 1, newest=99) == [*marked[:4], marked[5]]
