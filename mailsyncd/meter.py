"""What has been counted since the process started, as plain numbers: for the metrics, the status page
and `mailsyncd status`. Bounded, however long it lasts; it holds no address, subject or text of a message.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter, defaultdict, deque
from dataclasses import dataclass, field
from math import floor, log10

from mailsyncd.errors import AuthRejected, RouteBlocked, Throttled
from mailsyncd.model import Failure, MessageRef, Via
from mailsyncd.status import SetAside

# Upper ends of the buckets, in seconds: a push takes tenths of a second, a sweep minutes, a backlog hours.
BUCKETS = (0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0, 3600.0, 21600.0)
MOST_ASIDE = 50  # messages set aside that are remembered with their reasons
HOUR = 3600.0
SLOT = 15.0  # seconds that share a point of the last hour's plot
STEPS = 10  # points between a delay and ten times that
FIRST_DELAY, LAST_STEP = 0.01, 69  # seconds; the last step is 79,433 s and all above


@dataclass(slots=True)
class Histogram:
    """How many fell at or below each of BUCKETS, but above the one before; the last is the rest."""

    counts: list[int] = field(default_factory=lambda: [0] * (len(BUCKETS) + 1))
    total: float = 0.0

    def add(self, seconds: float) -> None:
        self.counts[bisect_left(BUCKETS, seconds)] += 1
        self.total += seconds


class LastHour:
    """What was delivered in the last hour, by time, delay and route. Times are monotonic."""

    def __init__(self) -> None:
        self._delays: defaultdict[int, Counter[tuple[int, bool]]] = defaultdict(Counter)
        self._flow: defaultdict[str, Counter[int]] = defaultdict(Counter)

    def add(self, route: str, delay: float, pushed: bool, now: float) -> None:
        slot, minute = int(now // SLOT), int(now // 60)
        if slot not in self._delays:
            self._prune(now)
        self._delays[slot][step_of(delay), pushed] += 1
        self._flow[route][minute] += 1

    def _prune(self, now: float) -> None:
        """Once a slot at the most: what is older than an hour goes."""
        for slot in [one for one in self._delays if one * SLOT < now - HOUR - SLOT]:
            del self._delays[slot]
        for route, minutes in list(self._flow.items()):
            for minute in [one for one in minutes if one * 60 < now - HOUR - 60]:
                del minutes[minute]
            if not minutes:
                del self._flow[route]

    def delays(self, now: float) -> list[tuple[float, float, bool, int]]:
        """(seconds ago, delay in seconds, by a notification?, how many messages)."""
        self._prune(now)
        return [
            (round(now - (slot + 0.5) * SLOT, 1), delay_of(step), pushed, count)
            for slot, points in self._delays.items()
            for (step, pushed), count in points.items()
        ]

    def flow(self, route: str, now: float) -> list[int]:
        """Messages in each of the last 60 minutes, the present one last."""
        minutes, last = self._flow.get(route, Counter()), int(now // 60)
        return [minutes.get(minute, 0) for minute in range(last - 59, last + 1)]


def step_of(delay: float) -> int:
    """The step on a logarithmic scale."""
    return min(LAST_STEP, max(0, floor(STEPS * log10(max(delay, FIRST_DELAY) / FIRST_DELAY))))


def delay_of(step: int) -> float:
    """The middle of a step, in seconds."""
    return float(f"{FIRST_DELAY * 10 ** ((step + 0.5) / STEPS):.3g}")


OUTCOMES = ("copied", "skipped", "failed")


class Meter:
    """Of one process. Keys begin with the name of a route and of its destination; for `reconnects` and
    `throttled` with the side, source or destination, and the name of the route or destination."""

    def __init__(self) -> None:
        self.messages: Counter[tuple[str, str, str]] = Counter()  # route, destination, outcome
        self.octets: Counter[tuple[str, str]] = Counter()
        self.since_seen: defaultdict[tuple[str, str], Histogram] = defaultdict(Histogram)  # destination, via
        self.since_received: defaultdict[tuple[str, str], Histogram] = defaultdict(Histogram)
        self.reconnects: Counter[tuple[str, str, str]] = Counter()  # side, name, cause
        self.throttled: defaultdict[tuple[str, str], float] = defaultdict(float)  # seconds
        self.reloads: Counter[str] = Counter()
        self.aside: deque[SetAside] = deque(maxlen=MOST_ASIDE)
        self.last_hour = LastHour()

    def copied(self, ref: MessageRef, size: int, seen: float, received: float | None, now: float) -> None:
        """`seen` and `received`: seconds since the source showed it, and since it got it."""
        self._count(ref, "copied")
        route, via = ref.route, ref.via.value
        self.octets[route.name, route.destination] += size
        self.since_seen[route.destination, via].add(seen)
        if received is not None:
            self.since_received[route.destination, via].add(max(0.0, received))
        self.last_hour.add(route.name, seen, ref.via is Via.PUSH, now)

    def skipped(self, ref: MessageRef) -> None:
        self._count(ref, "skipped")

    def failed(self, ref: MessageRef, failure: Failure) -> None:
        self._count(ref, "failed")
        self.aside.append(
            SetAside(
                ref.route.name,
                failure.uidvalidity,
                failure.uid,
                failure.kind.value,
                failure.error,
                failure.updated_at,
                failure.next_attempt_at,
            )
        )

    def _count(self, ref: MessageRef, outcome: str) -> None:
        self.messages[ref.route.name, ref.route.destination, outcome] += 1

    def disconnected(self, side: str, name: str, error: Exception | None) -> None:
        """A connection ended, by this error or as planned, and is to be made anew."""
        self.reconnects[side, name, cause_of(error)] += 1
        if isinstance(error, Throttled):
            self.throttle(side, name, error.pause)

    def throttle(self, side: str, name: str, seconds: float) -> None:
        """The server wants to be left alone for so much longer."""
        self.throttled[side, name] += seconds


def cause_of(error: Exception | None) -> str:
    """Why a connection has to be made anew, in a word."""
    match error:
        case None:
            return "planned"
        case Throttled():
            return "throttled"
        case AuthRejected():
            return "auth"
        case RouteBlocked():
            return "blocked"
        case _:
            return "lost"
