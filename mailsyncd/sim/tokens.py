"""A token endpoint on loopback: refresh tokens in, access tokens out, as Google and Microsoft do.

Google keeps the refresh token (C1), Microsoft sends a new one each time and lets the old live on
(C15). The IMAP simulators ask it which access tokens are good.
"""

from __future__ import annotations

import asyncio
import json
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from http import HTTPStatus
from random import Random
from types import TracebackType
from typing import Self
from urllib.parse import parse_qs

from mailsyncd.ports import Clock

_REQUEST_SECONDS = 30.0
_LARGEST_REQUEST = 65_536
_GOOGLE_SCOPE = "https://mail.google.com/"
_MICROSOFT_SCOPE = "https://outlook.office.com/IMAP.AccessAsUser.All"


@dataclass(frozen=True, slots=True)
class Reply:
    """An HTTP answer: a JSON object, or any text a broken proxy might send."""

    status: int
    body: Mapping[str, object] | str
    headers: Mapping[str, str] = field(default_factory=dict)


def invalid_grant(description: str = "Token has been expired or revoked.") -> Reply:
    """The grant is dead; only its user can mend it (C2, C16)."""
    return Reply(400, {"error": "invalid_grant", "error_description": description})


@dataclass(frozen=True, slots=True)
class Grant:
    """A refresh token and whose it is."""

    user: str
    provider: str
    revoked: bool = False


class TokenEndpoint:
    """Serves POST /google/token and /microsoft/token. Use it with `async with`."""

    def __init__(self, clock: Clock, *, seed: int = 0, lifetime: float = 3599.0, port: int = 0) -> None:
        self.lifetime = lifetime
        self.port = port
        self.revokes_rotated = False
        self.requests: deque[tuple[str, Mapping[str, str]]] = deque(maxlen=10_000)
        self._clock = clock
        self._rng = Random(seed)
        self._grants: dict[str, Grant] = {}
        self._access: dict[str, tuple[str, float]] = {}
        self._script: deque[Reply | float] = deque()
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        if self._server is not None:
            self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    # ------------------------------------------------------------ what tests do

    @property
    def google_url(self) -> str:
        return f"http://127.0.0.1:{self.port}/google/token"

    @property
    def microsoft_url(self) -> str:
        return f"http://127.0.0.1:{self.port}/microsoft/token"

    def grant(self, user: str, provider: str = "google") -> str:
        """A refresh token, as if `user` had just consented."""
        token = self._random("1//")
        self._grants[token] = Grant(user, provider)
        return token

    def issue(self, user: str, lifetime: float | None = None) -> str:
        """An access token without the HTTP round trip."""
        token = self._random("ya29.")
        ends = self._clock.now() + (self.lifetime if lifetime is None else lifetime)
        self._access[token] = (user, ends)
        return token

    def revoke(self, user: str) -> None:
        """The user took the consent back: refresh tokens are dead, access tokens too."""
        for token, grant in self._grants.items():
            if grant.user == user:
                self._grants[token] = replace(grant, revoked=True)
        self.expire(user)

    def expire(self, user: str) -> None:
        """Every access token of the user is too old from now on."""
        self._access = {token: kept for token, kept in self._access.items() if kept[0] != user}

    def answer_next(self, *replies: Reply | float) -> None:
        """The next requests get these answers; a number is seconds of silence before a good one."""
        self._script.extend(replies)

    def seconds_left(self, user: str, token: str) -> float | None:
        """How long this access token is good for `user`; None if it is not."""
        owner, ends = self._access.get(token, ("", 0.0))
        left = ends - self._clock.now()
        return left if owner.lower() == user.lower() and left > 0 else None

    # ------------------------------------------------------------------- the HTTP

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.get_running_loop().create_task(self._serve(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One request a connection: clients are told to close."""
        try:
            async with asyncio.timeout(_REQUEST_SECONDS):
                path, form = await _read_request(reader)
                writer.write(_render(await self._answer(path, form)))
                await writer.drain()
        except (TimeoutError, OSError, ValueError, EOFError, asyncio.LimitOverrunError):
            writer.transport.abort()
        finally:
            writer.close()

    async def _answer(self, path: str, form: Mapping[str, str]) -> Reply:
        self.requests.append((path, form))
        if self._script:
            scripted = self._script.popleft()
            if isinstance(scripted, Reply):
                return scripted
            await self._clock.sleep(scripted)
        provider = path.strip("/").partition("/")[0]
        if path not in ("/google/token", "/microsoft/token"):
            return Reply(404, {"error": "not_found"})
        if form.get("grant_type") != "refresh_token":
            return Reply(400, {"error": "unsupported_grant_type"})
        if not form.get("client_id"):
            return Reply(401, {"error": "invalid_client"})
        return self._refresh(provider, form.get("refresh_token", ""))

    def _refresh(self, provider: str, refresh_token: str) -> Reply:
        grant = self._grants.get(refresh_token)
        if grant is None or grant.revoked or grant.provider != provider:
            if provider == "microsoft":
                return invalid_grant(
                    "AADSTS70000: The user could not be authenticated as the grant is expired."
                )
            return invalid_grant()
        body: dict[str, object] = {
            "access_token": self.issue(grant.user),
            "expires_in": int(self.lifetime),
            "token_type": "Bearer",
            "scope": _MICROSOFT_SCOPE if provider == "microsoft" else _GOOGLE_SCOPE,
        }
        if provider == "microsoft":
            if self.revokes_rotated:
                self._grants[refresh_token] = replace(grant, revoked=True)
            body["refresh_token"] = self.grant(grant.user, provider)
        return Reply(200, body)

    def _random(self, prefix: str) -> str:
        return prefix + self._rng.randbytes(24).hex()


async def _read_request(reader: asyncio.StreamReader) -> tuple[str, dict[str, str]]:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    request, _, fields = head.partition("\r\n")
    method, path, _ = request.split(" ", 2)
    if method != "POST":
        return path, {}
    lengths = [
        line.partition(":")[2] for line in fields.split("\r\n") if line.lower().startswith("content-length:")
    ]
    size = int(lengths[0]) if lengths else 0
    if not 0 <= size <= _LARGEST_REQUEST:
        raise ValueError("request too large")
    body = (await reader.readexactly(size)).decode("ascii")
    return path, {name: values[0] for name, values in parse_qs(body).items()}


def _render(reply: Reply) -> bytes:
    text = reply.body if isinstance(reply.body, str) else json.dumps(reply.body)
    body = text.encode()
    kind = "text/html" if isinstance(reply.body, str) else "application/json"
    fields = {"Content-Type": kind, "Content-Length": str(len(body)), "Connection": "close", **reply.headers}
    head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    return f"HTTP/1.1 {reply.status} {HTTPStatus(reply.status).phrase}\r\n{head}\r\n".encode() + body
