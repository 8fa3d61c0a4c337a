"""The state store in one DynamoDB table: conditional writes, consistent reads, no scan.

A write whose answer was lost is repeated by the SDK, and its condition then fails on our own
item (D3): so every refusal is compared with what we meant to write before it counts as one.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import replace
from functools import partial
from typing import Any
from uuid import uuid4

import botocore.exceptions as sdk
from aiobotocore.config import AioConfig
from aiobotocore.session import get_session

from mailsyncd.errors import StateUnavailable
from mailsyncd.model import Claimant, Counts, Event, Failure, Lease, Record, Status, Watermark
from mailsyncd.ports import Clock, Refused
from mailsyncd.state import dynamo_table, items, rules
from mailsyncd.state.attributes import attribute, attributes, plain
from mailsyncd.state.dynamo_errors import ERRORS, code_of, old_item, unavailable
from mailsyncd.state.items import Item

CONNECT_TIMEOUT = 2.0
ATTEMPTS = 4  # by the SDK
CONFLICTS = 8  # tries of a transaction that met another; the SDK does not repeat those
CLAIMED_BY = {"#e": "epoch", "#a": "attempt"}


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
        self.requests: Counter[str] = Counter()
        self._table = table
        self._region = region
        self._endpoint_url = endpoint_url
        self._clock = clock
        self._timeout = request_timeout
        self._stack = AsyncExitStack()
        self._opening = asyncio.Lock()
        self._connected: Any = None
        self._where = f"DynamoDB table {table}" + (f" at {endpoint_url}" if endpoint_url else "")

    # --------------------------------------------------------------------- life

    async def open(self) -> None:
        client = await self._client()
        await self._ask("DescribeTable", lambda: dynamo_table.check(client, self._table, self._where))
        await self._get("GATE", "GATE")

    async def close(self) -> None:
        self._connected = None
        await self._stack.aclose()

    async def init_table(self, *, point_in_time_recovery: bool, deletion_protection: bool) -> list[str]:
        """Make the table if it is missing; safe to repeat. Returns what was done."""
        client = await self._client()
        done: list[str] = await self._ask(
            "CreateTable",
            lambda: dynamo_table.create(
                client,
                self._table,
                point_in_time_recovery=point_in_time_recovery,
                deletion_protection=deletion_protection,
            ),
        )
        return done

    async def _client(self) -> Any:
        """One client for life: its connections stay warm."""
        async with self._opening:
            if self._connected is None:
                config = AioConfig(
                    connect_timeout=CONNECT_TIMEOUT,
                    read_timeout=self._timeout,
                    max_pool_connections=32,
                    retries={"mode": "standard", "max_attempts": ATTEMPTS},
                )
                try:
                    made = get_session().create_client(
                        "dynamodb", region_name=self._region, endpoint_url=self._endpoint_url, config=config
                    )
                    self._connected = await self._stack.enter_async_context(made)
                except (*ERRORS, ValueError) as error:
                    raise unavailable(self._where, "connecting", error) from error
        return self._connected

    # ------------------------------------------------------------------ requests

    async def _ask(self, operation: str, ask: Callable[[], Awaitable[Any]]) -> Any:
        """One request; a refused condition passes, everything else is StateUnavailable."""
        self.requests[operation] += 1
        try:
            async with asyncio.timeout((CONNECT_TIMEOUT + self._timeout) * (ATTEMPTS + 1)):
                return await ask()
        except ERRORS as error:
            if code_of(error) in ("ConditionalCheckFailedException", "TransactionCanceledException"):
                raise
            raise unavailable(self._where, operation, error) from error

    async def _get(self, pk: str, sk: str) -> Item | None:
        client = await self._client()
        answer = await self._ask(
            "GetItem",
            lambda: client.get_item(
                TableName=self._table, Key=attributes({"PK": pk, "SK": sk}), ConsistentRead=True
            ),
        )
        return plain(answer["Item"]) if "Item" in answer else None

    async def _query(self, pk: str, start: str, end: str) -> list[Item]:
        """Items with start <= SK <= end, in order, to the last page (D12)."""
        client = await self._client()
        found: list[Item] = []
        more: dict[str, Any] = {}
        while True:
            page = partial(
                client.query,
                TableName=self._table,
                ConsistentRead=True,
                KeyConditionExpression="PK = :pk AND SK BETWEEN :start AND :end",
                ExpressionAttributeValues=attributes({":pk": pk, ":start": start, ":end": end}),
                **more,
            )
            answer = await self._ask("Query", page)
            found += [plain(item) for item in answer["Items"]]
            if not answer.get("LastEvaluatedKey"):
                return found
            more = {"ExclusiveStartKey": answer["LastEvaluatedKey"]}

    async def _put(self, pk: str, sk: str, item: Item, condition: dict[str, Any]) -> Item | None:
        """Write under a condition. None if it held, else the item in the way ({} if there is none)."""
        client = await self._client()
        try:
            await self._ask(
                "PutItem",
                lambda: client.put_item(
                    TableName=self._table,
                    Item=attributes({"PK": pk, "SK": sk, **item}),
                    ReturnValuesOnConditionCheckFailure="ALL_OLD",
                    **condition,
                ),
            )
        except sdk.ClientError as error:
            return plain(old_item(error) or {})
        return None

    async def _transact(self, actions: list[dict[str, Any]]) -> list[dict[str, Any]] | None:
        """All or nothing. None if it went through, else the reasons, one for each action."""
        client = await self._client()
        token = uuid4().hex
        for attempt in range(CONFLICTS):
            try:
                await self._ask(
                    "TransactWriteItems",
                    lambda: client.transact_write_items(TransactItems=actions, ClientRequestToken=token),
                )
            except sdk.ClientError as error:
                reasons: list[dict[str, Any]] = [*error.response.get("CancellationReasons", [])]  # type: ignore[list-item]
                if not any(one.get("Code") == "TransactionConflict" for one in reasons):
                    return reasons
                await self._clock.sleep(random.uniform(0.01, 0.05 * 2**attempt))
            else:
                return None
        raise StateUnavailable(f"{self._where}: transactions conflict, also after {CONFLICTS} tries")

    # --------------------------------------------------------------- watermarks

    async def watermark(self, route: str) -> Watermark | None:
        item = await self._get(route, items.WATERMARK)
        return items.watermark_of(item) if item else None

    async def advance(self, route: str, new: Watermark, *, expected: Watermark | None) -> bool:
        condition = _absent()
        if expected is not None:
            condition = _equal(uidvalidity=expected.uidvalidity, last_uid=expected.last_uid)
        there = await self._put(route, items.WATERMARK, items.watermark_item(new), condition)
        if not there:
            return there is None
        stored = items.watermark_of(there)
        return (stored.uidvalidity, stored.last_uid) == (new.uidvalidity, new.last_uid)

    # ------------------------------------------------------------------ records

    async def claim(self, route: str, record: Record) -> Refused | None:
        if record.gm_msgid is not None:
            return await self._claim_both(route, record)
        key = items.uid_key(record.uidvalidity, record.uid)
        there = await self._put(route, key, items.record_item(record), _absent_or_failed())
        return _verdict(there, record)

    async def _claim_both(self, route: str, record: Record) -> Refused | None:
        """The record, and the pointer that says which UID stands for its message: both or neither."""
        while True:
            reasons = await self._transact(
                [
                    self._put_action(
                        route,
                        items.uid_key(record.uidvalidity, record.uid),
                        items.record_item(record),
                        _absent_or_failed(),
                    ),
                    self._put_action(
                        route,
                        items.message_key(record.gm_msgid or ""),
                        items.pointer_item(record),
                        _absent_or_ours(record),
                    ),
                ]
            )
            if reasons is None:
                return None
            if there := plain(reasons[0].get("Item", {})):
                return _verdict(there, record)
            uidvalidity, uid = items.pointed(plain(reasons[1]["Item"]))
            other = await self._get(route, items.uid_key(uidvalidity, uid))
            if other is None:
                return Refused(rules.stand_in(record, uidvalidity, uid))
            if items.record_of(other).status is not Status.FAILED:
                return Refused(items.record_of(other))
            await self._repoint(route, record, (uidvalidity, uid))

    async def _repoint(self, route: str, record: Record, old: tuple[int, int]) -> None:
        """The message that the pointer stood for has failed: let it stand for this one."""
        await self._put(
            route,
            items.message_key(record.gm_msgid or ""),
            items.pointer_item(record),
            _equal(uidvalidity=old[0], uid=old[1]),
        )

    async def adopt(self, route: str, record: Record, new: Record) -> bool:
        return await self._replace(route, new, record.claimed_by, pending=True)

    async def finish(self, route: str, record: Record, events: Sequence[Event] = ()) -> bool:
        if await self._replace(route, record, record.claimed_by, pending=False):
            return True
        if record.same_as is None:
            return False
        key = items.uid_key(record.uidvalidity, record.uid)
        return await self._put(route, key, items.record_item(record), _absent()) is None

    async def _replace(self, route: str, new: Record, claimed_by: Claimant, *, pending: bool) -> bool:
        """Put the record where one of that claimant stands; where ours stands already, it is done."""
        condition = _equal(epoch=claimed_by.epoch, attempt=claimed_by.attempt)
        if pending:
            condition["ConditionExpression"] += " AND #status = :pending"
            condition["ExpressionAttributeNames"]["#status"] = "status"
            condition["ExpressionAttributeValues"][":pending"] = attribute(Status.PENDING.value)
        key = items.uid_key(new.uidvalidity, new.uid)
        there = await self._put(route, key, items.record_item(new), condition)
        if not there:
            return there is None
        stored = items.record_of(there)
        return (stored.claimed_by, stored.status) == (new.claimed_by, new.status)

    async def fail(self, route: str, failure: Failure, claimed: Record | None) -> None:
        key = items.failure_key(failure.uidvalidity, failure.uid)
        actions = [self._put_action(route, key, items.failure_item(failure), {})]
        if claimed is not None:
            failed = items.record_item(replace(claimed, status=Status.FAILED))
            claimant = claimed.claimed_by
            actions.append(
                self._put_action(
                    route,
                    items.uid_key(claimed.uidvalidity, claimed.uid),
                    failed,
                    _equal(epoch=claimant.epoch, attempt=claimant.attempt),
                )
            )
        if await self._transact(actions) is not None:
            # Another daemon has adopted the record: it will see to it. The failure is told anyhow.
            await self._transact(actions[:1])

    async def records(self, route: str, uidvalidity: int, after: int = 0) -> list[Record]:
        start, end = items.uid_key(uidvalidity, after + 1), items.uid_prefix(uidvalidity) + "~"
        return [items.record_of(item) for item in await self._query(route, start, end)]

    async def delivered(self, route: str, dest_uidvalidity: int, from_uid: int) -> list[Record]:
        return rules.delivered(await self._all(route), dest_uidvalidity, from_uid)

    async def pending(self, route: str) -> list[Record]:
        return [one for one in await self._all(route) if one.status is Status.PENDING]

    async def failures(self, route: str) -> list[Failure]:
        return [items.failure_of(item) for item in await self._query(route, "FAIL#", "FAIL#~")]

    async def counts(self, route: str) -> Counts:
        return rules.counts(await self._all(route), await self.failures(route))

    async def _all(self, route: str) -> list[Record]:
        return [items.record_of(item) for item in await self._query(route, "UID#", "UID#~")]

    def _put_action(self, pk: str, sk: str, item: Item, condition: dict[str, Any]) -> dict[str, Any]:
        put = {"TableName": self._table, "Item": attributes({"PK": pk, "SK": sk, **item}), **condition}
        if condition:
            put["ReturnValuesOnConditionCheckFailure"] = "ALL_OLD"
        return {"Put": put}

    # ------------------------------------------------------------------- leases

    async def lease(self, destination: str) -> Lease | None:
        item = await self._get(items.destination_key(destination), items.LEASE)
        return items.lease_of(item) if item else None

    async def put_lease(self, destination: str, new: Lease, *, expected: Lease | None) -> bool:
        condition = _absent()
        if expected is not None:
            condition = _equal(owner=expected.owner, epoch=expected.epoch, beat=expected.beat)
        key = items.destination_key(destination)
        there = await self._put(key, items.LEASE, items.lease_item(new), condition)
        if not there:
            return there is None
        stored = items.lease_of(there)
        return (stored.owner, stored.epoch, stored.beat) == (new.owner, new.epoch, new.beat)


# ------------------------------------------------------------------- conditions


def _absent() -> dict[str, Any]:
    return {"ConditionExpression": "attribute_not_exists(PK)"}


def _absent_or_failed() -> dict[str, Any]:
    return {
        "ConditionExpression": "attribute_not_exists(PK) OR #status = :failed",
        "ExpressionAttributeNames": {"#status": "status"},
        "ExpressionAttributeValues": {":failed": attribute(Status.FAILED.value)},
    }


def _absent_or_ours(record: Record) -> dict[str, Any]:
    condition = _equal(uidvalidity=record.uidvalidity, uid=record.uid)
    condition["ConditionExpression"] = f"attribute_not_exists(PK) OR ({condition['ConditionExpression']})"
    return condition


def _equal(**wanted: object) -> dict[str, Any]:
    """Every attribute is as wanted. Names go by placeholders: DynamoDB reserves many."""
    return {
        "ConditionExpression": " AND ".join(f"#{name} = :{name}" for name in wanted),
        "ExpressionAttributeNames": {f"#{name}": name for name in wanted},
        "ExpressionAttributeValues": {f":{name}": attribute(value) for name, value in wanted.items()},
    }


def _verdict(there: Item | None, record: Record) -> Refused | None:
    """What a claim found in its way; our own earlier write is no refusal."""
    if not there:
        return None
    found = items.record_of(there)
    return None if found.claimed_by == record.claimed_by else Refused(found)
