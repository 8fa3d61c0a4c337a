"""The DynamoDB table itself: is it there and of the right shape; make it, if it is not."""

from __future__ import annotations

import asyncio
from typing import Any

import botocore.exceptions as sdk

from mailsyncd.errors import StateUnavailable
from mailsyncd.state.dynamo_errors import code_of

KEYS = [{"AttributeName": "PK", "KeyType": "HASH"}, {"AttributeName": "SK", "KeyType": "RANGE"}]
TTL = "ttl"
ACTIVE_POLL = 0.5  # seconds
ACTIVE_WAIT = 120  # looks


async def check(client: Any, table: str, where: str) -> None:
    """Raises StateUnavailable if the table can't be ours; a ClientError if it can't be looked at."""
    described = (await client.describe_table(TableName=table))["Table"]
    if described["TableStatus"] not in ("ACTIVE", "UPDATING"):
        raise StateUnavailable(f"{where}: the table is {described['TableStatus']}")
    if described["KeySchema"] != KEYS:
        raise StateUnavailable(
            f"{where}: the table has other keys than PK and SK: it belongs to something else"
        )


async def create(
    client: Any, table: str, *, point_in_time_recovery: bool, deletion_protection: bool
) -> list[str]:
    """Make what is missing; safe to repeat. Returns what was done, a line each."""
    done = []
    try:
        await client.create_table(
            TableName=table,
            KeySchema=KEYS,
            AttributeDefinitions=[{"AttributeName": name, "AttributeType": "S"} for name in ("PK", "SK")],
            BillingMode="PAY_PER_REQUEST",
            DeletionProtectionEnabled=deletion_protection,
        )
        done.append(f"table {table} created, on demand")
    except sdk.ClientError as error:
        if code_of(error) != "ResourceInUseException":
            raise
        done.append(f"table {table} was there")
    await _until_active(client, table)
    done.append(await _expiry(client, table))
    if point_in_time_recovery:
        done.append(await _backups(client, table))
    if deletion_protection:
        await client.update_table(TableName=table, DeletionProtectionEnabled=True) if not await _is_protected(
            client, table
        ) else None
        done.append("deletion protection is on")
    return done


async def _until_active(client: Any, table: str) -> None:
    for _ in range(ACTIVE_WAIT):
        if (await client.describe_table(TableName=table))["Table"]["TableStatus"] == "ACTIVE":
            return
        await asyncio.sleep(ACTIVE_POLL)
    raise StateUnavailable(f"table {table} did not become active")


async def _expiry(client: Any, table: str) -> str:
    described = await client.describe_time_to_live(TableName=table)
    if described["TimeToLiveDescription"].get("TimeToLiveStatus") in ("ENABLED", "ENABLING"):
        return f"expiry by {TTL} was on"
    await client.update_time_to_live(
        TableName=table, TimeToLiveSpecification={"Enabled": True, "AttributeName": TTL}
    )
    return f"expiry by {TTL} is on"


async def _backups(client: Any, table: str) -> str:
    try:
        await client.update_continuous_backups(
            TableName=table, PointInTimeRecoverySpecification={"PointInTimeRecoveryEnabled": True}
        )
    except sdk.ClientError as error:
        if code_of(error) in ("UnknownOperationException", "ValidationException"):
            return "point-in-time recovery is not known to this engine"
        raise
    return "point-in-time recovery is on"


async def _is_protected(client: Any, table: str) -> bool:
    described = (await client.describe_table(TableName=table))["Table"]
    return bool(described.get("DeletionProtectionEnabled"))
