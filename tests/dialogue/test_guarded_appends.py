"""Whoever may write no more sends not one byte that would complete an APPEND (I3)."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

import pytest
from scripts import BASIC, Line, served, signed_in, sink, take_append
from test_sink_dialogues import WHEN

from mailsyncd.errors import LeaseLost
from mailsyncd.imap.profiles import choose
from mailsyncd.model import Appended

LARGE = b"a line of a large message\r\n" * 400_000


@dataclass
class Right:
    """The right to write: a guard that can be taken away."""

    lost: bool = False
    asked: int = 0

    def __call__(self) -> None:
        self.asked += 1
        if self.lost:
            raise LeaseLost("gone")


async def test_an_append_that_waits_behind_another_is_not_begun() -> None:
    right = Right()
    behind = asyncio.Event()

    async def script(line: Line) -> None:
        await signed_in(line)
        tag = await line.expect("APPEND")
        await behind.wait()
        line.say("+ go on")
        assert await line.literal(5) == b"first"
        await line.reader.readuntil(b"\r\n")
        right.lost = True
        line.say(f"{tag} OK [APPENDUID 3 10] .")
        await line.expect("LOGOUT")  # and not a byte of the second

    async with served(script) as port, sink(port).session() as session:
        first = asyncio.create_task(session.append("F", b"first", WHEN, seen=False))
        second = asyncio.create_task(session.append("F", b"second", WHEN, seen=False, guard=right))
        await asyncio.sleep(0.05)
        right.lost = True
        behind.set()
        assert await first == Appended(3, 10)
        with pytest.raises(LeaseLost):
            await second
        assert not session.lost


async def test_an_append_whose_right_was_lost_before_the_plus_keeps_its_body_back() -> None:
    right = Right()
    came = b"?"

    async def script(line: Line) -> None:
        nonlocal came
        await signed_in(line)
        await line.expect("APPEND")
        right.lost = True
        line.say("+ go on")
        came = await line.reader.read()

    async with served(script) as port, sink(port).session() as session:
        with pytest.raises(LeaseLost):
            await session.append("F", b"body", WHEN, seen=False, guard=right)
        assert session.lost
        await asyncio.sleep(0.05)
    assert came == b""


@pytest.mark.parametrize("early", [False, True])
async def test_a_right_lost_in_the_middle_of_a_body_leaves_it_incomplete(early: bool) -> None:
    right = Right()
    came = b""

    async def script(line: Line) -> None:
        nonlocal came
        await signed_in(line, BASIC + (" LITERAL+" if early else ""))
        await line.expect("APPEND")
        if not early:
            line.say("+ go on")
        came = await line.literal(100_000)
        right.lost = True
        came += await line.reader.read()

    profile = choose("localhost", literals="plus" if early else "sync")
    async with served(script) as port, sink(port, profile).session() as session:
        with pytest.raises(LeaseLost):
            await session.append("F", LARGE, WHEN, seen=False, guard=right)
        await asyncio.sleep(0.1)
    assert 100_000 <= len(came) < len(LARGE)


async def test_a_guard_that_is_content_changes_nothing() -> None:
    right = Right()

    async def script(line: Line) -> None:
        await signed_in(line)
        for body in (LARGE, b"", b"x"):
            tag, taken, _ = await take_append(line)
            assert taken == body
            line.say(f"{tag} OK .")
        await line.until_closed()

    async with served(script) as port, sink(port).session() as session:
        for body in (LARGE, b"", b"x"):
            await session.append("F", body, WHEN, seen=False, guard=right)
    assert right.asked > 100
