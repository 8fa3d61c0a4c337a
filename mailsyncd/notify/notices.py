"""What there is to tell, from one look at the daemon's status to the next. Pure: no await, no clock.

A condition is told once when it begins and once when it has ended. What flaps is told no more often than
every `repeat` seconds, and all together there are MOST an hour at the most.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum

from mailsyncd.status import DaemonStatus, RouteState, RouteStatus, SetAside, WriterState, WriterStatus

MOST = 30  # notices an hour
HOUR = 3600.0
SINGLY = 5  # messages set aside at once that are told one by one


class Kind(Enum):
    NEEDS_USER = "needs_user"
    FAILING = "failing"
    PARKED = "parked"
    SLOW = "slow"
    RECOVERED = "recovered"


@dataclass(frozen=True, slots=True)
class Notice:
    """`subject` is the name of a route, or of a destination. `left_out` counts those that were not told
    before this one, for there were too many."""

    kind: Kind
    subject: str
    text: str
    left_out: int = 0


@dataclass(frozen=True, slots=True)
class Limits:
    """Seconds: for how long something fails before it is told, how late mail may be, and how often the
    same is told."""

    failing_after: float = 900.0
    objective: float = 600.0
    repeat: float = HOUR


_Key = tuple[Kind, str]


class Notices:
    """Looks, and remembers what was told."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self._bad_since: dict[str, float] = {}
        self._open: set[_Key] = set()  # told, and not yet over
        self._told: dict[_Key, float] = {}
        self._aside: set[SetAside] = set()
        self._sent: deque[float] = deque()
        self._left_out = 0

    def look(self, status: DaemonStatus, mono: float) -> list[Notice]:
        """What is to be told now."""
        found, there = self._conditions(status, mono), _subjects(status)
        told = [Notice(key[0], key[1], text) for key, text in found.items() if self._begins(key, mono)]
        for key in sorted(self._open - found.keys(), key=str):
            self._open.discard(key)
            if key[1] in there:  # and was not taken out of the configuration
                told.append(Notice(Kind.RECOVERED, key[1], f"is well again: {key[0].value} no more"))
        self._told = {key: at for key, at in self._told.items() if key[1] in there}
        told += self._parked(status)
        return list(self._limited(told, mono))

    def _begins(self, key: _Key, mono: float) -> bool:
        if key in self._open or mono - self._told.get(key, float("-inf")) < self.limits.repeat:
            return False
        self._open.add(key)
        self._told[key] = mono
        return True

    def _conditions(self, status: DaemonStatus, mono: float) -> dict[_Key, str]:
        """What is so at this moment. Where another daemon copies, that one tells."""
        found: dict[_Key, str] = {}
        bad: dict[str, float] = {}
        awake = {one.name for one in status.writers if one.state is not WriterState.STANDBY}
        parts: list[RouteStatus | WriterStatus] = [one for one in status.writers if one.name in awake]
        parts += [one for one in status.routes if one.destination in awake]
        for one in parts:
            if one.state.needs_a_person:
                found[Kind.NEEDS_USER, one.name] = one.detail
            elif one.state not in (RouteState.WATCHING, WriterState.WRITING):
                bad[one.name] = since = self._bad_since.get(one.name, mono)
                if mono - since >= self.limits.failing_after:
                    found[Kind.FAILING, one.name] = f"{one.state.value}: {one.detail}"
            if isinstance(one, RouteStatus) and (one.oldest_age or 0.0) > self.limits.objective:
                late = f"{one.unsettled} messages wait, the oldest for {one.oldest_age:.0f} s"
                found[Kind.SLOW, one.name] = late
        self._bad_since = bad
        return found

    def _parked(self, status: DaemonStatus) -> list[Notice]:
        fresh = [one for one in status.set_aside if one not in self._aside]
        self._aside = set(status.set_aside)
        if len(fresh) > SINGLY:
            routes = sorted({one.route for one in fresh})
            text = f"{len(fresh)} messages were set aside: see mailsyncd failures list"
            return [Notice(Kind.PARKED, ", ".join(routes)[:500], text)]
        return [Notice(Kind.PARKED, one.route, _aside(one)) for one in fresh]

    def _limited(self, told: list[Notice], mono: float) -> Iterator[Notice]:
        while self._sent and self._sent[0] <= mono - HOUR:
            self._sent.popleft()
        for one in told:
            if len(self._sent) >= MOST:
                self._left_out += 1
                continue
            self._sent.append(mono)
            left_out, self._left_out = self._left_out, 0
            yield Notice(one.kind, one.subject, one.text, left_out)


def _subjects(status: DaemonStatus) -> set[str]:
    return {one.name for one in status.routes} | {one.name for one in status.writers}


def _aside(one: SetAside) -> str:
    return f"message {one.uidvalidity}-{one.uid} was set aside ({one.kind}): {one.error}"
