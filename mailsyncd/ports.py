"""The seams: what the flow needs of the outside world, and nothing about who provides it.

Source and Sink are the two mailboxes, StateStore is the memory, TokenSource gives access
tokens, Clock is time. Every method that reaches the network has a deadline inside the
adapter (I10) and raises only errors of mailsyncd.errors.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import date
from types import MappingProxyType
from typing import Protocol

from mailsyncd.account import Secret
from mailsyncd.model import (
    Appended,
    Counts,
    Event,
    Failure,
    Lease,
    Listing,
    Mailbox,
    Member,
    Record,
    TailMessage,
    TokenNote,
    Trace,
    Traffic,
    Usage,
    Wake,
    Watermark,
)

NOTHING: Mapping[str, str] = MappingProxyType({})


class SecretDocument(Protocol):
    """A JSON object in a store of secrets, of which single keys are read and written. Raises RouteBlocked,
    where a person has to mend something, or Transient."""

    async def read(self, key: str) -> Secret | None:
        """None if there is no such key, or nothing at all."""

    async def write(self, key: str, value: Secret, beside: Mapping[str, str] = NOTHING) -> None:
        """Durable when it returns; other keys are kept, and what is missing is made. `beside`: more
        keys, written in the same stroke."""

    async def replace(self, key: str, old: Secret, new: Secret) -> Secret:
        """The same if `old` is there still; returns what is there afterwards. What somebody else has
        put there meanwhile stays."""


class Clock(Protocol):
    """Time as an argument, so that tests can hold it."""

    def monotonic(self) -> float:
        """Seconds that never go back; for timers and leases."""

    def now(self) -> float:
        """Seconds since the epoch; for records and logs, never for deciding an interval."""

    async def sleep(self, seconds: float) -> None:
        """Return after that many monotonic seconds."""


class TokenSource(Protocol):
    """Access tokens of one account."""

    async def token(self) -> str:
        """A token good for a while yet. Raises RouteBlocked when only the user can help,
        Transient when the token endpoint can't be had."""

    def reject(self, token: str) -> None:
        """The server refused this one: the next call must not return it."""

    def lifetime(self) -> float | None:
        """Seconds until the present token expires; None where tokens don't (passwords)."""


class TokenNotes(Protocol):
    """What is remembered of refresh tokens. Raises StateUnavailable."""

    async def token_note(self, account: str, line: str) -> TokenNote | None: ...

    async def put_token_note(self, new: TokenNote, *, expected: TokenNote | None) -> bool:
        """Replace `expected` by `new` if its revision is as expected; None means there must be none.
        False if not."""


class SourceSession(Protocol):
    """One signed-in connection with the source mailbox open by EXAMINE (I4)."""

    @property
    def mailbox(self) -> Mailbox:
        """As EXAMINE said, with `exists` kept up to date by what the server says since."""

    @property
    def ends_mono(self) -> float | None:
        """When to leave before the token dies (A15); None where it does not."""

    @property
    def lists_at_once(self) -> bool:
        """Whether all that lies below UIDNEXT can be listed at once. Exchange is known to count a message
        before it can be had by its UID (B20)."""

    async def search(
        self, after: int, *, before: int | None = None, since: date | None = None, raw: str | None = None
    ) -> list[int]:
        """UIDs above `after` (and below `before`), ascending. `since` has a day's granularity in a
        zone of the server's own. `raw` is a Gmail query where the server has X-GM-EXT-1, else
        IMAP SEARCH keys."""

    async def describe(self, uids: Sequence[int]) -> list[Listing]:
        """Size, date and ids of those of `uids` that are still there, ascending by UID."""

    async def newest(self, after: int) -> list[Listing]:
        """The listing of all above `after`, in one round trip: for when few are expected."""

    async def marks(self, uids: Sequence[int]) -> list[TailMessage]:
        """What those of `uids` that are still there can be recognised by, ascending by UID."""

    def read(self, uids: Sequence[int]) -> AsyncIterator[tuple[int, bytes]]:
        """The messages' bytes, as they come. What has vanished meanwhile is left out.
        Raises MessageRejected(SOURCE_UNREADABLE) when the server refuses this set (A34)."""

    async def wait(self, seconds: float) -> Wake:
        """Sleep in IDLE (or poll, where there is none) until the mailbox may have changed, or
        `seconds` have passed. Other calls may run meanwhile; they end IDLE and it resumes."""

    async def close(self) -> None:
        """Say LOGOUT if the line is still there, and close. Never raises."""


class Source(Protocol):
    """A source mailbox that can be connected to."""

    def session(self) -> AbstractAsyncContextManager[SourceSession]:
        """Connect, sign in, EXAMINE. Raises Transient, Throttled, RouteBlocked."""


@dataclass(frozen=True, slots=True)
class SinkLimits:
    """How a destination wants to be driven; see imap/profiles.py."""

    window: int
    window_bytes: int
    per_second: float | None
    max_message: int | None


