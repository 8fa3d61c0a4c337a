"""As much of HTTP as token endpoints speak: one request, one answer, and the connection is closed."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from urllib.parse import parse_qs

_LARGEST_REQUEST = 65_536


@dataclass(frozen=True, slots=True)
class Reply:
    """An HTTP answer: a JSON object, or any text a broken proxy might send."""

    status: int
    body: Mapping[str, object] | str
    headers: Mapping[str, str] = field(default_factory=dict)


async def read_request(reader: asyncio.StreamReader) -> tuple[str, str, dict[str, str]]:
    """Method, path, and the fields of the form or the query. Raises ValueError if it is none."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    request, _, fields = head.partition("\r\n")
    method, target, _ = request.split(" ", 2)
    path, _, query = target.partition("?")
    if method != "POST":
        return method, path, _fields(query)
    lengths = [
        line.partition(":")[2] for line in fields.split("\r\n") if line.lower().startswith("content-length:")
    ]
    size = int(lengths[0]) if lengths else 0
    if not 0 <= size <= _LARGEST_REQUEST:
        raise ValueError("request too large")
    body = (await reader.readexactly(size)).decode("ascii")
    return method, path, _fields(body)


def _fields(text: str) -> dict[str, str]:
    return {name: values[0] for name, values in parse_qs(text).items()}


def render(reply: Reply) -> bytes:
    """The answer's octets."""
    text = reply.body if isinstance(reply.body, str) else json.dumps(reply.body)
    body = text.encode()
    kind = "text/html" if isinstance(reply.body, str) else "application/json"
    fields = {"Content-Type": kind, "Content-Length": str(len(body)), "Connection": "close", **reply.headers}
    head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    return f"HTTP/1.1 {reply.status} {HTTPStatus(reply.status).phrase}\r\n{head}\r\n".encode() + body
