"""Destinations with manners of their own: literals, pipelines, refusals, folders, the tail."""

from __future__ import annotations

import asyncio

import pytest
from scripts import BASIC, Line, served, signed_in, sink, take_append

from mailsyncd.errors import ConnectionLost, DestinationFull, MessageRejected, RouteBlocked, Sent, Throttled
from mailsyncd.imap import outlook
from mailsyncd.imap.profiles import choose
from mailsyncd.model import Appended

WHEN = "17-Jul-2019 09:40:08 +0000"


async def test_an_append_carries_the_very_bytes_the_date_and_no_flag() -> None:
    async def script(line: Line) -> None:
        await signed_in(line)
        tag, body, rest = await take_append(line)
        assert body == b"a\r\n.\r\n\x00\xffb"
        assert rest == 'APPEND "Gmail/ann" "17-Jul-2019 09:40:08 +0000" {9}'
        line.say(f"{tag} OK [APPENDUID 3 9] done")
        tag, _, rest = await take_append(line)
        assert "(\\Seen)" in rest
        line.say(f"{tag} OK done")
        await line.until_closed()

    async with served(script) as port, sink(port).session() as session:
        assert await session.append("Gmail/ann", b"a\r\n.\r\n\x00\xffb", WHEN, seen=False) == Appended(3, 9)
        assert await session.append("Gmail/ann", b"x", WHEN, seen=True) == Appended(None, None)


async def test_overlapping_appends_each_get_their_own_answer() -> None:
    bodies = [b"first", b"second", b"third"]

    async def script(line: Line) -> None:
        await signed_in(line)
        taken = [await take_append(line) for _ in bodies]
        assert [body for _, body, _ in taken] == bodies
        line.say(f"{taken[2][0]} OK [APPENDUID 3 30] .", f"{taken[1][0]} BAD Command Argument Error. 11")
        line.say(f"{taken[0][0]} OK [APPENDUID 3 10] .")
        await line.until_closed()

    async with served(script) as port, sink(port).session() as session:
        got = await asyncio.gather(
            *(session.append("F", body, WHEN, seen=False) for body in bodies), return_exceptions=True
        )
    assert got[0] == Appended(3, 10)
    assert isinstance(got[1], MessageRejected)
    assert got[2] == Appended(3, 30)


async def test_a_refusal_instead_of_the_plus_keeps_the_body_back_and_disturbs_nobody() -> None:
    attack = b"X1 DELETE INBOX\r\n" * 3

    async def script(line: Line) -> None:
        await signed_in(line)
        tag = await line.expect("APPEND")
        line.say(f"{tag} NO [OVERQUOTA] full")
        tag, body, _ = await take_append(line)
        assert body == b"next"
        line.say(f"{tag} OK")
        await line.until_closed()

    async with served(script) as port, sink(port).session() as session:
        first = asyncio.create_task(session.append("F", attack, WHEN, seen=False))
        second = asyncio.create_task(session.append("F", b"next", WHEN, seen=False))
        with pytest.raises(DestinationFull):
            await first
        assert await second == Appended(None, None)


@pytest.mark.parametrize("kind", ["NO", "BAD"])
async def test_a_throttle_silences_the_connection_at_once_and_to_its_end(kind: str) -> None:
    heard = asyncio.get_running_loop().create_future()

    async def script(line: Line) -> None:
        await signed_in(line)
        tag = await line.expect("APPEND")
        line.say(f"{tag} {kind} Request is throttled. Suggested Backoff Time: 299961 milliseconds")
        heard.set_result(await line.reader.read())

    async with served(script) as port:
        async with sink(port).session() as session:
            appends = [
                asyncio.create_task(session.append("F", b"%d" % n, WHEN, seen=False)) for n in range(3)
            ]
            first, *others = await asyncio.gather(*appends, return_exceptions=True)
            assert isinstance(first, Throttled)
            assert (first.pause, first.sent) == (299.961, Sent.EVERYTHING)
            for one in others:
                assert isinstance(one, Throttled)
                assert (round(one.pause), one.sent) == (300, Sent.NOTHING)
            with pytest.raises(Throttled):
                await session.open("F", create=True)
        assert await asyncio.wait_for(heard, 5) == b""  # not even LOGOUT


