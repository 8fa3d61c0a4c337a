"""An address that leads nowhere does not hold up a host that has another one."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Iterator

import pytest
from scripts import Line, served

from mailsyncd.account import Endpoint
from mailsyncd.imap.dial import dial


@pytest.fixture
def blackhole() -> Iterator[tuple[str, int]]:
    """Where SYNs go unanswered: a listener of which the backlog is full."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.2", 0))
        listener.listen(0)
        address = listener.getsockname()
        callers = [socket.socket() for _ in range(3)]
        for caller in callers:
            caller.setblocking(False)
            caller.connect_ex(address)
        yield address
        for caller in callers:
            caller.close()


async def test_the_second_address_is_tried_while_the_first_is_silent(
    blackhole: tuple[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def script(line: Line) -> None:
        line.say("* OK here")
        await line.until_closed()

    async with served(script) as port:

        async def getaddrinfo(*_: object, **__: object) -> list[object]:
            kind = (socket.AF_INET, socket.SOCK_STREAM, 6, "")
            return [(*kind, blackhole), (*kind, ("127.0.0.1", port))]

        monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", getaddrinfo)
        began = time.monotonic()
        connection = await dial(Endpoint("mail.example", port, tls=False), max_literal=1000)
        assert 0.3 < time.monotonic() - began < 10, "else the first address answered, or was waited for"
        await connection.close()
