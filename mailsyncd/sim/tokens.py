"""A token endpoint on loopback: refresh tokens in, access tokens out, as Google and Microsoft do.

Google keeps the refresh token (C1), Microsoft sends a new one each time and lets the old live on
(C15). Refresh tokens come from grant(), or from a sign-in by browser or device code (consent.py).
The IMAP simulators ask it which access tokens are good.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, replace
from random import Random
from types import TracebackType
from typing import Self

from mailsyncd.ports import Clock
from mailsyncd.sim.consent import Consents
from mailsyncd.sim.http import Reply, read_request, render

_REQUEST_SECONDS = 30.0
_GOOGLE_SCOPE = "https://mail.google.com/"
DEVICE_CODE = "urn:ietf:params:oauth:grant-type:device_code"
PROVIDERS = ("google", "microsoft")
_MICROSOFT_SCOPE = "https://outlook.office.com/IMAP.AccessAsUser.All"


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
    """Serves /google/token, /google/authorize, /google/device, and the same for microsoft. `scope` is
    what is granted, where it is not mail. Use it with `async with`."""

    def __init__(self, clock: Clock, *, seed: int = 0, lifetime: float = 3599.0, port: int = 0) -> None:
        self.lifetime = lifetime
        self.port = port
        self.revokes_rotated = False
        self.requests: deque[tuple[str, Mapping[str, str]]] = deque(maxlen=10_000)
        self._clock = clock
        self._rng = Random(seed)
        self._grants: dict[str, Grant] = {}
        self._access: dict[str, tuple[str, float]] = {}
        self.consents = Consents(clock, self._random)
        self.scope: str | None = None
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

    def url(self, provider: str, what: str) -> str:
        """Of an endpoint: `authorize`, `device` or `token`."""
        return f"http://127.0.0.1:{self.port}/{provider}/{what}"

    @property
    def google_url(self) -> str:
        return self.url("google", "token")

    @property
    def microsoft_url(self) -> str:
        return self.url("microsoft", "token")

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
                method, path, form = await read_request(reader)
                writer.write(render(await self._answer(method, path, form)))
                await writer.drain()
        except (TimeoutError, OSError, ValueError, EOFError, asyncio.LimitOverrunError):
            writer.transport.abort()
        finally:
            writer.close()

    async def _answer(self, method: str, path: str, form: Mapping[str, str]) -> Reply:
        self.requests.append((path, form))
        provider, _, what = path.strip("/").partition("/")
        if provider in PROVIDERS and (method, what) == ("GET", "authorize"):
            return self.consents.authorize(provider, form)
        if self._script:
            scripted = self._script.popleft()
            if isinstance(scripted, Reply):
                return scripted
            await self._clock.sleep(scripted)
        if provider in PROVIDERS and (method, what) == ("POST", "device"):
            return self.consents.device(provider, form, self.url(provider, "activate"))
        if provider not in PROVIDERS or what != "token":
            return Reply(404, {"error": "not_found"})
        return self._token(provider, form)

    def _token(self, provider: str, form: Mapping[str, str]) -> Reply:
        kind = form.get("grant_type")
        if kind not in ("refresh_token", "authorization_code", DEVICE_CODE):
            return Reply(400, {"error": "unsupported_grant_type"})
        if not form.get("client_id"):
            return Reply(401, {"error": "invalid_client"})
        if kind == "refresh_token":
            return self._refresh(provider, form.get("refresh_token", ""))
        if kind == "authorization_code":
            user = self.consents.redeem(provider, form)
            return invalid_grant("Malformed auth code.") if user is None else self._granted(provider, user)
        signed_in = self.consents.poll(provider, form)
        return self._granted(provider, signed_in) if isinstance(signed_in, str) else signed_in

    def _refresh(self, provider: str, refresh_token: str) -> Reply:
        grant = self._grants.get(refresh_token)
        if grant is None or grant.revoked or grant.provider != provider:
            if provider == "microsoft":
                return invalid_grant(
                    "AADSTS70000: The user could not be authenticated as the grant is expired."
                )
            return invalid_grant()
        if provider == "google":
            return self._tokens(provider, grant.user)
        if self.revokes_rotated:
            self._grants[refresh_token] = replace(grant, revoked=True)
        return self._granted(provider, grant.user)

    def _granted(self, provider: str, user: str) -> Reply:
        return self._tokens(provider, user, refresh_token=self.grant(user, provider))

    def _tokens(self, provider: str, user: str, **more: str) -> Reply:
        body: dict[str, object] = {
            "access_token": self.issue(user),
            "expires_in": int(self.lifetime),
            "token_type": "Bearer",
            "scope": self.scope or (_MICROSOFT_SCOPE if provider == "microsoft" else _GOOGLE_SCOPE),
        }
        return Reply(200, body | more)

    def _random(self, prefix: str) -> str:
        return prefix + self._rng.randbytes(24).hex()
