"""DynamoDB for a world: moto in this process, and a line before it that refuses, loses and delays."""

from __future__ import annotations

import asyncio
import json
import logging
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import cache
from random import Random
from typing import Any

from aiohttp import ClientSession, web
from moto.dynamodb.models import dynamodb_backends
from moto.server import ThreadedMotoServer

REGION = "us-west-2"
ACCOUNT = "123456789012"
THROTTLED = "com.amazonaws.dynamodb.v20120810#ProvisionedThroughputExceededException"
UNAVAILABLE = "com.amazonaws.dynamodb.v20120810#InternalServerError"
JSON = "application/x-amz-json-1.0"


@cache
def engine() -> str:
    """One moto for the process: its address."""
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    return f"http://{host}:{port}"


@dataclass
class Line:
    """What happens to requests: shares from 0 to 1, and switches.

    `throttles` are refused, `loses` are carried out and their answers lost, `down` refuses all,
    `hangs` answers none. `lose_writes`: so many of the next writes lose their answers.
    """

    rng: Random
    table: str = field(default_factory=lambda: "t" + secrets.token_hex(6))
    url: str = ""
    throttles: float = 0.0
    loses: float = 0.0
    down: bool = False
    hangs: bool = False
    lose_writes: int = 0

    def settings(self) -> str:
        """The lines of [state]."""
        return (
            f'backend = "dynamodb"\nregion = "{REGION}"\nendpoint_url = "{self.url}"\ntable = "{self.table}"'
        )

    def clear(self) -> None:
        self.throttles = self.loses = 0.0
        self.down = self.hangs = False
        self.lose_writes = 0

    def items(self) -> list[dict[str, Any]]:
        """Everything in the table, as plain attributes with their keys."""
        while True:
            try:
                table = dynamodb_backends[ACCOUNT][REGION].tables.get(self.table)
                if table is None:
                    return []
                rows = [item for by_range in list(table.items.values()) for item in list(by_range.values())]
                return [{name: value.cast_value for name, value in item.attrs.items()} for item in rows]
            except RuntimeError:  # moto's thread wrote meanwhile
                continue

    async def handle(self, request: web.Request) -> web.StreamResponse:
        sent = await request.read()
        operation = request.headers.get("X-Amz-Target", "").rpartition(".")[2]
        if self.hangs:
            await asyncio.sleep(3600)
        if self.down or self.rng.random() < self.throttles:
            kind = UNAVAILABLE if self.down else THROTTLED
            body = json.dumps({"__type": kind, "message": "no"}).encode()
            return web.Response(body=body, status=500 if self.down else 400, content_type=JSON)
        headers = {k: v for k, v in request.headers.items() if k.lower() not in ("content-length", "host")}
        # moto undoes a refused transaction by putting back all tables as they were, with what other
        # threads wrote meanwhile undone too: DynamoDB doesn't.
        async with (
            self._one,
            self.http.post(engine() + request.path_qs, data=sent, headers=headers) as answer,
        ):
            received = await answer.read()
        loses = self.rng.random() < self.loses
        if self.lose_writes and operation in ("PutItem", "TransactWriteItems", "UpdateItem"):
            self.lose_writes -= 1
            loses = True
        if loses and request.transport is not None:
            request.transport.abort()
        return web.Response(status=answer.status, body=received, content_type=answer.content_type)

    http: ClientSession = field(init=False, repr=False)
    _one: asyncio.Lock = field(default_factory=asyncio.Lock, repr=False)


@asynccontextmanager
async def line(rng: Random) -> AsyncIterator[Line]:
    """A line with a table of its own, for as long as the block lasts."""
    made = Line(rng)
    app = web.Application(client_max_size=1 << 22)
    app.router.add_route("*", "/{path:.*}", made.handle)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    async with ClientSession(auto_decompress=False) as made.http:
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        made.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        try:
            yield made
        finally:
            await runner.cleanup()
