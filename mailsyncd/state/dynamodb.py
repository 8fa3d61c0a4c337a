"""The state store in one DynamoDB table: conditional writes, consistent reads, no scan.

A write whose answer was lost is repeated by the SDK, and its condition then fails on our own
item (D3): so every refusal is compared with what we meant to write before it counts as one.
rules.py says the same in plain words.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from mailsyncd.errors import StateUnavailable
from mailsyncd.model import (
    Counts,
    Event,
    Failure,
    Lease,
    Member,
    Record,
    Status,
    TokenNote,
    Trace,
    Traffic,
    Usage,
    Watermark,
)
from mailsyncd.ports import Clock, Refused
from mailsyncd.state import dynamo_table, items, rules
from mailsyncd.state.dynamo_client import ABSENT, Condition, DynamoClient, Write, absent_or, equal
from mailsyncd.state.dynamo_group import DynamoGroup
from mailsyncd.state.items import Item

ABSENT_OR_FAILED = absent_or(equal(status=Status.FAILED.value))
REPOINTINGS = 8  # tries of a claim whose message's pointer changes hands meanwhile


class DynamoStore:
    """See ports.StateStore. `requests` counts the operations that were asked for."""

    def __init__(
        self,
        table: str,
        *,
        region: str | None,
        endpoint_url: str | None,
        clock: Clock,
        request_timeout: float = 5.0,
    ) -> None:
        self._client = DynamoClient(
            table, region=region, endpoint_url=endpoint_url, clock=clock, timeout=request_timeout
        )
        self._group = DynamoGroup(self._client)
        self.requests: Counter[str] = self._client.requests

    # --------------------------------------------------------------------- life

    async def open(self) -> None:
        await dynamo_table.check(self._client)

    async def close(self) -> None:
        await self._group.close()
        await self._client.close()

    def usage(self) -> Usage:
        return Usage(dict(self._client.requests), dict(self._client.units))

    async def init_table(self, *, point_in_time_recovery: bool, deletion_protection: bool) -> list[str]:
        """Make the table if it is missing; safe to repeat. Returns what was done."""
        return await dynamo_table.create(
            self._client,
            point_in_time_recovery=point_in_time_recovery,
            deletion_protection=deletion_protection,
        )

    # --------------------------------------------------------------- watermarks

    async def watermark(self, route: str) -> Watermark | None:
        item = await self._client.get(route, items.WATERMARK)
        return items.watermark_of(item) if item else None

    async def advance(self, route: str, new: Watermark, *, expected: Watermark | None) -> bool:
        condition = ABSENT
        if expected is not None:
            condition = equal(uidvalidity=expected.uidvalidity, last_uid=expected.last_uid)
        there = await self._client.put(Write(route, items.WATERMARK, items.watermark_item(new), condition))
        if not there:
            return there is None
        stored = items.watermark_of(there)
        return (stored.uidvalidity, stored.last_uid) == (new.uidvalidity, new.last_uid)

    # ------------------------------------------------------------------- claims

    async def claim(self, route: str, record: Record) -> Refused | None:
        write = _record_write(route, record, ABSENT_OR_FAILED)
        if record.gm_msgid is not None:
            return await self._claim_message(route, record, write)
        refused = await self._group.write(write)
        return None if refused is None else self._verdict(refused[0], record)

    async def _claim_message(self, route: str, record: Record, write: Write) -> Refused | None:
        """The record, and the pointer that says which UID stands for its message: both or neither."""
        key, pointer = items.message_key(record.gm_msgid or ""), items.pointer_item(record)
        condition = absent_or(equal(uidvalidity=record.uidvalidity, uid=record.uid))
        for _ in range(REPOINTINGS):
            refused = await self._group.write(write, Write(route, key, pointer, condition))
            if refused is None:
                return None
            there, standing = refused
            if there is not None:
                return self._verdict(there, record)
            if by := await self._behind(route, record, standing or {}):
                return Refused(by)
            # The message that the pointer stands for has failed: it may stand for this one, if
            # nobody claims the other meanwhile (each claim leaves its own mark on the pointer).
            condition = equal(**items.pointer_of(standing or {}))
        raise StateUnavailable(f"{self._client.where}: claims of one message keep crossing each other")

    async def _behind(self, route: str, record: Record, pointer: Item) -> Record | None:
        """The record that a pointer stands for, which refuses us; None if that one failed."""
        if not pointer:
            raise self._untold()
        uidvalidity, uid = items.pointed(pointer)
        item = await self._client.get(route, items.uid_key(uidvalidity, uid))
        if item is None:
            return rules.stand_in(record, uidvalidity, uid)
        found = items.record_of(item)
        return None if found.status is Status.FAILED else found

    def _verdict(self, there: Item | None, record: Record) -> Refused | None:
        """What a claim found in its way; our own earlier write is no refusal."""
        if not there:
            raise self._untold()
        found = items.record_of(there)
        return None if found.claimed_by == record.claimed_by else Refused(found)

    def _untold(self) -> StateUnavailable:
        return StateUnavailable(
            f"{self._client.where}: a claim was refused without a word of what is in its way"
        )

    # ------------------------------------------------------------------ records

    async def adopt(self, route: str, record: Record, new: Record) -> bool:
        return await self._replace(route, new, _claimed(record))

    async def finish(self, route: str, record: Record, events: Sequence[Event] = ()) -> bool:
        return await self._replace(
            route, record, _claimed(record) if record.same_as is None else ABSENT_OR_FAILED
        )

    async def _replace(self, route: str, new: Record, condition: Condition) -> bool:
        """Put the record if the condition holds; where it stands already, it is done."""
        refused = await self._group.write(_record_write(route, new, condition))
        if refused is None:
            return True
        (there,) = refused
        return bool(there) and rules.is_written(items.record_of(there or {}), new)

    async def fail(self, route: str, failure: Failure, claimed: Record | None) -> None:
        key = items.failure_key(failure.uidvalidity, failure.uid)
        told = Write(route, key, items.failure_item(failure))
        if claimed is not None:
            failed = _record_write(route, replace(claimed, status=Status.FAILED), _claimed(claimed))
            if await self._client.transact([told, failed]) is None:
                return
            # Another daemon has adopted the record: it will see to it. The failure is told anyhow.
        await self._client.put(told)

    async def records(
        self, route: str, uidvalidity: int, after: int = 0, *, most: int | None = None
    ) -> list[Record]:
        start, end = items.uid_key(uidvalidity, after + 1), items.uid_prefix(uidvalidity) + "~"
        pages = self._client.pages(route, start, end, most=most)
        return [items.record_of(item) async for page in pages for item in page]

    async def delivered(self, route: str, dest_uidvalidity: int | None, from_uid: int) -> list[Trace]:
        place = {} if dest_uidvalidity is None else {"dest_uidvalidity": dest_uidvalidity}
        done = equal(status=Status.DONE.value, **place)
        found: list[Trace] = []
        async for page in self._client.pages(route, "UID#", "UID#~", only=done):
            found += rules.delivered(page, dest_uidvalidity, from_uid)
        return found

    async def pending(self, route: str) -> list[Record]:
        return await self._all(route, equal(status=Status.PENDING.value))

    async def failures(self, route: str) -> list[Failure]:
        found = await self._client.query(route, "FAIL#", "FAIL#~")
        return [items.failure_of(item) for item in found]

    async def counts(self, route: str) -> Counts:
        states = Counter(record.status for record in await self._all(route))
        return rules.counts(states, await self.failures(route))

    async def _all(self, route: str, only: Condition | None = None) -> list[Record]:
        pages = self._client.pages(route, "UID#", "UID#~", only=only)
        return [items.record_of(item) async for page in pages for item in page]

    # ------------------------------------------------------------------- leases

    async def lease(self, destination: str) -> Lease | None:
        item = await self._client.get(items.destination_key(destination), items.LEASE)
        return items.lease_of(item) if item else None

    async def put_lease(self, destination: str, new: Lease, *, expected: Lease | None) -> bool:
        condition = ABSENT
        if expected is not None:
            condition = equal(owner=expected.owner, epoch=expected.epoch, beat=expected.beat)
        key = items.destination_key(destination)
        there = await self._client.put(Write(key, items.LEASE, items.lease_item(new), condition))
        if not there:
            return there is None
        stored = items.lease_of(there)
        return (stored.owner, stored.epoch, stored.beat) == (new.owner, new.epoch, new.beat)

    async def note_traffic(self, traffic: Traffic) -> None:
        key = items.traffic_prefix(traffic.day) + traffic.owner
        await self._client.put(Write(items.account_key(traffic.account), key, items.traffic_item(traffic)))

    async def traffic(self, account: str, day: str) -> list[Traffic]:
        prefix = items.traffic_prefix(day)
        found = await self._client.query(items.account_key(account), prefix, prefix + "~")
        return [items.traffic_of(item) for item in found]

    async def announce(self, member: Member) -> None:
        await self._client.put(Write(items.DAEMONS, member.owner, items.member_item(member)))

    async def members(self) -> list[Member]:
        found = await self._client.query(items.DAEMONS, " ", "~")
        return [items.member_of(item) for item in found]

    async def token_note(self, account: str, line: str) -> TokenNote | None:
        item = await self._client.get(items.account_key(account), items.token_key(line))
        return items.token_note_of(item) if item else None

    async def put_token_note(self, new: TokenNote, *, expected: TokenNote | None) -> bool:
        condition = ABSENT if expected is None else equal(revision=expected.revision)
        key = items.account_key(new.account)
        there = await self._client.put(
            Write(key, items.token_key(new.line), items.token_item(new), condition)
        )
        return there is None or (bool(there) and items.token_note_of(there) == new)


def _record_write(route: str, record: Record, condition: Condition) -> Write:
    key = items.uid_key(record.uidvalidity, record.uid)
    return Write(route, key, items.record_item(record), condition)


def _claimed(record: Record) -> Condition:
    """The record stands PENDING, and its claimant is still the same."""
    by = record.claimed_by
    return equal(epoch=by.epoch, attempt=by.attempt, status=Status.PENDING.value)
