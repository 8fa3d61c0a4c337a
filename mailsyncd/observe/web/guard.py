"""Who gets an answer: who asks by a name of ours, shows the token where there is one, and only reads.

A page of the internet can have a browser ask a loopback address by a name that leads there (DNS
rebinding). Such a request has the page's name in its Host field, and so gets nothing.
"""

from __future__ import annotations

import binascii
import ipaddress
from base64 import b64decode
from collections.abc import Mapping
from dataclasses import dataclass, field
from hmac import compare_digest
from types import MappingProxyType

from mailsyncd.account import Secret

METHODS = ("GET", "HEAD")
# Nothing from elsewhere, nothing inline, no frame around it, nothing kept.
HEADERS: Mapping[str, str] = MappingProxyType(
    {
        "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
        "X-Content-Type-Options": "nosniff",
        "X-Frame-Options": "DENY",
        "Referrer-Policy": "no-referrer",
        "Cross-Origin-Opener-Policy": "same-origin",
        "Cross-Origin-Resource-Policy": "same-origin",
        "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
        "Cache-Control": "no-store",
        "Server": "mailsyncd",
    }
)
# A browser asks its user for the second; the user's name does not matter.
CHALLENGE = 'Bearer realm="mailsyncd", Basic realm="mailsyncd (any name, the token as password)"'


@dataclass(frozen=True, slots=True)
class Refusal:
    """An answer of one line, and what else its header has to say."""

    status: int
    line: str
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Guard:
    """`hosts`: names by which we may be asked, beside addresses and localhost."""

    token: Secret | None
    hosts: frozenset[str]

    def refuse(self, method: str, headers: Mapping[str, str]) -> Refusal | None:
        """Why a request gets no answer; None if it is to get one."""
        if not self._is_ours(headers.get("Host", "")):
            return Refusal(421, "mailsyncd is not asked by this name: add it to [http] hosts")
        if self.token is not None and not self._shown(headers.get("Authorization", "")):
            return Refusal(401, "the token of [http] is needed", {"WWW-Authenticate": CHALLENGE})
        if method not in METHODS:
            return Refusal(405, "this can only be read", {"Allow": ", ".join(METHODS)})
        return None

    def _is_ours(self, host: str) -> bool:
        """An address can't be rebound: only a name can."""
        name = host.rpartition(":")[0] if host.rpartition(":")[2].isdigit() else host
        name = name.lower().rstrip(".")
        if name == "localhost" or name in self.hosts:
            return True
        try:
            ipaddress.ip_address(name.removeprefix("[").removesuffix("]"))
        except ValueError:
            return False
        return True

    def _shown(self, authorization: str) -> bool:
        """RFC 6750 for machines, RFC 7617 for browsers."""
        kind, _, given = authorization.partition(" ")
        given = given.strip()
        if kind.lower() == "basic":
            try:
                given = b64decode(given, validate=True).decode().partition(":")[2]
            except (binascii.Error, ValueError):
                return False
        elif kind.lower() != "bearer":
            return False
        return self.token is not None and compare_digest(given.encode(), self.token.reveal().encode())
