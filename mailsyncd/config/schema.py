"""What may stand in the configuration, and what is right about a single value.

What several keys must agree on is in rules.py. The defaults stand here, and nowhere else; where one
depends on the machine or on another key, None stands here and translate.py has it.
"""

from __future__ import annotations

import ipaddress
import json
import re
from collections.abc import Callable
from datetime import date
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict
from pydantic_settings import BaseSettings, InitSettingsSource, SettingsConfigDict

from mailsyncd.config import grammar, secrets
from mailsyncd.config.secrets import SecretSpec
from mailsyncd.config.sources import Tree

MICROSOFT_TOKENS = "https://login.microsoftonline.com/{tenant}/oauth2/v2.0/token"
MICROSOFT_CONSENT = "https://login.microsoftonline.com/{tenant}/oauth2/v2.0/authorize"
MICROSOFT_DEVICES = "https://login.microsoftonline.com/{tenant}/oauth2/v2.0/devicecode"
MICROSOFT_SCOPE = "https://outlook.office.com/IMAP.AccessAsUser.All offline_access"
MICROSOFT_SERVICE_SCOPE = "https://outlook.office365.com/.default"  # C20
GOOGLE_TOKENS = "https://oauth2.googleapis.com/token"
GOOGLE_CONSENT = "https://accounts.google.com/o/oauth2/v2/auth"
GOOGLE_SCOPE = "https://mail.google.com/"
# Control characters, the line ends that only Unicode knows, and what stands in for octets that are
# not UTF-8: none can be sent to a server, or be shown on one line.
UNFIT = r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]"
PAGE = "127.0.0.1:8143"  # a port that no known service has
OFF = "off"
DAY = 86_400
MIB = 2**20


