"""The rules of the state store, on a plain table of items: what memory and SQLite share.

A Table is asked and written synchronously, within a transaction of its owner's. DynamoDB says
the same rules as condition expressions; the conformance suite holds them together.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from itertools import islice
from typing import Protocol

from mailsyncd.model import (
    Counts,
    Failure,
    Lease,
    Member,
    Record,
    Status,
    TokenNote,
    Trace,
    Traffic,
    Watermark,
)
from mailsyncd.ports import Refused
from mailsyncd.state import items
from mailsyncd.state.items import Item


class Table(Protocol):
    """Items by partition key and sort key."""

    def get(self, pk: str, sk: str) -> Item | None: ...

    def put(self, pk: str, sk: str, item: Item) -> None: ...

    def query(self, pk: str, start: str, end: str) -> Iterable[Item]:
        """Items with start <= SK < end, in the order of SK."""


def watermark(table: Table, route: str) -> Watermark | None:
    item = table.get(route, items.WATERMARK)
    return None if item is None else items.watermark_of(item)


def advance(table: Table, route: str, new: Watermark, expected: Watermark | None) -> bool:
    place = _place(watermark(table, route))
    if place != _place(expected):
        return place == _place(new)
    table.put(route, items.WATERMARK, items.watermark_item(new))
    return True


def _place(mark: Watermark | None) -> tuple[int, int] | None:
    return (mark.uidvalidity, mark.last_uid) if mark else None


def record_at(table: Table, route: str, uidvalidity: int, uid: int) -> Record | None:
    item = table.get(route, items.uid_key(uidvalidity, uid))
    return None if item is None else items.record_of(item)


def claim(table: Table, route: str, record: Record) -> Refused | None:
    there = record_at(table, route, record.uidvalidity, record.uid)
    if there and there.status is not Status.FAILED:
        return None if there.claimed_by == record.claimed_by else Refused(there)
    if record.gm_msgid is not None and (refused := _claim_message(table, route, record)):
        return refused
    table.put(route, items.uid_key(record.uidvalidity, record.uid), items.record_item(record))
    return None


def _claim_message(table: Table, route: str, record: Record) -> Refused | None:
    """The pointer that says which UID stands for this message, if it is free for us."""
    key = items.message_key(record.gm_msgid or "")
    pointer = table.get(route, key)
    if pointer is not None and items.pointed(pointer) != (record.uidvalidity, record.uid):
        uidvalidity, uid = items.pointed(pointer)
        other = record_at(table, route, uidvalidity, uid)
        if other is None:
            return Refused(stand_in(record, uidvalidity, uid))
        if other.status is not Status.FAILED:
            return Refused(other)
    table.put(route, key, items.pointer_item(record))
    return None


def stand_in(record: Record, uidvalidity: int, uid: int) -> Record:
    """For a record that has expired: its message was copied, that is all that is left to know."""
    return replace(record, uidvalidity=uidvalidity, uid=uid, status=Status.DONE)


def adopt(table: Table, route: str, record: Record, new: Record) -> bool:
    return _replace(table, route, record_at(table, route, record.uidvalidity, record.uid), record, new)


def finish(table: Table, route: str, record: Record) -> bool:
    there = record_at(table, route, record.uidvalidity, record.uid)
    if record.same_as is None:
        return _replace(table, route, there, record, record)
    if there is not None and there.status is not Status.FAILED:
        return is_written(there, record)
    table.put(route, items.uid_key(record.uidvalidity, record.uid), items.record_item(record))
    return True


def _replace(table: Table, route: str, there: Record | None, old: Record, new: Record) -> bool:
    """Put `new` where `old`'s claimant stands PENDING; where it stands already, it is done."""
    if there is None or there.status is not Status.PENDING or there.claimed_by != old.claimed_by:
        return is_written(there, new)
    table.put(route, items.uid_key(new.uidvalidity, new.uid), items.record_item(new))
    return True


