"""Sources that answer in odd ways when they are listed and read."""

from __future__ import annotations

import asyncio
from random import Random

import pytest
from scripts import BASIC, LOGIN, Line, served, source

from mailsyncd.account import Endpoint
from mailsyncd.errors import ConnectionLost, FailureKind, MessageRejected, RouteBlocked, Transient
from mailsyncd.imap.gmail import GmailSource
from mailsyncd.imap.pace import Pace
from mailsyncd.model import Listing
from mailsyncd.observe.clock import SystemClock

DATE = '"17-Jul-2019 09:40:08 +0000"'


async def opened(line: Line, capabilities: str = BASIC) -> None:
    await line.greet(capabilities)
    await line.examine(exists=9, uidnext=10)


async def test_a_listing_in_pieces_in_any_order_is_put_together() -> None:
    async def script(line: Line) -> None:
        await opened(line, f"{BASIC} X-GM-EXT-1")
        tag = await line.expect("UID FETCH 3,5 (UID RFC822.SIZE INTERNALDATE X-GM-MSGID X-GM-THRID)")
        line.say(
            "* 1 FETCH (FLAGS (\\Seen) UID 4)",
            f"* 3 FETCH (INTERNALDATE {DATE} X-GM-THRID 77 X-GM-MSGID 18446744073709551615 UID 5)",
            "* 3 FETCH (RFC822.SIZE 12 UID 5)",
            f"{tag} OK",
        )
        await line.until_closed()

    async with served(script) as port, source(port).session() as session:
        listed = await session.describe([5, 3])
    assert listed == [Listing(5, 12, DATE.strip('"'), "18446744073709551615", "77")]


async def test_the_newest_above_what_is_known_are_listed_in_one_round_trip() -> None:
    async def script(line: Line) -> None:
        await opened(line)
        tag = await line.expect("UID FETCH 10:* ")
        line.say(
            *(f"* {n} FETCH (UID {n} RFC822.SIZE 1 INTERNALDATE {DATE})" for n in (11, 9, 10)), f"{tag} OK"
        )
        await line.until_closed()

    async with served(script) as port, source(port).session() as session:
        assert [one.uid for one in await session.newest(9)] == [10, 11]
        assert session.mailbox.uidnext == 12


async def test_short_bodies_come_in_the_same_flight_as_the_listing_of_new_mail() -> None:
    async def script(line: Line) -> None:
        await opened(line)
        tag = await line.expect("UID FETCH 10:* ")
        early = await line.expect("UID FETCH 10:17 (UID BODY.PEEK[]<0.65536>)")
        line.say(*(f"* {n} FETCH (UID {n} RFC822.SIZE 1 INTERNALDATE {DATE})" for n in (10, 11, 12)))
        line.say(f"{tag} OK", '* 10 FETCH (UID 10 BODY[]<0> "short")', "* 11 FETCH (UID 11 BODY[]<0> {65536}")
        line.writer.write(b"x" * 65_536 + b")\r\n")
        line.say("* 12 FETCH (BODY[]<0> NIL UID 12)", '* 9 FETCH (UID 9 BODY[]<0> "known")', f"{early} OK")
        tag = await line.expect("UID FETCH 11:12 (UID BODY.PEEK[])")
        line.say('* 11 FETCH (UID 11 BODY[] "long")', '* 12 FETCH (UID 12 BODY[] "there")', f"{tag} OK")
        tag = await line.expect("UID FETCH 10 (UID BODY.PEEK[])")
        line.say('* 10 FETCH (UID 10 BODY[] "again")', f"{tag} OK")
        await line.until_closed()

    async with served(script) as port, source(port).session() as session:
        assert [one.uid for one in await session.newest(9)] == [10, 11, 12]
        assert [one async for one in session.read([10, 11, 12])] == [
            (10, b"short"),
            (11, b"long"),
            (12, b"there"),
        ]
        assert [one async for one in session.read([10])] == [(10, b"again")]


