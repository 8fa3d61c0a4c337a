"""What one route has listed and settled: the watermark is derived here, and only here (I6)."""

from __future__ import annotations

import asyncio
import heapq
from bisect import bisect_left
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from mailsyncd.flow.failures import OpenFailures
from mailsyncd.flow.unlisted import Unlisted
from mailsyncd.matching import Twins
from mailsyncd.model import Failure, Lane, Listing, Status, Via, Watermark
from mailsyncd.status import AGES


@dataclass(slots=True)
class Tally:
    """How many messages of a route went which way, since the process started; when the last one was
    copied, and how many seconds after it was seen."""

    copied: int = 0
    skipped: int = 0
    failed: int = 0
    copied_mono: float | None = None
    copied_in: float | None = None


@dataclass(frozen=True, slots=True)
class Sighting:
    """A UID that a listing showed, with its description if that came along."""

    uid: int
    via: Via
    seen_mono: float
    listing: Listing | None = None


@dataclass(slots=True)
class Progress:
    """Of one route under one UIDVALIDITY.

    `listed_to`: no message at or below it is unknown to us, but for what is `unlisted`. `stored` is the
    watermark in the state store. `todo` holds what was listed and is not yet on the queue, so that a
    listing which is cut short goes on where it was; `filled` wakes who waits for it. `failures` are those
    that may be tried again: settled all the same. `shown_to`: what was below it could be listed long ago.
    `twins` are counted out when first needed, and there until what was there at a change of UIDVALIDITY is
    settled. `moved_mono`: when something was settled last.
    """

    stored: Watermark
    listed_to: int
    twins: Twins | None = None
    todo: dict[Lane, deque[Sighting]] = field(default_factory=lambda: {lane: deque() for lane in Lane})
    filled: asyncio.Event = field(default_factory=asyncio.Event)
    failures: OpenFailures = field(default_factory=OpenFailures)
    unlisted: Unlisted = field(default_factory=Unlisted)
    shown_to: int = 0
    moved_mono: float = float("-inf")
    _known: dict[int, Status] = field(default_factory=dict)
    _open: dict[int, float] = field(default_factory=dict)
    _new: dict[int, float] = field(default_factory=dict)  # those of _open that are no backlog
    _heap: list[int] = field(default_factory=list)

    @classmethod
    def load(
        cls,
        watermark: Watermark,
        recorded: Mapping[int, Status],
        failures: Sequence[Failure],
        shown_to: int = 0,
    ) -> Progress:
        """From what the state store has, `recorded` by UID. A message that failed before it was claimed
        has no record, but is settled as well."""
        known = {one.uid: Status.FAILED for one in failures if one.uidvalidity == watermark.uidvalidity}
        known |= recorded
        known = {uid: status for uid, status in known.items() if uid > watermark.last_uid}
        progress = cls(watermark, watermark.last_uid, shown_to=shown_to, _known=known)
        progress.failures.take(failures, watermark.uidvalidity)
        return progress

    @property
    def uidvalidity(self) -> int:
        return self.stored.uidvalidity

    @property
    def unsettled(self) -> int:
        return len(self._open)

    @property
    def open(self) -> list[int]:
        """The UIDs that were listed and are not settled, ascending."""
        return sorted(self._open)

    def oldest_age(self, now: float) -> float | None:
        """For how long the longest waiting message has waited since it was first listed."""
        return now - min(self._open.values()) if self._open else None

    def late(self, now: float, *, held: bool) -> float:
        """For how long new mail has waited, or nothing of a backlog was settled; `held`: as it should."""
        since = min(self._new.values(), default=now)
        if len(self._open) > len(self._new) and not held:
            since = min(since, max(self.moved_mono, min(self._open.values())))
        return now - since

    def is_backlog(self, uid: int) -> None:
        """What was listed among few is old mail all the same."""
        self._new.pop(uid, None)

    def ages(self, now: float) -> tuple[int, ...]:
        """How many have waited since they were listed, by the classes of AGES."""
        counts = [0] * (len(AGES) + 1)
        for since in self._open.values():
            counts[bisect_left(AGES, now - since)] += 1
        return tuple(counts)

    def expect(self, sightings: Iterable[Sighting], at_once: int) -> int:
        """Take note of listed messages; returns how many are to be copied, leaving out those that
        are settled, under way, or in the hands of recovery. Up to `at_once` of them are live
        mail; more are a backlog."""
        fresh = []
        for one in sorted(sightings, key=lambda one: one.uid):
            self.listed_to = max(self.listed_to, one.uid)
            status = self._known.pop(one.uid, None)
            if (
                status in (Status.DONE, Status.FAILED)
                or one.uid <= self.stored.last_uid
                or one.uid in self._open
            ):
                continue
            self._open[one.uid] = one.seen_mono
            heapq.heappush(self._heap, one.uid)
            if status is None:
                fresh.append(one)
        lane = Lane.OLD if len(fresh) > at_once else Lane.LIVE
        if lane is Lane.LIVE:
            self._new.update((one.uid, one.seen_mono) for one in fresh)
        self.todo[lane].extend(fresh)
        self.filled.set()
        return len(fresh)

    def listed(self, up_to: int) -> None:
        """A listing showed that nothing else lies at or below `up_to`."""
        self.listed_to = max(self.listed_to, up_to)

    def settle(self, uid: int, now: float) -> None:
        """Done, skipped, or recorded as a failure."""
        self.moved_mono = now
        self.failures.under_way.discard(uid)
        self._new.pop(uid, None)
        if self._open.pop(uid, None) is None and uid > self.listed_to:
            self._known[uid] = Status.DONE
        if not self._open:
            self.failures.moved.set()

    def keep(self, new: Watermark) -> None:
        """`new` is in the state store now."""
        self.stored = new
        if new.last_uid + 1 >= new.backlog_until:
            self.twins = None

    def watermark(self, now: float) -> Watermark | None:
        """With the highest contiguous settled UID, to be stored; None if it has not moved."""
        while self._heap and self._heap[0] not in self._open:
            heapq.heappop(self._heap)
        contiguous = self._heap[0] - 1 if self._heap else self.listed_to
        if self.unlisted:
            contiguous = min(contiguous, self.unlisted.lowest - 1)
        if contiguous <= self.stored.last_uid:
            return None
        return replace(self.stored, last_uid=contiguous, updated_at=now)
