"""A small raw IMAP client of the tests' own: it shares no code with mailsyncd or its simulators."""

from __future__ import annotations

import asyncio
import base64
import re
from contextlib import suppress
from dataclasses import dataclass, field

_SECONDS = 20.0
_LITERAL = re.compile(rb"\{(\d+)\}\r\n$")


@dataclass(frozen=True)
class Answer:
    """The tagged answer of one command and the untagged lines before it, literals in place."""

    status: str
    text: str
    untagged: list[bytes] = field(default_factory=list)

    def lines(self, pattern: bytes) -> list[re.Match[bytes]]:
        return [m for line in self.untagged if (m := re.match(pattern, line, re.S | re.I))]

    def one(self, pattern: bytes) -> re.Match[bytes]:
        found = self.lines(pattern)
        assert len(found) == 1, f"{pattern!r} found {len(found)} times in {self.untagged!r}"
        return found[0]


class RawImap:
    """One connection. Tags are a1, a2, ...; every read has a deadline."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self.greeting = b""
        self._tag = 0

    @classmethod
    async def connect(cls, host: str, port: int) -> RawImap:
        imap = cls(*await asyncio.open_connection(host, port, limit=2**20))
        try:
            imap.greeting = await imap.response()
        except ConnectionError:
            await imap.close()
            raise
        return imap

    async def close(self) -> None:
        self.writer.close()
        with suppress(OSError):
            await self.writer.wait_closed()

    async def response(self) -> bytes:
        """The next response with its literals; empty at the end of the stream."""
        async with asyncio.timeout(_SECONDS):
            whole = b""
            while True:
                line = await self.reader.readline()
                whole += line
                found = _LITERAL.search(line)
                if not found:
                    return whole
                whole += await self.reader.readexactly(int(found[1]))

    def write(self, data: bytes) -> None:
        self.writer.write(data)

    def start(self, command: bytes) -> str:
        """Send a command and return its tag: for pipelining, and for commands with literals."""
        self._tag += 1
        tag = f"a{self._tag}"
        self.write(tag.encode() + b" " + command + b"\r\n")
        return tag

    async def finish(self, tag: str) -> Answer:
        untagged: list[bytes] = []
        while True:
            line = await self.response()
            if not line:
                return Answer("EOF", "", untagged)
            first, _, rest = line.partition(b" ")
            if first == tag.encode():
                status, _, text = rest.decode("latin-1").strip().partition(" ")
                return Answer(status, text, untagged)
            assert first in (b"*", b"+"), f"answer to another command: {line!r}"
            untagged.append(line)

    async def do(self, command: bytes) -> Answer:
        return await self.finish(self.start(command))

    async def ok(self, command: bytes) -> Answer:
        answer = await self.do(command)
        assert answer.status == "OK", (command, answer)
        return answer

    async def xoauth2(self, user: str, token: str) -> Answer:
        """Answers a challenge with an empty line, as one must."""
        response = base64.b64encode(f"user={user}\x01auth=Bearer {token}\x01\x01".encode())
        tag = self.start(b"AUTHENTICATE XOAUTH2 " + response)
        untagged: list[bytes] = []
        while (line := await self.response()).startswith((b"+", b"*")):
            untagged.append(line)
            if line.startswith(b"+"):
                self.write(b"\r\n")
        status, _, text = line.decode().removeprefix(tag + " ").strip().partition(" ")
        return Answer(status, text, untagged)

    async def append(self, mailbox: bytes, raw: bytes, options: bytes = b"", *, plus: bool = False) -> Answer:
        head = b"APPEND " + mailbox + b" " + options + (b" " if options else b"")
        tag = self.start(head + b"{%d%s}" % (len(raw), b"+" if plus else b""))
        if not plus:
            go_on = await self.response()
            if not go_on.startswith(b"+"):
                status, _, text = go_on.decode("latin-1").removeprefix(tag + " ").strip().partition(" ")
                return Answer(status, text)
        self.write(raw + b"\r\n")
        return await self.finish(tag)


def literal(line: bytes, item: bytes) -> bytes:
    """The literal that follows `item` in an untagged FETCH line."""
    at = line.upper().index(item.upper() + b" {") + len(item) + 2
    size, _, _ = line[at:].partition(b"}")
    start = at + len(size) + 3
    return line[start : start + int(size)]