async def test_no_more_of_a_body_is_asked_for_than_a_message_may_have() -> None:
    """Or a message that is too large would end the connection, again and again."""

    async def script(line: Line) -> None:
        await opened(line)
        tag = await line.expect("UID FETCH 10:* ")
        early = await line.expect("UID FETCH 10:17 (UID BODY.PEEK[]<0.1000>)")
        line.say(f"* 1 FETCH (UID 10 RFC822.SIZE 2000 INTERNALDATE {DATE})", f"{tag} OK")
        line.say("* 1 FETCH (UID 10 BODY[]<0> {1000}", "x" * 1000 + ")", f"{early} OK")
        await line.until_closed()

    async with served(script) as port, source(port, max_literal=1000).session() as session:
        assert [one.size for one in await session.newest(9)] == [2000]


async def test_a_server_that_refuses_early_bodies_is_not_asked_for_them_again() -> None:
    async def script(line: Line) -> None:
        await opened(line)
        for uid in (10, 11):
            tag = await line.expect(f"UID FETCH {uid}:* ")
            line.say(f"* 1 FETCH (UID {uid} RFC822.SIZE 1 INTERNALDATE {DATE})", f"{tag} OK")
            if uid == 10:
                line.say(f"{await line.expect('UID FETCH 10:17 (UID BODY.PEEK[]<0.')} BAD no parts")
        tag = await line.expect("UID FETCH 10:11 (UID BODY.PEEK[])")
        line.say('* 1 FETCH (UID 10 BODY[] "a")', '* 2 FETCH (UID 11 BODY[] "b")', f"{tag} OK")
        await line.until_closed()

    async with served(script) as port, source(port).session() as session:
        assert [one.uid for one in await session.newest(9)] == [10]
        assert [one.uid for one in await session.newest(10)] == [11]
        assert [one async for one in session.read([10, 11])] == [(10, b"a"), (11, b"b")]


async def test_bodies_on_their_way_to_a_reader_are_not_kept_for_a_lister() -> None:
    """Both are answered by FETCH: the lister must not hold the reader's bodies."""

    async def script(line: Line) -> None:
        await opened(line)
        read = await line.expect("UID FETCH 1:8 (UID BODY.PEEK[])")
        describe = await line.expect("UID FETCH 1 (UID RFC822.SIZE")
        for n in range(1, 9):
            line.say(f"* {n} FETCH (UID {n} BODY[] {{9000000}}")
            line.writer.write(b"x" * 9_000_000)
            line.say(")")
        line.say(f"{read} OK", f"* 1 FETCH (UID 1 RFC822.SIZE 9000000 INTERNALDATE {DATE})", f"{describe} OK")
        await line.until_closed()

    async with served(script) as port, source(port).session() as session:

        async def read_all() -> int:
            total = 0
            async for _, body in session.read(range(1, 9)):
                total += len(body)
            return total

        reading = asyncio.create_task(read_all())
        await asyncio.sleep(0)
        (listed,) = await session.describe([1])
        assert listed.size == 9_000_000
        assert await reading == 72_000_000


async def test_each_body_is_given_once_and_only_those_asked_for() -> None:
    async def script(line: Line) -> None:
        await opened(line)
        tag = await line.expect("UID FETCH 3:5 (UID BODY.PEEK[])")
        line.say(
            '* 1 FETCH (UID 3 BODY[] "")', '* 9 FETCH (UID 9 BODY[] "no")', '* 1 FETCH (BODY[] "again" UID 3)'
        )
        line.say("* 2 FETCH (BODY[] {4}", "a)", " UID 5)", f"{tag} OK")
        await line.until_closed()

    async with served(script) as port, source(port).session() as session:
        assert [one async for one in session.read([5, 4, 3])] == [(3, b""), (5, b"a)\r\n")]


async def test_nil_for_a_message_that_is_there_is_not_taken_for_vanished() -> None:
    async def script(line: Line) -> None:
        await opened(line)
        tag = await line.expect("UID FETCH 3")
        line.say("* 1 FETCH (UID 3 BODY[] NIL)", f"{tag} OK")
        await line.until_closed()

    async with served(script) as port, source(port).session() as session:
        with pytest.raises(MessageRejected, match="NIL") as caught:
            assert [one async for one in session.read([3])] == []
    assert caught.value.kind is FailureKind.SOURCE_UNREADABLE


