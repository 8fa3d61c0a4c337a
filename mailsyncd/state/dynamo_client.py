"""Requests to one DynamoDB table: one client for life, deadlines, conflicts tried again, and every
failure but a refused condition made StateUnavailable."""

from __future__ import annotations

import asyncio
import random
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Any, cast
from uuid import uuid4

import botocore.exceptions as sdk
from aiobotocore.config import AioConfig
from aiobotocore.session import get_session

from mailsyncd import __version__
from mailsyncd.errors import StateUnavailable
from mailsyncd.ports import Clock
from mailsyncd.state.attributes import attribute, attributes, plain
from mailsyncd.state.dynamo_errors import ERRORS, code_of, unavailable
from mailsyncd.state.dynamo_wire import shorten
from mailsyncd.state.items import Item
from mailsyncd.steps import Step, reached

CONNECT_TIMEOUT = 2.0
ATTEMPTS = 4  # repeats by the SDK
CONNECTIONS = 32
KEPT_OPEN = 50.0  # seconds; longer than the time between two beats of a lease, so that one is always warm
CONFLICTS = 8  # tries of a write that met another; the SDK does not repeat those (D4)
FIRST_PAUSE = 0.05  # seconds; the ceiling doubles with each try
REFUSED = "ConditionalCheckFailedException"
CONFLICT = "TransactionConflictException"
CANCELLED = "TransactionCanceledException"
INVALID = "ValidationException"
WRITES = {"PutItem", "TransactWriteItems"}
BILLED = {"GetItem": "read", "Query": "read"} | dict.fromkeys(WRITES, "write")
PASSING = {"TransactionConflict", "ThrottlingError", "ProvisionedThroughputExceeded"}


@dataclass(frozen=True, slots=True)
class Condition:
    """A condition or a filter. Names go by placeholders, for DynamoDB reserves many."""

    expression: str
    values: Mapping[str, object] = field(default_factory=dict)

    def arguments(self, expression: str = "ConditionExpression") -> dict[str, Any]:
        found: dict[str, Any] = {expression: self.expression}
        if self.values:
            found["ExpressionAttributeNames"] = {f"#{name}": name for name in self.values}
            found["ExpressionAttributeValues"] = {
                f":{name}": attribute(value) for name, value in self.values.items()
            }
        return found


ABSENT = Condition("attribute_not_exists(PK)")


def equal(**wanted: object) -> Condition:
    """Every attribute is as wanted."""
    return Condition(" AND ".join(f"#{name} = :{name}" for name in wanted), wanted)


def absent_or(condition: Condition) -> Condition:
    return Condition(f"{ABSENT.expression} OR ({condition.expression})", condition.values)


@dataclass(frozen=True, slots=True)
class Write:
    """An item to put, whole, under a condition."""

    pk: str
    sk: str
    item: Item
    condition: Condition | None = None

    def arguments(self) -> dict[str, Any]:
        put: dict[str, Any] = {"Item": attributes({"PK": self.pk, "SK": self.sk, **self.item})}
        if self.condition:
            put |= self.condition.arguments()
            put["ReturnValuesOnConditionCheckFailure"] = "ALL_OLD"
        return put


class Unfit(StateUnavailable):
    """One of the writes of a transaction keeps the others from being done."""


Verdict = list[Item | None] | None  # see DynamoClient.transact()


