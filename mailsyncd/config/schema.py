"""What may stand in the configuration, and what is right about a single value or section.

Cross-section rules are in load.py. A section's validator reports several mistakes as lines of
"key: sentence" (see `_wrong`). Defaults that are not None stand here, and nowhere else.
"""

from __future__ import annotations

import ipaddress
import re
from datetime import UTC, date, datetime
from typing import Annotated, Literal, TypeVar
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator
from pydantic_settings import BaseSettings, InitSettingsSource, PydanticBaseSettingsSource, SettingsConfigDict

from mailsyncd.config import grammar, secrets
from mailsyncd.config.secrets import SecretSpec
from mailsyncd.config.sources import Tree

Duration = Annotated[float, BeforeValidator(grammar.duration)]
Size = Annotated[int, BeforeValidator(grammar.size)]
SecretValue = Annotated[SecretSpec, BeforeValidator(secrets.spec)]
Auth = Literal["oauth", "password"]

MICROSOFT_TOKENS = "https://login.microsoftonline.com/{tenant}/oauth2/v2.0/token"
MICROSOFT_SCOPE = "https://outlook.office.com/IMAP.AccessAsUser.All offline_access"
GOOGLE_TOKENS = "https://oauth2.googleapis.com/token"


def is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def _email(value: str) -> str:
    if not re.fullmatch(r"[^@\s\x00-\x1f]+@[^@\s\x00-\x1f]+", value):
        raise ValueError(f'{value!r} is not an email address; write "name@example.com"')
    return value


def _folder(value: str) -> str:
    if not value.strip():
        raise ValueError('is empty; write a folder such as "Gmail/me"')
    if re.search(r"[\x00-\x1f\x7f]", value):
        raise ValueError("has a control character, which no server takes")
    if any(part != part.strip() or not part for part in value.split("/")):
        raise ValueError(f"{value!r} has a part that is empty or has a space at its edge")
    return value


def _url(value: str) -> str:
    parts = urlsplit(value)
    if parts.scheme == "https" and parts.hostname:
        return value
    if parts.scheme == "http" and parts.hostname and is_loopback(parts.hostname):
        return value
    raise ValueError("must begin with https:// (http:// is for loopback addresses only)")


def _one_line(value: str) -> str:
    if re.search(r"[\x00-\x1f\x7f]", value):
        raise ValueError("has a control character")
    return value


Email = Annotated[str, AfterValidator(_email)]
Folder = Annotated[str, AfterValidator(_folder)]
Url = Annotated[str, AfterValidator(_url)]
OneLine = Annotated[str, Field(min_length=1), AfterValidator(_one_line)]
Day = Annotated[Literal["now", "all"] | date, BeforeValidator(grammar.start)]


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


class Daemon(Section):
    sweep_interval: Annotated[Duration, Field(ge=5, le=86_400)] = 300.0
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    log_format: Literal["auto", "json", "text"] = "auto"
    idle_renewal: Annotated[Duration, Field(ge=10, le=1740)] = 540.0
    poll_interval: Annotated[Duration, Field(ge=1, le=3600)] = 30.0
    settle_window: Annotated[Duration, Field(ge=0, le=3600)] = 90.0
    max_message_size: Annotated[Size, Field(ge=1024, le=2**31)] = 150_000_000
    memory_budget: Annotated[Size, Field(ge=2**20, le=2**34)] = 64 * 2**20
    queue_size: Annotated[int, Field(ge=1, le=100_000)] = 1000
    drain_timeout: Annotated[Duration, Field(ge=0, le=600)] = 20.0
    uidvalidity_window: Annotated[Duration, Field(ge=60, le=30 * 86_400)] = 86_400.0
    socket: OneLine | None = None


