"""What waits in this process when it is frozen is never a whole message."""

from __future__ import annotations

import asyncio
import math

import pytest

from mailsyncd.errors import LeaseLost, Sent
from mailsyncd.imap.commands import COMMAND_TIMEOUT, NOTHING, Command, Literal
from mailsyncd.imap.outlet import CHUNK, Outlet


class FakeTransport(asyncio.Transport):
    """Holds back all that is written until it is told to let go."""

    def __init__(self) -> None:
        super().__init__()
        self.held = self.gone = b""
        self.writes = 0
        self.aborted = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.held += data
        self.writes += 1

    def let_go(self) -> None:
        self.gone, self.held = self.gone + self.held, b""

    def get_write_buffer_size(self) -> int:
        return len(self.held)

    def abort(self) -> None:
        self.aborted = True


async def command() -> Command:
    return Command(
        b"T1", "APPEND", NOTHING, asyncio.get_running_loop().create_future(), COMMAND_TIMEOUT, 0, 0
    )


@pytest.mark.parametrize("size", [0, 1, 2, 1000, CHUNK, CHUNK + 1, 3 * CHUNK + 7])
async def test_the_last_byte_waits_until_the_system_has_taken_all_others(size: int) -> None:
    outlet, above, below = Outlet(), FakeTransport(), FakeTransport()
    outlet.attach(above, below)
    one, body = await command(), bytes(n % 251 for n in range(size))
    below.write(b"records of an earlier command")
    sending = asyncio.create_task(outlet.write_literal(b"head ", one, Literal(body), lambda: None))
    await asyncio.sleep(0.02)
    written = b"head " + body[:-1]
    assert above.held == written
    above.let_go()
    await asyncio.sleep(0.02)
    assert (above.gone, above.held, one.sent) == (written, b"", Sent.NOTHING)
    below.let_go()
    left = await sending
    assert (above.gone + above.held + left, one.sent) == (b"head " + body, Sent.EVERYTHING)
    assert above.writes == max(1, math.ceil((size - 1) / CHUNK))


async def test_a_right_that_is_lost_while_bytes_wait_keeps_the_last_one_back() -> None:
    outlet, transport = Outlet(), FakeTransport()
    outlet.attach(transport)
    lost = False

    def guard() -> None:
        if lost:
            raise LeaseLost("gone")

    one = await command()
    sending = asyncio.create_task(outlet.write_literal(b"", one, Literal(b"body"), guard))
    await asyncio.sleep(0.02)
    lost = True
    transport.let_go()
    with pytest.raises(LeaseLost):
        await sending
    assert (transport.gone, transport.held, one.sent) == (b"bod", b"", Sent.NOTHING)


async def test_a_closed_outlet_holds_nobody_up_and_takes_nothing() -> None:
    outlet, transport = Outlet(), FakeTransport()
    outlet.attach(transport)
    outlet.pause()
    sending = asyncio.create_task(outlet.write_literal(b"", await command(), Literal(b"body"), lambda: None))
    await asyncio.sleep(0)
    outlet.close()
    await sending
    assert (transport.aborted, transport.held) == (True, b"")


async def test_a_transport_that_comes_after_the_end_is_closed() -> None:
    outlet, transport = Outlet(), FakeTransport()
    outlet.close()
    outlet.attach(transport)
    assert transport.aborted