def is_loopback(host: str) -> bool:
    """127.0.0.0/8, ::1, or localhost."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


# ------------------------------------------------------------------ single values


def seconds(low: float, high: float) -> BeforeValidator:
    return _between(grammar.duration, low, high, grammar.readable_duration)


def octets(low: int, high: int) -> BeforeValidator:
    return _between(grammar.size, low, high, grammar.readable_size)


def whole(low: int, high: int) -> BeforeValidator:
    return _between(_whole, low, high, str)


def _between(
    parse: Callable[[object], float], low: float, high: float, readable: Callable[[int], str]
) -> BeforeValidator:
    def check(value: object) -> float:
        number = parse(value)
        if not low <= number <= high:
            least, most = readable(int(low)), readable(int(high))
            raise ValueError(f"{grammar.shown(value)} is out of range; write {least} to {most}")
        return number

    return BeforeValidator(check)


def _whole(value: object) -> int:
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    if isinstance(value, str) and re.fullmatch(r"-?[0-9]{1,18}", value.strip()):
        return int(value)
    raise ValueError(f"{grammar.shown(value)} is not a whole number")


def _rate(value: object) -> float:
    try:
        if isinstance(value, int | float | str) and not isinstance(value, bool):
            return float(value)
    except (ValueError, OverflowError):
        pass
    raise ValueError(f"{grammar.shown(value)} is not a number")


def _line_length(value: object) -> int:
    """A limit below what every server takes (RFC 5322 2.1.1) would only do harm."""
    number = _whole(value)
    if number != 0 and not 998 <= number <= 1_000_000:
        raise ValueError(f"{grammar.shown(value)} is out of range; write 998 to 1000000, or 0 for no limit")
    return number


def _one_line(value: str) -> str:
    if not value.strip():
        raise ValueError("is empty")
    if re.search(UNFIT, value):
        raise ValueError("has a control character, or one that is not UTF-8; leave it out")
    return value


def _email(value: str) -> str:
    if not re.fullmatch(r"[^@\s]+@[^@\s]+", value) or re.search(UNFIT, value):
        raise ValueError(f'{grammar.shown(value)} is not an email address; write "name@example.com"')
    return value


def _folder(value: str) -> str:
    if not value.strip():
        raise ValueError('is empty; write a folder such as "Gmail/me"')
    if re.search(UNFIT, value):
        raise ValueError("has a control character, or one that is not UTF-8, which no server takes")
    if any(part != part.strip() or not part for part in value.split("/")):
        raise ValueError(f"{grammar.shown(value)} has a part that is empty or has a space at its edge")
    return value


def _host(value: str) -> str:
    try:
        ipaddress.ip_address(value)
    except ValueError:
        if not re.fullmatch(r"[^\W_][\w-]*(\.[\w-]+)*\.?", value):
            raise ValueError(
                f"{grammar.shown(value)} is not a host name; write it alone, without scheme and port"
            ) from None
    return value


def _url(value: str) -> str:
    try:
        parts = urlsplit(value)
        host, name, _ = parts.hostname, parts.username, parts.port
    except ValueError:
        raise ValueError("is not a URL") from None
    if not host or re.search(rf"\s|{UNFIT}", value):
        raise ValueError("is not a URL; write https:// and a host")
    if name is not None:
        raise ValueError("must not hold a user name or password")
    if parts.scheme != "https" and not (parts.scheme == "http" and is_loopback(host)):
        raise ValueError("must begin with https:// (http:// is for loopback addresses only)")
    return value


def listening(value: str) -> tuple[str, int]:
    """127.0.0.1:8143 or [::1]:8143 -> host and port. Raises ValueError."""
    host, _, port = value.rpartition(":")
    bare = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    if (":" in host) != (bare != host) or not bare or not re.fullmatch(r"[0-9]{1,5}", port):
        raise ValueError(f'{grammar.shown(value)} is not an address and a port; write "{PAGE}" or "off"')
    if not 1 <= int(port) <= 65_535:
        raise ValueError(f"{grammar.shown(port)} is no port; write 1 to 65535")
    return _host(bare), int(port)


def _listen(value: str) -> str:
    """There is a word for nowhere, since an empty environment variable counts as not set."""
    if value in ("", OFF):
        return OFF
    listening(value)
    return value


def _hosts(value: object) -> object:
    """The environment has no lists: commas stand between the names."""
    names = [one.strip() for one in value.split(",") if one.strip()] if isinstance(value, str) else value
    if not isinstance(names, list) or not all(isinstance(one, str) for one in names):
        raise ValueError('is not a list of names; write ["mail.example.org"]')
    return names


def url_mistake(value: str) -> str | None:
    """What is wrong with it, without it."""
    try:
        _url(value)
    except ValueError as error:
        return str(error)
    return None


def _like(pattern: str, what: str) -> AfterValidator:
    def check(value: str) -> str:
        if not re.fullmatch(pattern, value):
            raise ValueError(f"{grammar.shown(value)} is not {what}")
        return value

    return AfterValidator(check)


def _lower(value: object) -> object:
    return value.lower() if isinstance(value, str) else value


OneLine = Annotated[str, AfterValidator(_one_line)]
Email = Annotated[str, AfterValidator(_email)]
Folder = Annotated[str, AfterValidator(_folder)]
Host = Annotated[str, AfterValidator(_host)]
Url = Annotated[str, AfterValidator(_url)]
Listen = Annotated[str, AfterValidator(_listen)]
Hosts = Annotated[tuple[Host, ...], BeforeValidator(_hosts)]
Day = Annotated[Literal["now", "all"] | date, BeforeValidator(grammar.start)]
Level = Annotated[Literal["debug", "info", "warning", "error"], BeforeValidator(_lower)]
SecretValue = Annotated[SecretSpec, BeforeValidator(secrets.spec)]
Table = Annotated[
    str, _like(r"[A-Za-z0-9_.-]{3,255}", "a table name; write 3 to 255 letters, digits, dots or dashes")
]
Region = Annotated[str, _like(r"[a-z0-9-]+", "an AWS region; write one like us-west-2")]
Tenant = Annotated[str, _like(r"[A-Za-z0-9.-]+", "a tenant; write consumers, or your tenant's name or id")]
Auth = Literal["oauth", "password", "service-account"]
Literals = Literal["auto", "sync", "plus"]


# ----------------------------------------------------------------------- sections


class Section(BaseModel):
    # defer_build: the validators of all sections are made at once, as parts of that of Settings.
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True, defer_build=True)


class Daemon(Section):
    sweep_interval: Annotated[float, seconds(5, DAY)] = 300.0
    log_level: Level = "info"
    log_format: Literal["auto", "json", "text"] = "auto"
    idle_renewal: Annotated[float, seconds(10, 29 * 60)] = 540.0
    poll_interval: Annotated[float, seconds(1, 3600)] = 30.0
    settle_window: Annotated[float, seconds(0, 3600)] = 90.0
    max_message_size: Annotated[int, octets(1024, 2**31)] = 150_000_000
    memory_budget: Annotated[int, octets(MIB, 2**34)] = 32 * MIB
    daily_download_budget: Annotated[int, octets(0, 2**44)] | None = None
    queue_size: Annotated[int, whole(1, 100_000)] = 1000
    drain_timeout: Annotated[float, seconds(0, 600)] = 20.0
    uidvalidity_window: Annotated[float, seconds(60, 30 * DAY)] = 86_400.0
    socket: OneLine | None = None


class State(Section):
    backend: Literal["sqlite", "dynamodb"] = "sqlite"
    path: OneLine | None = None
    table: Table = "mailsyncd"
    region: Region | None = None
    endpoint_url: Url | None = None
    record_ttl: Annotated[float, seconds(DAY, 3650 * DAY)] = 90 * 86_400.0
    grace: Annotated[float, seconds(0, 3600)] = 60.0
    lease: Annotated[float, seconds(10, 600)] = 60.0


class Http(Section):
    listen: Listen = PAGE
    token: SecretValue | None = None
    hosts: Hosts = ()


def _command(value: object) -> object:
    """In the environment a JSON array; a shell never has a part in it."""
    if not isinstance(value, str):
        return value
    try:
        given = json.loads(value)
    except (ValueError, RecursionError):
        given = None
    if not isinstance(given, list):
        raise ValueError('is not a list of arguments; write ["/usr/local/bin/tell-me", "--now"]')
    return given


class Notify(Section):
    command: Annotated[tuple[OneLine, ...], BeforeValidator(_command)] = ()
    webhook: SecretValue | None = None
    failing_after: Annotated[float, seconds(60, DAY)] = 900.0
    objective: Annotated[float, seconds(10, 7 * DAY)] = 600.0
    repeat: Annotated[float, seconds(60, 7 * DAY)] = 3600.0
    timeout: Annotated[float, seconds(1, 300)] = 10.0
    digest_folder: Folder | None = None
    digest_hour: Annotated[int, whole(0, 23)] = 6


class Server(Section):
    """The keys that both sides have; each side gives the default for `host`."""

    host: Host
    port: Annotated[int, whole(1, 65_535)] = 993
    tls: bool = True
    ca_file: OneLine | None = None
    auth: Auth = "oauth"
    username: OneLine | None = None
    password: SecretValue | None = None
    client_id: OneLine | None = None
    client_secret: SecretValue | None = None
    refresh_token: SecretValue | None = None
    service_key: SecretValue | None = None
    token_url: Url | None = None
    authorize_url: Url | None = None


class Destination(Server):
    name: OneLine = "outlook"
    email: Email
    host: Host = "outlook.office365.com"
    tenant: Tenant = "consumers"
    device_url: Url | None = None
    scope: OneLine = MICROSOFT_SCOPE
    max_message_size: Annotated[int, octets(1024, 2**31)] | None = None
    settle_window: Annotated[float, seconds(0, 3600)] | None = None
    literals: Literals | None = None
    window: Annotated[int, whole(1, 1024)] | None = None
    per_second: Annotated[float, _between(_rate, 0, 10_000, str)] | None = None
    max_line_length: Annotated[int, BeforeValidator(_line_length)] | None = None
    wrap_long_lines: bool = False
    fix_bare_lf: bool = False
    disarm_read_receipts: bool = False


class Route(Server):
    gmail: Email
    folder: Folder
    mailbox: OneLine = "INBOX"
    destination: OneLine | None = None
    start: Day = "now"
    filter: OneLine | None = None
    mark_seen: bool = False
    create_folder: bool = True
    dedupe: Literal["route", "folder"] = "route"
    host: Host = "imap.gmail.com"
    token_url: Url = GOOGLE_TOKENS
    authorize_url: Url = GOOGLE_CONSENT
    scope: OneLine | None = None
    app_in_testing: bool = False


class Settings(BaseSettings):
    """The whole of it, merged from its sources: the first one given wins."""

    model_config = SettingsConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    # Defaults throughout, unchecked: to check them, each section would need a validator of its own.
    daemon: Daemon = Daemon.model_construct()
    state: State = State.model_construct()
    http: Http = Http.model_construct()
    notify: Notify = Notify.model_construct()
    outlook: Destination | None = None
    destinations: tuple[Destination, ...] = ()
    routes: tuple[Route, ...] = ()


SECTIONS: dict[str, type[Section]] = {
    "daemon": Daemon,
    "state": State,
    "http": Http,
    "notify": Notify,
    "outlook": Destination,
    "destinations": Destination,
    "routes": Route,
}


def merge(*layers: Tree) -> Settings:
    """The settings from these layers; where two say something of a key, the earlier is right.

    Raises pydantic.ValidationError.
    """
    # No source but these: nothing in mailsyncd reads the environment by itself.
    sources = tuple(InitSettingsSource(Settings, layer) for layer in layers)
    return Settings(_build_sources=(sources, {}))  # type: ignore[call-arg]  # mypy knows the fields alone
