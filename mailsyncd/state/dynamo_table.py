"""The DynamoDB table itself: is it there and of the right shape; make it, if it is not."""

from __future__ import annotations

from typing import Any

import botocore.exceptions as sdk

from mailsyncd.errors import StateUnavailable
from mailsyncd.state.dynamo_client import DynamoClient
from mailsyncd.state.dynamo_errors import code_of
from mailsyncd.state.items import FORMAT
from mailsyncd.tasks import begun

KEYS = [{"AttributeName": "PK", "KeyType": "HASH"}, {"AttributeName": "SK", "KeyType": "RANGE"}]
TYPES = [{"AttributeName": name, "AttributeType": "S"} for name in ("PK", "SK")]
TTL = "ttl"
POLL = 0.5  # seconds
LOOKS = 240
UNKNOWN = "UnknownOperationException"  # DynamoDB Local has no backups
NOT_YET = "ContinuousBackupsUnavailableException"  # for some seconds after a table was made


async def check(client: DynamoClient) -> None:
    """Raises StateUnavailable if the table is missing or can't be ours, or is a newer mailsyncd's."""
    async with begun(_check_format(client)) as checked:
        await _check_keys(client)
        await checked


async def _check_keys(client: DynamoClient) -> None:
    described = await _described(client)
    if described["TableStatus"] not in ("ACTIVE", "UPDATING"):
        raise StateUnavailable(f"{client.where}: the table is {described['TableStatus']}")
    types = {one["AttributeName"]: one["AttributeType"] for one in described["AttributeDefinitions"]}
    if described["KeySchema"] != KEYS or (types["PK"], types["SK"]) != ("S", "S"):
        raise StateUnavailable(
            f"{client.where}: the table has other keys than the strings PK and SK: "
            "it belongs to something else, set another [state] table"
        )


async def _check_format(client: DynamoClient) -> None:
    """A newer one leaves word that this one could not read its items."""
    word = await client.get("GATE", "GATE") or {}
    if (version := int(word.get("format", FORMAT))) > FORMAT:
        raise StateUnavailable(
            f"{client.where}: was written by a newer mailsyncd (format {version}): "
            "run that one, or set another [state] table"
        )


async def _described(client: DynamoClient) -> dict[str, Any]:
    answer = await client.ask("describe_table", TableName=client.table)
    described: dict[str, Any] = answer["Table"]
    return described


async def create(
    client: DynamoClient, *, point_in_time_recovery: bool, deletion_protection: bool
) -> list[str]:
    """Make what is missing; safe to repeat. Returns what was done, a line each."""
    done = [await _table(client, deletion_protection=deletion_protection)]
    await _until_active(client)
    await check(client)
    done.append(await _expiry(client))
    if point_in_time_recovery:
        done.append(await _backups(client))
    if deletion_protection:
        done.append(await _protection(client))
    return done


async def _table(client: DynamoClient, *, deletion_protection: bool) -> str:
    try:
        await client.ask(
            "create_table",
            leave=("ResourceInUseException",),
            TableName=client.table,
            KeySchema=KEYS,
            AttributeDefinitions=TYPES,
            BillingMode="PAY_PER_REQUEST",
            DeletionProtectionEnabled=deletion_protection,
        )
    except sdk.ClientError:
        return f"table {client.table} was there"
    return f"table {client.table} created, on demand"


async def _until_active(client: DynamoClient) -> None:
    for _ in range(LOOKS):
        if (await _described(client))["TableStatus"] == "ACTIVE":
            return
        await client.clock.sleep(POLL)
    raise StateUnavailable(f"{client.where}: did not become active within {LOOKS * POLL:.0f} s")


async def _expiry(client: DynamoClient) -> str:
    answer = await client.ask("describe_time_to_live", TableName=client.table)
    described = answer["TimeToLiveDescription"]
    if described.get("TimeToLiveStatus") in ("ENABLED", "ENABLING"):
        if (by := described.get("AttributeName", TTL)) != TTL:
            raise StateUnavailable(f"{client.where}: its items expire by {by}, not by {TTL}")
        return f"expiry by {TTL} was on"
    wanted = {"Enabled": True, "AttributeName": TTL}
    await client.ask("update_time_to_live", TableName=client.table, TimeToLiveSpecification=wanted)
    return f"expiry by {TTL} is on"


async def _backups(client: DynamoClient) -> str:
    for _ in range(LOOKS):
        try:
            await client.ask(
                "update_continuous_backups",
                leave=(NOT_YET, UNKNOWN),
                TableName=client.table,
                PointInTimeRecoverySpecification={"PointInTimeRecoveryEnabled": True},
            )
        except sdk.ClientError as error:
            if code_of(error) == UNKNOWN:
                return "point-in-time recovery is not known to this engine"
        else:
            return "point-in-time recovery is on"
        await client.clock.sleep(POLL)
    raise StateUnavailable(f"{client.where}: point-in-time recovery can't be had yet: try again later")


async def _protection(client: DynamoClient) -> str:
    if not (await _described(client)).get("DeletionProtectionEnabled"):
        await client.ask("update_table", TableName=client.table, DeletionProtectionEnabled=True)
    return "deletion protection is on"