@pytest.mark.parametrize(
    ("cut_at", "sent"), [("line", Sent.NOTHING), ("plus", Sent.NOTHING), ("body", Sent.EVERYTHING)]
)
async def test_a_cut_tells_whether_the_message_can_have_arrived(cut_at: str, sent: Sent) -> None:
    async def script(line: Line) -> None:
        await signed_in(line)
        if cut_at == "line":
            return
        await line.expect("APPEND")
        if cut_at == "body":
            line.say("+ go on")
            await line.literal(5)

    async with served(script) as port, sink(port).session() as session:
        with pytest.raises(ConnectionLost) as caught:
            await session.append("F", b"12345", WHEN, seen=False)
        assert caught.value.sent is sent
        assert session.lost


async def test_a_cut_in_the_middle_of_a_large_body_left_nothing() -> None:
    async def script(line: Line) -> None:
        await signed_in(line)
        await line.expect("APPEND")
        line.say("+ go on")
        await line.literal(1000)
        line.writer.transport.abort()

    async with served(script) as port, sink(port).session() as session:
        with pytest.raises(ConnectionLost) as caught:
            await session.append("F", b"x" * 60_000_000, WHEN, seen=False)
        assert caught.value.sent is Sent.NOTHING


async def test_a_microsoft_host_gets_waiting_literals_whatever_it_offers() -> None:
    async def script(line: Line) -> None:
        await line.greet(f"{BASIC} LITERAL+ NAMESPACE")
        tag = await line.expect("NAMESPACE")
        line.say('* NAMESPACE (("" "/")) NIL NIL', f"{tag} OK")
        tag, _, _ = await take_append(line)
        line.say(f"{tag} OK")
        await line.until_closed()

    async with served(script) as port, sink(port, choose("outlook.office365.com")).session() as session:
        assert await session.append("F", b"x", WHEN, seen=False) == Appended(None, None)


async def test_authenticated_but_not_connected_is_a_failed_login() -> None:
    async def script(line: Line) -> None:
        await line.greet(f"{BASIC} NAMESPACE")
        tag = await line.expect("NAMESPACE")
        line.say(f"{tag} BAD User is authenticated but not connected.")
        await line.until_closed()

    async with served(script) as port:
        with pytest.raises(Exception, match="authenticated but not connected"):
            async with sink(port, choose("outlook.office365.com")).session():
                pass


async def test_a_missing_folder_is_made_with_its_parents_in_the_servers_own_names() -> None:
    async def script(line: Line) -> None:
        await line.greet(f"{BASIC} NAMESPACE")
        tag = await line.expect("NAMESPACE")
        line.say('* NAMESPACE (("INBOX." ".")) NIL NIL', f"{tag} OK")
        name = '"INBOX.Gmail.&AMk-t&AOk-"'
        tag = await line.expect(f"STATUS {name} (")
        line.say(f"{tag} NO [NONEXISTENT] no such mailbox")
        tag, asked = await line.expect(f"CREATE {name}"), await line.expect(f"STATUS {name} (")
        line.say(f"{tag} NO parent missing", f"{asked} NO [NONEXISTENT] no such mailbox")
        tag = await line.expect('CREATE "INBOX.Gmail"')
        line.say(f"{tag} OK")
        tag = await line.expect(f"CREATE {name}")
        line.say(f"{tag} OK")
        tag = await line.expect(f"STATUS {name} (")
        line.say(f"* STATUS {name} (UIDVALIDITY 3 MESSAGES 0 UIDNEXT 1)", f"{tag} OK")
        await line.until_closed()

    async with served(script) as port, sink(port).session() as session:
        opened = await session.open("Gmail/Été", create=True)
    assert (opened.uidvalidity, opened.uidnext) == (3, 1)


async def test_a_folder_that_is_known_to_be_missing_is_made_in_one_flight() -> None:
    async def script(line: Line) -> None:
        await signed_in(line)
        tag = await line.expect("STATUS")
        line.say(f"{tag} NO [NONEXISTENT] no such mailbox")
        tag, asked = await line.expect("CREATE"), await line.expect("STATUS")
        line.say(f"{tag} OK", '* STATUS "Mail" (UIDVALIDITY 3 MESSAGES 0 UIDNEXT 1)', f"{asked} OK")
        await line.until_closed()

    async with served(script) as port, sink(port).session() as session:
        with pytest.raises(RouteBlocked):
            await session.open("Mail", create=False)
        opened = await session.open("Mail", create=True)
    assert (opened.uidvalidity, opened.uidnext) == (3, 1)


