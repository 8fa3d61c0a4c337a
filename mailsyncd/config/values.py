"""The configuration as the rest of mailsyncd sees it: frozen values, checked, with no library behind
them. Times are in seconds, sizes in bytes."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Literal

from mailsyncd.account import Account, Endpoint, Secret
from mailsyncd.model import Route

LogFormat = Literal["auto", "json", "text"]
Literals = Literal["auto", "sync", "plus"]


class Backend(Enum):
    SQLITE = "sqlite"
    DYNAMODB = "dynamodb"


@dataclass(frozen=True, slots=True)
class DaemonSettings:
    """[daemon]"""

    socket: Path
    sweep_interval: float = 300.0
    log_level: str = "info"
    log_format: LogFormat = "auto"
    idle_renewal: float = 540.0
    poll_interval: float = 30.0
    settle_window: float = 90.0
    max_message_size: int = 150_000_000
    memory_budget: int = 32 * 1024 * 1024
    queue_size: int = 1000
    drain_timeout: float = 20.0
    uidvalidity_window: float = 86_400.0
    daily_download_budget: int | None = None


@dataclass(frozen=True, slots=True)
class StateSettings:
    """[state]"""

    path: Path
    backend: Backend = Backend.SQLITE
    table: str = "mailsyncd"
    region: str | None = None
    endpoint_url: str | None = None
    record_ttl: float = 90 * 86_400.0
    grace: float = 60.0
    lease: float = 60.0


@dataclass(frozen=True, slots=True)
class HttpSettings:
    """[http]: where the status page and the metrics are, or "off"; whom they are for; and by which names
    they may be asked."""

    listen: str = "off"
    token: Secret | None = None
    hosts: tuple[str, ...] = ()

    @property
    def address(self) -> tuple[str, int] | None:
        """None while it is off."""
        host, _, port = self.listen.rpartition(":")
        return (host.strip("[]"), int(port)) if host else None


@dataclass(frozen=True, slots=True)
class NotifySettings:
    """[notify]: whom to tell what needs a person, and from when on."""

    command: tuple[str, ...] = ()
    webhook: Secret | None = None
    failing_after: float = 900.0
    objective: float = 600.0
    repeat: float = 3600.0
    timeout: float = 10.0
    digest_folder: str | None = None
    digest_hour: int = 6


@dataclass(frozen=True, slots=True)
class DestinationSettings:
    """[outlook], or one of [[destinations]]"""

    name: str
    email: str
    endpoint: Endpoint
    account: Account
    max_message_size: int | None = None
    literals: Literals | None = None
    window: int | None = None
    per_second: float | None = None
    tenant: str = "consumers"
    max_line_length: int | None = None
    wrap_long_lines: bool = False
    fix_bare_lf: bool = False
    disarm_read_receipts: bool = False
    settle_window: float | None = None


@dataclass(frozen=True, slots=True)
class RouteSettings:
    """One of [[routes]]"""

    route: Route
    endpoint: Endpoint
    account: Account


@dataclass(frozen=True, slots=True)
class Configuration:
    """All of it."""

    daemon: DaemonSettings
    state: StateSettings
    destinations: tuple[DestinationSettings, ...]
    routes: tuple[RouteSettings, ...]
    http: HttpSettings = HttpSettings()
    notify: NotifySettings = NotifySettings()

    @property
    def addresses(self) -> frozenset[str]:
        """The user's own, which may be shown."""
        targets = {address for one in self.destinations for address in (one.email, one.account.user)}
        sources = {address for one in self.routes for address in (one.route.gmail, one.account.user)}
        return frozenset(map(str.casefold, targets | sources))
