"""The decisions, pure: identity, delays, what is wanted, what may be behind the watermark.

No await, no clock, no randomness but what is passed in. Read this to learn what mailsyncd
decides; read flow/ to learn when.
"""

from __future__ import annotations

import hashlib
import re
from collections import defaultdict, deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta, timezone
from functools import lru_cache
from itertools import chain, islice
from random import Random

from mailsyncd.errors import FailureKind
from mailsyncd.model import Listing, Mailbox, Record, Route, StartKind, Status, TailMessage, Watermark
from mailsyncd.status import Health, RouteState, RouteStatus, WriterState, WriterStatus

# ------------------------------------------------------------------ identity

_FIELD_END = re.compile(rb"\n(?![ \t])")
_SPACE = re.compile(rb"\s+")
_LONGEST_FIELD = 16_384  # bytes of a field that are looked at
_MOST_FIELDS = 100  # of the names that are looked for
_LONGEST_ID = 900  # RFC 5322 2.1.1 allows 998 in a line; longer ones are kept as a hash


def header_fields(message: bytes, names: Iterable[bytes]) -> dict[bytes, list[bytes]]:
    """The fields of each of `names` (lower case), unfolded, white space collapsed. Copies nothing but
    what it returns, and never fails: mail is hostile, and a header of 150 MB is one way of being so."""
    found: dict[bytes, list[bytes]] = {name: [] for name in names}
    wanted = b"(?i:(" + b"|".join(map(re.escape, found)) + b")(?:\r?\n[ \t]|[ \t])*:)"
    end = _header_end(message)
    first = re.compile(wanted).match(message, 0, end)
    others = re.compile(b"\n" + wanted).finditer(message, 0, end)
    for field in islice(chain([first] if first else [], others), _MOST_FIELDS):
        stop = _FIELD_END.search(message, field.end(), end)
        stop_at = min(stop.start() if stop else end, field.end() + _LONGEST_FIELD)
        found[field[1].lower()].append(_SPACE.sub(b" ", message[field.end() : stop_at]).strip())
    return found


def _header_end(message: bytes) -> int:
    """Where the last line before an empty one ends. An expression would take ten times as long."""
    if message.startswith((b"\n", b"\r\n")):
        return 0
    end = found if (found := message.find(b"\n\r\n")) >= 0 else len(message)
    return found if (found := message.find(b"\n\n", 0, end + 1)) >= 0 else end


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """What recovery can recognise a message by: its Message-ID and a hash of what else is stable."""

    message_id: str | None
    digest: str


def fingerprint(message: bytes) -> Fingerprint:
    """Of a whole message, or of its header fields alone: the same result, in whatever order they
    stand, since a destination may give them back in another (B26)."""
    fields = header_fields(message, (b"message-id", b"date", b"from", b"subject"))
    rest = b"\n".join(b"\0".join(sorted(fields[name])) for name in (b"date", b"from", b"subject"))
    message_id = b" ".join(sorted(fields[b"message-id"])).decode("latin-1") or None
    if message_id and len(message_id) > _LONGEST_ID:
        message_id = "sha256:" + hashlib.sha256(message_id.encode("latin-1")).hexdigest()
    return Fingerprint(message_id, hashlib.sha256(rest).hexdigest()[:32])


# --------------------------------------------------------------------- dates

_NAMES = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_MONTHS = {name: number for number, name in enumerate(_NAMES, 1)}
_INTERNALDATE = re.compile(r"\s*(\d{1,2})-([A-Za-z]{3})-(\d{4}) (\d\d):(\d\d):(\d\d) ([+-])(\d\d)(\d\d)\s*$")


@lru_cache(1024)  # a message's date is asked for more than once while it is under way
def instant(internaldate: str) -> float | None:
    """The seconds since the epoch of an RFC 3501 date-time; None if it is not one."""
    m = _INTERNALDATE.match(internaldate)
    if not m or m[2].title() not in _MONTHS:
        return None
    offset = timedelta(hours=int(m[8]), minutes=int(m[9])) * (-1 if m[7] == "-" else 1)
    try:
        zone = timezone(offset)
        when = datetime(
            int(m[3]), _MONTHS[m[2].title()], int(m[1]), int(m[4]), int(m[5]), int(m[6]), tzinfo=zone
        )
        return when.timestamp()
    except (ValueError, OverflowError):
        return None


