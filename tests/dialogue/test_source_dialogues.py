"""Sources with manners of their own."""

from __future__ import annotations

import asyncio
import logging

import pytest
from scripts import BASIC, Line, served, source, unbase64

from mailsyncd.errors import ConnectionLost, MessageRejected, RouteBlocked, Throttled, Transient
from mailsyncd.imap.session import TokenLogin
from mailsyncd.model import Mailbox, Wake

CHALLENGE = "eyJzdGF0dXMiOiI0MDAiLCJzY2hlbWVzIjoiQmVhcmVyIiwic2NvcGUiOiJodHRwczovL21haWwuZ29vZ2xlLmNvbS8ifQ=="


class Tokens:
    """Hands out what it was given; a rejected token is followed by the next."""

    def __init__(self, *tokens: str) -> None:
        self.tokens = list(tokens)
        self.rejected: list[str] = []

    async def token(self) -> str:
        return self.tokens[0]

    def reject(self, token: str) -> None:
        self.rejected.append(token)
        if len(self.tokens) > 1:
            self.tokens.pop(0)

    def lifetime(self) -> float | None:
        return 3600.0


async def test_gmails_refusal_challenge_is_answered_and_a_fresh_token_tried_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)

    async def refuse(line: Line) -> None:
        line.say("* OK Gimap ready")
        tag = await line.expect("CAPABILITY")
        line.say("* CAPABILITY IMAP4rev1 SASL-IR AUTH=XOAUTH2", f"{tag} OK Thats all she wrote!")
        tag, rest = await line.get()
        assert unbase64(rest.split()[2]) == "user=ann\1auth=Bearer ya29.stale-secret\1\1"
        line.say(f"+ {CHALLENGE}")
        assert await line.get() == ("", "")
        line.say(f"{tag} NO [AUTHENTICATIONFAILED] Invalid credentials (Failure)")
        await line.until_closed()

    tokens = Tokens("ya29.stale-secret", "ya29.other-secret")
    async with served(refuse, _refuse_any) as port:
        with pytest.raises(RouteBlocked) as caught:
            async with source(port, TokenLogin("ann", tokens)).session():
                pass
    assert tokens.rejected == ["ya29.stale-secret"]
    assert "status 400" in str(caught.value)
    assert "secret" not in str(caught.value) + caplog.text


async def _refuse_any(line: Line) -> None:
    line.say("* OK [CAPABILITY IMAP4rev1 SASL-IR AUTH=XOAUTH2] ready")
    tag, _ = await line.get()
    line.say(f"+ {CHALLENGE}")
    await line.get()
    line.say(f"{tag} NO [AUTHENTICATIONFAILED] Invalid credentials (Failure)")
    await line.until_closed()


async def test_without_sasl_ir_the_response_waits_for_the_servers_plus() -> None:
    async def script(line: Line) -> None:
        line.say("* OK [CAPABILITY IMAP4rev1 AUTH=XOAUTH2] ready")
        tag = await line.expect("AUTHENTICATE XOAUTH2")
        line.say("+ ")
        initial, _ = await line.get()
        assert unbase64(initial) == "user=ann\1auth=Bearer t\1\1"
        line.say(f"{tag} OK in")
        tag = await line.expect("CAPABILITY")
        line.say("* CAPABILITY IMAP4rev1 IDLE", f"{tag} OK")
        await line.examine()
        await line.until_closed()

    async with served(script) as port, source(port, TokenLogin("ann", Tokens("t"))).session() as session:
        assert session.mailbox.uidvalidity == 7
        assert session.ends_mono is not None


async def test_oauthbearer_is_used_where_xoauth2_is_not_offered() -> None:
    async def script(line: Line) -> None:
        line.say("* OK [CAPABILITY IMAP4rev1 SASL-IR AUTH=OAUTHBEARER] ready")
        tag, rest = await line.get()
        assert unbase64(rest.split()[2]).startswith("n,a=ann,\1host=127.0.0.1\1port=")
        line.say(f"{tag} OK [CAPABILITY IMAP4rev1] in")
        await line.examine()
        await line.until_closed()

    async with served(script) as port, source(port, TokenLogin("ann", Tokens("t"))).session() as session:
        assert session.mailbox.exists == 0


