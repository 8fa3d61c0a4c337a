"""The decisions, pure: identity, delays, what is wanted, what may be behind the watermark.

No await, no clock, no randomness but what is passed in. Read this to learn what mailsyncd
decides; read flow/ to learn when.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta, timezone
from functools import lru_cache
from itertools import chain, islice
from random import Random

from mailsyncd.errors import FailureKind
from mailsyncd.model import Listing, Mailbox, Record, Route, StartKind, Status, Watermark
from mailsyncd.status import Health, RouteState, RouteStatus, WriterState, WriterStatus

# ------------------------------------------------------------------ identity

_FIELD_END = re.compile(rb"\n(?![ \t])")
_LONGEST_FIELD = 16_384  # bytes of a field that are looked at
_MOST_FIELDS = 100  # of the names that are looked for
_LONGEST_ID = 900  # RFC 5322 2.1.1 allows 998 in a line; longer ones are kept as a hash


@lru_cache(16)
def _beginnings(names: tuple[bytes, ...]) -> tuple[re.Pattern[bytes], re.Pattern[bytes]]:
    """Of one of these fields: where a message begins with it, and where it does not."""
    field = b"(?i:(" + b"|".join(map(re.escape, names)) + b")(?:\r?\n[ \t]|[ \t])*:)"
    return re.compile(field), re.compile(b"\n" + field)


def header_fields(message: bytes, names: Iterable[bytes]) -> dict[bytes, list[bytes]]:
    """The fields of each of `names` (lower case), unfolded, white space collapsed. Copies nothing but
    what it returns, and never fails: mail is hostile, and a header of 150 MB is one way of being so."""
    found: dict[bytes, list[bytes]] = {name: [] for name in names}
    at_first, later = _beginnings(tuple(found))
    end = _header_end(message)
    first = at_first.match(message, 0, end)
    others = later.finditer(message, 0, end)
    for field in islice(chain([first] if first else [], others), _MOST_FIELDS):
        stop = _FIELD_END.search(message, field.end(), end)
        stop_at = min(stop.start() if stop else end, field.end() + _LONGEST_FIELD)
        found[field[1].lower()].append(b" ".join(message[field.end() : stop_at].split()))
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


@lru_cache(4096)  # asked for more than once while a message is under way, and some thousand are
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


def internaldate(at: float) -> str:
    """The RFC 3501 date-time of seconds since the epoch, in UTC."""
    when = datetime.fromtimestamp(at, UTC)
    return f"{when.day:02}-{_NAMES[when.month - 1]}-{when:%Y %H:%M:%S} +0000"


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


@dataclass(slots=True)
class Past:
    """What the records of the numberings up to that of `mark` tell, taken in one by one. `first` and `last`
    are INTERNALDATEs of what is settled; `bare`: there are some, and none under the number of `mark`."""

    mark: Watermark
    first: float = math.inf
    last: float = -math.inf
    bare: bool = False
    _seen: bool = False

    def take(self, record: Record) -> None:
        present = record.uidvalidity == self.mark.uidvalidity
        self.bare = not present and (self.bare or not self._seen)
        self._seen = True
        if record.status is Status.PENDING or (present and record.uid > self.mark.last_uid):
            return
        if received := instant(record.internaldate):
            self.first, self.last = min(self.first, received), max(self.last, received)


def watermark_after_change(
    past: Past,
    mailbox: Mailbox,
    now: float,
    *,
    window: float,
    memory: float,
    unread: bool = False,
) -> Watermark:
    """The watermark after the source's UIDVALIDITY changed: a window is searched again.

    The window reaches back from the last time the old watermark is known to have been true,
    but not beyond half the time that records are kept, since what is older could not be
    recognised, unless that is later than that time. `window` and `memory` are in seconds. Where
    the old numberings have records that the watermark has passed, our clock can't narrow the
    window: it may be wrong, and the source's own dates tell what was settled when.
    `unread`: some of an earlier window was set aside, so that it was not counted out.
    """
    old = past.mark
    known = min(now, old.updated_at)
    since = max(known - window, min(known, now - memory / 2))
    if past.first <= past.last:
        since = min(past.last - window, max(since, past.first))
    unfinished = (
        unread or old.last_uid + 1 < old.backlog_until
    )  # an earlier window was not searched to its end
    if old.since is not None and unfinished:
        since = min(since, old.since)
    # Where X-GM-MSGID told that all was copied before, nothing is recorded under the old number.
    whence = (*(old.rescan_of if unfinished or past.bare else ()), old.uidvalidity)
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
