"""The page on loopback that the browser comes back to: one good request is served, and no other.

RFC 8252 sections 7.3 and 8.3. Nothing of a request is ever shown, nor kept beyond its code.
"""

from __future__ import annotations

import asyncio
import errno
import ipaddress
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from http import HTTPStatus
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

from mailsyncd.account import Secret
from mailsyncd.auth.attempt import Forged
from mailsyncd.errors import SignInFailed

LONGEST_HEAD = 32 * 1024  # bytes; the redirect with its code is the most of it
REQUEST_SECONDS = 10.0
LAST_WORDS = 2.0  # seconds for the page to reach the browser
MOST_CONNECTIONS = 16

_PAGE = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>mailsyncd</title></head>
<body><h1>{title}</h1><p>{text}</p></body></html>
"""
_HEADERS = {
    "Content-Type": "text/html; charset=utf-8",
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; form-action 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Connection": "close",
}
WORKED = ("Signed in", "mailsyncd has what it needs. You can close this window.")
FAILED = ("Not signed in", "It did not work. The terminal says why. You can close this window.")
USED = ("Already used", "This sign-in has had its answer. You can close this window.")


class _TurnedAway(Exception):
    """A request that is not the answer. Holds why, for the person at the terminal."""

    def __init__(self, status: HTTPStatus, why: str) -> None:
        self.status = status
        super().__init__(why)


class Loopback:
    """Listens for `redirect` while it is entered. `read` takes the query of a redirect: it returns
    the code, raises Forged if this is not the answer that is waited for, and SignInFailed if it is
    one that says no."""

    def __init__(self, redirect: str, read: Callable[[str], Secret]) -> None:
        parts = urlsplit(redirect)
        self._port = parts.port or 80
        # Browsers leave the port out where it is that of the scheme.
        self._hosts = {parts.netloc, parts.hostname} if self._port == 80 else {parts.netloc}
        self._path = parts.path
        # `localhost` may be either: both are held, or another program could have the code.
        self._addresses = ("127.0.0.1", "::1") if parts.hostname == "localhost" else (parts.hostname or "",)
        self._read = read
        self._servers: list[asyncio.Server] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._code: asyncio.Future[Secret] = asyncio.get_running_loop().create_future()
        self._verdict: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self.turned_away: Counter[str] = Counter()

    async def __aenter__(self) -> Self:
        try:
            for address in self._addresses:
                await self._listen(address)
        except OSError as failure:
            await self._close()
            taken = failure.errno == errno.EADDRINUSE
            why = "is taken" if taken else f"can't be listened on ({failure.strerror})"
            raise SignInFailed(f"port {self._port} {why}: choose another with --port") from None
        return self

    async def _listen(self, address: str) -> None:
        try:
            self._servers.append(
                await asyncio.start_server(self._accept, address, self._port, limit=LONGEST_HEAD)
            )
        except OSError as failure:
            if address != "::1" or failure.errno not in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT):
                raise

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.tell(worked=False)
        await self._close()

    async def code(self) -> Secret:
        """The code that the browser brings. Raises SignInFailed if it brings a refusal."""
        return await asyncio.shield(self._code)

    def tell(self, *, worked: bool) -> None:
        """What became of it: the browser's page is held back until then."""
        if not self._verdict.done():
            self._verdict.set_result(worked)

    async def _close(self) -> None:
        for server in self._servers:
            server.close()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=LAST_WORDS)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._code.done() and not self._code.cancelled():
            self._code.exception()  # looked at, whether or not anybody waited for it

    # ------------------------------------------------------------------- the HTTP

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if len(self._tasks) >= MOST_CONNECTIONS:
            writer.transport.abort()
            return
        task = asyncio.get_running_loop().create_task(self._serve(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One request a connection."""
        with suppress(TimeoutError, OSError, EOFError, asyncio.LimitOverrunError):
            try:
                async with asyncio.timeout(REQUEST_SECONDS):
                    head = await reader.readuntil(b"\r\n\r\n")
                status, page = await self._answer(head, writer.get_extra_info("peername"))
                async with asyncio.timeout(REQUEST_SECONDS):
                    writer.write(_render(status, page))
                    await writer.drain()
            finally:
                writer.close()

    async def _answer(self, head: bytes, peer: tuple[str, int]) -> tuple[HTTPStatus, tuple[str, str]]:
        try:
            self._take(self._query(head, peer))
        except _TurnedAway as refused:
            self.turned_away[str(refused)] += 1
            return refused.status, USED if refused.status is HTTPStatus.GONE else FAILED
        return HTTPStatus.OK, WORKED if await asyncio.shield(self._verdict) else FAILED

    def _query(self, head: bytes, peer: tuple[str, int]) -> str:
        """The query of a request that may be the redirect. Raises _TurnedAway."""
        if not ipaddress.ip_address(peer[0].partition("%")[0]).is_loopback:
            raise _TurnedAway(HTTPStatus.FORBIDDEN, "a request from another machine")
        request, *fields = head.decode("latin-1").split("\r\n")
        words = request.split(" ")
        if len(words) != 3 or not words[1].startswith("/"):
            raise _TurnedAway(HTTPStatus.BAD_REQUEST, "a request that is none of HTTP")
        hosts = [one.partition(":")[2].strip().lower() for one in fields if one.lower().startswith("host:")]
        if len(hosts) != 1 or hosts[0] not in self._hosts:  # a page that has its own name point to loopback
            raise _TurnedAway(HTTPStatus.MISDIRECTED_REQUEST, "a request for another host")
        path, _, query = words[1].partition("?")
        if path != self._path:
            raise _TurnedAway(HTTPStatus.NOT_FOUND, "a request for another path")
        if words[0] != "GET":
            raise _TurnedAway(HTTPStatus.METHOD_NOT_ALLOWED, "a request other than GET")
        return query

    def _take(self, query: str) -> None:
        """Hand on what the redirect says, the first time. No await: two can't both be first."""
        if self._code.done():
            raise _TurnedAway(HTTPStatus.GONE, "a second redirect")
        try:
            self._code.set_result(self._read(query))
        except Forged as forged:
            raise _TurnedAway(HTTPStatus.BAD_REQUEST, str(forged)) from None
        except SignInFailed as refused:
            self._code.set_exception(refused)


def _render(status: HTTPStatus, page: tuple[str, str]) -> bytes:
    title, text = page
    body = _PAGE.format(title=title, text=text).encode()
    fields = _HEADERS | {"Content-Length": str(len(body))}
    if status is HTTPStatus.METHOD_NOT_ALLOWED:
        fields["Allow"] = "GET"
    head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    return f"HTTP/1.1 {status} {status.phrase}\r\n{head}\r\n".encode() + body