async def test_a_folder_that_somebody_else_has_made_meanwhile_is_used() -> None:
    async def script(line: Line) -> None:
        await signed_in(line)
        tag = await line.expect("STATUS")
        line.say(f"{tag} NO [NONEXISTENT] no such mailbox")
        tag, asked = await line.expect("CREATE"), await line.expect("STATUS")
        line.say(f"{tag} NO [ALREADYEXISTS] it exists")
        line.say('* STATUS "Mail" (UIDVALIDITY 3 MESSAGES 2 UIDNEXT 9)', f"{asked} OK")
        await line.until_closed()

    async with served(script) as port, sink(port).session() as session:
        opened = await session.open("Mail", create=True)
    assert (opened.uidvalidity, opened.uidnext, opened.exists) == (3, 9, 2)


async def test_a_missing_folder_that_may_not_be_made_is_a_clear_failure() -> None:
    async def script(line: Line) -> None:
        await signed_in(line)
        tag = await line.expect("STATUS")
        line.say(f"{tag} NO [NONEXISTENT] no such mailbox")
        await line.until_closed()

    async with served(script) as port, sink(port).session() as session:
        with pytest.raises(RouteBlocked, match="create_folder is off"):
            await session.open("Gmail/ann", create=False)


async def test_a_reserved_name_is_a_clear_failure() -> None:
    async def script(line: Line) -> None:
        await signed_in(line)
        tag = await line.expect("STATUS")
        line.say(f"{tag} NO Mailbox doesn't exist")
        tag, asked = await line.expect("CREATE"), await line.expect("STATUS")
        line.say(f"{tag} NO Folder name is reserved", f"{asked} NO Mailbox doesn't exist")
        await line.until_closed()

    async with served(script) as port, sink(port).session() as session:
        with pytest.raises(RouteBlocked, match="reserved"):
            await session.open("Files", create=True)


async def test_a_full_mailbox_is_not_the_messages_fault() -> None:
    async def script(line: Line) -> None:
        await signed_in(line)
        tag, _, _ = await take_append(line)
        line.say(f"{tag} NO [OVERQUOTA] mailbox full")
        await line.until_closed()

    async with served(script) as port, sink(port).session() as session:
        with pytest.raises(DestinationFull):
            await session.append("F", b"x", WHEN, seen=False)


async def test_the_tail_is_read_by_uid_in_whatever_form_the_server_likes() -> None:
    header = b"Message-ID:\r\n <a@b>\r\n\r\n"

    async def script(line: Line) -> None:
        await signed_in(line)
        tag = await line.expect('EXAMINE "F"')
        line.say("* 9 EXISTS", f"{tag} OK [READ-ONLY]")
        tag = await line.expect("UID FETCH 7:* (UID INTERNALDATE BODY.PEEK[HEADER.FIELDS")
        line.say(f'* 8 FETCH (BODY[HEADER.FIELDS ("MESSAGE-ID" "DATE" FROM SUBJECT)] {{{len(header)}}}')
        line.writer.write(header)
        line.say(' INTERNALDATE "17-Jul-2019 06:40:08 -0300" UID 7)')
        line.say('* 3 FETCH (UID 6 INTERNALDATE "17-Jul-2019 06:40:08 -0300" BODY[HEADER] NIL)', f"{tag} OK")
        await line.until_closed()

    async with served(script) as port, sink(port).session() as session:
        (seen,) = await session.tail("F", 7)
    assert (seen.uid, seen.message_id, seen.received_at) == (7, "<a@b>", 1563356408.0)


async def test_an_empty_folder_has_no_tail() -> None:
    async def script(line: Line) -> None:
        await signed_in(line)
        tag = await line.expect("EXAMINE")
        line.say("* 0 EXISTS", f"{tag} OK")
        await line.until_closed()

    async with served(script) as port, sink(port).session() as session:
        assert await session.tail("F", 1) == []


async def test_a_lost_connection_ends_the_rest() -> None:
    async def script(line: Line) -> None:
        await line.greet()

    async with served(script) as port, sink(port).session() as session:
        with pytest.raises(ConnectionLost):
            await session.rest(600)