# -------------------------------------------------------------------- delays


def backoff(rng: Random, first: float = 1.0, cap: float = 300.0) -> Iterator[float]:
    """Delays in seconds with full jitter over a doubling ceiling, for ever."""
    ceiling = first
    while True:
        yield rng.uniform(first / 2, ceiling)
        ceiling = min(ceiling * 2, cap)


# ------------------------------------------------------------------ failures

HOUR = 3600.0
QUICK_TRIES = 3  # refusals in a row, before a message is set aside
# When a message that was set aside is tried again by itself: seconds since the time before. What
# depends on the destination's limits, or is gone, would only fail again.
RETRY_DELAYS: dict[FailureKind, tuple[float, ...]] = {
    FailureKind.REJECTED: (1 * HOUR, 6 * HOUR, 24 * HOUR),
    FailureKind.SOURCE_UNREADABLE: (1 * HOUR, 3 * HOUR, 8 * HOUR, 12 * HOUR),
}


def next_attempt(kind: FailureKind, retry_count: int, now: float) -> float | None:
    """When a message that failed just now is to be tried again, after so many later tries; None
    when only a person will have it tried again."""
    delays = RETRY_DELAYS.get(kind, ())
    return now + delays[retry_count] if retry_count < len(delays) else None


# ----------------------------------------------------- where a route begins

NUMBERINGS = 8  # changes of UIDVALIDITY in a row, before any window was searched to its end


def first_watermark(route: Route, mailbox: Mailbox, now: float) -> Watermark:
    """The watermark of a route that has none. `mailbox.uidnext` must be known."""
    match route.start.kind:
        case StartKind.NOW:
            return Watermark(mailbox.uidvalidity, mailbox.uidnext - 1, now)
        case StartKind.ALL:
            return Watermark(mailbox.uidvalidity, 0, now)
        case StartKind.DATE:
            day = route.start.day or date.min
            since = datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp()
            return Watermark(mailbox.uidvalidity, 0, now, backlog_until=mailbox.uidnext, since=since)


def watermark_after_change(
    old: Watermark,
    mailbox: Mailbox,
    now: float,
    before: Iterable[Record] = (),
    *,
    window: float,
    memory: float,
    unread: bool = False,
) -> Watermark:
    """The watermark after the source's UIDVALIDITY changed: a window is searched again.

    The window reaches back from the last time the old watermark is known to have been true,
    but not beyond half the time that records are kept, since what is older could not be
    recognised, unless that is later than that time. `window` and `memory` are in seconds. Where
    `before`, the records of the old numberings, has any that the watermark has passed, our clock
    can't narrow the window: it may be wrong, and the source's own dates tell what was settled when.
    `unread`: some of an earlier window was set aside, so that it was not counted out.
    """
    known = min(now, old.updated_at)
    since = max(known - window, min(known, now - memory / 2))
    known_as = list(before)
    settled = [one for one in known_as if one.uidvalidity != old.uidvalidity or one.uid <= old.last_uid]
    passed = [at for one in settled if one.status is not Status.PENDING and (at := instant(one.internaldate))]
    if passed:
        since = min(max(passed) - window, max(since, min(passed)))
    unfinished = (
        unread or old.last_uid + 1 < old.backlog_until
    )  # an earlier window was not searched to its end
    if old.since is not None and unfinished:
        since = min(since, old.since)
    # Where X-GM-MSGID told that all was copied before, nothing is recorded under the old number.
    bare = bool(known_as) and all(one.uidvalidity != old.uidvalidity for one in known_as)
    whence = (*(old.rescan_of if unfinished or bare else ()), old.uidvalidity)
    numberings = tuple(one for one in whence if one != mailbox.uidvalidity)[-NUMBERINGS:]
    reach = since if old.last_uid else old.since  # where nothing had been passed, nothing is left out
    new = Watermark(mailbox.uidvalidity, 0, now, mailbox.uidnext, reach, rescan_of=numberings)
    return replace(new, dest_uidvalidity=old.dest_uidvalidity, dest_uidnext=old.dest_uidnext)


