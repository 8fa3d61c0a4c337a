"""The limit of the wire: one streaming FETCH passed on as pipelined APPENDs into the SELECTed folder.
No state, no second look, nothing a daemon could rely on. Prints one JSON line."""

from __future__ import annotations

import argparse
import asyncio
import json
import re
import socket
import time

_LITERAL = re.compile(rb"\{(\d+)\}$")
_FLAGS = re.compile(rb"FLAGS \(([^)]*)\)")
_DATE = re.compile(rb'INTERNALDATE ("[^"]+")')
FULL = 4 * 1024 * 1024  # bytes that wait for the destination


class Lines(asyncio.Protocol):
    """A connection as lines, and literals in whatever pieces they come."""

    transport: asyncio.Transport

    def __init__(self) -> None:
        self._line = bytearray()
        self._left = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def data_received(self, data: bytes) -> None:
        at = 0
        while at < len(data):
            if self._left:
                piece = data[at : at + self._left]
                at += len(piece)
                self._left -= len(piece)
                self.got_piece(piece, self._left)
                continue
            end = data.find(b"\n", at)
            self._line += data[at:] if end < 0 else data[at:end]
            if end < 0:
                return
            at = end + 1
            line = bytes(self._line).rstrip(b"\r")
            self._line.clear()
            if literal := _LITERAL.search(line):
                self._left = int(literal[1])
            self.got_line(line)

    def got_line(self, line: bytes) -> None:
        raise NotImplementedError

    def got_piece(self, piece: bytes, left: int) -> None:
        raise NotImplementedError


class Destination(Lines):
    """Counts the answers; commands are tagged t1, t2 and so on."""

    def __init__(self) -> None:
        super().__init__()
        self.sent = self.answered = 0
        self.refused: list[str] = []
        self.source: Source | None = None
        self._news = asyncio.Event()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self.transport.set_write_buffer_limits(high=FULL)

    def tag(self) -> bytes:
        self.sent += 1
        return b"t%d" % self.sent

    async def command(self, text: str) -> None:
        self.transport.write(self.tag() + b" " + text.encode() + b"\r\n")
        await self.all_answered()

    async def all_answered(self) -> None:
        while self.answered < self.sent:
            self._news.clear()
            await self._news.wait()

    def got_line(self, line: bytes) -> None:
        if line.startswith(b"t"):
            self.answered += 1
            if b" OK" not in line[:16]:
                self.refused.append(line.decode())
            self._news.set()

    def pause_writing(self) -> None:
        if self.source:
            self.source.transport.pause_reading()

    def resume_writing(self) -> None:
        if self.source:
            self.source.transport.resume_reading()


class Source(Lines):
    def __init__(self, to: Destination, folder: str) -> None:
        super().__init__()
        self._to, self._folder = to, folder.encode()
        self.messages = self.octets = 0
        self.ended = asyncio.get_running_loop().create_future()

    def fetch(self, user: str, password: str) -> None:
        self.transport.write(
            b's1 LOGIN "%s" "%s"\r\ns2 EXAMINE INBOX\r\n' % (user.encode(), password.encode())
            + b"s3 UID FETCH 1:* (UID FLAGS INTERNALDATE BODY.PEEK[])\r\n"
        )

    def got_line(self, line: bytes) -> None:
        if line.startswith(b"s3 "):
            self.ended.set_result(line)
        literal, flags, date = _LITERAL.search(line), _FLAGS.search(line), _DATE.search(line)
        if not (literal and flags and date):
            return
        self.messages += 1
        self.octets += int(literal[1])
        kept = b" ".join(flag for flag in flags[1].split() if flag != b"\\Recent")
        where = (self._to.tag(), self._folder, kept, date[1], int(literal[1]))
        self._to.transport.write(b'%s APPEND "%s" (%s) %s {%d+}\r\n' % where)

    def got_piece(self, piece: bytes, left: int) -> None:
        self._to.transport.write(piece)
        if not left:
            self._to.transport.write(b"\r\n")


async def copy(source_port: int, source_user: str, port: int, user: str, folder: str) -> dict[str, object]:
    loop = asyncio.get_running_loop()
    _, to = await loop.create_connection(Destination, "127.0.0.1", port)
    await to.command(f'LOGIN "{user}" "pw"')
    await to.command(f'CREATE "{folder}"')
    await to.command(f'SELECT "{folder}"')  # without it Dovecot opens the folder for each APPEND
    _, source = await loop.create_connection(lambda: Source(to, folder), "127.0.0.1", source_port)
    to.source = source
    began = time.monotonic()
    source.fetch(source_user, "pw")
    await source.ended
    await to.all_answered()
    seconds = round(time.monotonic() - began, 3)
    return {"copied": source.messages, "bytes": source.octets, "seconds": seconds, "refused": to.refused}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    for name, kind in (("source-port", int), ("source-user", str), ("port", int), ("user", str)):
        parser.add_argument(f"--{name}", type=kind, required=True)
    parser.add_argument("--folder", required=True)
    found = asyncio.run(copy(**vars(parser.parse_args())))
    print(json.dumps(found))
    raise SystemExit(1 if found["refused"] else 0)
