"""Servers as scripts: a function that reads lines and writes what it likes, on loopback."""

from __future__ import annotations

import asyncio
import base64
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from random import Random

from mailsyncd.account import Endpoint, Secret
from mailsyncd.imap.gmail import GmailSource
from mailsyncd.imap.outlook import OutlookSink
from mailsyncd.imap.pace import Pace
from mailsyncd.imap.profiles import Profile, choose
from mailsyncd.imap.session import Login, PasswordLogin
from mailsyncd.observe.clock import SystemClock

BASIC = "IMAP4rev1 IDLE UIDPLUS"


class Line:
    """One connection, from the server's side."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer
        self.heard: list[str] = []

    async def get(self) -> tuple[str, str]:
        """The next command: its tag, and the rest of the line."""
        line = (await self.reader.readuntil(b"\r\n"))[:-2].decode()
        self.heard.append(line)
        tag, _, rest = line.partition(" ")
        return tag, rest

    async def expect(self, start: str) -> str:
        """The tag of the next command, which must begin so."""
        tag, rest = await self.get()
        assert rest.startswith(start), f"wanted {start}, got {rest}"
        return tag

    async def literal(self, size: int) -> bytes:
        return await self.reader.readexactly(size)

    def say(self, *lines: str) -> None:
        self.writer.write("".join(f"{line}\r\n" for line in lines).encode())

    async def greet(self, capabilities: str = BASIC) -> None:
        """Greeting and sign-in of a well-behaved server."""
        self.say(f"* OK [CAPABILITY {capabilities} LOGIN] ready")
        tag = await self.expect("LOGIN ")
        self.say(f"{tag} OK [CAPABILITY {capabilities}] signed in")

    async def examine(self, *, exists: int = 0, uidnext: int = 1) -> None:
        tag = await self.expect("EXAMINE ")
        self.say(
            f"* {exists} EXISTS",
            "* OK [UIDVALIDITY 7] .",
            f"* OK [UIDNEXT {uidnext}] .",
            f"{tag} OK [READ-ONLY] .",
        )

    async def until_closed(self) -> None:
        """Answer LOGOUT and NOOP until the client is gone."""
        while True:
            tag, rest = await self.get()
            if rest.startswith("LOGOUT"):
                self.say("* BYE", f"{tag} OK")
                return
            if tag != "DONE":
                self.say(f"{tag} OK")


async def signed_in(line: Line, capabilities: str = BASIC) -> None:
    await line.greet(capabilities)
    await names(line)


async def names(line: Line) -> None:
    """Where the first folder is named, the separator is asked for."""
    tag = await line.expect('LIST "" ""')
    line.say('* LIST (\\Noselect) "/" ""', f"{tag} OK")


async def take_append(line: Line, *, plus: bool = False) -> tuple[str, bytes, str]:
    """One APPEND with its literal, waited for or not: its tag, the body, the line."""
    tag, rest = await line.get()
    size = int(re.search(r"\{(\d+)\+?\}$", rest)[1])  # type: ignore[index]
    assert rest.endswith("+}") is plus
    if not plus:
        line.say("+ go on")
    body = await line.literal(size)
    assert await line.reader.readuntil(b"\r\n") == b"\r\n"
    return tag, body, rest


Script = Callable[[Line], Awaitable[None]]


@asynccontextmanager
async def served(*scripts: Script) -> AsyncIterator[int]:
    """A port where the n-th connection is treated by the n-th script (the last one again and again).

    Raises at the end what a script's assertion said.
    """
    left = list(scripts)
    failures: list[BaseException] = []
    tasks: set[asyncio.Task[None]] = set()

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task
        tasks.add(task)
        script = left.pop(0) if len(left) > 1 else left[0]
        try:
            await script(Line(reader, writer))
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        except BaseException as error:  # noqa: BLE001 - told to the test below
            failures.append(error)
        finally:
            writer.close()

    server = await asyncio.start_server(accept, "127.0.0.1", 0, limit=1 << 20)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for failure in failures:
            raise failure


LOGIN = PasswordLogin("ann", Secret("pw"))


def source(port: int, login: Login = LOGIN, max_literal: int = 10_000_000, **settings: float) -> GmailSource:
    return GmailSource(
        Endpoint("127.0.0.1", port, tls=False),
        login,
        "INBOX",
        clock=SystemClock(),
        rng=Random(1),
        pace=Pace(SystemClock()),
        max_literal=max_literal,
        **settings,
    )


def sink(port: int, profile: Profile | None = None) -> OutlookSink:
    return OutlookSink(
        Endpoint("127.0.0.1", port, tls=False),
        LOGIN,
        profile or choose("localhost", literals="sync"),
        clock=SystemClock(),
        rng=Random(1),
    )


def unbase64(text: str) -> str:
    return base64.b64decode(text).decode()
