"""Mail that is made of IMAP command lines: no server carries out a line of it, whatever it answers, and
no answer is taken for another message's."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from dataclasses import replace
from random import Random

import pytest
from scripts import sink

from mailsyncd.errors import MailsyncError
from mailsyncd.imap.profiles import Profile, choose
from mailsyncd.observe.clock import SystemClock
from mailsyncd.sim import OUTLOOK, OutlookServer

WHEN = "17-Jul-2026 09:40:08 +0000"
EVIL = b"X%d DELETE Kept\r\nX CREATE Evil\r\n+ go on\r\n* BYE\r\n. LOGOUT\r\nA APPEND INBOX {3+}\r\nabc\r\n"


def refused(raw: bytes) -> str | None:
    """Two of three, each in a way of its own, after the last byte."""
    number = int(raw[1 : raw.index(b" ")])
    return (None, "NO [TOOBIG] not this one", "BAD Command Argument Error. 11")[number % 3]


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("literals", ["sync", "auto"])
@pytest.mark.parametrize("honest", [True, False])
async def test_none_of_its_lines_is_carried_out(seed: int, literals: str, honest: bool) -> None:
    rng = Random(seed)
    profile: Profile = choose("localhost", literals=literals, window=32)
    personality = replace(OUTLOOK, objection=refused, literals_after_refusal=honest, max_errors=1_000)
    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(
            OutlookServer(SystemClock(), passwords={"ann": "pw"}, personality=personality)
        )
        server.account("ann").create("Kept")
        session = await stack.enter_async_context(sink(server.port, profile).session())

        async def one(number: int) -> bool:
            await asyncio.sleep(rng.random() * 0.05)
            body = EVIL % number * (1 + rng.randrange(300))
            folder = "Nowhere" if number % 5 == 4 else "Kept"  # refused before its first byte, or after
            try:
                await session.append(folder, body, WHEN, seen=False)
            except MailsyncError:
                return False
            return True

        went = await asyncio.gather(*(one(number) for number in range(60)))
    assert went == [number % 3 == 0 and number % 5 != 4 for number in range(60)]
    assert len(server.messages("ann", "Kept")) == sum(went)
    lines = [line.text for line in server.transcript if line.side == "C"]
    said = {line.split()[1].upper() for line in lines if " " in line}
    assert not said & {"DELETE", "CREATE", "BYE", "GO"}
    assert lines[-1].endswith("LOGOUT")
