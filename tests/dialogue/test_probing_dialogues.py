"""Whether literals may go out without waiting is tried out on the session that is then used."""

from __future__ import annotations

import re

import pytest
from scripts import BASIC, Line, served, signed_in, sink, take_append

from mailsyncd.imap.profiles import choose
from mailsyncd.model import Appended

WHEN = "17-Jul-2019 09:40:08 +0000"
AUTO = choose("localhost")


async def probe(line: Line, *, honoured: bool) -> None:
    """Greeting and sign-in, then a literal is tried out: all of that in one flight."""
    await line.greet(f"{BASIC} LITERAL+")
    tag, rest = await line.get()
    assert re.fullmatch(r'APPEND "mailsyncd-probe-\w+" \{\d+\+\}', rest)
    body = await line.literal(int(rest.split("{")[1].rstrip("+}")))
    assert await line.reader.readuntil(b"\r\n") == b"\r\n"
    noop, names = await line.expect("NOOP"), await line.expect('LIST "" ""')
    line.say(f"{tag} NO [TRYCREATE] no such mailbox")
    if not honoured:
        line.say(f"{body.decode().split()[0]} BAD Command Error. 10")
    line.say(f"{noop} OK", '* LIST (\\Noselect) "/" ""', f"{names} OK")


async def test_early_literals_are_used_where_the_probe_shows_that_they_are_safe() -> None:
    async def script(line: Line) -> None:
        await probe(line, honoured=True)
        tag, body, _ = await take_append(line, plus=True)
        line.say(f"{tag} OK [APPENDUID 3 9] {len(body)}")
        await line.until_closed()

    async with served(script) as port, sink(port, AUTO).session() as session:
        assert await session.append("F", b"x" * 300_000, WHEN, seen=False) == Appended(3, 9)


async def test_a_server_is_tried_out_once_only() -> None:
    async def first(line: Line) -> None:
        await probe(line, honoured=True)
        await line.until_closed()

    async def later(line: Line) -> None:
        await signed_in(line, f"{BASIC} LITERAL+")
        tag, _, _ = await take_append(line, plus=True)
        line.say(f"{tag} OK")
        await line.until_closed()

    async with served(first, later) as port:
        destination = sink(port, AUTO)
        async with destination.session():
            pass
        async with destination.session() as session:
            assert await session.append("F", b"x", WHEN, seen=False) == Appended(None, None)


async def test_early_literals_are_not_used_where_the_server_reads_them_as_commands() -> None:
    async def misread(line: Line) -> None:
        await probe(line, honoured=False)
        assert await line.reader.read() == b""  # not a word more to a server that is out of step

    async def script(line: Line) -> None:
        await signed_in(line, f"{BASIC} LITERAL+")
        tag, _, _ = await take_append(line)
        line.say(f"{tag} OK")
        await line.until_closed()

    async with served(misread, script) as port, sink(port, AUTO).session() as session:
        assert await session.append("F", b"x", WHEN, seen=False) == Appended(None, None)


@pytest.mark.parametrize("answer", ["{tag} BAD no", "* BAD what was that?\r\n{tag} NO no such mailbox"])
async def test_a_server_that_was_puzzled_by_the_probe_is_met_anew_without_early_literals(answer: str) -> None:
    async def puzzled(line: Line) -> None:
        await line.greet(f"{BASIC} LITERAL+")
        tag, rest = await line.get()
        await line.literal(int(rest.split("{")[1].rstrip("+}")) + 2)
        line.say(answer.format(tag=tag))
        noop, names = await line.expect("NOOP"), await line.expect("LIST")
        line.say(f"{noop} OK", f"{names} OK")
        tag = await line.expect("LOGOUT")  # and no message
        line.say("* BYE", f"{tag} OK")

    async def script(line: Line) -> None:
        await signed_in(line, f"{BASIC} LITERAL+")
        tag, _, _ = await take_append(line)
        line.say(f"{tag} OK")
        await line.until_closed()

    async with served(puzzled, script) as port, sink(port, AUTO).session() as session:
        assert await session.append("F", b"x", WHEN, seen=False) == Appended(None, None)


async def test_a_probe_that_makes_the_mailbox_is_tidied_up_and_proves_nothing() -> None:
    async def script(line: Line) -> None:
        await line.greet(f"{BASIC} LITERAL+")
        tag, rest = await line.get()
        await line.literal(int(rest.split("{")[1].rstrip("+}")) + 2)
        noop, names = await line.expect("NOOP"), await line.expect("LIST")
        line.say(f"{tag} OK made it", f"{noop} OK", '* LIST (\\Noselect) "/" ""', f"{names} OK")
        tag = await line.expect('DELETE "mailsyncd-probe-')
        line.say(f"{tag} OK")
        tag, _, _ = await take_append(line)
        line.say(f"{tag} OK")
        await line.until_closed()

    async with served(script) as port, sink(port, AUTO).session() as session:
        assert await session.append("F", b"x", WHEN, seen=False) == Appended(None, None)


async def test_literal_minus_goes_early_up_to_4096_bytes() -> None:
    async def script(line: Line) -> None:
        await line.greet(f"{BASIC} LITERAL-")
        tag, rest = await line.get()
        await line.literal(int(rest.split("{")[1].rstrip("+}")) + 2)
        noop, names = await line.expect("NOOP"), await line.expect("LIST")
        line.say(f"{tag} NO [TRYCREATE] no such mailbox", f"{noop} OK")
        line.say('* LIST (\\Noselect) "/" ""', f"{names} OK")
        for plus in (True, False):
            tag, _, _ = await take_append(line, plus=plus)
            line.say(f"{tag} OK")
        await line.until_closed()

    async with served(script) as port, sink(port, AUTO).session() as session:
        await session.append("F", b"x" * 4096, WHEN, seen=False)
        await session.append("F", b"x" * 4097, WHEN, seen=False)