def is_written(there: Record | None, new: Record) -> bool:
    """Whether what stands there is our own write, come through although its answer was lost (D3)."""
    return there is not None and (there.claimed_by, there.status) == (new.claimed_by, new.status)


def fail(table: Table, route: str, failure: Failure, claimed: Record | None) -> None:
    table.put(route, items.failure_key(failure.uidvalidity, failure.uid), items.failure_item(failure))
    if claimed is not None:
        there = record_at(table, route, claimed.uidvalidity, claimed.uid)
        if there and there.claimed_by == claimed.claimed_by and there.status is Status.PENDING:
            key = items.uid_key(claimed.uidvalidity, claimed.uid)
            table.put(route, key, items.record_item(replace(claimed, status=Status.FAILED)))


def records(table: Table, route: str, uidvalidity: int, after: int, most: int | None) -> list[Record]:
    start, prefix = items.uid_key(uidvalidity, after + 1), items.uid_prefix(uidvalidity)
    found = table.query(route, start, prefix + "~")
    return [items.record_of(item) for item in islice(found, most)]


def record_items(table: Table, route: str) -> Iterable[Item]:
    return table.query(route, "UID#", "UID#~")


def all_records(table: Table, route: str) -> list[Record]:
    return [items.record_of(item) for item in record_items(table, route)]


def delivered(found: Iterable[Item], dest_uidvalidity: int | None, from_uid: int) -> list[Trace]:
    """Of the items of records."""
    done = (item for item in found if item["status"] == Status.DONE.value and not item.get("same_as"))
    return [
        trace
        for trace in map(items.trace_of, done)
        if dest_uidvalidity in (None, trace.dest_uidvalidity)
        and (trace.dest_uid is None or trace.dest_uid >= from_uid)
    ]


def failures(table: Table, route: str) -> list[Failure]:
    return [items.failure_of(item) for item in table.query(route, "FAIL#", "FAIL#~")]


def counts(states: Mapping[Status, int], failed: Iterable[Failure]) -> Counts:
    """Failures are counted by their FAIL records, since a message may fail before it is claimed."""
    open_failures = sum(not failure.resolved for failure in failed)
    return Counts(states.get(Status.DONE, 0), states.get(Status.PENDING, 0), open_failures)


def lease(table: Table, destination: str) -> Lease | None:
    item = table.get(items.destination_key(destination), items.LEASE)
    return None if item is None else items.lease_of(item)


def put_lease(table: Table, destination: str, new: Lease, expected: Lease | None) -> bool:
    hand = _hand(lease(table, destination))
    if hand != _hand(expected):
        return hand == _hand(new)
    table.put(items.destination_key(destination), items.LEASE, items.lease_item(new))
    return True


def _hand(one: Lease | None) -> tuple[str, int, int] | None:
    return (one.owner, one.epoch, one.beat) if one else None


def note_traffic(table: Table, traffic: Traffic) -> None:
    key = items.traffic_prefix(traffic.day) + traffic.owner
    table.put(items.account_key(traffic.account), key, items.traffic_item(traffic))


def traffic(table: Table, account: str, day: str) -> list[Traffic]:
    prefix = items.traffic_prefix(day)
    found = table.query(items.account_key(account), prefix, prefix + "~")
    return [items.traffic_of(item) for item in found]


def announce(table: Table, member: Member) -> None:
    table.put(items.DAEMONS, member.owner, items.member_item(member))


def members(table: Table) -> list[Member]:
    return [items.member_of(item) for item in table.query(items.DAEMONS, " ", "~")]


def token_note(table: Table, account: str, line: str) -> TokenNote | None:
    item = table.get(items.account_key(account), items.token_key(line))
    return None if item is None else items.token_note_of(item)


def put_token_note(table: Table, new: TokenNote, expected: TokenNote | None) -> bool:
    there = token_note(table, new.account, new.line)
    if _revision(there) != _revision(expected):
        return there == new
    table.put(items.account_key(new.account), items.token_key(new.line), items.token_item(new))
    return True


def _revision(note: TokenNote | None) -> int | None:
    return note.revision if note else None