class SinkSession(Protocol):
    """One signed-in connection to the destination, over which APPENDs may be pipelined."""

    @property
    def limits(self) -> SinkLimits: ...

    @property
    def ends_mono(self) -> float | None: ...

    @property
    def lost(self) -> bool:
        """True once the connection is gone or given up."""

    async def open(self, folder: str, *, create: bool) -> Mailbox:
        """The folder's UIDVALIDITY and UIDNEXT. Raises RouteBlocked when it is missing and may
        not be created, or its name is refused."""

    async def append(
        self,
        folder: str,
        body: bytes,
        internaldate: str,
        *,
        seen: bool,
        guard: Callable[[], object] = lambda: None,
    ) -> Appended:
        """APPEND the very bytes. May be called again before it returns; the commands go out in
        the order of the calls. `guard` is asked again and again until the last byte is sent; when
        it raises LeaseLost, no more of the command goes out, and nothing is stored. Raises also
        ConnectionLost with `sent`, MessageRejected, Throttled, DestinationFull, RouteBlocked."""

    async def tail(
        self, folder: str, from_uid: int, *, before: int | None = None, newest: int | None = None
    ) -> list[TailMessage]:
        """The messages with UIDs at or above `from_uid` (and below `before`), by UID; of all the
        folder's only those that are among its `newest` so many."""

    async def rest(self, seconds: float) -> None:
        """Nothing to write for now: keep the line alive for `seconds`. Raises ConnectionLost."""

    async def close(self) -> None:
        """Say LOGOUT if the line is still there, and close. Never raises."""


class Sink(Protocol):
    """A destination mailbox that can be connected to."""

    def session(self, wanted: asyncio.Event | None = None) -> AbstractAsyncContextManager[SinkSession]:
        """Connect and sign in, the latter not before it is `wanted`. Raises Transient, Throttled,
        RouteBlocked."""


@dataclass(frozen=True, slots=True)
class Refused:
    """A claim that was not granted, with the record in its way."""

    by: Record


class StateStore(TokenNotes, Protocol):
    """Idempotency records, watermarks, failures and leases (I1, I2, I3, I6, I7).

    `route` is a Route.key throughout. Writes are conditional, and a writer's own write, repeated
    after a lost answer, counts as success. Reads that decide are strongly consistent. Every
    method raises StateUnavailable when the store can't be had, and nothing else.
    """

    async def open(self) -> None:
        """Prove that the store answers and that its table is there (the gate, I1)."""

    async def close(self) -> None: ...

    def usage(self) -> Usage:
        """What it was asked so far."""

    async def watermark(self, route: str) -> Watermark | None: ...

    async def advance(self, route: str, new: Watermark, *, expected: Watermark | None) -> bool:
        """Replace `expected` by `new`; None means there must be none. False if another was found.
        Compares uidvalidity and last_uid."""

    async def claim(self, route: str, record: Record) -> Refused | None:
        """Create the PENDING record, and its MSG# pointer where `gm_msgid` is set, both or
        neither. Refused with the record in the way: one of the same UID that is not FAILED, or
        the one that the same gm_msgid points to (a stand-in with status DONE if that has expired).
        A record that FAILED is replaced. One's own earlier write (same claimed_by) is success."""

    async def adopt(self, route: str, record: Record, new: Record) -> bool:
        """Replace a PENDING record by `new` (another claimant, other folder numbers) if it is
        still as `record` says (status and claimed_by)."""

    async def finish(self, route: str, record: Record, events: Sequence[Event] = ()) -> bool:
        """PENDING becomes `record` (status DONE, with ttl) if claimed_by is still the same. False
        if not (fenced). For `same_as` records, which were never claimed, creates it."""

    async def fail(self, route: str, failure: Failure, claimed: Record | None) -> None:
        """Write the FAIL record; if `claimed`, its record becomes FAILED in the same stroke."""

    async def records(
        self, route: str, uidvalidity: int, after: int = 0, *, most: int | None = None
    ) -> list[Record]:
        """The records of that UIDVALIDITY above UID `after`, by UID: all, or the first so many.
        Expired ones that are still there count (I7)."""

    async def delivered(self, route: str, dest_uidvalidity: int | None, from_uid: int) -> list[Trace]:
        """Of DONE records those whose copy has that UIDVALIDITY (None: whichever) and a UID at or above
        `from_uid`, or an unknown UID: the messages that a tail match must leave to their owners."""

    async def pending(self, route: str) -> list[Record]:
        """Every PENDING record, of whatever UIDVALIDITY."""

    async def failures(self, route: str) -> list[Failure]:
        """Every FAIL record, by UIDVALIDITY and UID."""

    async def counts(self, route: str) -> Counts: ...

    async def lease(self, destination: str) -> Lease | None: ...

    async def put_lease(self, destination: str, new: Lease, *, expected: Lease | None) -> bool:
        """Replace `expected` by `new` if owner, epoch and beat are as expected. False if not."""

    async def note_traffic(self, traffic: Traffic) -> None:
        """Put what a daemon has downloaded of an account on a day in the place of what it noted before."""

    async def traffic(self, account: str, day: str) -> list[Traffic]:
        """What each daemon has noted of that account and day, by owner."""

    async def announce(self, member: Member) -> None:
        """Put what a daemon tells of itself in the place of what it told before."""

    async def members(self) -> list[Member]:
        """Every daemon that has announced itself, by owner; also some that have gone since."""