class DynamoClient:
    """`requests` counts the operations that were asked for, `units` what DynamoDB charged for those that
    it did; `where` names the table in errors."""

    def __init__(
        self, table: str, *, region: str | None, endpoint_url: str | None, clock: Clock, timeout: float
    ) -> None:
        self.requests: Counter[str] = Counter()
        self.units: defaultdict[str, float] = defaultdict(float)
        self.table = table
        self.where = f"DynamoDB table {table}" + (f" at {endpoint_url}" if endpoint_url else "")
        self.clock = clock
        self._region = region
        self._endpoint_url = endpoint_url
        self._config = AioConfig(
            connect_timeout=CONNECT_TIMEOUT,
            read_timeout=timeout,
            max_pool_connections=CONNECTIONS,
            connector_args={"keepalive_timeout": KEPT_OPEN},
            tcp_keepalive=True,
            retries={"mode": "standard", "max_attempts": ATTEMPTS},
            # The SDK would work these out for each request anew: a quarter of its time.
            parameter_validation=False,
            user_agent=f"mailsyncd/{__version__}",
        )
        self._deadline = (CONNECT_TIMEOUT + timeout) * (ATTEMPTS + 1)
        self._stack = AsyncExitStack()
        self._opening = asyncio.Lock()
        self._connected: Any = None

    async def close(self) -> None:
        self._connected = None
        await self._stack.aclose()

    async def _client(self) -> Any:
        """One client for life: its connections stay warm."""
        async with self._opening:
            if self._connected is None:
                try:
                    made = get_session().create_client(
                        "dynamodb",
                        region_name=self._region,
                        endpoint_url=self._endpoint_url,
                        # Without TLS the authorities need not be read, which takes 20 ms.
                        verify=False if (self._endpoint_url or "").startswith("http:") else None,
                        config=self._config,
                    )
                    async with asyncio.timeout(self._deadline):
                        connected = await self._stack.enter_async_context(made)
                except (*ERRORS, ValueError) as error:  # an endpoint that is no URL is a ValueError
                    raise unavailable(self.where, "connecting", error) from error
                shorten(connected)
                self._connected = connected
        return self._connected

    async def ask(self, method: str, *, leave: Collection[str] = (), **arguments: Any) -> dict[str, Any]:
        """One request. Errors with a code of `leave` come through as they are."""
        client = await self._client()
        operation = client.meta.method_to_api_mapping[method]
        self.requests[operation] += 1
        if operation in BILLED:
            arguments["ReturnConsumedCapacity"] = "TOTAL"
        try:
            async with asyncio.timeout(self._deadline):
                answer: dict[str, Any] = await getattr(client, method)(**arguments)
        except ERRORS as error:
            if code_of(error) in leave:
                raise
            raise unavailable(self.where, operation, error) from error
        # The SDK takes a web page with status 200 for an empty answer, and so for a granted claim.
        if "amz-json" not in answer["ResponseMetadata"]["HTTPHeaders"].get("content-type", ""):
            raise StateUnavailable(f"{self.where}: what answers there is not DynamoDB: check the address")
        for bill in _bills(answer):
            self.units[BILLED[operation]] += bill.get("CapacityUnits", 0.0)
        if operation in WRITES:
            reached(Step.STORE_COMMITTED)
        return answer

    # -------------------------------------------------------------------- items

    async def get(self, pk: str, sk: str) -> Item | None:
        key = attributes({"PK": pk, "SK": sk})
        answer = await self.ask("get_item", TableName=self.table, Key=key, ConsistentRead=True)
        return plain(answer["Item"]) if "Item" in answer else None

    async def query(self, pk: str, start: str, end: str) -> list[Item]:
        """Items with start <= SK <= end, in order, to the last page (D12)."""
        return [item async for page in self.pages(pk, start, end) for item in page]

    async def pages(
        self, pk: str, start: str, end: str, *, only: Condition | None = None, most: int | None = None
    ) -> AsyncIterator[list[Item]]:
        """The same a page at a time; those that are as `only` says, of the first so many."""
        arguments = only.arguments("FilterExpression") if only else {"ExpressionAttributeValues": {}}
        arguments["ExpressionAttributeValues"] |= attributes({":pk": pk, ":start": start, ":end": end})
        while most is None or most > 0:
            limit: dict[str, Any] = {} if most is None else {"Limit": most}
            answer = await self.ask(
                "query",
                TableName=self.table,
                ConsistentRead=True,
                KeyConditionExpression="PK = :pk AND SK BETWEEN :start AND :end",
                **arguments,
                **limit,
            )
            yield [plain(item) for item in answer.get("Items", ())]
            if not answer.get("LastEvaluatedKey"):
                return
            most = None if most is None else most - int(answer["ScannedCount"])
            arguments["ExclusiveStartKey"] = answer["LastEvaluatedKey"]

    async def put(self, write: Write) -> Item | None:
        """None once it is written, else the item in its way: {} if there is none."""
        for attempt in range(CONFLICTS):
            try:
                await self.ask(
                    "put_item", leave=(REFUSED, CONFLICT), TableName=self.table, **write.arguments()
                )
            except sdk.ClientError as error:
                if code_of(error) == REFUSED:
                    return plain(cast("dict[str, Any]", error.response.get("Item", {})))
                await self._pause(attempt)
            else:
                return None
        raise self._lost_to_others()

    async def transact(self, writes: Sequence[Write]) -> Verdict:
        """All or nothing. None once written, else for each what stands in its way ({} if nothing
        does), None where it was not refused. Raises Unfit where that is no matter of the conditions."""
        puts = [{"Put": {"TableName": self.table, **write.arguments()}} for write in writes]
        token = uuid4().hex
        for attempt in range(CONFLICTS):
            try:
                await self.ask(
                    "transact_write_items",
                    leave=(CANCELLED, INVALID),
                    TransactItems=puts,
                    ClientRequestToken=token,
                )
            except sdk.ClientError as error:
                reasons = error.response.get("CancellationReasons", [])
                codes = {str(reason.get("Code")) for reason in reasons}
                if codes & PASSING:
                    await self._pause(attempt)
                elif "ConditionalCheckFailed" in codes and len(reasons) == len(writes):
                    return [_in_the_way(reason) for reason in reasons]
                else:
                    raise Unfit(str(unavailable(self.where, "TransactWriteItems", error))) from error
            else:
                return None
        raise self._lost_to_others()

    async def _pause(self, attempt: int) -> None:
        await self.clock.sleep(random.uniform(FIRST_PAUSE / 5, FIRST_PAUSE * 2**attempt))

    def _lost_to_others(self) -> Unfit:
        return Unfit(f"{self.where}: other writes keep getting in the way, {CONFLICTS} times")


def _bills(answer: Mapping[str, Any]) -> list[dict[str, float]]:
    """One, or for a transaction one a table."""
    found = answer.get("ConsumedCapacity") or []
    return [found] if isinstance(found, dict) else found


def _in_the_way(reason: Mapping[str, Any]) -> Item | None:
    return plain(reason.get("Item", {})) if reason.get("Code") == "ConditionalCheckFailed" else None
