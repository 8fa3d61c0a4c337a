"""Which message of a folder is whose copy, and which earlier record stands for a message: two marks of
three must agree, and each stands for one.

Pure, like policy.py. Folders hold tens of thousands of messages, so as little as may be is kept of each.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from mailsyncd.model import Record, Status, TailMessage, Trace
from mailsyncd.policy import instant

LINKS = 4  # of a chain of messages of which each has a mark in common with the next

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


def trace_of(record: Record) -> Trace:
    received = instant(record.internaldate)
    numbers = record.dest_uidvalidity, record.dest_uid, record.dest_uidnext
    return Trace(record.message_id, received, record.digest, *numbers)


def marks_of(one: Record | Trace) -> Marks:
    received = instant(one.internaldate) if isinstance(one, Record) else one.received_at
    return Marks(one.message_id, received, one.digest, one.dest_uidnext or 0)


def seen_marks(seen: TailMessage) -> Marks:
    return Marks(seen.message_id, seen.received_at, seen.digest)


class TailIndex:
    """Messages of a folder by their marks; each can be taken once."""

    def __init__(self, tail: Iterable[TailMessage]) -> None:
        self._groups: dict[_Key, list[int]] = {}  # the lowest UID last
        self._used: set[int] = set()
        for seen in sorted(tail, key=lambda seen: -seen.uid):
            second = int(seen.received_at)
            keys: list[_Key] = [(None, second, seen.digest)]
            if seen.message_id is not None:
                mid = seen.message_id
                keys += [(mid, second, seen.digest), (mid, None, seen.digest), (mid, second, None)]
            for key in keys:
                if (group := self._groups.get(key)) is None:
                    self._groups[key] = [seen.uid]
                else:
                    group.append(seen.uid)

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
        while group and group[-1] in self._used:
            group.pop()
        return next((uid for uid in reversed(group) if uid >= from_uid and uid not in self._used), None)


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
    pending: Sequence[Record], tail: Sequence[TailMessage], delivered: Iterable[Trace]
) -> list[int | None]:
    """Which tail message is whose: for each PENDING record its copy's UID, or None.

    Tail messages that belong to `delivered` ones are theirs, by UID where that is known, else by
    the same marks.
    """
    taken: set[int] = set()
    owners: list[Trace] = []
    for one in delivered:
        if one.dest_uid is not None:
            taken.add(one.dest_uid)
        else:
            owners.append(one)
    owners, left = _akin(_names(pending), owners, [seen for seen in tail if seen.uid not in taken])
    return pair([*map(marks_of, owners), *map(marks_of, pending)], left)[len(owners) :]


def _akin(
    names: set[str], owners: list[Trace], tail: list[TailMessage]
) -> tuple[list[Trace], list[TailMessage]]:
    """Those that have a say in who gets what goes by one of `names`: by a name in common, as two marks
    of three must agree, or by way of others. They are few, and an index of a whole folder takes 1 kB
    a message. Hostile mail may be a long chain: then it is all of them."""
    for _ in range(LINKS):
        near = [one for one in owners if _goes_by(one, names)], [one for one in tail if _goes_by(one, names)]
        more = names.union(_names(near[0]), _names(near[1]))
        if more == names:
            return near
        names = more
    return owners, tail


def _names(some: Iterable[Record | Trace | TailMessage]) -> set[str]:
    """Their Message-IDs and digests."""
    return {name for one in some for name in (one.message_id, one.digest) if name is not None}


def _goes_by(one: Trace | TailMessage, names: set[str]) -> bool:
    return one.digest in names or one.message_id in names


def concerned(traces: Iterable[Trace], tail: Sequence[TailMessage]) -> list[Trace]:
    """Those that may account for a message of the tail."""
    uids, names = {seen.uid for seen in tail}, _names(tail)
    return [one for one in traces if one.dest_uid in uids or _goes_by(one, names)]


# ------------------------------------------- after a change of UIDVALIDITY (I3)


@dataclass(frozen=True, slots=True)
class Twin:
    """What is held of a record of an earlier numbering. `like` is the same for the same message."""

    like: bytes
    uidvalidity: int
    uid: int
    status: Status


class Twins:
    """The messages copied before UIDVALIDITY changed, counted, on servers without X-GM-MSGID.

    Each of them can excuse one message of the new numbering from being copied again. Those that are
    PENDING are among them: what they will be is for the caller to find out.
    """

    def __init__(self) -> None:
        self._left: dict[bytes, list[Twin]] = {}
        self._spent: set[tuple[int, int]] = set()

    def earlier(self, record: Record) -> None:
        """Take in a record of an earlier numbering; in order, the eldest first."""
        self.later(record)
        if record.status is not Status.FAILED:
            like = _like(record, record.sha256)
            self.put_back(Twin(like, record.uidvalidity, record.uid, record.status))

    def later(self, record: Record) -> None:
        """Take in a record of the present one: what it stands for stands for nothing else."""
        if record.same_as is not None:
            self._spent.add(record.same_as)

    def put_back(self, twin: Twin) -> None:
        """It may stand for another message, or for the same one when that comes again."""
        self._left.setdefault(twin.like, []).append(twin)

    def take(self, record: Record) -> Twin | None:
        """What stands for the same message as this record, and then for no other."""
        for like in (_like(record, record.sha256), _like(record, "")):
            left = self._left.get(like, [])
            while left:
                twin = left.pop(0)
                if (twin.uidvalidity, twin.uid) not in self._spent:
                    return twin
        return None


def _like(record: Record, sha256: str) -> bytes:
    """A rebuilt record was made without the message's bytes: its header digest has to do."""
    marks = (record.message_id, sha256, "" if sha256 else record.digest)
    return hashlib.blake2b(repr(marks).encode(), digest_size=16).digest()
