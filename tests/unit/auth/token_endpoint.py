"""A token endpoint without a network, and time that stands still until it is told."""

from __future__ import annotations

from dataclasses import dataclass, field
from random import Random
from typing import Any
from urllib.parse import parse_qs

import httpx

from mailsyncd.account import Account, AuthKind, Secret
from mailsyncd.auth.keeper import MemoryKeeper, TokenKeeper
from mailsyncd.auth.tokens import RefreshingTokens

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
    }
    return Account(**(given | changes))


def tokens(
    endpoint: Endpoint, clock: StandingClock, keeper: TokenKeeper | None = None, of: Account | None = None
) -> RefreshingTokens:
    client = httpx.AsyncClient(transport=httpx.MockTransport(endpoint))
    return RefreshingTokens(of or account(), keeper or MemoryKeeper(), client, clock=clock, rng=Random(7))
