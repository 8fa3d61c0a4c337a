"""A token endpoint without a network, and time that stands still until it is told."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from random import Random
from typing import Any
from urllib.parse import parse_qs

import httpx

from mailsyncd.account import Account, AuthKind, Home, Issuer, Secret
from mailsyncd.auth.consent import Consent
from mailsyncd.auth.homes import FixedHome, TokenHome
from mailsyncd.auth.keeper import Keeper
from mailsyncd.auth.tokens import RefreshingTokens
from mailsyncd.errors import Transient
from mailsyncd.state.memory import MemoryStore

CONFIGURED = Secret("configured-refresh-token")


class StandingClock:
    def __init__(self) -> None:
        self.at = 1000.0

    def monotonic(self) -> float:
        return self.at

    def now(self) -> float:
        return self.at + 1_700_000_000

    async def sleep(self, seconds: float) -> None:
        self.at += seconds


@dataclass
class Endpoint:
    """Gives `answers` in turn, the last one for ever; remembers what was asked."""

    answers: list[httpx.Response | Exception]
    asked: list[dict[str, str]] = field(default_factory=list)

    def __call__(self, request: httpx.Request) -> httpx.Response:
        form = parse_qs(request.content.decode(), strict_parsing=True)
        self.asked.append({name: values[0] for name, values in form.items()})
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        stream = httpx.ByteStream(answer.content)
        return httpx.Response(answer.status_code, headers=answer.headers, stream=stream)


def granted(token: str, **more: Any) -> httpx.Response:
    fields = {"access_token": token, "expires_in": 3600, "token_type": "Bearer"} | more
    return httpx.Response(200, json=fields)


def refused(error: str, description: str = "", status: int = 400) -> httpx.Response:
    return httpx.Response(status, json={"error": error, "error_description": description})


def account(**changes: Any) -> Account:
    given: dict[str, Any] = {
        "user": "me@example.org",
        "kind": AuthKind.OAUTH,
        "client_id": "client",
        "refresh_token": CONFIGURED,
        "token_url": "https://tokens.example.org/token",
        "issuer": Issuer.MICROSOFT,
        "remedy": "mailsyncd auth microsoft",
    }
    return Account(**(given | changes))


class SharedHome:
    """A place that is read and written by several, as a file is. `broken`: it can't be written now."""

    look = 5.0

    def __init__(self, token: Secret = CONFIGURED) -> None:
        self.token = token
        self.told: Consent | None = None
        self.broken = False
        self.written = asyncio.Event()
        self.go_on = asyncio.Event()
        self.go_on.set()

    async def read(self) -> Secret:
        return self.token

    async def consent(self) -> Consent | None:
        return self.told

    async def replace(self, old: Secret, new: Secret) -> Secret:
        self.written.set()
        await self.go_on.wait()
        if self.broken:
            raise Transient("the disk is full")
        if self.token == old:
            self.token = new
        return self.token


def tokens(
    endpoint: Endpoint,
    clock: StandingClock,
    notes: MemoryStore | None = None,
    of: Account | None = None,
    home: TokenHome | None = None,
) -> RefreshingTokens:
    """With a home, its account is one whose refresh token is followed there."""
    of = of or account(home=Home("file", "/tokens/me") if home else Home())
    client = httpx.AsyncClient(transport=httpx.MockTransport(endpoint))
    keeper = Keeper(
        of, home or FixedHome(of.home, of.refresh_token or Secret("")), notes or MemoryStore(), clock
    )
    return RefreshingTokens(of, keeper, client, clock=clock, rng=Random(7))
