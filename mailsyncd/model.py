"""The nouns of mailsyncd, as frozen values: routes, messages, records, watermarks, leases.

Nothing here does anything. Times called `..._at` are seconds since the epoch (wall clock);
times called `..._mono` are seconds of the process's monotonic clock. Sizes are bytes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from enum import Enum

from mailsyncd.errors import FailureKind


class StartKind(Enum):
    NOW = "now"
    ALL = "all"
    DATE = "date"


@dataclass(frozen=True, slots=True)
class Start:
    """Where a new route begins: with the next message, with all, or with a day (UTC)."""

    kind: StartKind
    day: date | None = None


START_NOW = Start(StartKind.NOW)
START_ALL = Start(StartKind.ALL)


def _escape(part: str) -> str:
    return part.replace("%", "%25").replace("#", "%23")


class Dedupe(Enum):
    """Where a mail that two routes see is copied once: for each of them, or in their folder."""

    ROUTE = "route"
    FOLDER = "folder"


@dataclass(frozen=True, slots=True)
class Route:
    """From one mailbox of one Gmail account into one folder of one destination."""

    gmail: str
    outlook: str
    folder: str
    mailbox: str = "INBOX"
    destination: str = "outlook"
    start: Start = START_NOW
    filter: str | None = None
    mark_seen: bool = False
    create_folder: bool = True
    dedupe: Dedupe = Dedupe.ROUTE
    key: str = field(init=False, repr=False, compare=False)
    name: str = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "key", self._key())  # both are asked for many times a message
        object.__setattr__(self, "name", self._name())

    def _key(self) -> str:
        """The partition key of everything the state store knows about this route.

        INBOX is left out, as in the deployments before this one; any other mailbox has
        UIDs of its own and so needs a name of its own.
        """
        key = f"ROUTE#{_escape(self.gmail)}#DEST#{_escape(self.outlook)}#FOLDER#{_escape(self.folder)}"
        if self.mailbox.upper() != "INBOX":
            key += f"#MAILBOX#{_escape(self.mailbox)}"
        return key

    def _name(self) -> str:
        """How logs and tables call it. Accounts and folders are a route's name, not a secret."""
        source = self.gmail if self.mailbox.upper() == "INBOX" else f"{self.gmail}/{self.mailbox}"
        return f"{source} > {self.folder}"


@dataclass(frozen=True, slots=True)
class Mailbox:
    """What EXAMINE, SELECT or STATUS said. `uidnext` is 0 where the server did not say, and not
    `is_exact` where it is only known not to be lower."""

    uidvalidity: int
    uidnext: int
    exists: int
    is_exact: bool = True


@dataclass(frozen=True, slots=True)
class Listing:
    """One line of a listing: what is known of a source message before it is read.

    `internaldate` is the server's own text ("17-Jul-2019 09:40:08 +0000"), passed through
    to APPEND unchanged (A30). `gm_msgid` is X-GM-MSGID in decimal, where the server has it.
    """

    uid: int
    size: int
    internaldate: str
    gm_msgid: str | None = None
    gm_thrid: str | None = None


class Lane(Enum):
    """Live mail is not to wait behind a backlog."""

    LIVE = "live"
    OLD = "old"

    __hash__ = object.__hash__  # Enum's is written in Python, and asked ten times a message


class Via(Enum):
    """What made us look: a notification, the timer, or a (re)connection."""

    PUSH = "push"
    SWEEP = "sweep"
    START = "start"


@dataclass(frozen=True, slots=True)
class MessageRef:
    """A small reference to a source message: what goes on the queue.

    `record` is set when the message already has a PENDING record of ours that recovery has
    cleared for another APPEND. `attempts` counts rejections by the destination so far.
    """

    route: Route
    uidvalidity: int
    listing: Listing
    lane: Lane = Lane.LIVE
    via: Via = Via.PUSH
    seen_mono: float = 0.0
    attempts: int = 0
    record: Record | None = None

    @property
    def uid(self) -> int:
        return self.listing.uid

    @property
    def key(self) -> tuple[str, int, int]:
        return (self.route.key, self.uidvalidity, self.listing.uid)


@dataclass(frozen=True, slots=True)
class Message:
    """A reference with its bytes. Never a parsed message (I5).

    `body`, `message_id` and `digest` are those of what is sent; `sha256` and `size` are the source
    message's. They differ only by the named `repairs`.
    """

    ref: MessageRef
    body: bytes = field(repr=False)
    sha256: str
    message_id: str | None = field(repr=False)
    digest: str
    size: int
    repairs: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class TailMessage:
    """A message in the destination folder, or in the source, by what it can be recognised by.

    `received_at` is its INTERNALDATE as an instant, since servers change the zone (B46); `digest`
    is policy.fingerprint's, hashed at the adapter's edge: no header text travels further (I9).
    """

    uid: int
    message_id: str | None = field(repr=False)
    received_at: float
    digest: str


@dataclass(frozen=True, slots=True)
class Appended:
    """The tagged OK of an APPEND; both numbers are None where the server has no APPENDUID (B31)."""

    uidvalidity: int | None
    uid: int | None


class Status(Enum):
    PENDING = "PENDING"
    DONE = "DONE"
    FAILED = "FAILED"  # settled by a FAIL record, which holds the reason