async def test_a_server_without_uidnext_is_asked_for_its_highest_uid() -> None:
    async def script(line: Line) -> None:
        await line.greet()
        tag = await line.expect("EXAMINE")
        line.say("* 2 EXISTS", "* OK [UIDVALIDITY 7] .", f"{tag} OK")
        tag = await line.expect('STATUS "INBOX" (UIDNEXT)')
        line.say(f"{tag} NO not while it is open")
        tag = await line.expect("UID SEARCH ALL")
        line.say("* SEARCH 4 9", f"{tag} OK")
        await line.until_closed()

    async with served(script) as port, source(port).session() as session:
        assert session.mailbox == Mailbox(7, 10, 2, is_exact=False)


async def test_a_hundred_thousand_uids_are_searched_and_described() -> None:
    count = 100_000

    async def script(line: Line) -> None:
        await line.greet()
        await line.examine(exists=count, uidnext=2 * count)
        tag = await line.expect("UID SEARCH UID 1:*")
        line.say("* SEARCH " + " ".join(str(2 * n + 1) for n in range(count)), f"{tag} OK")
        described = 0
        while described < count:
            tag, rest = await line.get()
            assert len(rest) < 8_000
            uids = [int(uid) for uid in rest.split()[2].split(",")]
            described += len(uids)
            line.say(
                *(
                    f'* {n} FETCH (UID {n} RFC822.SIZE 5 INTERNALDATE "17-Jul-2019 09:40:08 +0000")'
                    for n in uids
                ),
                f"{tag} OK",
            )
        await line.until_closed()

    async with served(script) as port, source(port).session() as session:
        uids = await session.search(0)
        assert len(uids) == count
        assert len(await session.describe(uids)) == count


async def test_news_in_the_middle_of_any_command_is_not_lost() -> None:
    async def script(line: Line) -> None:
        await line.greet()
        await line.examine(exists=3, uidnext=4)
        tag = await line.expect("UID SEARCH")
        line.say("* SEARCH 1 2 3", f"{tag} OK")
        tag = await line.expect("UID FETCH 3")
        line.say("* 3 FETCH (FLAGS (\\Seen) UID 3)", "* 4 EXISTS", f"{tag} OK")
        await line.until_closed()

    async with served(script) as port, source(port).session() as session:
        await session.search(0)
        assert [one async for one in session.read([3])] == []
        assert await session.wait(60) is Wake.NEWS


async def test_idle_is_ended_in_the_same_flight_and_resumed_after() -> None:
    idling = asyncio.Event()

    async def script(line: Line) -> None:
        await line.greet()
        await line.examine(exists=1, uidnext=2)
        idle = await line.expect("IDLE")
        line.say("+ idling")
        idling.set()
        both = await line.reader.read(1000)
        assert both.startswith(b"DONE\r\n")
        tag = both.split()[1].decode()
        line.say(f"{idle} OK done", "* SEARCH 1", f"{tag} OK")
        idle = await line.expect("IDLE")
        line.say("* 2 EXISTS", "+ idling late")
        assert (await line.get())[0] == "DONE"
        line.say(f"{idle} OK")
        await line.until_closed()

    async with served(script) as port, source(port).session() as session:
        waiter = asyncio.create_task(session.wait(60))
        await idling.wait()
        assert await session.search(0) == [1]
        assert await waiter is Wake.NEWS


async def test_a_server_without_idle_is_polled() -> None:
    async def script(line: Line) -> None:
        await line.greet("IMAP4rev1")
        await line.examine()
        for news in ([], ["* 1 EXISTS"]):
            tag = await line.expect("NOOP")
            line.say(*news, f"{tag} OK")
        await line.until_closed()

    async with served(script) as port, source(port, poll_interval=0.01).session() as session:
        assert await session.wait(60) is Wake.NEWS


async def test_bye_and_a_lost_connection_wake_whoever_waits() -> None:
    async def bye(line: Line) -> None:
        await line.greet()
        await line.examine()
        await line.expect("IDLE")
        line.say("+ idling", "* BYE Session expired, please login again.")

    async with served(bye) as port:
        with pytest.raises(ConnectionLost, match="Session expired"):
            async with source(port).session() as session:
                await session.wait(60)
        with pytest.raises(ConnectionLost):
            await session.search(0)


