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
    NEEDS_SIGN_IN = "needs_sign_in"  # blocked, and AccountStatus.command is what helps
    STOPPED = "stopped"

    @property
    def needs_a_person(self) -> bool:
        return self in (RouteState.BLOCKED, RouteState.NEEDS_SIGN_IN)


class WriterState(Enum):
    STANDBY = "standby"  # another daemon holds the lease
    CONNECTING = "connecting"
    WRITING = "writing"
    RETRYING = "retrying"
    THROTTLED = "throttled"
    FULL = "full"
    BLOCKED = "blocked"
    NEEDS_SIGN_IN = "needs_sign_in"
    STOPPED = "stopped"

    @property
    def needs_a_person(self) -> bool:
        return self in (WriterState.BLOCKED, WriterState.NEEDS_SIGN_IN)


class SignInState(Enum):
    """How it stands with an account's refresh token."""

    UNUSED = "unused"  # nobody has asked for an access token yet
    GOOD = "good"
    RETRYING = "retrying"  # the token endpoint, or the token's store, has trouble
    REFUSED = "refused"  # a person has to mend the configuration, or the token's store
    NEEDS_SIGN_IN = "needs_sign_in"  # the provider takes the refresh token no more: only its user can help


AGES = (60.0, 300.0, 3600.0, 86_400.0)  # seconds: the upper ends of the classes of RouteStatus.ages


@dataclass(frozen=True, slots=True)
class RouteStatus:
    """A route as `check` shows it. Ages and delays are in seconds; None where not yet known.

    `late`: how long new mail has been waiting, or, if that is longer, for how long nothing of a backlog has
    been settled. `set_aside`: failures that are not dealt with. `copied_age`: since the last copy, which took
    `copied_in` from when it was seen. `pause`: until it connects again. `ages`: how many of the unsettled
    have waited up to each of AGES, and longer.
    """

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
    late: float = 0.0
    set_aside: int = 0
    copied_age: float | None = None
    copied_in: float | None = None
    pause: float = 0.0
    ages: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class WriterStatus:
    """A destination as `check` shows it. `holder`: of its lease. `pause`: for so many seconds
    nothing is sent there."""

    name: str
    state: WriterState
    detail: str
    queued: int
    in_flight: int
    settling: int
    epoch: int | None
    holder: str = ""
    pause: float = 0.0


@dataclass(frozen=True, slots=True)
class AccountStatus:
    """An account that signs in with a refresh token. `..._at` are seconds since the epoch; None where
    not known.

    `reason` says why the provider refused: a word of auth/reasons.py, empty otherwise. `command` is what
    its user has to run, now or before `ends_at`, which is the forecast: when the refresh token dies if
    nothing is done, and `ends_why`. `needed_at`: since when it needs its user. `kept_in` names the store
    of the newest refresh token; not `is_kept`: it is in memory only, which a restart would not outlive.
    `renewals`, `refusals` (only a person can help) and `failures` (tried again) count since the start.
    """

    name: str
    provider: str
    state: SignInState
    detail: str
    reason: str
    command: str
    kept_in: str
    is_kept: bool
    renewals: int
    refusals: int
    failures: int
    needed_at: float | None
    consented_at: float | None
    used_at: float | None
    ends_at: float | None
    ends_why: str
    access_ends_in: float | None  # seconds that the present access token is good for


@dataclass(frozen=True, slots=True)
class Sharing:
    """How the destinations are shared out: between how many daemons, how many there are, how many of
    them are this one's share, and how many it holds."""

    daemons: int
    destinations: int
    share: int
    held: int


class ReloadOutcome(Enum):
    NONE = "none"  # there was none yet
    APPLIED = "applied"
    REFUSED = "refused"  # the configuration is wrong, or can't change so while running
    UNAVAILABLE = "unavailable"  # a secret could not be had for the moment; it may be good


@dataclass(frozen=True, slots=True)
class Reload:
    """How the last reload ended. `at` is in seconds since the epoch; `reason` is one line, empty if it
    was applied, and `changes` says what that changed. `applied` and `refused` count since the start."""

    at: float | None = None
    outcome: ReloadOutcome = ReloadOutcome.NONE
    reason: str = ""
    changes: str = ""
    applied: int = 0
    refused: int = 0


@dataclass(frozen=True, slots=True)
class SetAside:
    """A message that was set aside since the process started. Times are seconds since the epoch."""

    route: str
    uidvalidity: int
    uid: int
    kind: str
    error: str
    at: float
    next_attempt_at: float | None


@dataclass(frozen=True, slots=True)
class DaemonStatus:
    """All that the local socket tells."""

    health: Health
    run_id: str
    version: str
    uptime: float
    reload: Reload
    routes: tuple[RouteStatus, ...]
    writers: tuple[WriterStatus, ...]
    sharing: Sharing
    accounts: tuple[AccountStatus, ...] = ()
    set_aside: tuple[SetAside, ...] = ()
    state_away: bool = False
