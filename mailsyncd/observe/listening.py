"""Listens before there is anybody to answer: whoever calls waits in the kernel's queue, and is told of."""

from __future__ import annotations

import asyncio
import errno
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

BACKLOG = 64
LOOKUP = 10.0  # seconds
# What a machine without one of the two families says; a name such as localhost may lead to both.
_NO_SUCH_FAMILY = (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL)

_Address = tuple[str, int] | tuple[str, int, int, int] | tuple[int, bytes]
_Place = tuple[int, _Address]


@dataclass(frozen=True, slots=True)
class Listener:
    """The sockets of one place, closed with listening()."""

    sockets: tuple[socket.socket, ...]

    async def called(self) -> None:
        """Until somebody is there, whose call is left in the queue."""
        loop = asyncio.get_running_loop()
        rings = asyncio.Event()
        try:
            for one in self.sockets:
                loop.add_reader(one, rings.set)
            await rings.wait()
        finally:
            for one in self.sockets:
                loop.remove_reader(one)


@asynccontextmanager
async def listening(host: str, port: int) -> AsyncIterator[Listener]:
    """Raises OSError if the address can't be had."""
    sockets = _opened(await _places(host, port))
    try:
        yield Listener(tuple(sockets))
    finally:
        _close(sockets)


async def _places(host: str, port: int) -> list[_Place]:
    """Each once, as the machine's hosts file may name one twice."""
    try:
        async with asyncio.timeout(LOOKUP):
            found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except TimeoutError:
        raise OSError(errno.ETIMEDOUT, "its name can't be looked up in time") from None
    return list(dict.fromkeys((family, address) for family, _, _, _, address in found))


def _opened(places: list[_Place]) -> list[socket.socket]:
    """All of them that this machine has a family for, or none."""
    opened: list[socket.socket] = []
    missing = OSError(errno.EADDRNOTAVAIL, "its name leads to no address")
    for family, address in places:
        try:
            opened.append(_listening(family, address))
        except OSError as error:
            if error.errno not in _NO_SUCH_FAMILY:
                _close(opened)
                raise
            missing = error
    if not opened:
        raise missing
    return opened


def _listening(family: int, address: _Address) -> socket.socket:
    made = socket.socket(family, socket.SOCK_STREAM)
    try:
        made.setblocking(False)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        made.bind(address)
        made.listen(BACKLOG)
    except OSError:
        made.close()
        raise
    return made


def _close(sockets: list[socket.socket]) -> None:
    for one in sockets:
        one.close()
