"""A daemon's status with something of everything in it, made up, for what shows it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random

from fakes import VirtualClock
from harness import a_route

from mailsyncd.errors import ConnectionLost, FailureKind, Throttled
from mailsyncd.meter import Meter
from mailsyncd.model import Failure, Listing, MessageRef, Route, Usage, Via
from mailsyncd.observe.sight import Sight
from mailsyncd.status import (
    AccountStatus,
    DaemonStatus,
    Health,
    Reload,
    ReloadOutcome,
    RouteState,
    RouteStatus,
    Sharing,
    SignInState,
    WriterState,
    WriterStatus,
)

STRANGER = "stranger@elsewhere.example"
SUBJECT = "Your secret diagnosis"
REFUSAL = f"outlook.example:993 (APPEND): the server said NO [CANNOT] '{SUBJECT}' of {STRANGER} is not wanted"
NAMES = ("ann", "bob", "cleo", "dan", "eve")
ROUTES = [a_route(f"{name}@gmail.example", f"Gmail/{name}") for name in NAMES]
OWN = frozenset({*(route.gmail for route in ROUTES), "me@outlook.example"})
DAY = 86_400.0


def a_meter(clock: VirtualClock, seed: int = 1, hours: float = 1.0) -> Meter:
    """An hour of mail: pushes, sweeps, a burst, a slow spell, and what went wrong."""
    meter, rng = Meter(), Random(seed)
    began = clock.monotonic() - hours * 3600
    for minute in range(int(hours * 60)):
        now = began + minute * 60 + rng.random() * 50
        for route in ROUTES[:4]:
            for _ in range(rng.choice((0, 0, 0, 1, 1, 2))):
                slow = 12 if 20 <= minute < 24 else 1
                _copied(meter, route, Via.PUSH, rng.lognormvariate(-1.6, 0.5) * slow, now)
        if minute == 40:
            for n in range(180):
                _copied(meter, ROUTES[0], Via.START, 2 + n * 0.2, now)
        if minute % 15 == 5:
            _copied(meter, ROUTES[1], Via.SWEEP, rng.uniform(20, 200), now)
    meter.disconnected("source", ROUTES[2].name, ConnectionLost("gone"))
    meter.disconnected("destination", "outlook", Throttled("slower", 30.0))
    ref = MessageRef(ROUTES[0], 7, Listing(43, 1, ""))
    large = Failure(
        7, 43, FailureKind.OVERSIZE, "36,800,000 bytes; the limit is 35,000,000", 0, clock.now() - 900
    )
    meter.failed(ref, large)
    meter.failed(ref, Failure(7, 44, FailureKind.REJECTED, REFUSAL, 0, clock.now() - 90, clock.now() + 3500))
    meter.reloads["good"] += 1
    return meter


def _copied(meter: Meter, route: Route, via: Via, delay: float, now: float) -> None:
    ref = MessageRef(route, 7, Listing(1, 20_000, ""), via=via)
    meter.copied(ref, 20_000, delay, delay + 1, now)


def a_route_status(route: Route, meter: Meter, **fields: object) -> RouteStatus:
    copied = meter.messages[route.name, route.destination, "copied"]
    given: dict[str, object] = {
        "name": route.name,
        "destination": route.destination,
        "state": RouteState.WATCHING,
        "detail": "",
        "last_uid": 1000 + copied,
        "unsettled": 0,
        "oldest_age": None,
        "copied": copied,
        "skipped": 1,
        "failed": 0,
        "listed_age": 42.0,
        "copied_age": 12.0 if copied else None,
        "copied_in": 0.21 if copied else None,
    }
    return RouteStatus(**(given | fields))  # type: ignore[arg-type]


def an_account(name: str, provider: str, now: float, **fields: object) -> AccountStatus:
    given: dict[str, object] = {
        "name": name,
        "provider": provider,
        "state": SignInState.GOOD,
        "detail": "",
        "reason": "",
        "command": f"mailsyncd auth {provider} --account {name}",
        "kept_in": "file",
        "is_kept": True,
        "renewals": 12,
        "refusals": 0,
        "failures": 1,
        "needed_at": None,
        "consented_at": now - 80 * DAY,
        "used_at": now - 900,
        "ends_at": None,
        "ends_why": "",
        "access_ends_in": 2400.0,
    }
    return AccountStatus(**(given | fields))  # type: ignore[arg-type]


def a_status(meter: Meter, now: float, *, well: bool = False) -> DaemonStatus:
    """All is well, or something of everything that is not."""
    routes = [a_route_status(route, meter) for route in ROUTES]
    accounts = [
        an_account("me@outlook.example", "microsoft", now, ends_at=now + 60 * DAY, ends_why="90 days unused")
    ]
    writer = WriterStatus("outlook", WriterState.WRITING, "", 3, 2, 0, 4, "vm-1/boot/ns/812/1", 0.0)
    if not well:
        routes[0] = a_route_status(
            ROUTES[0], meter, unsettled=142, oldest_age=190.0, set_aside=2, ages=(40, 102, 0, 0, 0)
        )
        why = "imap.gmail.example:993: the server closed the connection"
        routes[2] = a_route_status(ROUTES[2], meter, state=RouteState.RETRYING, detail=why, pause=24.0)
        why = "eve@gmail.example: the token endpoint refused: invalid_grant: sign in again"
        routes[4] = a_route_status(ROUTES[4], meter, state=RouteState.NEEDS_SIGN_IN, detail=why, pause=210.0)
        needs = {"state": SignInState.NEEDS_SIGN_IN, "detail": "Google takes its refresh token no more"}
        accounts.append(an_account("eve@gmail.example", "gmail", now, **needs))
        soon = {"ends_at": now + 6 * DAY, "ends_why": "the app is in testing: seven days"}
        accounts.append(an_account("bob@gmail.example", "gmail", now, **soon))
        throttled = (
            "outlook.example:993 (APPEND): the server said NO Suggested Backoff Time: 42000 milliseconds"
        )
        writer = WriterStatus(
            "outlook", WriterState.THROTTLED, throttled, 140, 2, 1, 4, "vm-1/boot/ns/812/1", 41.6
        )
    return DaemonStatus(
        health=Health.HEALTHY if well else Health.DEGRADED,
        run_id="0123456789ab",
        version="0.1.0",
        uptime=3 * DAY + 4000,
        reload=Reload(1_790_000_000.0, ReloadOutcome.APPLIED, "", "1 route added", applied=1),
        routes=tuple(routes),
        writers=(writer,),
        sharing=Sharing(1, 1, 1, 1),
        accounts=tuple(accounts),
        set_aside=() if well else tuple(meter.aside),
    )


@dataclass
class Shown:
    """What a page shows: to be changed while it is looked at."""

    well: bool = False
    clock: VirtualClock = field(default_factory=VirtualClock)
    change: Callable[[DaemonStatus], DaemonStatus] = lambda status: status

    def __post_init__(self) -> None:
        self.meter = a_meter(self.clock)

    def status(self) -> DaemonStatus:
        return self.change(a_status(self.meter, self.clock.now(), well=self.well))

    def sight(self) -> Sight:
        usage = Usage({"PutItem": 12, "Query": 3}, {"read": 4.5, "write": 24.0})
        return Sight(self.status, self.meter, lambda: usage, lambda: OWN, self.clock)