async def test_too_many_connections_is_a_pause_and_not_a_bad_password() -> None:
    async def script(line: Line) -> None:
        line.say("* OK [CAPABILITY IMAP4rev1] ready")
        tag, _ = await line.get()
        line.say(f"{tag} NO [ALERT] Too many simultaneous connections. (Failure)")
        await line.until_closed()

    async with served(script) as port:
        with pytest.raises(Throttled):
            async with source(port).session():
                pass


@pytest.mark.parametrize(
    ("hostile", "said"),
    [
        (b"* 1 FETCH (BODY[] {4294967296}\r\n", "literal of 4,294,967,296"),
        (b"A" * (17 << 20), "line of more than"),
        (b"X1 OK not yours\r\n", "never given"),
        (b"<html BAD Command Error. 10\r\n", "never given"),
        (b"Server Unavailable. 15\r\n", "Server Unavailable"),
        (b"* 1 FETCH " + b"(" * 5_000 + b"\r\n", "deep"),
    ],
)
async def test_hostile_input_ends_the_connection_with_a_reason(hostile: bytes, said: str) -> None:
    async def script(line: Line) -> None:
        await line.greet()
        await line.examine(exists=1, uidnext=2)
        tag = await line.expect("UID FETCH")
        line.writer.write(hostile)
        line.say(f"{tag} OK")
        await line.reader.read()

    async with served(script) as port:
        with pytest.raises(Transient, match=said):
            async with source(port).session() as session:
                await session.describe([1])


async def test_a_flood_of_untagged_lines_is_taken_without_harm() -> None:
    async def script(line: Line) -> None:
        await line.greet()
        await line.examine(exists=1, uidnext=2)
        tag = await line.expect("UID FETCH")
        line.writer.write(
            b"* 1 EXPUNGE\r\n* OK still here\r\nrubbish\r\n[COPYUID 55 31 6]\r\n+ unasked\r\n" * 20_000
        )
        line.say(f"{tag} OK")
        await line.until_closed()

    async with served(script) as port, source(port).session() as session:
        assert await session.describe([1]) == []


async def test_a_message_that_can_never_be_fetched_is_told_from_a_lost_line() -> None:
    async def script(line: Line) -> None:
        await line.greet()
        await line.examine(exists=1, uidnext=2)
        tag = await line.expect("UID FETCH 1 (UID BODY.PEEK[])")
        line.say(f"{tag} NO Some messages could not be FETCHed (Failure)")
        await line.until_closed()

    async with served(script) as port, source(port).session() as session:
        with pytest.raises(MessageRejected):
            async for _ in session.read([1]):
                pass


async def test_nothing_but_the_allowed_commands_can_be_sent() -> None:
    async def script(line: Line) -> None:
        await line.greet()
        await line.examine()
        await line.until_closed()

    async with served(script) as port, source(port).session() as session:
        for name in ("SELECT", "UID STORE", "STORE", "APPEND", "EXPUNGE", "UID MOVE", "CREATE"):
            with pytest.raises(AssertionError, match="not among the commands"):
                await session._connection.execute(name)


async def test_a_filter_goes_out_as_a_gmail_query_or_as_search_keys() -> None:
    def script(capability: str, expected: str) -> object:
        async def play(line: Line) -> None:
            await line.greet(f"{BASIC} {capability}".strip())
            await line.examine()
            tag, rest = await line.get()
            assert rest == expected
            line.say("* SEARCH", f"{tag} OK")
            await line.until_closed()

        return play

    gmail = script("X-GM-EXT-1", 'UID SEARCH UID 6:* X-GM-RAW "-category:promotions \\"x y\\""')
    plain = script("", 'UID SEARCH UID 6:* UNSEEN FROM "a"')
    async with served(gmail) as port, source(port).session() as session:  # type: ignore[arg-type]
        assert await session.search(5, raw='-category:promotions "x y"') == []
    async with served(plain) as port, source(port).session() as session:  # type: ignore[arg-type]
        assert await session.search(5, raw='UNSEEN FROM "a"') == []
