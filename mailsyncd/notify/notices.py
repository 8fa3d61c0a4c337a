"""What there is to tell, from one look at the daemon's status to the next. Pure: no await, no clock.

A condition is told once when it begins and once when it has ended. What flaps is told no more often than
every `repeat` seconds, and all together there are MOST an hour at the most.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum

from mailsyncd.status import DaemonStatus, RouteState, RouteStatus, SetAside, WriterState, WriterStatus

MOST = 30  # notices an hour
HOUR = 3600.0
SINGLY = 5  # of a kind at once that are told one by one


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
_Part = RouteStatus | WriterStatus


class Notices:
    """Looks, and remembers what was told."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self._bad_since: dict[str, float] = {}
        self._excused: dict[str, float] = {}  # when a cause of waiting, which was told, was last there
        self._open: set[_Key] = set()  # told, and not yet over
        self._told: dict[_Key, float] = {}
        self._aside: set[SetAside] = set()
        self._sent: deque[float] = deque()
        self._left_out = 0

    def look(self, status: DaemonStatus, mono: float) -> list[Notice]:
        """What is to be told now."""
        parts = _awake(status)
        found = self._causes(parts, mono)
        self._excuse(parts, found, mono)
        found |= self._delays(parts, mono)
        told = [Notice(*key, text) for key, text in found.items() if self._begins(key, mono)]
        told += self._recovered(parts, found)
        self._told = {key: at for key, at in self._told.items() if key[1] in _subjects(status)}
        return list(self._limited([*_together(told), *self._parked(status)], mono))

    def _begins(self, key: _Key, mono: float) -> bool:
        if key in self._open or mono - self._told.get(key, float("-inf")) < self.limits.repeat:
            return False
        self._open.add(key)
        self._told[key] = mono
        return True

    def _causes(self, parts: Sequence[_Part], mono: float) -> dict[_Key, str]:
        """What is in a bad state at this moment."""
        found: dict[_Key, str] = {}
        bad: dict[str, float] = {}
        for one in parts:
            if one.state.needs_a_person or one.state is WriterState.FULL:
                found[Kind.NEEDS_USER, one.name] = one.detail
            elif not _is_well(one):
                bad[one.name] = since = self._bad_since.get(one.name, mono)
                if mono - since >= self.limits.failing_after:
                    found[Kind.FAILING, one.name] = f"{one.state.value}: {one.detail}"
        self._bad_since = bad
        return found

    def _excuse(self, parts: Sequence[_Part], found: Iterable[_Key], mono: float) -> None:
        """What waits for a cause that was told needs no notice of its own, nor while it catches up."""
        causes = {name for kind, name in (*found, *self._open) if kind is not Kind.SLOW}
        names = {one.name for one in parts}
        self._excused = {n: at for n, at in self._excused.items() if n in names}
        self._excused |= dict.fromkeys(causes & names, mono)

    def _delays(self, parts: Sequence[_Part], mono: float) -> dict[_Key, str]:
        """Whose mail is late, with no other reason to tell."""
        found: dict[_Key, str] = {}
        for one in parts:
            if not isinstance(one, RouteStatus) or one.late <= self.limits.objective:
                continue
            key = (Kind.SLOW, one.name)
            excused = max(self._excused.get(name, float("-inf")) for name in (one.name, one.destination))
            if key in self._open or mono - excused > self.limits.objective:
                found[key] = f"{_waiting(one.unsettled)}, and nothing has moved for {_lasting(one.late)}"
        return found

    def _recovered(self, parts: Sequence[_Part], found: Mapping[_Key, str]) -> list[Notice]:
        """What was told and is over. Another try is no recovery; and of what is gone, or another daemon's
        by now, nothing is told."""
        there, told = {one.name: one for one in parts}, []
        for key in sorted(self._open - found.keys(), key=str):
            kind, name = key
            if name in there and kind is not Kind.SLOW and not _is_well(there[name]):
                continue
            self._open.discard(key)
            if name in there:
                told.append(Notice(Kind.RECOVERED, name, f"is well again: {kind.value} no more"))
        return told

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


def _awake(status: DaemonStatus) -> list[_Part]:
    """Destinations and routes. Where another daemon copies, that one tells."""
    writers = [one for one in status.writers if one.state is not WriterState.STANDBY]
    names = {one.name for one in writers}
    return [*writers, *(one for one in status.routes if one.destination in names)]


def _is_well(one: _Part) -> bool:
    return one.state in (RouteState.WATCHING, WriterState.WRITING)


def _together(told: list[Notice]) -> Iterator[Notice]:
    """Many of a kind at once have a cause in common: they are one notice."""
    for kind in Kind:
        alike = [one for one in told if one.kind is kind]
        if len(alike) <= SINGLY:
            yield from alike
        else:
            names = ", ".join(one.subject for one in alike)[:500]
            yield Notice(kind, names, f"{len(alike)} like this: {alike[0].text}")


def _waiting(count: int) -> str:
    return "a message waits" if count == 1 else f"{count:,} messages wait"


def _lasting(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"


def _aside(one: SetAside) -> str:
    return f"message {one.uidvalidity}-{one.uid} was set aside ({one.kind}): {one.error}"