class State(Section):
    backend: Literal["sqlite", "dynamodb"] = "sqlite"
    path: OneLine | None = None
    table: Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]{3,255}$")] = "mailsyncd"
    region: Annotated[str, Field(pattern=r"^[a-z0-9-]+$")] | None = None
    endpoint_url: Url | None = None
    record_ttl: Annotated[Duration, Field(ge=86_400, le=3650 * 86_400)] = 90 * 86_400.0
    grace: Annotated[Duration, Field(ge=0, le=3600)] = 60.0
    lease: Annotated[Duration, Field(ge=10, le=600)] = 60.0


class _Server(Section):
    """The keys that both sides have."""

    port: Annotated[int, Field(ge=1, le=65_535)] = 993
    tls: bool = True
    ca_file: OneLine | None = None
    auth: Auth = "oauth"
    username: OneLine | None = None
    password: SecretValue | None = None
    client_id: OneLine | None = None
    client_secret: SecretValue | None = None
    refresh_token: SecretValue | None = None

    def wrong_here(self, host: str) -> list[str]:
        """What does not fit together."""
        wrong = []
        if not self.tls and not is_loopback(host):
            wrong.append(f"tls: false is for loopback hosts only, and {host} is none")
        if self.auth == "password" and self.password is None:
            wrong.append('password: is missing, since auth is "password"')
        if self.auth == "oauth" and self.client_id is None:
            wrong.append('client_id: is missing; it is needed to sign in (or set auth = "password")')
        if self.auth == "oauth" and self.refresh_token is None:
            wrong.append('refresh_token: is missing; it is needed to sign in (or set auth = "password")')
        return wrong


class Destination(_Server):
    name: OneLine = "outlook"
    email: Email
    host: OneLine = "outlook.office365.com"
    tenant: Annotated[str, Field(pattern=r"^[A-Za-z0-9.-]+$")] = "consumers"
    token_url: Url | None = None
    scope: OneLine = MICROSOFT_SCOPE
    max_message_size: Annotated[Size, Field(ge=1024, le=2**31)] | None = None
    literals: Literal["auto", "sync", "plus"] | None = None
    window: Annotated[int, Field(ge=1, le=1024)] | None = None
    per_second: Annotated[float, Field(ge=0, le=10_000)] | None = None

    @model_validator(mode="after")
    def _fits(self) -> Destination:
        return _raise_if(self, self.wrong_here(self.host))


class Route(_Server):
    gmail: Email
    folder: Folder
    mailbox: OneLine = "INBOX"
    destination: OneLine | None = None
    start: Day = "now"
    filter: OneLine | None = None
    mark_seen: bool = False
    create_folder: bool = True
    host: OneLine = "imap.gmail.com"
    token_url: Url = GOOGLE_TOKENS

    @model_validator(mode="after")
    def _fits(self) -> Route:
        wrong = self.wrong_here(self.host)
        if isinstance(self.start, date) and self.start > datetime.now(UTC).date():
            wrong.append(f"start: {self.start} is in the future; write a day that has begun")
        return _raise_if(self, wrong)


class Settings(BaseSettings):
    """The whole of it, merged from its sources: the first one given wins."""

    model_config = SettingsConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    daemon: Daemon = Daemon()
    state: State = State()
    outlook: Destination | None = None
    destinations: tuple[Destination, ...] = ()
    routes: tuple[Route, ...] = ()


def merge(*layers: Tree) -> Settings:
    """The settings from these layers; where two say something of a key, the earlier is right.

    Raises pydantic.ValidationError.
    """

    class Merged(Settings):
        @classmethod
        def settings_customise_sources(
            cls, settings_cls: type[BaseSettings], *_: object, **__: object
        ) -> tuple[PydanticBaseSettingsSource, ...]:
            # None but these: nothing in mailsyncd reads the environment by itself.
            return tuple(InitSettingsSource(settings_cls, layer) for layer in layers)

    return Merged()


T = TypeVar("T")


def _raise_if(section: T, wrong: list[str]) -> T:
    if wrong:
        raise ValueError("\n".join(wrong))
    return section
