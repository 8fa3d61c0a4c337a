"""What is counted, and that it stays bounded."""

from __future__ import annotations

from harness import a_route

from mailsyncd.errors import (
    AuthRejected,
    ConnectionLost,
    FailureKind,
    RouteBlocked,
    Throttled,
    Transient,
)
from mailsyncd.meter import BUCKETS, LAST_STEP, MOST_ASIDE, Histogram, LastHour, Meter, delay_of, step_of
from mailsyncd.model import Failure, Listing, MessageRef, Via

ROUTE = a_route()
DESTINATION = ROUTE.destination


def ref(uid: int = 1, via: Via = Via.PUSH) -> MessageRef:
    return MessageRef(ROUTE, 7, Listing(uid, 100, ""), via=via)


def test_a_delay_at_the_end_of_a_bucket_is_in_it() -> None:
    histogram = Histogram()
    for delay in (0.05, 0.0501, BUCKETS[-1], BUCKETS[-1] + 1):
        histogram.add(delay)
    assert histogram.counts[:2] == [1, 1]
    assert histogram.counts[-2:] == [1, 1]
    assert sum(histogram.counts) == 4


def test_pushed_and_swept_mail_are_told_apart() -> None:
    meter = Meter()
    meter.copied(ref(via=Via.PUSH), 10, 0.3, 2.0, now=100.0)
    meter.copied(ref(via=Via.SWEEP), 20, 40.0, None, now=100.0)
    assert meter.since_seen[DESTINATION, "push"].total == 0.3
    assert meter.since_seen[DESTINATION, "sweep"].total == 40.0
    assert (DESTINATION, "sweep") not in meter.since_received
    assert meter.octets[ROUTE.name, DESTINATION] == 30
    assert meter.messages[ROUTE.name, DESTINATION, "copied"] == 2


def test_a_date_in_the_future_counts_as_no_delay() -> None:
    meter = Meter()
    meter.copied(ref(), 10, 0.3, -5.0, now=0.0)
    assert meter.since_received[DESTINATION, "push"].total == 0.0


def test_every_end_of_a_connection_has_its_cause() -> None:
    meter = Meter()
    ends = {
        "planned": None,
        "throttled": Throttled("slower", 12.0),
        "auth": AuthRejected("no"),
        "blocked": RouteBlocked("no"),
        "lost": ConnectionLost("gone"),
    }
    for error in (*ends.values(), Transient("odd")):
        meter.disconnected("source", "r", error)
    assert {cause: meter.reconnects["source", "r", cause] for cause in ends} == dict.fromkeys(ends, 1) | {
        "lost": 2
    }
    assert meter.throttled["source", "r"] == 12.0


def test_of_what_was_set_aside_the_newest_are_remembered() -> None:
    meter = Meter()
    for uid in range(MOST_ASIDE + 5):
        meter.failed(ref(uid), Failure(7, uid, FailureKind.REJECTED, "why", 0, 1000.0 + uid))
    assert len(meter.aside) == MOST_ASIDE
    assert (meter.aside[-1].uid, meter.aside[-1].kind) == (MOST_ASIDE + 4, "rejected")
    assert meter.messages[ROUTE.name, DESTINATION, "failed"] == MOST_ASIDE + 5


def test_steps_go_up_with_the_delay_and_end() -> None:
    steps = [step_of(delay) for delay in (0, 0.001, 0.01, 0.1, 1, 10, 1e9)]
    assert steps == [0, 0, 0, 10, 20, 30, LAST_STEP]
    assert 0.1 < delay_of(step_of(0.11)) < 0.13


def test_the_last_hour_forgets_what_is_older() -> None:
    hour = LastHour()
    hour.add("r", 0.1, pushed=True, now=0.0)
    hour.add("r", 0.1, pushed=True, now=3500.0)
    assert [count for _, _, _, count in hour.delays(3500.0)] == [1, 1]
    assert [count for _, _, _, count in hour.delays(3700.0)] == [1]
    assert sum(hour.flow("r", 3700.0)) == 1
    assert hour.flow("r", 8000.0) == [0] * 60
    assert hour.delays(8000.0) == []


def test_a_backlog_of_any_size_takes_bounded_room() -> None:
    hour = LastHour()
    for n in range(200_000):
        hour.add("r", 0.01 * 1.0003**n if n < 40_000 else 1.0, pushed=n % 2 == 0, now=n * 0.1)
    assert len(hour.delays(20_000.0)) <= 2 * (LAST_STEP + 1) * 242
    assert len(hour._flow["r"]) <= 62
    assert sum(hour.flow("r", 20_000.0)) > 30_000
