"""What becomes of commands in flight: deadlines, loss, cancellation, and servers that hurry or dawdle."""

from __future__ import annotations

import asyncio
import logging
from base64 import b64encode

import pytest
from scripts import BASIC, Line, Script, served, sink, source
from test_source_dialogues import CHALLENGE, Tokens

from mailsyncd.account import Endpoint
from mailsyncd.errors import ConnectionLost, RouteBlocked, Sent, Transient
from mailsyncd.imap import commands, protocol
from mailsyncd.imap.commands import Literal, Wish
from mailsyncd.imap.dial import dial
from mailsyncd.imap.profiles import choose
from mailsyncd.imap.protocol import Connection
from mailsyncd.imap.session import TokenLogin
from mailsyncd.model import Wake

WHEN = "17-Jul-2019 09:40:08 +0000"
NAMES = Wish(("LIST",))


async def dialled(port: int, *, state: str = "SELECTED") -> Connection:
    """A connection with no session on it."""
    connection = await dial(Endpoint("127.0.0.1", port, tls=False), max_literal=1_000)
    connection.state = state
    return connection


def greeted(script: Script) -> Script:
    async def play(line: Line) -> None:
        line.say("* OK ready")
        await script(line)

    return play


async def test_a_server_that_hangs_up_while_much_is_still_to_be_sent_is_gone_at_once() -> None:
    """The transport would send what it holds to a server that only half closed, and stumble after."""
    trouble: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: trouble.append(context))
    drained = asyncio.Event()

    @greeted
    async def script(line: Line) -> None:
        await line.get()
        line.writer.write_eof()
        await asyncio.sleep(0.2)
        while await line.reader.read(1 << 20):
            pass
        drained.set()

    async with served(script) as port:
        connection = await dialled(port, state="AUTH")
        with pytest.raises(ConnectionLost, match="hung up"):
            await connection.execute("APPEND", "x", Literal(b"x" * 50_000_000, synchronising=False))
        await connection.close()
        await asyncio.wait_for(drained.wait(), 10)
    assert trouble == []


@pytest.mark.parametrize("how", ["reset", "end", "bye", "spoofed tag"])
async def test_a_lost_connection_fails_all_that_is_pending_and_refuses_the_rest(how: str) -> None:
    @greeted
    async def script(line: Line) -> None:
        for _ in range(3):
            await line.get()
        if how == "reset":
            line.writer.transport.abort()
        elif how == "bye":
            line.say("* BYE enough")
        elif how == "spoofed tag":
            line.say("A999 OK never asked")
        if how in ("bye", "spoofed tag"):
            await line.reader.read()

    async with served(script) as port:
        connection = await dialled(port)
        pending = [
            asyncio.create_task(connection.execute(name)) for name in ("NOOP", "UID SEARCH", "CAPABILITY")
        ]
        async with asyncio.timeout(5):
            results = await asyncio.gather(*pending, return_exceptions=True)
        assert [type(one) for one in results] == [ConnectionLost] * 3
        assert not connection.busy
        with pytest.raises(ConnectionLost):
            await connection.execute("NOOP")


async def test_a_command_without_an_answer_ends_the_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "COMMAND_TIMEOUT", 0.05)

    @greeted
    async def script(line: Line) -> None:
        await line.reader.read()

    async with served(script) as port:
        connection = await dialled(port)
        with pytest.raises(ConnectionLost, match="no answer to NOOP"):
            await connection.execute("NOOP", timeout=0.05)
        assert connection.why_lost


async def test_a_command_whose_caller_left_is_watched_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "COMMAND_TIMEOUT", 0.05)
    gone = asyncio.Event()

    @greeted
    async def script(line: Line) -> None:
        await line.reader.read()
        gone.set()

    async with served(script) as port:
        connection = await dialled(port)
        command = await connection.begin("NOOP", timeout=0.05)
        left = asyncio.create_task(connection.finish(command))
        await asyncio.sleep(0)
        left.cancel()
        await asyncio.wait_for(gone.wait(), 5)
        assert connection.why_lost


