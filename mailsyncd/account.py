"""Who signs in where, and with what."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from types import MappingProxyType

# What is no key of a configuration, but follows from others.
FOUND: Mapping[str, bool] = MappingProxyType({"found": True})
# What is not, and is another all the same when a file that is named there has changed.
COMPARED: Mapping[str, bool] = MappingProxyType({"compared": True})


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
    """An IMAP server. TLS is always verified; `tls` is False for loopback hosts only. `ca_mark` tells
    other contents of `ca_file` from the same."""

    host: str
    port: int = 993
    tls: bool = True
    ca_file: Path | None = None
    ca_mark: str = field(default="", metadata=COMPARED)


class AuthKind(Enum):
    OAUTH = "oauth"
    PASSWORD = "password"  # noqa: S105 - the name of a way to sign in
    SERVICE_ACCOUNT = "service-account"


class Issuer(Enum):
    """Whose rules the refresh token of an account lives by."""

    GOOGLE = "google"
    MICROSOFT = "microsoft"
    OTHER = "other"


@dataclass(frozen=True, slots=True)
class Home:
    """Where a secret stands: `kind` and `name` as a reference in the configuration has them ("literal"
    has no name), `key` of a JSON object in AWS, in `region`."""

    kind: str = "literal"
    name: str = ""
    key: str | None = None
    region: str | None = None

    @property
    def is_followed(self) -> bool:
        """Whether a new value there is seen without a reload, and can be put there."""
        if self.kind in ("ssm", "secretsmanager"):
            pinned = self.kind == "ssm" and ":" in self.name  # an ARN, a version or a label: read only
            return self.key is not None and not pinned
        return self.kind == "file"

    def __str__(self) -> str:
        match self.kind:
            case "file":
                return f"file {self.name}"
            case "env":
                return f"environment variable {self.name}"
            case "credential":
                return f"systemd credential {self.name}"
            case "ssm":
                return f"SSM parameter {self.name}" + (f", key {self.key}" if self.key else "")
            case "secretsmanager":
                return f"Secrets Manager secret {self.name}" + (f", key {self.key}" if self.key else "")
        return "the configuration"


@dataclass(frozen=True, slots=True)
class Account:
    """How to sign in as `user`: XOAUTH2 from a refresh token or as a service account, or LOGIN/PLAIN
    with a password. `service_key` is Google's JSON key, or a certificate in place of the client secret.

    Two are the same if only the refresh token differs, in a home where that is followed: each rotation
    puts another one there. `in_testing`: Google's consent screen is, where tokens live for a week (C4).
    `remedy` is the command by which its user signs in again.
    """

    user: str
    kind: AuthKind
    password: Secret | None = None
    client_id: str = ""
    client_secret: Secret | None = None
    refresh_token: Secret | None = field(default=None, compare=False)
    token_url: str = ""
    scope: str | None = None
    authorize_url: str = ""
    device_url: str = ""
    service_key: Secret | None = None
    issuer: Issuer = field(default=Issuer.OTHER, metadata=FOUND)
    home: Home = field(default=Home(), metadata=FOUND)
    in_testing: bool = False
    remedy: str = field(default="", compare=False, metadata=FOUND)
    _fixed_token: Secret | None = field(init=False, repr=False, default=None)

    def __post_init__(self) -> None:
        if not self.home.is_followed:
            object.__setattr__(self, "_fixed_token", self.refresh_token)
