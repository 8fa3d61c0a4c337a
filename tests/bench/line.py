"""A TCP line with a round-trip time, as a process of its own so that its work is nobody else's, and
the count of what went over it. Bytes are held back, never lost, reordered or throttled."""

from __future__ import annotations

import argparse
import asyncio
import json
import socket
import subprocess
import sys
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Self

WINDOW = 64 * 1024 * 1024  # bytes under way in one direction
GRAIN = 0.0005  # seconds: what is due this soon goes along


@dataclass(frozen=True, slots=True)
class Traffic:
    """`turns`: how often the talk changed from the server to the client: its round trips."""

    connections: int = 0
    turns: int = 0
    sent: int = 0
    received: int = 0

    def __sub__(self, before: Traffic) -> Traffic:
        return Traffic(
            self.connections - before.connections,
            self.turns - before.turns,
            self.sent - before.sent,
            self.received - before.received,
        )


class Line:
    """The handle on a running line: its port, and what went over it so far."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self.port = int(self._answer())

    @classmethod
    @contextmanager
    def to(cls, port: int, rtt_ms: float) -> Iterator[Self]:
        """A line to a port of 127.0.0.1."""
        command = [sys.executable, __file__, "--to", str(port), "--rtt", str(rtt_ms)]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
            try:
                yield cls(process)
            finally:
                process.kill()

    def traffic(self) -> Traffic:
        assert self._process.stdin
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        return Traffic(**json.loads(self._answer()))

    def _answer(self) -> str:
        assert self._process.stdout
        if line := self._process.stdout.readline():
            return line
        raise RuntimeError("the line broke down")


# ------------------------------------------------------------------ the process


@dataclass(slots=True)
class Counter:
    connections: int = 0
    turns: int = 0
    sent: int = 0
    received: int = 0

    def count(self, end: End, size: int) -> None:
        if end.is_client:
            self.sent += size
        else:
            self.received += size


class End(asyncio.Protocol):
    """One socket of a pair: what it reads leaves by the other, half a round trip later."""

    def __init__(self, delay: float, counter: Counter, *, is_client: bool) -> None:
        self._delay, self._counter, self.is_client = delay, counter, is_client
        self._loop = asyncio.get_running_loop()
        self._under_way: deque[tuple[float, bytes]] = deque()
        self._size = 0
        self._timer: asyncio.TimerHandle | None = None
        self._ended = False
        self._talked_last = False
        self.far: End | None = None
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        transport.set_write_buffer_limits(high=WINDOW)

    def data_received(self, data: bytes) -> None:
        self._acknowledge()
        self._counter.count(self, len(data))
        if self.far and self.is_client and not self._talked_last:
            self._counter.turns += 1
        self._talked_last = True
        if self.far:
            self.far._talked_last = False
        self._under_way.append((self._loop.time() + self._delay, data))
        self._size += len(data)
        if self._size > WINDOW and self.transport:
            self.transport.pause_reading()
        self.arm()

    def _acknowledge(self) -> None:
        """At once, as often as asked: a server with Nagle's algorithm would wait 40 ms for the line,
        which stands for a wire and has no say of its own."""
        if self.transport and hasattr(socket, "TCP_QUICKACK"):
            self.transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)

    def arm(self) -> None:
        if self._timer is None and self._under_way and self.far and self.far.transport:
            self._timer = self._loop.call_at(self._under_way[0][0], self._arrive)

    def _arrive(self) -> None:
        self._timer = None
        assert self.far
        assert self.far.transport
        due, now = [], self._loop.time() + GRAIN
        while self._under_way and self._under_way[0][0] <= now:
            due.append(self._under_way.popleft()[1])
        self._size -= sum(map(len, due))
        self.far.transport.write(due[0] if len(due) == 1 else b"".join(due))
        if self.transport and not self._ended and self._size <= WINDOW:
            self.transport.resume_reading()
        if self._under_way:
            self.arm()
        elif self._ended:
            self.far.transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        """What was sent before still arrives, and then the end does."""
        self._ended = True
        if not self._under_way and self.far and self.far.transport:
            self._loop.call_later(self._delay, self.far.transport.close)


async def _serve(to_port: int, delay: float) -> None:
    counter, loop = Counter(), asyncio.get_running_loop()
    connecting: set[asyncio.Task[None]] = set()

    async def connect(near: End) -> None:
        await asyncio.sleep(2 * delay)  # TCP's own handshake
        _, far = await loop.create_connection(
            lambda: End(delay, counter, is_client=False), "127.0.0.1", to_port
        )
        near.far, far.far = far, near
        near.arm()
        far.arm()

    def accept() -> End:
        counter.connections += 1
        counter.turns += 1
        near = End(delay, counter, is_client=True)
        task = loop.create_task(connect(near))
        connecting.add(task)
        task.add_done_callback(connecting.discard)
        return near

    server = await loop.create_server(accept, "127.0.0.1", 0, backlog=2000)
    print(server.sockets[0].getsockname()[1], flush=True)
    while await asyncio.to_thread(sys.stdin.readline):
        print(json.dumps({name: getattr(counter, name) for name in Counter.__slots__}), flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--to", type=int, required=True, help="port")
    parser.add_argument("--rtt", type=float, required=True, help="milliseconds")
    arguments = parser.parse_args()
    asyncio.run(_serve(arguments.to, arguments.rtt / 2000))