def wanted(listing: Listing, watermark: Watermark) -> bool:
    """Whether a listed message is to be copied at all. An unreadable date counts as wanted."""
    if listing.uid <= watermark.last_uid:
        return False
    return not too_old(listing.uid, instant(listing.internaldate), watermark)


def too_old(uid: int, received: float | None, watermark: Watermark) -> bool:
    """Whether a message lies before the watermark's window."""
    if watermark.since is None or uid >= watermark.backlog_until:
        return False
    return received is not None and received < watermark.since


def search_since(watermark: Watermark) -> date | None:
    """The day to give to SINCE: one earlier, for its day is in a zone we don't know (A37)."""
    if watermark.since is None:
        return None
    try:
        return (datetime.fromtimestamp(watermark.since, UTC) - timedelta(days=1)).date()
    except (OverflowError, ValueError, OSError):
        return date(1970, 1, 1)


# ------------------------------------------------- the ambiguous APPEND (I8)


@dataclass(frozen=True, slots=True)
class Marks:
    """What a copy can be recognised by. A destination may rewrite any one, so two must agree.

    `received` is INTERNALDATE as an instant, in whole seconds; the copy's UID is `from_uid` or more.
    """

    message_id: str | None
    received: float | None
    digest: str
    from_uid: int = 0

    @property
    def _seconds(self) -> tuple[int, ...]:
        """INTERNALDATE agrees within a second."""
        return () if self.received is None else tuple(int(self.received) + off for off in (0, -1, 1))

    def triples(self) -> Iterator[_Key]:
        """The keys under which a message that agrees in all three is found."""
        if self.message_id is not None:
            yield from ((self.message_id, second, self.digest) for second in self._seconds)

    def pairs(self) -> Iterator[_Key]:
        """The keys under which a message that agrees in two is found."""
        if self.message_id is not None:
            yield (self.message_id, None, self.digest)
            yield from ((self.message_id, second, None) for second in self._seconds)
        yield from ((None, second, self.digest) for second in self._seconds)

    def sure(self) -> Iterator[_Key]:
        """The keys under which hardly anything but the very copy is found: the same message that
        came by another account has another INTERNALDATE."""
        for second in self._seconds:
            yield (self.message_id, second, None if self.message_id else self.digest)

    def likely(self) -> Iterator[_Key]:
        """The same, for a destination that may have rewritten INTERNALDATE."""
        yield from self.sure()
        if self.message_id is not None:
            yield (self.message_id, None, self.digest)


_Key = tuple[str | None, int | None, str | None]  # Message-ID, second, digest; None for what is left out


def marks_of(record: Record) -> Marks:
    return Marks(record.message_id, instant(record.internaldate), record.digest, record.dest_uidnext or 0)


def seen_marks(seen: TailMessage) -> Marks:
    return Marks(seen.message_id, seen.received_at, seen.digest)


class TailIndex:
    """Messages of a folder by their marks; each can be taken once."""

    def __init__(self, tail: Iterable[TailMessage]) -> None:
        self._groups: defaultdict[_Key, deque[int]] = defaultdict(deque)
        self._used: set[int] = set()
        for seen in sorted(tail, key=lambda seen: seen.uid):
            second = int(seen.received_at)
            keys: list[_Key] = [(None, second, seen.digest)]
            if seen.message_id is not None:
                mid = seen.message_id
                keys += [(mid, second, seen.digest), (mid, None, seen.digest), (mid, second, None)]
            for key in keys:
                self._groups[key].append(seen.uid)

    def __bool__(self) -> bool:
        return bool(self._groups)

    def knows(self, keys: Iterable[_Key]) -> bool:
        """Whether there was a message under any of these keys, taken or not."""
        return any(key in self._groups for key in keys)

    def take(self, keys: Iterable[_Key], from_uid: int) -> int | None:
        """The lowest UID from there on that is found under any of these keys and still free."""
        uids = [uid for key in keys if (uid := self._lowest(key, from_uid)) is not None]
        if not uids:
            return None
        self._used.add(min(uids))
        return min(uids)

    def _lowest(self, key: _Key, from_uid: int) -> int | None:
        if key not in self._groups:
            return None
        group = self._groups[key]
        while group and group[0] in self._used:
            group.popleft()
        return next((uid for uid in group if uid >= from_uid and uid not in self._used), None)