async def test_the_answer_to_a_caller_who_left_is_taken_in_when_it_comes() -> None:
    asked = asyncio.Event()

    @greeted
    async def script(line: Line) -> None:
        first = await line.expect("LIST")
        asked.set()
        second = await line.expect("LIST")
        line.say('* LIST () "/" one', f"{first} OK", '* LIST () "/" two', f"{second} OK")
        await line.until_closed()

    async with served(script) as port:
        connection = await dialled(port)
        left = asyncio.create_task(connection.execute("LIST", '""', "one", wish=NAMES))
        await asked.wait()
        left.cancel()
        reply = await connection.execute("LIST", '""', "two", wish=NAMES)
        assert [one.text for one in reply.untagged] == [b'* LIST () "/" two']
        await connection.close()


async def test_an_answer_in_the_very_moment_in_which_its_caller_leaves_harms_nobody() -> None:
    """A task that is cancelled hears of it one turn of the event loop later."""

    @greeted
    async def script(line: Line) -> None:
        await line.expect("NOOP")
        line.say(f"{await line.expect('NOOP')} OK")
        await line.until_closed()

    async with served(script) as port:
        connection = await dialled(port)
        asked = await connection.begin("NOOP")
        left = asyncio.create_task(connection.finish(asked))
        await asyncio.sleep(0)
        left.cancel()
        connection.data_received(asked.tag + b" OK\r\n")
        with pytest.raises(asyncio.CancelledError):
            await left
        assert (await connection.execute("NOOP")).status.kind == "OK"
        await connection.close()


async def test_an_append_whose_caller_left_ends_the_connection() -> None:
    asked = asyncio.Event()

    @greeted
    async def script(line: Line) -> None:
        await line.expect("APPEND")
        asked.set()
        await line.reader.read()

    async with served(script) as port:
        connection = await dialled(port)
        left = asyncio.create_task(connection.execute("APPEND", "x", Literal(b"body")))
        other = asyncio.create_task(connection.execute("NOOP"))
        await asked.wait()
        left.cancel()
        with pytest.raises(ConnectionLost, match="APPEND was cancelled"):
            await other


async def test_closing_that_is_cancelled_closes_all_the_same() -> None:
    gone = asyncio.Event()
    asked = asyncio.Event()

    @greeted
    async def script(line: Line) -> None:
        await line.expect("LOGOUT")
        asked.set()
        assert await line.reader.read() == b""
        gone.set()

    async with served(script) as port:
        closing = asyncio.create_task((await dialled(port)).close())
        await asked.wait()
        closing.cancel()
        await asyncio.wait_for(gone.wait(), 5)


async def test_a_second_literal_is_kept_back_when_the_first_was_refused() -> None:
    @greeted
    async def script(line: Line) -> None:
        tag = await line.expect("LOGIN {3}")
        line.say("+ go on")
        assert await line.literal(3) == b"ann"
        line.say(f"{tag} NO not here")
        rest = await line.reader.readuntil(b"\r\n")
        assert b"secret" not in rest
        await line.until_closed()

    async with served(script) as port:
        connection = await dialled(port, state="NONAUTH")
        command = asyncio.create_task(connection.execute("LOGIN", Literal(b"ann"), Literal(b"secret")))
        async with asyncio.timeout(5):
            assert (await command).status.kind == "NO"
        await connection.close()


async def test_an_append_that_is_answered_before_its_body_ends_the_session() -> None:
    @greeted
    async def script(line: Line) -> None:
        tag = await line.expect("APPEND")
        line.say("+ go on", f"{tag} NO after all not")
        assert b"body" not in await line.reader.read()

    async with served(script) as port:
        connection = await dialled(port)
        reply = await connection.execute("APPEND", "x", Literal(b"body"))
        assert reply.status.kind == "NO"
        assert "before it was complete" in str(connection.why_lost)


