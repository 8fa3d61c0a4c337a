"""The servers that the sign-in's protocol is tried on, with the people who sign in there."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Protocol

from oauth_server import GOOGLE_CLIENT, GOOGLE_SECRET, MICROSOFT_CLIENT, OAuthServer, Person

from mailsyncd.account import Account, AuthKind, Secret
from mailsyncd.config import schema
from mailsyncd.sim import TokenEndpoint

USER = "me@example.org"


class Target(Protocol):
    """A server, and the people who sign in there."""

    def google(self) -> Account: ...

    def microsoft(self) -> Account: ...

    async def go(self, address: str, home: str, *, refuses: bool = False) -> str:
        """A person is sent to the address; where they end."""

    async def enter(self, address: str, user_code: str, *, refuses: bool = False) -> None:
        """A person types a device's code."""


@dataclass
class Simulated:
    endpoint: TokenEndpoint

    def google(self) -> Account:
        return self._account("google", GOOGLE_CLIENT, Secret(GOOGLE_SECRET), schema.GOOGLE_SCOPE)

    def microsoft(self) -> Account:
        return self._account("microsoft", MICROSOFT_CLIENT, None, schema.MICROSOFT_SCOPE)

    def _account(self, provider: str, client: str, secret: Secret | None, scope: str) -> Account:
        return Account(
            USER,
            AuthKind.OAUTH,
            client_id=client,
            client_secret=secret,
            scope=scope,
            token_url=self.endpoint.url(provider, "token"),
            authorize_url=self.endpoint.url(provider, "authorize"),
            device_url=self.endpoint.url(provider, "device"),
        )

    async def go(self, address: str, home: str, *, refuses: bool = False) -> str:
        self.endpoint.consents.denies = refuses
        with Person(USER) as person:
            return await asyncio.to_thread(person.follow, address, home)

    async def enter(self, address: str, user_code: str, *, refuses: bool = False) -> None:
        if refuses:
            self.endpoint.consents.deny(user_code)
        else:
            self.endpoint.consents.approve(user_code, USER)


@dataclass
class Certified:
    server: OAuthServer

    def google(self) -> Account:
        return self._account(GOOGLE_CLIENT, Secret(GOOGLE_SECRET), schema.GOOGLE_SCOPE)

    def microsoft(self) -> Account:
        return self._account(MICROSOFT_CLIENT, None, schema.MICROSOFT_SCOPE)

    def _account(self, client: str, secret: Secret | None, scope: str) -> Account:
        return Account(
            USER,
            AuthKind.OAUTH,
            client_id=client,
            client_secret=secret,
            scope=scope,
            token_url=self.server.url("token"),
            authorize_url=self.server.url("auth"),
            device_url=self.server.url("device/auth"),
        )

    async def go(self, address: str, home: str, *, refuses: bool = False) -> str:
        with Person(USER, refuses=refuses) as person:
            return await asyncio.to_thread(person.follow, address, home)

    async def enter(self, address: str, user_code: str, *, refuses: bool = False) -> None:
        with Person(USER, refuses=refuses) as person:
            await asyncio.to_thread(person.enter, address, user_code)
