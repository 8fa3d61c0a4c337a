"""A folder that gets many messages in a row is selected meanwhile, and left again."""

from __future__ import annotations

import pytest
from scripts import BASIC, Line, served, signed_in, sink, take_append
from test_sink_dialogues import WHEN

from mailsyncd.imap.outlook import OutlookSession
from mailsyncd.imap.selection import MANY
from mailsyncd.model import Appended, Mailbox

CAPABLE = BASIC + " UNSELECT"


async def take(line: Line, count: int) -> None:
    for n in range(count):
        tag, _, rest = await take_append(line)
        assert rest.startswith('APPEND "Gmail/ann" ')
        line.say(f"* {n} EXISTS", f"* {n} RECENT", f"{tag} OK [APPENDUID 3 {n + 1}] done")


async def append(session: OutlookSession, count: int, folder: str = "Gmail/ann") -> None:
    for n in range(count):
        assert await session.append(folder, b"x", WHEN, seen=False) == Appended(3, n + 1)


async def tell_status(line: Line) -> None:
    tag = await line.expect('STATUS "Gmail/ann"')
    line.say('* STATUS "Gmail/ann" (MESSAGES 9 UIDNEXT 10 UIDVALIDITY 3)', f"{tag} OK")


async def test_a_folder_is_selected_while_it_gets_many_and_left_before_it_is_asked_about() -> None:
    async def script(line: Line) -> None:
        await signed_in(line, CAPABLE)
        await take(line, MANY - 1)
        select = await line.expect('SELECT "Gmail/ann"')
        line.say("* 15 EXISTS", "* OK [UIDVALIDITY 3] .", f"{select} OK [READ-WRITE] .")
        await take(line, MANY)
        line.say(f"{await line.expect('UNSELECT')} OK")
        await tell_status(line)
        await take(line, 1)
        await line.until_closed()

    async with served(script) as port, sink(port).session() as session:
        await append(session, MANY - 1)
        await append(session, MANY)
        assert await session.open("Gmail/ann", create=False) == Mailbox(3, 10, 9)
        await append(session, 1)


async def test_a_look_at_the_tail_takes_the_place_of_the_selected_folder() -> None:
    async def script(line: Line) -> None:
        await signed_in(line, CAPABLE)
        await take(line, MANY - 1)
        line.say(f"{await line.expect('SELECT ')} OK [READ-WRITE] .")
        await take(line, 1)
        line.say("* 0 EXISTS", f"{await line.expect('EXAMINE ')} OK [READ-ONLY] .")
        line.say(f"{await line.expect('UNSELECT')} OK")
        await tell_status(line)
        await line.until_closed()

    async with served(script) as port, sink(port).session() as session:
        await append(session, MANY - 1)
        await append(session, 1)
        assert await session.tail("Gmail/ann", 1) == []
        await session.open("Gmail/ann", create=False)


async def test_a_server_that_refuses_is_not_asked_to_select_again() -> None:
    async def script(line: Line) -> None:
        await signed_in(line, CAPABLE)
        await take(line, MANY - 1)
        line.say(f"{await line.expect('SELECT ')} NO not now")
        await take(line, 2 * MANY)
        await tell_status(line)
        await line.until_closed()

    async with served(script) as port, sink(port).session() as session:
        await append(session, MANY - 1)
        await append(session, 2 * MANY)
        await session.open("Gmail/ann", create=False)


async def test_nothing_is_selected_that_could_only_be_left_by_expunging() -> None:
    async def script(line: Line) -> None:
        await signed_in(line, BASIC)
        await take(line, 3 * MANY)
        await line.until_closed()

    async with served(script) as port, sink(port).session() as session:
        await append(session, 3 * MANY)


async def test_folders_in_turn_are_not_selected() -> None:
    async def script(line: Line) -> None:
        await signed_in(line, CAPABLE)
        for _ in range(4 * MANY):
            tag, _, _ = await take_append(line)
            line.say(f"{tag} OK [APPENDUID 3 1] done")
        await line.until_closed()

    async with served(script) as port, sink(port).session() as session:
        for folder in ("Gmail/ann", "Gmail/bob") * (2 * MANY):
            await append(session, 1, folder)


async def test_a_folder_that_gets_no_more_mail_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mailsyncd.imap.outlook.CALM", 0.01)

    async def script(line: Line) -> None:
        await signed_in(line, CAPABLE)
        await take(line, MANY - 1)
        line.say(f"{await line.expect('SELECT ')} OK [READ-WRITE] .")
        await take(line, 1)
        line.say(f"{await line.expect('UNSELECT')} OK")
        await line.until_closed()

    async with served(script) as port, sink(port).session() as session:
        await append(session, MANY - 1)
        await append(session, 1)
        await session.rest(0.1)
        assert not session._selection