async def test_a_refusal_that_does_not_wait_for_our_empty_line_is_no_reason_to_hang() -> None:
    async def script(line: Line) -> None:
        line.say("* OK [CAPABILITY IMAP4rev1 SASL-IR AUTH=XOAUTH2] ready")
        tag, _ = await line.get()
        line.say(f"+ {CHALLENGE}", f"{tag} NO AUTHENTICATE failed.")
        await line.until_closed()

    async with served(script) as port, asyncio.timeout(5):
        with pytest.raises(RouteBlocked, match="AUTHENTICATE failed"):
            async with source(port, TokenLogin("ann", Tokens("first", "second"))).session():
                pass


async def test_challenges_come_to_an_end() -> None:
    async def script(line: Line) -> None:
        line.say("* OK [CAPABILITY IMAP4rev1 SASL-IR AUTH=XOAUTH2] ready")
        await line.get()
        while True:
            line.say("+ more")
            await line.get()

    async with served(script) as port, asyncio.timeout(5):
        with pytest.raises(ConnectionLost, match="come to an end"):
            async with source(port, TokenLogin("ann", Tokens("token"))).session():
                pass


@pytest.mark.parametrize("form", ["plain", "base64", "piece"])
async def test_a_server_that_repeats_the_token_does_not_get_it_into_an_error_or_a_log(
    form: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    token = "ya29.a0AfH6SMBxSecretSecretSecret"
    encoded = b64encode(f"user=ann\1auth=Bearer {token}\1\1".encode()).decode()
    shown = {"plain": token, "base64": encoded, "piece": encoded[5:40]}[form]

    async def script(line: Line) -> None:
        line.say("* OK [CAPABILITY IMAP4rev1 SASL-IR AUTH=XOAUTH2] ready")
        tag, _ = await line.get()
        line.say(f"{tag} NO cannot understand AUTHENTICATE XOAUTH2 {shown} here")
        await line.until_closed()

    async with served(script) as port:
        with pytest.raises(
            RouteBlocked, match=r"cannot understand AUTHENTICATE XOAUTH2 \*\*\* here"
        ) as caught:
            async with source(port, TokenLogin("ann", Tokens(token))).session():
                pass
    said = str(caught.value) + str(caught.value.__cause__) + caplog.text
    assert "SecretSecret" not in said
    assert shown not in said


async def test_only_the_token_that_was_refused_is_rejected() -> None:
    tokens = Tokens("stale", "fresh")

    async def refuse(line: Line) -> None:
        line.say("* OK [CAPABILITY IMAP4rev1 SASL-IR AUTH=XOAUTH2] ready")
        tag, _ = await line.get()
        tokens.tokens.pop(0)  # another route of this account has refreshed it meanwhile
        line.say(f"{tag} NO AUTHENTICATE failed.")
        await line.until_closed()

    async def accept(line: Line) -> None:
        line.say("* OK [CAPABILITY IMAP4rev1 SASL-IR AUTH=XOAUTH2] ready")
        tag, _ = await line.get()
        line.say(f"{tag} OK [CAPABILITY IMAP4rev1] in")
        await line.examine()
        await line.until_closed()

    async with served(refuse, accept) as port, source(port, TokenLogin("ann", tokens)).session():
        pass
    assert tokens.rejected == ["stale"]


async def test_an_id_is_not_waited_for_and_does_no_harm_where_the_server_does_not_like_it() -> None:
    async def script(line: Line) -> None:
        await line.greet(f"{BASIC} ID")
        tag = await line.expect('ID ("name" "mailsyncd" "version" ')
        opening = await line.expect("EXAMINE")
        line.say(
            f"{tag} BAD what?", "* 2 EXISTS", "* OK [UIDVALIDITY 7]", "* OK [UIDNEXT 3]", f"{opening} OK"
        )
        await line.until_closed()

    async with served(script) as port, source(port).session() as session:
        assert session.mailbox.exists == 2


async def test_idle_that_ends_by_itself_at_once_leaves_no_stray_done() -> None:
    async def script(line: Line) -> None:
        await line.greet()
        await line.examine(exists=1, uidnext=2)
        idle = await line.expect("IDLE")
        line.say("+ idling", f"{idle} OK that was it")
        tag, rest = await line.get()
        assert tag != "DONE"
        if rest == "IDLE":
            line.say("+ idling", "* 2 EXISTS")
            assert await line.get() == ("DONE", "")
            line.say(f"{tag} OK")
        await line.until_closed()

    async with served(script) as port, source(port).session() as session:
        assert await session.wait(60) is Wake.NEWS


async def test_idle_is_renewed_even_if_nothing_was_asked_in_between() -> None:
    renewed = asyncio.Event()

    async def script(line: Line) -> None:
        await line.greet()
        await line.examine()
        idle = await line.expect("IDLE")
        line.say("+ idling")
        assert await line.get() == ("DONE", "")
        line.say(f"{idle} OK")
        await line.expect("IDLE")
        line.say("+ idling", "* 1 EXISTS")
        renewed.set()
        await line.until_closed()

    async with served(script) as port, source(port, idle_renewal=0.1).session() as session:
        assert await session.wait(60) is Wake.TIMEOUT
        while not renewed.is_set():
            await session.wait(60)
        assert await session.wait(60) is Wake.NEWS


async def test_recent_alone_is_news_too() -> None:
    async def script(line: Line) -> None:
        await line.greet()
        await line.examine(exists=1, uidnext=2)
        await line.expect("IDLE")
        line.say("+ idling", "* 1 RECENT")
        await line.until_closed()

    async with served(script) as port, source(port).session() as session:
        assert await session.wait(60) is Wake.NEWS


async def test_a_flood_of_what_nobody_asked_for_ends_the_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commands, "MOST_UNASKED", 1_000)

    @greeted
    async def script(line: Line) -> None:
        await line.get()
        line.writer.write(b"* OK still here\r\nrubbish\r\n+ unasked\r\n" * 1_000)
        await line.reader.read()

    async with served(script) as port:
        connection = await dialled(port)
        with pytest.raises(ConnectionLost, match="flood"):
            await connection.execute("NOOP")


