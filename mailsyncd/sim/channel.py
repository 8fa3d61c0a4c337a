"""One connection's bytes: lines and literals in, answers out, every byte counted and every line noted.

It can be made to cut the connection at an exact byte of either direction, to fall silent, and to
send byte by byte: what tests do to a client.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal as Either

from mailsyncd.sim.wire import BadSyntax, without_literals

_WRITE_SECONDS = 60.0
_CHUNK = 65_536
_LONGEST_SKIPPED = 16 * 1024 * 1024

Side = Either["C", "S"]
Note = Callable[[Side, str], None]


class Cut(Exception):
    """The connection is over; there is nothing more to say."""


@dataclass(slots=True)
class Limits:
    """Cut the connection once this many bytes have come in, or gone out."""

    received: int | None = None
    sent: int | None = None


class Channel:
    """A stream pair with counters. `silent` holds both directions for as long as it is set."""

    def __init__(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        note: Note,
        limits: Limits,
        *,
        bytewise: bool = False,
    ) -> None:
        self._limits = limits
        self._received = 0
        self._sent = 0
        self._reader = reader
        self._writer = writer
        self._note = note
        self._bytewise = bytewise
        self._speaking = asyncio.Event()
        self._speaking.set()

    def fall_silent(self) -> None:
        """Neither read nor write from now on: half-open, as seen from the other side."""
        self._speaking.clear()

    def resume(self) -> None:
        self._speaking.set()

    def cut_after(self, *, received: int | None, sent: int | None) -> None:
        """Cut the connection so many bytes from now."""
        self._limits = Limits(
            None if received is None else self._received + received,
            None if sent is None else self._sent + sent,
        )

    def note(self, text: str) -> None:
        """Write down a line of the client's, as it may be shown."""
        self._note("C", text)

    async def line(self, longest: int) -> bytes:
        """The next line without its end. Raises Cut at the end of the stream, BadSyntax if too long."""
        await self._speaking.wait()
        try:
            line = await self._reader.readuntil(b"\n")
        except asyncio.LimitOverrunError as error:
            await self._skip_line(error.consumed)
            raise BadSyntax("command line too long") from error
        except (asyncio.IncompleteReadError, OSError) as error:
            raise Cut from error
        self._count_received(len(line))
        if len(line) > longest:
            raise BadSyntax("command line too long")
        return line.rstrip(b"\r\n")

    async def literal(self, size: int) -> bytes:
        """Exactly `size` bytes; a cut that falls within them is made at its very byte."""
        await self._speaking.wait()
        limit = self._limits.received
        room = size if limit is None else limit - self._received
        try:
            data = await self._reader.readexactly(min(size, max(room, 0)))
        except (asyncio.IncompleteReadError, OSError) as error:
            raise Cut from error
        self._count_received(len(data))
        if len(data) < size:
            self.abort()
            raise Cut
        return data

    async def discard(self, size: int) -> None:
        """Read `size` bytes and forget them, without holding them all."""
        while size > 0:
            size -= len(await self.literal(min(size, _CHUNK)))

    async def send(self, answer: bytes) -> None:
        """Send whole lines. Raises Cut if the connection is gone or is to be cut within them."""
        await self._speaking.wait()
        limit = self._limits.sent
        cut = limit is not None and self._sent + len(answer) >= limit
        data = answer[: limit - self._sent] if cut and limit is not None else answer
        self._note("S", without_literals(answer).rstrip("\r\n"))
        self._sent += len(data)
        try:
            async with asyncio.timeout(_WRITE_SECONDS):
                await self._write(data)
        except (OSError, TimeoutError) as error:
            raise Cut from error
        if cut:
            await self.close()
            raise Cut

    async def close(self) -> None:
        """Send what is left and end the connection in order."""
        try:
            async with asyncio.timeout(_WRITE_SECONDS):
                self._writer.close()
                await self._writer.wait_closed()
        except (OSError, TimeoutError):
            self.abort()

    def abort(self) -> None:
        """End the connection at once; what has not gone out is lost."""
        sock = self._writer.transport.get_extra_info("socket")
        if sock is not None and sock.fileno() != -1:  # asyncio's stumbles over it
            self._writer.transport.abort()

    async def _skip_line(self, waiting: int) -> None:
        """Read on to the end of a line that is too long, but not for ever."""
        left = _LONGEST_SKIPPED
        while left > 0:
            left -= len(await self.literal(min(waiting, left)))
            try:
                self._count_received(len(await self._reader.readuntil(b"\n")))
            except asyncio.LimitOverrunError as error:
                waiting = error.consumed
            except (asyncio.IncompleteReadError, OSError) as error:
                raise Cut from error
            else:
                return
        raise Cut

    def _count_received(self, size: int) -> None:
        self._received += size
        if self._limits.received is not None and self._received >= self._limits.received:
            self.abort()
            raise Cut

    async def _write(self, data: bytes) -> None:
        if not self._bytewise:
            self._writer.write(data)
            await self._writer.drain()
            return
        for at in range(len(data)):
            self._writer.write(data[at : at + 1])
            await self._writer.drain()
            await asyncio.sleep(0)