@pytest.mark.parametrize(
    ("uids", "kind"), [([3], FailureKind.OVERSIZE), ([3, 4], FailureKind.SOURCE_UNREADABLE)]
)
async def test_a_body_beyond_the_limit_is_the_messages_fault_and_not_the_lines(
    uids: list[int], kind: FailureKind
) -> None:
    async def script(line: Line) -> None:
        await opened(line)
        await line.expect("UID FETCH 3")
        line.say("* 1 FETCH (UID 3 BODY[] {10000001}")
        await line.reader.read()

    async with served(script) as port, source(port).session() as session:
        with pytest.raises(MessageRejected, match="10,000,001") as caught:
            assert [one async for one in session.read(uids)] == []
        assert caught.value.kind is kind
        with pytest.raises(ConnectionLost):
            await session.search(0)


async def test_who_stops_reading_leaves_the_session_usable() -> None:
    async def script(line: Line) -> None:
        await opened(line)
        tag = await line.expect("UID FETCH 1:2")
        line.say('* 1 FETCH (UID 1 BODY[] "one")')
        search = await line.expect("UID SEARCH")
        line.say('* 2 FETCH (UID 2 BODY[] "two")', f"{tag} OK", "* SEARCH 1 2", f"{search} OK")
        await line.until_closed()

    async with served(script) as port, source(port).session() as session:
        bodies = session.read([1, 2])
        assert await anext(aiter(bodies)) == (1, b"one")
        await bodies.aclose()  # type: ignore[attr-defined]
        assert await session.search(0) == [1, 2]


async def test_another_uidvalidity_in_mid_session_ends_it() -> None:
    async def script(line: Line) -> None:
        await opened(line)
        await line.expect("UID SEARCH")
        line.say("* OK [UIDVALIDITY 8] changed")
        await line.reader.read()

    async with served(script) as port, source(port).session() as session:
        with pytest.raises(ConnectionLost, match="another UIDVALIDITY"):
            await session.search(0)


@pytest.mark.parametrize("answer", ["BAD Could not parse command", "NO [BADCHARSET (US-ASCII)] no"])
async def test_a_filter_that_is_not_understood_is_for_the_user_to_correct(answer: str) -> None:
    async def script(line: Line) -> None:
        await opened(line)
        tag = await line.expect("UID SEARCH UID 1:* FROM (")
        line.say(f"{tag} {answer}")
        tag = await line.expect("UID SEARCH UID 1:*")
        line.say(f"{tag} {answer}")
        await line.until_closed()

    async with served(script) as port, source(port).session() as session:
        with pytest.raises(RouteBlocked, match="Correct the route's filter"):
            await session.search(0, raw="FROM (")
        with pytest.raises(Transient):
            await session.search(0)


async def test_a_server_that_says_throttled_in_its_ok_is_given_rest() -> None:
    slept: list[float] = []

    class Clock(SystemClock):
        async def sleep(self, seconds: float) -> None:
            slept.append(seconds)

    async def script(line: Line) -> None:
        await opened(line)
        for text in ("[THROTTLED]", "[THROTTLED]", ""):
            tag = await line.expect("UID FETCH 1")
            line.say(f"{tag} OK Success {text}")
        tag = await line.expect("UID FETCH 1")
        line.say(f"{tag} OK")
        await line.until_closed()

    async with served(script) as port:
        throttled = GmailSource(
            Endpoint("127.0.0.1", port, tls=False),
            LOGIN,
            "INBOX",
            clock=Clock(),
            rng=Random(1),
            pace=Pace(SystemClock()),
            max_literal=10,
        )
        async with throttled.session() as session:
            for _ in range(4):
                assert await session.describe([1]) == []
    assert slept == [2.0, 4.0]
