"""What only Gmail does: message ids that outlive UIDs, labels, its search, its limits and words."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone

import pytest
from imap_targets import Connected
from raw_imap import RawImap

from mailsyncd.observe.clock import SystemClock
from mailsyncd.sim import GMAIL, GmailServer, PlainServer, TokenEndpoint
from mailsyncd.sim.gmail import ALL_MAIL

ANN = "ann@gmail.example"
MAIL = b"Subject: one\r\nFrom: bob@example.org\r\nMessage-ID: <one@example.org>\r\n\r\nbody\r\n"


@pytest.fixture
async def gmail(tokens: TokenEndpoint) -> AsyncIterator[GmailServer]:
    async with GmailServer(SystemClock(), tokens=tokens) as server:
        yield server


async def searched(imap: RawImap, keys: bytes) -> list[int]:
    found = (await imap.ok(b"UID SEARCH " + keys)).one(rb"\* SEARCH(.*)\r\n")
    return [int(uid) for uid in found[1].split()]


async def test_a_message_that_comes_back_has_a_new_uid_and_the_old_id(
    gmail: GmailServer, signed_in: Connected
) -> None:
    when = datetime(2020, 1, 1, tzinfo=UTC)
    uid = gmail.deliver(ANN, MAIL, internaldate=when)
    msgid = gmail.archive(ANN, uid)
    assert gmail.messages(ANN) == []
    assert gmail.return_to_inbox(ANN, msgid) == uid + 1
    imap = await signed_in(gmail, ANN)
    await imap.ok(b"EXAMINE INBOX")
    line = (await imap.ok(b"UID FETCH 1:* (UID INTERNALDATE X-GM-MSGID X-GM-THRID)")).untagged[0].decode()
    assert f"X-GM-MSGID {msgid} X-GM-THRID {msgid}" in line
    assert '"01-Jan-2020 00:00:00 +0000"' in line
    assert await searched(imap, b"X-GM-MSGID %d" % msgid) == [uid + 1]


async def test_what_is_in_inbox_is_in_all_mail_too(gmail: GmailServer) -> None:
    gmail.deliver(ANN, MAIL)
    gmail.deliver(ANN, MAIL, mailbox="[Gmail]/Spam")
    assert len(gmail.messages(ANN)) == 1
    assert gmail.messages(ANN)[0].gm_msgid == gmail.messages(ANN, ALL_MAIL)[0].gm_msgid


async def test_a_message_that_can_not_be_read_does_not_hide_its_neighbours(
    gmail: GmailServer, signed_in: Connected
) -> None:
    for _ in range(3):
        gmail.deliver(ANN, MAIL)
    gmail.mailbox(ANN).unreadable.add(2)
    imap = await signed_in(gmail, ANN)
    await imap.ok(b"EXAMINE INBOX")
    assert len((await imap.ok(b"UID FETCH 1:3 (UID RFC822.SIZE)")).untagged) == 3
    answer = await imap.do(b"UID FETCH 1:3 (BODY.PEEK[])")
    assert (answer.status, answer.text) == ("NO", "Some messages could not be FETCHed (Failure)")
    assert len(answer.untagged) == 2


async def test_categories_can_be_filtered_out(gmail: GmailServer, signed_in: Connected) -> None:
    gmail.deliver(ANN, MAIL)
    gmail.deliver(ANN, MAIL, category="promotions")
    gmail.deliver(ANN, MAIL.replace(b"bob", b"eve"), category="social")
    imap = await signed_in(gmail, ANN)
    await imap.ok(b"EXAMINE INBOX")
    assert await searched(imap, b'X-GM-RAW "-category:promotions -category:social"') == [1]
    assert await searched(imap, b'UID 2:* X-GM-RAW "category:social OR from:nobody"') == []
    assert await searched(imap, b"X-GM-RAW {8}\r\nfrom:eve") == [3]


async def test_the_day_of_since_is_the_accounts_own(tokens: TokenEndpoint, signed_in: Connected) -> None:
    pacific = replace(GMAIL, search_zone=timezone(timedelta(hours=-8)))
    async with GmailServer(SystemClock(), tokens=tokens, personality=pacific) as server:
        server.deliver(ANN, MAIL, internaldate=datetime(2021, 3, 10, 7, 59, tzinfo=UTC))
        server.deliver(ANN, MAIL, internaldate=datetime(2021, 3, 10, 8, 0, tzinfo=UTC))
        imap = await signed_in(server, ANN)
        await imap.ok(b"EXAMINE INBOX")
        assert await searched(imap, b"SINCE 10-Mar-2021") == [2]
        assert await searched(imap, b"SINCE 9-Mar-2021") == [1, 2]


async def test_the_sixteenth_connection_is_too_many_until_one_leaves(
    gmail: GmailServer, tokens: TokenEndpoint, signed_in: Connected
) -> None:
    connections = [await signed_in(gmail, ANN) for _ in range(15)]
    extra = await RawImap.connect("127.0.0.1", gmail.port)
    answer = await extra.xoauth2(ANN, tokens.issue(ANN))
    assert (answer.status, answer.text) == ("NO", "[ALERT] Too many simultaneous connections. (Failure)")
    await connections[0].ok(b"LOGOUT")
    assert await connections[0].response() == b""
    assert (await extra.xoauth2(ANN, tokens.issue(ANN))).status == "OK"
    assert gmail.most_at_once == 16
    await extra.close()


async def test_capabilities_come_unasked_with_the_login(gmail: GmailServer, tokens: TokenEndpoint) -> None:
    imap = await RawImap.connect("127.0.0.1", gmail.port)
    answer = await imap.xoauth2(ANN, tokens.issue(ANN))
    assert answer.text == f"{ANN} authenticated (Success)"
    assert b"X-GM-EXT-1" in answer.one(rb"\* CAPABILITY (.*)\r\n")[1].split()
    await imap.close()


async def test_mail_that_comes_between_two_idles_is_pushed_when_the_second_begins(
    gmail: GmailServer, signed_in: Connected
) -> None:
    imap = await signed_in(gmail, ANN)
    await imap.ok(b"EXAMINE INBOX")
    gmail.deliver(ANN, MAIL)
    tag = imap.start(b"IDLE")
    assert await imap.response() == b"+ idling\r\n"
    assert await imap.response() == b"* 1 EXISTS\r\n"
    imap.write(b"DONE\r\n")
    assert (await imap.finish(tag)).text == "IDLE terminated (Success)"


async def test_passwords_work_where_they_are_set() -> None:
    async with PlainServer(SystemClock(), passwords={"ann": 'p"w'}) as server:
        imap = await RawImap.connect("127.0.0.1", server.port)
        assert (await imap.do(b"LOGIN ann wrong")).status == "NO"
        assert (await imap.do(b'LOGIN ann "p\\"w"')).status == "OK"
        other = await RawImap.connect("127.0.0.1", server.port)
        assert (await other.do(b"AUTHENTICATE PLAIN AGFubgBwInc=")).status == "OK"
        await imap.close()
        await other.close()


async def test_a_server_may_speak_tls(tls: tuple[ssl.SSLContext, ssl.SSLContext]) -> None:
    serving, trusting = tls
    async with PlainServer(SystemClock(), tls=serving) as server:
        reader, writer = await asyncio.open_connection("localhost", server.port, ssl=trusting)
        assert (await reader.readline()).startswith(b"* OK")
        writer.close()
        await writer.wait_closed()
