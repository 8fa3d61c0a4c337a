"""The way out of a connection: octets to the transport, and what of them is still in this process.

What waits in this process would be sent when it wakes up after a freeze, whoever may write by
then. So the byte that completes a message leaves only when the system has taken all before it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from mailsyncd.errors import Sent
from mailsyncd.imap.commands import Command, Literal
from mailsyncd.steps import Step, reached

CHUNK = 64 * 1024  # bytes of a literal handed to the transport at once
FLUSH_POLL = 0.002  # seconds between looks whether the system has taken all bytes


class Outlet:
    """Closed for good by close(); writing to it is then in vain, and harmless."""

    def __init__(self) -> None:
        self._transports: tuple[asyncio.WriteTransport, ...] = ()
        self._writable = asyncio.Event()
        self._writable.set()
        self._closed = False

    def attach(self, *transports: asyncio.WriteTransport) -> None:
        """Where to write: the first one; the others are what it writes to itself."""
        self._transports = transports
        if self._closed:
            transports[0].abort()

    def close(self) -> None:
        self._closed = True
        self._writable.set()
        if self._transports:
            self._transports[0].abort()

    def pause(self) -> None:
        self._writable.clear()

    def resume(self) -> None:
        self._writable.set()

    def write(self, octets: bytes | memoryview) -> None:
        if self._transports and not self._closed:
            self._transports[0].write(octets)

    async def write_literal(
        self, head: bytes, command: Command, literal: Literal, go_on: Callable[[], None]
    ) -> bytes:
        """In chunks, as fast as the line takes them; to its end even if the server has refused it
        meanwhile, for it counts the bytes. `head` is what is written before it, with the first chunk: each
        write wakes up a server. The last byte is returned, to be written with what follows. `go_on` is
        asked before each of these, and raises if no more is to be sent."""
        octets = memoryview(literal.octets)
        last = max(len(octets) - 1, 0)
        for start in range(0, max(last, 1), CHUNK):
            if start <= len(octets) // 2 < start + CHUNK:
                reached(Step.LITERAL_HALF)
            await self._writable.wait()
            go_on()
            chunk = octets[start : min(start + CHUNK, last)]
            self.write(head + chunk if head else chunk)
            head = b""
        while self._holds_back():  # noqa: ASYNC110 - a transport tells nobody when it is quite empty
            await asyncio.sleep(FLUSH_POLL)
        go_on()
        command.sent = Sent.EVERYTHING
        return bytes(octets[last:])

    def _holds_back(self) -> bool:
        return not self._closed and any(one.get_write_buffer_size() for one in self._transports)