def pair(claims: Sequence[Marks], tail: Iterable[TailMessage]) -> list[int | None]:
    """For each claim the UID of its own tail message, or None: the best agreements first, each
    tail message for one claim at the most, so that twenty identical messages are twenty."""
    index = TailIndex(tail)
    found = [index.take(marks.triples(), marks.from_uid) for marks in claims]
    for n, marks in enumerate(claims):
        if found[n] is None:
            found[n] = index.take(marks.pairs(), marks.from_uid)
    return found


def match_tail(
    pending: Sequence[Record], tail: Sequence[TailMessage], delivered: Iterable[Record]
) -> list[int | None]:
    """Which tail message is whose: for each PENDING record its copy's UID, or None.

    Tail messages that belong to `delivered` records are theirs, by UID where the record has one,
    else by the same marks.
    """
    owned = list(delivered)
    taken = {record.dest_uid for record in owned if record.dest_uid is not None}
    claims = [marks_of(record) for record in owned if record.dest_uid is None]
    first_pending = len(claims)
    claims += map(marks_of, pending)
    return pair(claims, (seen for seen in tail if seen.uid not in taken))[first_pending:]


# ------------------------------------------- after a change of UIDVALIDITY (I3)


class Twins:
    """The messages copied before UIDVALIDITY changed, counted, on servers without X-GM-MSGID.

    Each of them can excuse one message of the new numbering from being copied again. Those that are
    PENDING are among them: what they will be is for the caller to find out.
    """

    def __init__(self, before: Iterable[Record], after: Iterable[Record]) -> None:
        self._left: dict[tuple[str | None, str, str], list[Record]] = {}
        earlier = list(before)
        spent = {record.same_as for record in (*earlier, *after) if record.same_as}
        for record in earlier:
            if record.status is not Status.FAILED and (record.uidvalidity, record.uid) not in spent:
                self.put_back(record)

    def put_back(self, record: Record) -> None:
        """It may stand for another message, or for the same one when that comes again."""
        self._left.setdefault(_twin_key(record, record.sha256), []).append(record)

    def take(self, like: Record) -> Record | None:
        """The record that stands for the same message as this one, and then for no other."""
        known, rebuilt = _twin_key(like, like.sha256), _twin_key(like, "")
        left = self._left.get(known) or self._left.get(rebuilt)
        return left.pop(0) if left else None


def _twin_key(record: Record, sha256: str) -> tuple[str | None, str, str]:
    """A rebuilt record was made without the message's bytes: its header digest has to do."""
    return (record.message_id, sha256, "" if sha256 else record.digest)


# ------------------------------------------------- who writes to how many (I3)


def fair_share(me: str, held: Mapping[str, int], destinations: int) -> int:
    """How many of the destinations are `me`'s, where `held` says how many each daemon has now.

    All shares together are all destinations, and no two differ by more than one. The larger ones
    go to those who hold more, so that nobody hands over without need.
    """
    least, larger = divmod(destinations, len(held))
    order = sorted(held, key=lambda owner: (-held[owner], owner))
    return least + (order.index(me) < larger)


# ---------------------------------------------------------------------- health


def verdict(state_lost: bool, routes: Sequence[RouteStatus], writers: Sequence[WriterStatus]) -> Health:
    """How the daemon is, as a whole.

    Failing: nothing can be copied. Degraded: something can't, or not now. A writer that stands
    by while another daemon copies is as it should be, and so are its routes.
    """
    awake = {one.name for one in writers if one.state is not WriterState.STANDBY}
    states = [one.state for one in routes if one.destination in awake]
    if state_lost or any(one.state.needs_a_person for one in writers):
        return Health.FAILING
    if states and all(state.needs_a_person for state in states):
        return Health.FAILING
    well = {WriterState.WRITING, WriterState.STANDBY}
    if any(one.state not in well for one in writers):
        return Health.DEGRADED
    if any(state is not RouteState.WATCHING for state in states):
        return Health.DEGRADED
    return Health.HEALTHY
