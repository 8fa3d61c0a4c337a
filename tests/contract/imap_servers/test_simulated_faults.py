"""The simulators misbehave on order: each fault, seen from the client's side of the wire."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import replace

import pytest
from imap_targets import MAIL, ME, Connected, bodies, cut_off
from raw_imap import RawImap

from mailsyncd.observe.clock import SystemClock
from mailsyncd.sim import OUTLOOK, Act, Fault, ImapServer, OutlookServer, TokenEndpoint, throttle


async def arrived(server: ImapServer, count: int) -> None:
    """Return once INBOX holds so many messages."""
    changed = asyncio.Event()
    box = server.mailbox(ME)
    box.watchers.add(lambda uid: changed.set())
    async with asyncio.timeout(10):
        while len(box) < count:
            await changed.wait()
            changed.clear()


# ----------------------------------------------------- instead of, or after, a command


async def test_a_throttle_comes_instead_of_the_go_ahead(outlook: OutlookServer, signed_in: Connected) -> None:
    imap = await signed_in(outlook, ME)
    outlook.script(throttle("APPEND", 299_961))
    answer = await imap.append(b"INBOX", MAIL)
    assert answer.status == "NO"
    assert answer.text == "Request is throttled. Suggested Backoff Time: 299961 milliseconds"
    assert bodies(outlook) == []
    assert (await imap.append(b"INBOX", MAIL)).status == "OK"


async def test_no_after_commit_has_stored_the_message(outlook: OutlookServer, signed_in: Connected) -> None:
    imap = await signed_in(outlook, ME)
    outlook.script(Fault("APPEND", Act.REFUSE_AFTER, "NO Server Unavailable. 15"))
    assert (await imap.append(b"INBOX", MAIL)).text == "Server Unavailable. 15"
    assert bodies(outlook) == [MAIL]


async def test_ok_without_commit_has_stored_nothing(outlook: OutlookServer, signed_in: Connected) -> None:
    imap = await signed_in(outlook, ME)
    outlook.script(Fault("APPEND", Act.PRETEND))
    assert (await imap.append(b"INBOX", MAIL)).status == "OK"
    assert bodies(outlook) == []


@pytest.mark.parametrize(("act", "stored"), [(Act.DROP_AFTER, [MAIL]), (Act.DROP, [])])
async def test_a_connection_can_end_before_or_after_the_commit(
    outlook: OutlookServer, signed_in: Connected, act: Act, stored: list[bytes]
) -> None:
    imap = await signed_in(outlook, ME)
    outlook.script(Fault("APPEND", act))
    imap.start(b"APPEND INBOX {%d+}\r\n%s" % (len(MAIL), MAIL))
    await cut_off(imap)
    assert bodies(outlook) == stored


async def test_a_late_commit_comes_after_the_connection_is_gone(
    outlook: OutlookServer, signed_in: Connected
) -> None:
    imap = await signed_in(outlook, ME)
    outlook.script(Fault("APPEND", Act.LATE, delay=0.05))
    imap.start(b"APPEND INBOX (\\Seen) {%d+}\r\n%s" % (len(MAIL), MAIL))
    await cut_off(imap)
    assert bodies(outlook) == []
    await arrived(outlook, 1)
    assert bodies(outlook) == [MAIL]
    assert outlook.messages(ME)[0].flags == {"\\Seen"}


async def test_what_a_server_refuses_it_does_not_commit_late(
    outlook: OutlookServer, signed_in: Connected
) -> None:
    imap = await signed_in(outlook, ME)
    outlook.script(Fault("APPEND", Act.LATE, delay=0.05))
    long = MAIL + b"x" * 12_000 + b"\r\n"
    imap.start(b"APPEND INBOX {%d+}\r\n%s" % (len(long), long))
    await cut_off(imap)
    while outlook.commits_to_come:  # noqa: ASYNC110 - looking is all there is
        await asyncio.sleep(0.01)
    assert bodies(outlook) == []


async def test_a_fault_waits_for_its_turn_and_strikes_so_often(
    outlook: OutlookServer, signed_in: Connected
) -> None:
    imap = await signed_in(outlook, ME)
    outlook.script(Fault("NOOP", Act.REFUSE, "NO not now", nth=2, times=2))
    assert [(await imap.do(b"NOOP")).status for _ in range(5)] == ["OK", "NO", "NO", "OK", "OK"]


async def test_a_fault_for_one_user_spares_the_others(outlook: OutlookServer, signed_in: Connected) -> None:
    one, other = await signed_in(outlook, "one"), await signed_in(outlook, "other")
    outlook.script(Fault("*", Act.BYE, "Connection closed. 14", user="one"))
    assert (await other.do(b"NOOP")).status == "OK"
    answer = await one.do(b"NOOP")
    assert answer.status == "EOF"
    assert answer.untagged == [b"* BYE Connection closed. 14\r\n"]


async def test_annotations_hide_in_an_ok(outlook: OutlookServer, signed_in: Connected) -> None:
    imap = await signed_in(outlook, ME)
    outlook.script(Fault("NOOP", Act.ANNOTATE, " [THROTTLED]"))
    answer = await imap.do(b"NOOP")
    assert (answer.status, answer.text[-11:]) == ("OK", "[THROTTLED]")


async def test_a_login_can_be_accepted_and_dropped(outlook: OutlookServer, tokens: TokenEndpoint) -> None:
    outlook.script(Fault("AUTHENTICATE", Act.ANSWER_AND_DROP))
    imap = await RawImap.connect("127.0.0.1", outlook.port)
    assert (await imap.xoauth2(ME, tokens.issue(ME))).status == "OK"
    assert await imap.response() == b""
    await imap.close()


async def test_bad_weather_comes_back_with_the_same_seed(
    outlook: OutlookServer, signed_in: Connected
) -> None:
    runs = []
    for _ in range(2):
        imap = await signed_in(outlook, ME)
        outlook.weather(5, 0.3, Fault("NOOP", Act.REFUSE, "NO rain"), Fault("APPEND", Act.DROP))
        runs.append([(await imap.do(b"NOOP")).status for _ in range(12)])
        outlook.clear_faults()
    assert runs[0] == runs[1]
    assert 0 < runs[0].count("NO") < 10


# ------------------------------------------------------------------- the connection


async def test_drop_all_ends_every_connection(outlook: OutlookServer, signed_in: Connected) -> None:
    connections = [await signed_in(outlook, ME) for _ in range(3)]
    await connections[0].ok(b"EXAMINE INBOX")
    connections[0].start(b"IDLE")
    assert (await connections[0].response()).startswith(b"+")
    assert outlook.drop_all() == 3
    for imap in connections:
        await cut_off(imap)


async def test_a_server_can_turn_everyone_away_and_come_back(
    outlook: OutlookServer, signed_in: Connected
) -> None:
    outlook.turns_away = True
    with suppress(ConnectionError):
        imap = await RawImap.connect("127.0.0.1", outlook.port)
        assert imap.greeting == b""
        await imap.close()
    outlook.clear_faults()
    await (await signed_in(outlook, ME)).ok(b"NOOP")


async def test_expired_sessions_are_told_so(outlook: OutlookServer, signed_in: Connected) -> None:
    imap = await signed_in(outlook, ME)
    await outlook.expire_sessions(ME)
    assert await imap.response() == b"* BYE Session invalidated - AccessTokenExpired\r\n"
    assert await imap.response() == b""


async def test_a_session_does_not_outlive_its_token(outlook: OutlookServer, tokens: TokenEndpoint) -> None:
    imap = await RawImap.connect("127.0.0.1", outlook.port)
    assert (await imap.xoauth2(ME, tokens.issue(ME, lifetime=0.05))).status == "OK"
    assert (await imap.response()).startswith(b"* BYE Session")
    await imap.close()


async def test_a_silent_server_neither_answers_nor_hangs_up(
    outlook: OutlookServer, signed_in: Connected
) -> None:
    imap = await signed_in(outlook, ME)
    outlook.fall_silent()
    tag = imap.start(b"NOOP")
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await imap.response()
    outlook.speak()
    assert (await imap.finish(tag)).status == "OK"


async def test_one_command_can_be_met_with_silence(outlook: OutlookServer, signed_in: Connected) -> None:
    imap = await signed_in(outlook, ME)
    outlook.script(Fault("APPEND", Act.SILENCE))
    imap.start(b"APPEND INBOX {5}")
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await imap.response()
    assert outlook.connections == 1


@pytest.mark.parametrize("missing", [1, 2, 3, len(MAIL) // 2, len(MAIL) + 2, len(MAIL) + 9])
async def test_an_append_cut_before_its_last_byte_left_nothing(
    outlook: OutlookServer, signed_in: Connected, missing: int
) -> None:
    imap = await signed_in(outlook, ME)
    command = b"a9 APPEND INBOX {%d+}\r\n%s\r\n" % (len(MAIL), MAIL)
    outlook.cut(ME, received=len(command) - missing)
    imap.write(command)
    await cut_off(imap)
    assert bodies(outlook) == []


async def test_an_append_whose_answer_was_cut_is_stored(outlook: OutlookServer, signed_in: Connected) -> None:
    imap = await signed_in(outlook, ME)
    outlook.cut(ME, sent=1)
    imap.start(b"APPEND INBOX {%d+}\r\n%s" % (len(MAIL), MAIL))
    assert len(await imap.response()) == 1
    assert bodies(outlook) == [MAIL]


async def test_an_answer_can_be_cut_at_any_byte(tokens: TokenEndpoint) -> None:
    async with OutlookServer(SystemClock(), tokens=tokens) as server:
        for sent in (1, 5, 40):
            server.cut_next(sent=sent)
            reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
            assert len(await reader.read()) == sent
            writer.close()


async def test_answers_can_come_byte_by_byte(tokens: TokenEndpoint, signed_in: Connected) -> None:
    async with OutlookServer(
        SystemClock(), tokens=tokens, personality=replace(OUTLOOK, bytewise=True)
    ) as server:
        imap = await signed_in(server, ME)
        server.deliver(ME, MAIL)
        await imap.ok(b"EXAMINE INBOX")
        assert MAIL in (await imap.ok(b"UID FETCH 1 (BODY.PEEK[])")).untagged[0]


async def test_closing_the_server_ends_connections_in_whatever_they_do(
    tokens: TokenEndpoint, signed_in: Connected
) -> None:
    async with OutlookServer(SystemClock(), tokens=tokens) as server:
        idle, reading = await signed_in(server, ME), await signed_in(server, ME)
        idle.start(b"IDLE")
        assert (await idle.response()).startswith(b"+")
        reading.start(b"APPEND INBOX {100}")
        assert (await reading.response()).startswith(b"+")
        greeted = await RawImap.connect("127.0.0.1", server.port)
    assert server.connections == 0
    for imap in (idle, reading, greeted):
        await cut_off(imap)
    await greeted.close()