async def test_the_answers_to_several_status_are_told_apart() -> None:
    async def script(line: Line) -> None:
        await signed_in(line)
        asked = [await line.get() for _ in range(3)]
        numbers = {rest.split('"')[1]: number for number, (_, rest) in enumerate(asked, 1)}
        for name, number in reversed(numbers.items()):  # in an order of the server's own
            line.say(f"* STATUS {name} (MESSAGES 0 UIDNEXT 1 UIDVALIDITY {number})")
        line.say(*(f"{tag} OK" for tag, _ in asked))
        await line.until_closed()

    async with served(script) as port, sink(port).session() as session:
        opened = await asyncio.gather(*(session.open(name, create=True) for name in "ABC"))
        assert [one.uidvalidity for one in opened] == [1, 2, 3]


async def test_a_name_that_the_server_writes_its_own_way_is_known_by_the_order_of_the_answers() -> None:
    async def script(line: Line) -> None:
        await signed_in(line)
        asked = [await line.get() for _ in range(2)]
        for number, (tag, rest) in enumerate(asked, 1):
            name = rest.split('"')[1].lower()
            line.say(f"* STATUS {name} (MESSAGES 0 UIDNEXT 1 UIDVALIDITY {number})", f"{tag} OK")
        await line.until_closed()

    async with served(script) as port, sink(port).session() as session:
        opened = await asyncio.gather(*(session.open(name, create=True) for name in "AB"))
        assert [one.uidvalidity for one in opened] == [1, 2]


async def test_a_day_of_one_digit_is_padded_as_append_wants_it() -> None:
    async def script(line: Line) -> None:
        await signed_in(line)
        tag, _, rest = await take_append(line)
        assert '" 1-Jul-2019 09:40:08 +0000"' in rest
        line.say(f"{tag} OK [APPENDUID nonsense 99999999999] .")
        tag, _, rest = await take_append(line)
        assert rest == 'APPEND "F" {1}'
        line.say(f"{tag} OK")
        await line.until_closed()

    async with served(script) as port, sink(port).session() as session:
        for date in ("1-Jul-2019 09:40:08 +0000", "no date"):
            assert await session.append("F", b"x", date, seen=False) == Appended(None, None)


async def test_a_message_without_date_or_header_is_in_the_tail_all_the_same() -> None:
    async def script(line: Line) -> None:
        await signed_in(line, f"{BASIC} UNSELECT")
        tag = await line.expect("EXAMINE")
        line.say("* 9 EXISTS", f"{tag} OK [READ-ONLY]")
        tag = await line.expect("UID FETCH 7:*")
        line.say(
            "* 7 FETCH (BODY[HEADER.FIELDS (MESSAGE-ID DATE FROM SUBJECT)] NIL UID 7)",
            '* 9 FETCH (UID 9 INTERNALDATE "17-Jul-2019 06:40:08 -0300")',
            "* 8 FETCH (FLAGS () UID 8)",
            '* 9 FETCH (UID 9 BODY[HEADER.FIELDS (MESSAGE-ID DATE FROM SUBJECT)] "Message-ID: <a@b>")',
            f"{tag} OK",
        )
        tag = await line.expect("UNSELECT")
        line.say(f"{tag} OK")
        await line.until_closed()

    async with served(script) as port, sink(port).session() as session:
        tail = await session.tail("F", 7)
    assert [(seen.uid, seen.message_id, seen.received_at) for seen in tail] == [
        (7, None, 0.0),
        (9, "<a@b>", 1563356408.0),
    ]


async def test_an_invalid_message_set_is_an_empty_tail() -> None:
    async def script(line: Line) -> None:
        await signed_in(line)
        tag = await line.expect("EXAMINE")
        line.say("* 2 EXISTS", f"{tag} OK")
        tag = await line.expect("UID FETCH 7:*")
        line.say(f"{tag} NO The specified message set is invalid.")
        await line.until_closed()

    async with served(script) as port, sink(port).session() as session:
        assert await session.tail("F", 7) == []


async def test_a_resting_line_gives_a_sign_of_life_only_when_it_was_silent(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(outlook, "SIGN_OF_LIFE", 0.05)
    signs = 0

    async def script(line: Line) -> None:
        nonlocal signs
        await line.greet()
        while True:
            tag, rest = await line.get()
            signs += rest == "NOOP"
            line.say(f"{tag} OK")

    async with served(script) as port, sink(port).session() as session:
        for _ in range(4):
            await session.rest(0.01)
        assert signs == 0
        await session.rest(0.1)
        assert signs >= 1
