"""What a simulated account holds: mailboxes, messages, UIDs, and who is looking at them.

Messages are frozen; a change of flags replaces one. UIDs only ever rise within a UIDVALIDITY
(RFC 3501 2.3.1.1), and the bytes are kept exactly as they came.
"""

from __future__ import annotations

import bisect
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime
from operator import attrgetter

_FIRST_MSGID = 1_592_225_494_819_146_101


class NoSuchMailbox(LookupError):
    """The account has no mailbox of that name."""


class MailboxExists(ValueError):
    """The account has a mailbox of that name already."""


@dataclass(frozen=True, slots=True)
class StoredMessage:
    """A message as the server keeps it. `stored_mono` is when it became visible."""

    uid: int
    raw: bytes = field(repr=False)
    internaldate: datetime
    flags: frozenset[str] = frozenset()
    gm_msgid: int = 0
    gm_thrid: int = 0
    labels: tuple[str, ...] = ()
    category: str = ""
    stored_mono: float = 0.0


@dataclass(eq=False, slots=True)
class StoredMailbox:
    """A mailbox: messages by rising UID. Watchers are called with the UID of each that changes."""

    name: str
    uidvalidity: int
    uidnext: int = 1
    attributes: tuple[str, ...] = ()
    modseq: int = 1
    unreadable: set[int] = field(default_factory=set)  # UIDs whose bodies can't be fetched (A34)
    watchers: set[Callable[[int], None]] = field(default_factory=set)
    _messages: list[StoredMessage] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self._messages)

    def __iter__(self) -> Iterator[StoredMessage]:
        return iter(self._messages)

    def find(self, uid: int) -> StoredMessage | None:
        at = self._index(uid)
        return None if at is None else self._messages[at]

    def add(self, message: StoredMessage) -> StoredMessage:
        """Store a copy of `message` under the next UID."""
        stored = replace(message, uid=self.uidnext)
        self.uidnext += 1
        self._messages.append(stored)
        self._tell(stored.uid)
        return stored

    def set_flags(self, uid: int, flags: Iterable[str]) -> StoredMessage | None:
        at = self._index(uid)
        if at is None:
            return None
        changed = replace(self._messages[at], flags=frozenset(flags))
        if changed != self._messages[at]:
            self._messages[at] = changed
            self._tell(uid)
        return changed

    def remove(self, uid: int) -> StoredMessage | None:
        at = self._index(uid)
        if at is None:
            return None
        gone = self._messages.pop(at)
        self._tell(uid)
        return gone

    def renumber(self, uidvalidity: int, first_uid: int = 1) -> None:
        """A new UIDVALIDITY: every message gets a new UID, none keeps its old one."""
        self.uidvalidity = uidvalidity
        old = [message.uid for message in self._messages]
        self._messages = [replace(message, uid=first_uid + n) for n, message in enumerate(self._messages)]
        self.uidnext = first_uid + len(self._messages)
        for uid in {*old, *range(first_uid, self.uidnext)}:
            self._tell(uid)

    def _index(self, uid: int) -> int | None:
        at = bisect.bisect_left(self._messages, uid, key=attrgetter("uid"))
        return at if at < len(self._messages) and self._messages[at].uid == uid else None

    def _tell(self, uid: int) -> None:
        self.modseq += 1
        for watcher in self.watchers:
            watcher(uid)


class Account:
    """One user's mailboxes. INBOX is always there and its name ignores case (RFC 3501 5.1)."""

    def __init__(self, user: str, *, case_insensitive: bool = False, uidvalidity: int = 1) -> None:
        self.user = user
        self.connections = 0
        self._case_insensitive = case_insensitive
        self._last_uidvalidity = uidvalidity - 1
        self._last_msgid = _FIRST_MSGID
        self._mailboxes: dict[str, StoredMailbox] = {}
        self.create("INBOX")

    def __iter__(self) -> Iterator[StoredMailbox]:
        return iter(list(self._mailboxes.values()))

    def mailbox(self, name: str) -> StoredMailbox:
        try:
            return self._mailboxes[self._key(name)]
        except KeyError:
            raise NoSuchMailbox(name) from None

    def create(self, name: str, attributes: tuple[str, ...] = ()) -> StoredMailbox:
        """A new, empty mailbox, and those above it in the hierarchy (RFC 3501 6.3.3)."""
        name = name.rstrip("/")
        if self._key(name) in self._mailboxes:
            raise MailboxExists(name)
        above = name.rpartition("/")[0]
        if above and self._key(above) not in self._mailboxes:
            self.create(above)
        made = StoredMailbox(name, self.next_uidvalidity(), attributes=attributes)
        self._mailboxes[self._key(name)] = made
        return made

    def delete(self, name: str) -> StoredMailbox:
        gone = self.mailbox(name)
        del self._mailboxes[self._key(name)]
        return gone

    def rename(self, old: str, new: str) -> None:
        """Give a mailbox, and all below it, another name; messages and UIDs stay (RFC 3501 6.3.5)."""
        moved = self.mailbox(old)
        if self._key(new) in self._mailboxes and self._key(new) != self._key(old):
            raise MailboxExists(new)
        below = [box for box in self if self._key(box.name).startswith(self._key(moved.name) + "/")]
        for box in (moved, *below):
            del self._mailboxes[self._key(box.name)]
            box.name = new + box.name[len(old) :]
            self._mailboxes[self._key(box.name)] = box

    def has_children(self, name: str) -> bool:
        return any(key.startswith(self._key(name) + "/") for key in self._mailboxes)

    def next_uidvalidity(self) -> int:
        self._last_uidvalidity += 1
        return self._last_uidvalidity

    def next_msgid(self) -> int:
        self._last_msgid += 7919
        return self._last_msgid

    def _key(self, name: str) -> str:
        if name.upper() == "INBOX":
            return "INBOX"
        if name[:6].upper() == "INBOX/":
            name = "INBOX" + name[5:]
        return name.casefold() if self._case_insensitive else name
