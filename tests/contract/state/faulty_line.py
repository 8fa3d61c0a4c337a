"""A line between the store and its engine that loses answers, is slow, or answers by itself."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import ClientSession, web

DYNAMODB = "com.amazonaws.dynamodb.v20120810#"
CORAL = "com.amazon.coral.service#"
JSON = "application/x-amz-json-1.0"


@dataclass(frozen=True)
class Refusal:
    """An answer instead of the engine's."""

    kind: str
    status: int = 400
    more: dict[str, Any] = field(default_factory=dict)
    content_type: str = JSON

    @property
    def body(self) -> bytes:
        return json.dumps({"__type": self.kind, "message": "secret-ish", **self.more}).encode()


def cancelled(*codes: str) -> Refusal:
    """A transaction that was refused, with a reason for each of its writes."""
    return Refusal(
        DYNAMODB + "TransactionCanceledException",
        more={"CancellationReasons": [{"Code": code} for code in codes]},
    )


@dataclass
class FaultyLine:
    """Each fault is for one request. `asked` holds the operations with their arguments; what is in
    `before` happens before each request of that operation."""

    upstream: str
    url: str = ""
    lose_answers: int = 0
    slow_answers: int = 0
    refuse: list[Refusal] = field(default_factory=list)
    asked: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    before: dict[str, Callable[[], Awaitable[None]]] = field(default_factory=dict)
    ended: asyncio.Event = field(default_factory=asyncio.Event)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[str]:
        app = web.Application(client_max_size=1 << 22)
        app.router.add_route("*", "/{path:.*}", self._handle)
        runner = web.AppRunner(app, shutdown_timeout=1.0)
        async with ClientSession(auto_decompress=False) as self._http:
            await runner.setup()
            site = web.TCPSite(runner, "127.0.0.1", 0)
            await site.start()
            self.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
            yield self.url
            self.ended.set()
            await runner.cleanup()

    async def _handle(self, request: web.Request) -> web.Response:
        sent = await request.read()
        operation = request.headers.get("X-Amz-Target", "").rpartition(".")[2]
        self.asked.append((operation, json.loads(sent)))
        if operation in self.before:
            await self.before[operation]()
        if self.refuse:
            refusal = self.refuse.pop(0)
            return web.Response(body=refusal.body, status=refusal.status, content_type=refusal.content_type)
        headers = {k: v for k, v in request.headers.items() if k.lower() not in ("content-length", "host")}
        async with self._http.post(self.upstream + request.path_qs, data=sent, headers=headers) as answer:
            received = await answer.read()
            if self.slow_answers:
                self.slow_answers -= 1
                await self.ended.wait()
            if self.lose_answers:
                self.lose_answers -= 1
                assert request.transport
                request.transport.abort()
            return web.Response(status=answer.status, body=received, content_type=answer.content_type)
