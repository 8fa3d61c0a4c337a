"""From an endpoint to a greeted connection: name, TCP, TLS, and how the socket is set."""

from __future__ import annotations

import asyncio
import socket
import ssl
from asyncio import sslproto
from functools import lru_cache
from pathlib import Path

from mailsyncd.account import Endpoint
from mailsyncd.errors import RouteBlocked, Transient
from mailsyncd.imap.faults import unreachable
from mailsyncd.imap.protocol import Connection

CONNECT_TIMEOUT = 60.0  # seconds, with TLS; throttled servers are slow (A27)
SECOND_ADDRESS_AFTER = 0.5  # seconds: an address that leads nowhere must not hold up the others
KEEPALIVE_AFTER = 60  # seconds of silence before the system asks whether the other end is there
KEEPALIVE_EVERY = 20
KEEPALIVE_TRIES = 4
TLS_BUFFER = 16 * 1024  # bytes, of a TLS record at the most; more speeds up nothing that counts
UNACKNOWLEDGED = 120_000  # milliseconds that sent bytes may go unacknowledged

# asyncio keeps a buffer of 256 KiB for each TLS connection, for as long as it lasts.
sslproto.SSLProtocol.max_size = TLS_BUFFER


async def dial(endpoint: Endpoint, *, max_literal: int) -> Connection:
    """Connect and await the greeting. Raises Transient and its kind, or RouteBlocked for a bad
    ca_file. Over TLS nothing is sent before the server's certificate was verified."""
    where = f"{endpoint.host}:{endpoint.port}"
    context = tls_context(endpoint)
    connection = Connection(where, max_literal=max_literal)
    try:
        async with asyncio.timeout(CONNECT_TIMEOUT):
            await _connect(endpoint, context, connection)
    except (OSError, TimeoutError) as error:
        raise unreachable(where, error) from error
    await _greeted(connection)
    return connection


async def dial_ahead(endpoint: Endpoint, wanted: asyncio.Event, *, max_literal: int) -> Connection | None:
    """A line that stands by the time it is wanted. None if it can't be had, which matters only then."""
    try:
        connection = await dial(endpoint, max_literal=max_literal)
    except (Transient, RouteBlocked):
        connection = None
    try:
        await wanted.wait()
    except asyncio.CancelledError:
        if connection is not None:
            connection.fail("not wanted")
        raise
    return connection


async def _connect(endpoint: Endpoint, context: ssl.SSLContext | None, connection: Connection) -> None:
    """TCP, then TLS on top of it: asyncio hides the lower transport when it makes both in one go.
    Until TLS stands, a protocol that hears nothing has the line: no byte from before it counts."""
    loop = asyncio.get_running_loop()
    below, _ = await loop.create_connection(
        (lambda: connection) if context is None else asyncio.Protocol,
        endpoint.host,
        endpoint.port,
        happy_eyeballs_delay=SECOND_ADDRESS_AFTER,
    )
    if (sock := below.get_extra_info("socket")) is not None:
        tune(sock)
    if context is not None:
        above = await loop.start_tls(below, connection, context, server_hostname=endpoint.host)
        assert above is not None  # noqa: S101 - only where the line was closed before, and that raises
        connection.secured(above, below)


async def _greeted(connection: Connection) -> None:
    try:
        async with asyncio.timeout(CONNECT_TIMEOUT):
            await asyncio.wait([connection.greeting])
    except TimeoutError:
        connection.fail(f"no greeting within {CONNECT_TIMEOUT:.0f} s")
    except asyncio.CancelledError:
        connection.fail("cancelled")
        raise
    if connection.greeting.exception() is not None:
        raise connection.lost()


def tls_context(endpoint: Endpoint) -> ssl.SSLContext | None:
    """TLS is always verified, against the system's authorities and the user's own if given."""
    if not endpoint.tls:
        return None
    if endpoint.ca_file is None:
        return _context(None, 0)
    try:
        return _context(endpoint.ca_file, endpoint.ca_file.stat().st_mtime_ns)
    except OSError as error:
        reason = error.strerror or "no certificate in it"
        raise RouteBlocked(f"{endpoint.ca_file}: can't be used as ca_file ({reason})") from error


@lru_cache(16)
def _context(ca_file: Path | None, written: int) -> ssl.SSLContext:
    """Shared, since each holds all the system's authorities. `written`: a file that was changed is
    read again."""
    context = ssl.create_default_context()
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if ca_file is not None:
        context.load_verify_locations(cafile=str(ca_file))
    return context


def tune(sock: socket.socket) -> None:
    """Small commands go out at once, and a line that is dead is found to be so."""
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in (  # not every system has them all
        ("TCP_KEEPIDLE", KEEPALIVE_AFTER),
        ("TCP_KEEPINTVL", KEEPALIVE_EVERY),
        ("TCP_KEEPCNT", KEEPALIVE_TRIES),
        ("TCP_USER_TIMEOUT", UNACKNOWLEDGED),
    ):
        if hasattr(socket, option):
            sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), value)
