"""Who signs in where, and with what."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from pathlib import Path


class Secret:
    """A string that shows itself only when asked by name: not in repr, str, logs or errors (I9)."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        return self._value

    def __repr__(self) -> str:
        return "Secret(***)"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._value == self._value

    def __hash__(self) -> int:
        return hash(self._value)


@dataclass(frozen=True, slots=True)
class Endpoint:
    """An IMAP server. TLS is always verified; `tls` is False for loopback hosts only."""

    host: str
    port: int = 993
    tls: bool = True
    ca_file: Path | None = None


class AuthKind(Enum):
    OAUTH = "oauth"
    PASSWORD = "password"  # noqa: S105 - the name of a way to sign in
    SERVICE_ACCOUNT = "service-account"


@dataclass(frozen=True, slots=True)
class Account:
    """How to sign in as `user`: XOAUTH2 from a refresh token or as a service account, or LOGIN/PLAIN
    with a password. `service_key` is Google's JSON key, or a certificate in place of the client secret."""

    user: str
    kind: AuthKind
    password: Secret | None = None
    client_id: str = ""
    client_secret: Secret | None = None
    refresh_token: Secret | None = None
    token_url: str = ""
    scope: str | None = None
    authorize_url: str = ""
    device_url: str = ""
    service_key: Secret | None = None
