"""How it goes: the states of routes and writers, and what a daemon tells of itself, as frozen values."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Health(Enum):
    """The verdict of `mailsyncd check`, with its exit code."""

    HEALTHY = 0
    DEGRADED = 1
    FAILING = 2


class RouteState(Enum):
    CONNECTING = "connecting"
    WATCHING = "watching"
    RETRYING = "retrying"
    BLOCKED = "blocked"
    STOPPED = "stopped"


class WriterState(Enum):
    STANDBY = "standby"  # another daemon holds the lease
    CONNECTING = "connecting"
    WRITING = "writing"
    RETRYING = "retrying"
    THROTTLED = "throttled"
    FULL = "full"
    BLOCKED = "blocked"
    STOPPED = "stopped"


@dataclass(frozen=True, slots=True)
class RouteStatus:
    """A route as `check` shows it. Ages and delays are in seconds; None where not yet known."""

    name: str
    destination: str
    state: RouteState
    detail: str
    last_uid: int | None
    unsettled: int
    oldest_age: float | None
    copied: int
    skipped: int
    failed: int
    listed_age: float | None


@dataclass(frozen=True, slots=True)
class WriterStatus:
    """A destination as `check` shows it."""

    name: str
    state: WriterState
    detail: str
    queued: int
    in_flight: int
    settling: int
    epoch: int | None


@dataclass(frozen=True, slots=True)
class Sharing:
    """How the destinations are shared out: between how many daemons, how many there are, how many of
    them are this one's share, and how many it holds."""

    daemons: int
    destinations: int
    share: int
    held: int


@dataclass(frozen=True, slots=True)
class DaemonStatus:
    """All that the local socket tells."""

    health: Health
    run_id: str
    version: str
    uptime: float
    reload: str
    routes: tuple[RouteStatus, ...]
    writers: tuple[WriterStatus, ...]
    sharing: Sharing