async def test_early_literals_are_never_used_where_the_server_does_not_offer_them() -> None:
    async def script(line: Line) -> None:
        await line.greet()
        tag = await line.expect("LIST")
        line.say('* LIST () "/" ""', f"{tag} OK")
        tag, rest = await line.get()
        assert rest.endswith("{4}")
        line.say("+ go on")
        await line.literal(6)
        line.say(f"{tag} OK")
        await line.until_closed()

    async with served(script) as port, sink(port, choose("localhost", literals="plus")).session() as session:
        await session.append("F", b"body", WHEN, seen=False)


async def test_no_host_and_no_server_are_told_with_the_reason() -> None:
    server = await asyncio.start_server(lambda reader, writer: None, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    server.close()
    await server.wait_closed()
    with pytest.raises(Transient, match=f"127.0.0.1:{port}: .*(refused|Connect call failed)"):
        await dial(Endpoint("127.0.0.1", port, tls=False), max_literal=1)


async def test_a_cut_before_the_last_byte_left_nothing_and_the_next_in_line_too() -> None:
    @greeted
    async def script(line: Line) -> None:
        await line.expect("APPEND")
        line.say("+ go on")
        await line.literal(100)
        line.writer.transport.abort()

    async with served(script) as port:
        connection = await dialled(port)
        both = [
            asyncio.create_task(connection.execute("APPEND", "x", Literal(b"x" * size)))
            for size in (50_000_000, 3)
        ]
        results = await asyncio.gather(*both, return_exceptions=True)
        assert [one.sent for one in results if isinstance(one, ConnectionLost)] == [Sent.NOTHING] * 2
