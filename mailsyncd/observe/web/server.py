"""Answers what guard.py lets through, on sockets that listen. The one place that touches aiohttp's server."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager

import structlog
from aiohttp import web
from aiohttp.web_protocol import RequestHandler

from mailsyncd.observe.listening import BACKLOG
from mailsyncd.observe.sight import Sight
from mailsyncd.observe.web.answers import TEXT, Answer, Answers
from mailsyncd.observe.web.guard import HEADERS, Guard

MOST_CONNECTIONS = 64  # one more costs the oldest its own, so that nobody can hold them all for ever
KEPT_OPEN = 75.0  # seconds
FAREWELL = 0.2  # seconds for answers under way when it ends, and for what a caller still has to send

log = structlog.get_logger()


@asynccontextmanager
async def serving(sockets: Iterable[socket.socket], guard: Guard, sight: Sight) -> AsyncIterator[None]:
    """Answer while the context lasts, first whoever waits already; the sockets are closed with it."""
    site = _Site(guard, Answers(sight))
    server = web.Server(site.answer, access_log=None, keepalive_timeout=KEPT_OPEN, lingering_time=FAREWELL)
    loop = asyncio.get_running_loop()
    opened: list[asyncio.Server] = []
    try:
        for one in sockets:
            # Not at once: it would be a moment at which a cancellation leaves a server that nobody closes.
            made = await loop.create_server(
                lambda: _connection(server), sock=one, backlog=BACKLOG, start_serving=False
            )
            opened.append(made)
            await made.start_serving()
        yield
    finally:
        for made in opened:
            made.close()
        await server.shutdown(FAREWELL)


def _connection(server: web.Server) -> RequestHandler:
    if len(server.connections) >= MOST_CONNECTIONS:
        server.connections[0].force_close()
    return server()


class _Site:
    def __init__(self, guard: Guard, answers: Answers) -> None:
        self._guard = guard
        self._answers = answers

    async def answer(self, request: web.BaseRequest) -> web.Response:
        if refusal := self._guard.refuse(request.method, request.headers):
            answer = Answer(f"{refusal.line}\n".encode(), TEXT, refusal.status)
            return _response(answer, refusal.headers)
        try:
            # A whole address instead of a path would name a host of its own (RFC 9112 3.2.2).
            path = request.path if request.raw_path.startswith("/") else ""
            answer = self._answers.to(path) or Answer(b"there is nothing here\n", TEXT, 404)
        except Exception as error:  # noqa: BLE001 - whatever a page meets, mail goes on
            log.error("http.failed", path=request.path[:100], error=type(error).__name__)
            answer = Answer(b"this can't be told now\n", TEXT, 500)
        return _response(answer, {})


def _response(answer: Answer, more: Mapping[str, str]) -> web.Response:
    headers = {**HEADERS, **more, "Content-Type": answer.kind}
    return web.Response(body=answer.body, status=answer.status, headers=headers)
