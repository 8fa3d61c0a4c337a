"""A TCP line between the program and a server: it writes down what the program says, counts its
connections, and breaks or stalls when told."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

_CHUNK = 16_384
_RESET = struct.pack("ii", 1, 0)  # SO_LINGER that makes close() a reset


@dataclass
class Wire:
    """`said`: what the program sent, a connection each. `cuts`: each breaks one new connection, after
    that many bytes from the program: the program sees a reset, and the server, which gets all of
    them, a mere end of file, so that it may well act on what it has. `stall_on`: as stall(), once the
    program has said this, in plaintext. `dark`: new connections are closed at once."""

    to_port: int
    port: int = 0
    said: list[bytearray] = field(default_factory=list)
    cuts: list[int] = field(default_factory=list)
    stall_on: bytes | None = None
    broken: int = 0
    dark: bool = False
    _writers: set[asyncio.StreamWriter] = field(default_factory=set)
    _flowing: asyncio.Event = field(default_factory=asyncio.Event)
    _loop: asyncio.AbstractEventLoop = field(default_factory=asyncio.new_event_loop)

    @property
    def live(self) -> int:
        """How many connections there are now."""
        return len(self._writers) // 2

    def stall(self) -> None:
        """Keep the connections, and pass nothing on."""
        self._loop.call_soon_threadsafe(self._flowing.clear)

    def flow(self) -> None:
        self._loop.call_soon_threadsafe(self._flowing.set)

    def cut(self) -> None:
        """Reset every connection now."""
        self._loop.call_soon_threadsafe(self._reset_all)

    def _reset_all(self) -> None:
        for writer in list(self._writers):
            _reset(writer)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.dark:
            _reset(writer)
            return
        said = bytearray()
        self.said.append(said)
        cut_after = self.cuts.pop(0) if self.cuts else None
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self.to_port)
        ends = {writer, far_writer}
        self._writers |= ends
        back = asyncio.create_task(self._pass_on(far_reader, writer))
        try:
            with contextlib.suppress(OSError):
                await self._pass_on(reader, far_writer, said, cut_after)
            if cut_after is not None and len(said) >= cut_after:
                self.broken += 1
                _reset(writer)
            far_writer.close()
            with contextlib.suppress(OSError):
                await back
        finally:
            back.cancel()
            self._writers -= ends
            for one in ends:
                one.close()

    async def _pass_on(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        said: bytearray | None = None,
        cut_after: int | None = None,
    ) -> None:
        """Until the end of file, an error, or the cut."""
        while data := await reader.read(_CHUNK):
            await self._flowing.wait()
            if said is not None:
                if cut_after is not None:
                    data = data[: cut_after - len(said)]
                said += data
                if self.stall_on is not None and self.stall_on in said:
                    self._flowing.clear()
            writer.write(data)
            await writer.drain()
            if said is not None and cut_after is not None and len(said) >= cut_after:
                return
        if writer.can_write_eof():
            writer.write_eof()


def _reset(writer: asyncio.StreamWriter) -> None:
    sock = writer.get_extra_info("socket")
    with contextlib.suppress(OSError):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    writer.transport.abort()


@contextmanager
def wire_to(port: int) -> Iterator[Wire]:
    """A line to 127.0.0.1, in a thread of its own."""
    wire = Wire(port)
    ready = threading.Event()
    ending = asyncio.Event()

    async def serve() -> None:
        wire._flowing.set()
        server = await asyncio.start_server(wire._accept, "127.0.0.1", 0)
        wire.port = server.sockets[0].getsockname()[1]
        ready.set()
        await ending.wait()
        server.close()
        wire._flowing.set()
        wire._reset_all()
        if left := asyncio.all_tasks() - {asyncio.current_task()}:
            await asyncio.wait(left, timeout=5)

    thread = threading.Thread(target=wire._loop.run_until_complete, args=(serve(),))
    thread.start()
    try:
        assert ready.wait(10)
        yield wire
    finally:
        wire._loop.call_soon_threadsafe(ending.set)
        thread.join(10)
        wire._loop.close()
