"""Sockets that listen before anybody answers: who calls is told of, waits, and is answered in the end."""

from __future__ import annotations

import asyncio
import itertools
import socket

import pytest
from statuses import Shown

from mailsyncd.observe.listening import listening
from mailsyncd.observe.web.guard import Guard
from mailsyncd.observe.web.server import serving
from mailsyncd.observe.website import Place, Website
from mailsyncd.tasks import begun

ASKED = b"GET /healthz HTTP/1.0\r\nHost: localhost\r\n\r\n"


def a_port() -> int:
    with socket.socket() as line:
        line.bind(("127.0.0.1", 0))
        return int(line.getsockname()[1])


def has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6) as line:
            line.bind(("::1", 0))
    except OSError:
        return False
    return True


def is_free(port: int) -> bool:
    """Nobody listens; what has been closed may linger."""
    with socket.socket() as line:
        return line.connect_ex(("127.0.0.1", port)) != 0


async def called_at(port: int) -> None:
    """Looks until somebody listens; the look is a call, and its caller is gone at once."""
    for _ in itertools.takewhile(lambda _: is_free(port), itertools.count()):
        await asyncio.sleep(0)


async def test_who_calls_before_there_is_an_answer_gets_it() -> None:
    port = a_port()
    async with asyncio.timeout(20), listening("127.0.0.1", port) as listener:
        waiting = asyncio.create_task(listener.called())
        await asyncio.sleep(0.05)
        assert not waiting.done()
        calls = [await asyncio.open_connection("127.0.0.1", port) for _ in range(10)]
        for _, writer in calls:
            writer.write(ASKED)
        await waiting
        async with serving(listener.sockets, Guard(None, frozenset()), Shown().sight()):
            for reader, writer in calls:
                assert (await reader.read()).endswith(b"\r\n\r\ndegraded\n")
                writer.close()
    assert is_free(port)


async def test_who_has_called_and_gone_again_harms_nobody() -> None:
    port = a_port()
    site = Website(Shown().sight(), Place("127.0.0.1", port))
    async with begun(site.run()), asyncio.timeout(20):
        await called_at(port)
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(ASKED)
        assert (await reader.read()).endswith(b"degraded\n")
        writer.close()
    assert is_free(port)


@pytest.mark.parametrize("moments", range(12))
async def test_wherever_the_end_comes_no_socket_and_no_reader_is_left(moments: int) -> None:
    port = a_port()
    site = asyncio.create_task(Website(Shown().sight(), Place("127.0.0.1", port)).run())
    async with asyncio.timeout(20):
        await called_at(port)
        for _ in range(moments):
            await asyncio.sleep(0)
        site.cancel()
        with pytest.raises(asyncio.CancelledError):
            await site
    assert is_free(port)
    async with listening("127.0.0.1", port) as listener:
        number = listener.sockets[0].fileno()
        assert asyncio.get_running_loop().remove_reader(number) is False


async def test_a_wait_that_is_given_up_leaves_no_reader() -> None:
    async with listening("127.0.0.1", a_port()) as listener:
        waiting = asyncio.create_task(listener.called())
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert asyncio.get_running_loop().remove_reader(listener.sockets[0]) is False


@pytest.mark.skipif(not has_ipv6(), reason="this machine has no ::1")
async def test_both_families_at_one_port() -> None:
    port = a_port()
    async with listening("127.0.0.1", port), listening("::1", port) as six:
        assert six.sockets[0].family == socket.AF_INET6


async def test_a_place_that_is_taken_by_half_is_not_taken_at_all(monkeypatch: pytest.MonkeyPatch) -> None:
    free, taken = a_port(), socket.create_server(("127.0.0.2", 0))
    other = taken.getsockname()

    async def both(*_: object, **__: object) -> list[tuple[object, ...]]:
        places = (("127.0.0.1", free), other, ("127.0.0.1", free))
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", place) for place in places]

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", both)
    with taken:
        with pytest.raises(OSError, match="Address already in use"):
            async with listening("localhost", free):
                pass
        assert is_free(free)
    async with listening("localhost", free) as listener:
        assert len(listener.sockets) == 2


async def test_an_address_of_another_machine_is_refused_in_words() -> None:
    with pytest.raises(OSError, match="Cannot assign requested address"):
        async with listening("192.0.2.1", a_port()):
            pass
