"""The metrics, in the words of Prometheus: made from what is known in the moment somebody asks.

Names and labels are an interface: deploy/grafana-dashboard.json and deploy/prometheus-rules.yml use
them. Labels hold names of routes, destinations and accounts, and no one else's address.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from enum import Enum
from itertools import accumulate

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from mailsyncd.meter import BUCKETS, OUTCOMES, Histogram, Meter
from mailsyncd.model import Usage
from mailsyncd.observe.sight import Sight
from mailsyncd.status import (
    AccountStatus,
    DaemonStatus,
    ReloadOutcome,
    RouteStatus,
    WriterState,
    WriterStatus,
)

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
Rows = Iterable[tuple[tuple[str, ...], float | None]]


def exposition(sight: Sight) -> bytes:
    """The answer to a scrape."""
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    registry.register(_Reading(sight))
    return generate_latest(registry)


class _Reading(Collector):
    def __init__(self, sight: Sight) -> None:
        self._sight = sight

    def describe(self) -> Iterable[Metric]:
        """Nothing, so that registering does not read all of it once more."""
        return ()

    def collect(self) -> Iterator[Metric]:
        status, meter = self._sight.status(), self._sight.meter
        yield from _daemon(status, meter)
        yield from _routes(_awake(status))
        yield from _destinations(status.writers)
        yield from _accounts(status.accounts, self._sight.clock.now())
        yield from _mail(meter, status.routes)
        yield from _state(status, self._sight.usage())


def _gauge(name: str, about: str, labels: tuple[str, ...], rows: Rows) -> Metric:
    family = GaugeMetricFamily(f"mailsyncd_{name}", about, labels=labels)
    for names, value in rows:
        if value is not None:
            family.add_metric(names, value)
    return family


def _counter(name: str, about: str, labels: tuple[str, ...], rows: Rows) -> Metric:
    family = CounterMetricFamily(f"mailsyncd_{name}", about, labels=labels)
    for names, value in rows:
        if value is not None:
            family.add_metric(names, value)
    return family


def _states(
    name: str, about: str, labels: tuple[str, ...], found: Iterable[tuple[tuple[str, ...], Enum]]
) -> Metric:
    """1 for the state that it is in, 0 for each other one."""
    rows = [((*names, one.value), float(one is state)) for names, state in found for one in type(state)]
    return _gauge(name, about, (*labels, "state"), rows)


# ---------------------------------------------------------------------- families


def _daemon(status: DaemonStatus, meter: Meter) -> Iterator[Metric]:
    yield _gauge(
        "build_info", "Always 1; the label tells the version.", ("version",), [((status.version,), 1)]
    )
    yield _gauge(
        "health", "0 healthy, 1 degraded, 2 failing: as check says.", (), [((), status.health.value)]
    )
    yield _gauge("uptime_seconds", "Since the daemon started.", (), [((), status.uptime)])
    outcome = status.reload.outcome
    done = None if outcome is ReloadOutcome.NONE else float(outcome is ReloadOutcome.APPLIED)
    yield _gauge(
        "reload_successful", "Whether the last reload was; absent before the first.", (), [((), done)]
    )
    about = "Reloads by outcome."
    yield _counter(
        "reloads",
        about,
        ("outcome",),
        [((name,), count) for name, count in ({"good": 0, "failed": 0} | dict(meter.reloads)).items()],
    )


def _awake(status: DaemonStatus) -> list[RouteStatus]:
    """Without those that another daemon looks after: what is known of them is of long ago."""
    asleep = {one.name for one in status.writers if one.state is WriterState.STANDBY}
    return [one for one in status.routes if one.destination not in asleep]


def _routes(routes: Iterable[RouteStatus]) -> Iterator[Metric]:
    labels = ("route", "destination")
    named = [((one.name, one.destination), one) for one in routes]
    yield _states(
        "route_state", "1 for the state that a route is in.", labels, [(n, one.state) for n, one in named]
    )
    figures: tuple[tuple[str, str, Callable[[RouteStatus], float | None]], ...] = (
        (
            "unsettled_messages",
            "Messages seen and not yet copied, skipped or set aside.",
            lambda one: one.unsettled,
        ),
        (
            "oldest_undelivered_seconds",
            "How long the oldest unsettled message has waited since it was seen; 0 if there is none.",
            lambda one: one.oldest_age or 0.0,
        ),
        (
            "late_seconds",
            "How long new mail has waited, or nothing of a backlog has moved; 0 if all is as it should be.",
            lambda one: one.late,
        ),
        ("set_aside_messages", "Failures that are not dealt with.", lambda one: one.set_aside),
        ("listed_age_seconds", "Since the source was last listed completely.", lambda one: one.listed_age),
        ("copied_age_seconds", "Since the last copy.", lambda one: one.copied_age),
        ("watermark_uid", "Everything up to this UID of the source is settled.", lambda one: one.last_uid),
    )
    for name, about, of in figures:
        yield _gauge(name, about, labels, [(names, of(one)) for names, one in named])


def _destinations(writers: Iterable[WriterStatus]) -> Iterator[Metric]:
    labels = ("destination",)
    named = [((one.name,), one) for one in writers]
    about = "1 for the state that a destination is in."
    yield _states("destination_state", about, labels, [(names, one.state) for names, one in named])
    figures: tuple[tuple[str, str, Callable[[WriterStatus], float | None]], ...] = (
        ("queued_messages", "Seen, and waiting for their turn.", lambda one: one.queued),
        ("in_flight_messages", "On the wire, or about to be.", lambda one: one.in_flight),
        ("settling_messages", "Looked for before they are sent again.", lambda one: one.settling),
        ("pause_seconds", "For so long nothing will be sent.", lambda one: one.pause),
        (
            "lease_held",
            "1 where this daemon is the one that copies.",
            lambda one: float(one.epoch is not None),
        ),
        ("lease_epoch", "How often the lease has changed hands.", lambda one: one.epoch),
    )
    for name, about, of in figures:
        yield _gauge(name, about, labels, [(names, of(one)) for names, one in named])


def _accounts(accounts: Iterable[AccountStatus], now: float) -> Iterator[Metric]:
    labels = ("account", "provider")
    named = [((one.name, one.provider), one) for one in accounts]
    about = "1 for how it stands with an account's refresh token."
    yield _states("sign_in_state", about, labels, [(names, one.state) for names, one in named])
    figures: tuple[tuple[str, str, Callable[[AccountStatus], float | None]], ...] = (
        ("token_expires_in_seconds", "What is left of the access token.", lambda one: one.access_ends_in),
        (
            "sign_in_ends_in_seconds",
            "Until the refresh token dies if nothing is done; absent where nothing is known to end it.",
            lambda one: None if one.ends_at is None else one.ends_at - now,
        ),
        (
            "sign_in_kept",
            "1 where the newest refresh token would outlive a restart.",
            lambda one: float(one.is_kept),
        ),
    )
    for name, about, of in figures:
        yield _gauge(name, about, labels, [(names, of(one)) for names, one in named])
    tries: Mapping[str, Callable[[AccountStatus], float]] = {
        "renewed": lambda one: one.renewals,
        "refused": lambda one: one.refusals,
        "failed": lambda one: one.failures,
    }
    rows = [((*names, outcome), of(one)) for names, one in named for outcome, of in tries.items()]
    yield _counter("token_renewals", "Access tokens asked for, by outcome.", (*labels, "outcome"), rows)


def _mail(meter: Meter, routes: Iterable[RouteStatus]) -> Iterator[Metric]:
    """Counters are there from the start, at zero: Prometheus does not see a first step from nothing."""
    zeros = {(one.name, one.destination, outcome): 0 for one in routes for outcome in OUTCOMES}
    about = "Messages settled, by outcome."
    yield _counter(
        "messages", about, ("route", "destination", "outcome"), (zeros | dict(meter.messages)).items()
    )
    yield _counter(
        "copied_bytes", "Bytes of the copied messages.", ("route", "destination"), meter.octets.items()
    )
    yield _histogram("delivery_since_seen", "From EXISTS, or a listing, to done.", meter.since_seen)
    yield _histogram("delivery_since_received", "From INTERNALDATE to done.", meter.since_received)
    labels = ("side", "name", "cause")
    yield _counter("reconnects", "Connections that ended, by cause.", labels, meter.reconnects.items())
    about = "Seconds for which servers have asked to be left alone."
    yield _counter("throttled_seconds", about, ("side", "name"), meter.throttled.items())


def _histogram(name: str, about: str, found: Mapping[tuple[str, str], Histogram]) -> Metric:
    family = HistogramMetricFamily(f"mailsyncd_{name}_seconds", about, labels=("destination", "via"))
    for names, one in found.items():
        sums = list(accumulate(one.counts))
        ends = [*(repr(end) for end in BUCKETS), "+Inf"]
        family.add_metric(names, list(zip(ends, sums, strict=True)), one.total)
    return family


def _state(status: DaemonStatus, usage: Usage) -> Iterator[Metric]:
    about = "1 while the state store answers."
    yield _gauge("state_available", about, (), [((), float(not status.state_away))])
    rows = [((name,), count) for name, count in usage.requests.items()]
    yield _counter("state_requests", "Requests to the state store.", ("operation",), rows)
    about = "Capacity units that DynamoDB has counted, those of refused conditions left out."
    yield _counter("state_units", about, ("kind",), [((kind,), used) for kind, used in usage.units.items()])