@dataclass(frozen=True, slots=True)
class Claimant:
    """Who claimed: the lease epoch, and one attempt's own random id.

    The attempt tells our own write, repeated by the SDK after a lost answer, from a
    stranger's (D3).
    """

    epoch: int
    attempt: str


@dataclass(frozen=True, slots=True)
class Record:
    """What the state store keeps of one source message: UID#<uidvalidity>#<uid>.

    `dest_uidvalidity` and `dest_uidnext` are the target folder's from before the APPEND;
    `dest_uid` is the copy's UID where it is known. `same_as` names the (uidvalidity, uid) of
    the record that stands for the same message, when this one was skipped as already copied.
    `expires_at` is the ttl, on settled records only (I7). `repairs` names the rules by which what
    was sent differs from the source message, whose `sha256` and `size` these are.
    """

    uidvalidity: int
    uid: int
    status: Status
    claimed_by: Claimant
    claimed_at: float
    sha256: str
    size: int
    internaldate: str
    digest: str
    message_id: str | None = None
    gm_msgid: str | None = None
    dest_uidvalidity: int | None = None
    dest_uidnext: int | None = None
    dest_uid: int | None = None
    copied_at: float | None = None
    expires_at: int | None = None
    same_as: tuple[int, int] | None = None
    repairs: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Trace:
    """Where the copy of a record is, or was to be, and what it can be recognised by: all that is held
    of a route's records when a whole folder is looked through. See TailMessage and Record."""

    message_id: str | None = field(repr=False)
    received_at: float | None
    digest: str
    dest_uidvalidity: int | None = None
    dest_uid: int | None = None
    dest_uidnext: int | None = None


@dataclass(frozen=True, slots=True)
class Failure:
    """A message set aside: FAIL#<uidvalidity>#<uid>. `error` is one sentence, free of secrets.

    `retry_count` counts the later tries; without `next_attempt_at` only a person will have it tried
    again. `dest_uidvalidity` and `dest_uidnext` are the folder's from before the first APPEND, if it
    came to one: a copy that turned up all the same would lie from there on. `gm_msgid` finds it again
    under another UIDVALIDITY.
    """

    uidvalidity: int
    uid: int
    kind: FailureKind
    error: str
    retry_count: int
    updated_at: float
    next_attempt_at: float | None = None
    size: int = 0
    resolved: bool = False
    expires_at: int | None = None
    dest_uidvalidity: int | None = None
    dest_uidnext: int | None = None
    gm_msgid: str | None = None


@dataclass(frozen=True, slots=True)
class Watermark:
    """Everything at or below `last_uid` is settled (I6).

    Messages below `backlog_until` are wanted only if their INTERNALDATE is at or after `since`: so
    a start date, and the window after a change of UIDVALIDITY (`rescan_of` are those before it,
    whose records tell what was copied already), outlive a restart. `dest_uidvalidity` and
    `dest_uidnext` are the target folder's after the last finished copy: what it held, we knew.
    """

    uidvalidity: int
    last_uid: int
    updated_at: float
    backlog_until: int = 0
    since: float | None = None
    rescan_of: tuple[int, ...] = ()
    dest_uidvalidity: int | None = None
    dest_uidnext: int | None = None


@dataclass(frozen=True, slots=True)
class Lease:
    """Who may write to a destination. `owner` is empty once it was given up.

    `beat` changes with every renewal; a waiter takes over when it has seen the same beat for
    a whole life by its own monotonic clock, so no two clocks need agree (D14). `pool` names the
    set of destinations that its owner serves: daemons of one pool share them out.
    """

    owner: str
    epoch: int
    beat: int
    life: float
    renewed_at: float
    pool: str = ""


@dataclass(frozen=True, slots=True)
class Member:
    """A daemon that makes itself known: because it holds no lease that would, or is about to leave.

    `beat`, `life` and `pool` are as in a Lease; `expires_at` is the ttl.
    """

    owner: str
    pool: str
    beat: int
    life: float
    renewed_at: float
    expires_at: int
    leaving: bool = False


@dataclass(frozen=True, slots=True)
class Traffic:
    """What one daemon has downloaded of an account's mail on a day (UTC, as 2026-07-17), in bytes."""

    account: str
    day: str
    owner: str
    size: int
    expires_at: int


@dataclass(frozen=True, slots=True)
class Usage:
    """What the state store was asked since the process started: requests by operation, and capacity
    units by "read" and "write", where it counts any."""

    requests: Mapping[str, int]
    units: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class TokenNote:
    """What is remembered of an account's refresh token: how it is used, or one that could not be put
    back where it came from, `sealed` so that only who has the token before it can read it.

    `line` tells apart what is remembered of one account. `revision` changes with every write.
    """

    account: str
    line: str
    revision: int
    since: float
    used_at: float
    expires_at: int
    sealed: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Counts:
    """How many records of a route are in which state."""

    done: int
    pending: int
    failed: int


@dataclass(frozen=True, slots=True)
class Event:
    """Something to publish with a finished message. None are made yet (the outbox is to come)."""

    name: str
    data: Mapping[str, str | int | float | None]


class Wake(Enum):
    """Why a source session stopped waiting. News is a hint, never data."""

    NEWS = "news"
    TIMEOUT = "timeout"


# ------------------------------------------------------------- servers and accounts
