"""The habits of Outlook.com, and the options that vary them, seen from the client's side of the wire."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
from imap_targets import MAIL, ME, Connected, bodies, cut_off
from raw_imap import RawImap

from mailsyncd.observe.clock import SystemClock
from mailsyncd.sim import OUTLOOK, Literals, OutlookServer, TokenEndpoint
from mailsyncd.sim.outlook import regenerated_mime


async def test_a_session_has_a_life_of_its_own(tokens: TokenEndpoint, signed_in: Connected) -> None:
    hasty = replace(OUTLOOK, session_life=(0.01, 0.05))
    async with OutlookServer(SystemClock(), tokens=tokens, personality=hasty) as server:
        imap = await signed_in(server, ME)
        imap.start(b"IDLE")
        answers = [await imap.response(), await imap.response()]
        assert b"* BYE Session invalidated - AccessTokenExpired\r\n" in answers


async def test_ten_errors_end_the_session(outlook: OutlookServer, signed_in: Connected) -> None:
    imap = await signed_in(outlook, ME)
    for _ in range(10):
        assert (await imap.do(b"NONSENSE")).status == "BAD"
    assert await imap.response() == b"* BYE Connection closed. 14\r\n"


async def test_size_is_refused_before_the_body_and_long_lines_after_it(
    tokens: TokenEndpoint, signed_in: Connected
) -> None:
    small = replace(OUTLOOK, max_message=100, max_body_line=20)
    async with OutlookServer(SystemClock(), tokens=tokens, personality=small) as server:
        imap = await signed_in(server, ME)
        tag = imap.start(b"APPEND INBOX {101}")
        assert (await imap.finish(tag)).text == "Maximum size of appendable message has been exceeded"
        assert (await imap.append(b"INBOX", b"x" * 21)).status == "BAD"
        assert (await imap.append(b"INBOX", b"x" * 20 + b"\r\n" + b"y" * 20)).status == "OK"
        assert len(bodies(server)) == 1


async def test_one_message_can_be_refused_for_what_it_is(tokens: TokenEndpoint, signed_in: Connected) -> None:
    def objection(raw: bytes) -> str | None:
        return "BAD Command Argument Error. 11" if b"TELETEX" in raw else None

    async with OutlookServer(
        SystemClock(), tokens=tokens, personality=replace(OUTLOOK, objection=objection)
    ) as server:
        imap = await signed_in(server, ME)
        answer = await imap.append(b"INBOX", b"Subject: =?TELETEX?Q?x?=\r\n\r\n")
        assert (answer.status, answer.text) == ("BAD", "Command Argument Error. 11")
        assert (await imap.append(b"INBOX", MAIL)).status == "OK"
        assert bodies(server) == [MAIL]


async def test_a_body_sent_early_after_a_refusal_is_read_as_commands(
    outlook: OutlookServer, signed_in: Connected
) -> None:
    imap = await signed_in(outlook, ME)
    body = b"<html lang=en>\r\nx9 NOOP\r\n"
    imap.start(b"APPEND Nowhere {%d+}\r\n%s" % (len(body), body.rstrip()))
    answers = [(await imap.response()).split()[:2] for _ in range(3)]
    assert answers == [[b"a2", b"NO"], [b"<html", b"BAD"], [b"x9", b"OK"]]


async def test_a_server_that_honours_literal_plus_skips_the_refused_body(
    tokens: TokenEndpoint, signed_in: Connected
) -> None:
    honest = replace(OUTLOOK, literals_after_refusal=True)
    async with OutlookServer(SystemClock(), tokens=tokens, personality=honest) as server:
        imap = await signed_in(server, ME)
        body = b"x9 NOOP\r\nx8 NOOP\r\n"
        refused = imap.start(b"APPEND Nowhere {%d+}\r\n%s" % (len(body), body))
        assert (await imap.finish(refused)).status == "NO"
        assert (await imap.do(b"NOOP")).status == "OK"


@pytest.mark.parametrize(
    ("literals", "size", "status"),
    [(Literals.MINUS, 4097, "BAD"), (Literals.PLUS, 4097, "OK"), (Literals.MINUS, 4096, "OK")],
)
async def test_literal_minus_ends_at_4096_bytes(
    tokens: TokenEndpoint, signed_in: Connected, literals: Literals, size: int, status: str
) -> None:
    habits = replace(OUTLOOK, literals=literals, literals_after_refusal=True)
    async with OutlookServer(SystemClock(), tokens=tokens, personality=habits) as server:
        imap = await signed_in(server, ME)
        assert (await imap.append(b"INBOX", b"x" * size, plus=True)).status == status


async def test_what_is_switched_off_is_not_advertised_and_does_not_work(
    tokens: TokenEndpoint, signed_in: Connected
) -> None:
    bare = replace(OUTLOOK, idle=False, uidplus=False, literals=Literals.SYNCHRONISING)
    async with OutlookServer(SystemClock(), tokens=tokens, personality=bare) as server:
        imap = await signed_in(server, ME)
        names = (await imap.ok(b"CAPABILITY")).untagged[0].split()
        assert not {b"IDLE", b"UIDPLUS", b"LITERAL+"} & set(names)
        assert (await imap.do(b"IDLE")).status == "BAD"
        assert "APPENDUID" not in (await imap.append(b"INBOX", MAIL)).text


async def test_appenduid_alone_can_be_missing(tokens: TokenEndpoint, signed_in: Connected) -> None:
    shy = replace(OUTLOOK, append_uid=False)
    async with OutlookServer(SystemClock(), tokens=tokens, personality=shy) as server:
        imap = await signed_in(server, ME)
        assert (await imap.append(b"INBOX", MAIL)).text == "APPEND completed."


async def test_folders_ignore_case_and_files_is_reserved(
    outlook: OutlookServer, signed_in: Connected
) -> None:
    imap = await signed_in(outlook, ME)
    await imap.ok(b"CREATE Gmail/Ann")
    answer = await imap.do(b"CREATE gmail/ann")
    assert "already exists" in answer.text
    await imap.append(b"GMAIL/ANN", MAIL)
    assert bodies(outlook, "Gmail/Ann") == [MAIL]
    assert (await imap.do(b"CREATE files")).text == "Folder name is reserved"


async def test_a_new_uidvalidity_ends_the_sessions_and_keeps_the_messages(
    outlook: OutlookServer, signed_in: Connected
) -> None:
    imap = await signed_in(outlook, ME)
    for _ in range(3):
        outlook.deliver(ME, MAIL)
    before = outlook.mailbox(ME).uidvalidity
    after = outlook.renumber(ME, first_uid=101)
    await cut_off(imap)
    answer = await (await signed_in(outlook, ME)).ok(b"EXAMINE INBOX")
    assert int(answer.one(rb"\* OK \[UIDVALIDITY (\d+)\]")[1]) == after != before
    assert [message.uid for message in outlook.messages(ME)] == [101, 102, 103]


async def test_messages_can_be_rewritten_on_the_way_in(tokens: TokenEndpoint, signed_in: Connected) -> None:
    habits = replace(OUTLOOK, rewrite=regenerated_mime)
    async with OutlookServer(SystemClock(), tokens=tokens, personality=habits) as server:
        imap = await signed_in(server, ME)
        raw = b"Content-Type: text/plain; charset=utf-8\r\n" + MAIL
        assert (await imap.append(b"INBOX", raw)).status == "OK"
        (stored,) = bodies(server)
        assert stored != raw
        assert b'charset="utf-8"' in stored
        assert b"Message-ID: <one@example.org>" in stored


async def test_the_empty_mailbox_refuses_any_set(outlook: OutlookServer, signed_in: Connected) -> None:
    imap = await signed_in(outlook, ME)
    await imap.ok(b"EXAMINE INBOX")
    assert (await imap.do(b"UID FETCH 1:* (UID)")).text == "The specified message set is invalid."


async def test_the_transcript_has_no_token_password_or_body(
    outlook: OutlookServer, signed_in: Connected
) -> None:
    imap = await signed_in(outlook, ME)
    await imap.append(b"INBOX", MAIL)
    await imap.ok(b"EXAMINE INBOX")
    await imap.ok(b"UID FETCH 1 (BODY.PEEK[])")
    other = await RawImap.connect("127.0.0.1", outlook.port)
    await other.do(b'LOGIN me "canary"')
    await other.do(b"AUTHENTICATE PLAIN AGNhbmFyeQBjYW5hcnk=")
    await other.close()
    text = "\n".join(line.text for line in outlook.transcript)
    for secret in ("canary", "Y2FuYXJ5", "ya29", "Subject", "one@example.org"):
        assert secret not in text
    assert re.search(r"^a\d+ APPEND INBOX \{\d+\}$", text, re.M)
    assert re.search(r"^\* 1 FETCH \(BODY\[\] \{\d+\} UID 1\)$", text, re.M)
