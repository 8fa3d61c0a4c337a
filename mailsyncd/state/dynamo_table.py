"""The DynamoDB table itself: is it there and of the right shape; make it, if it is not."""

from __future__ import annotations

import botocore.exceptions as sdk

from mailsyncd.errors import StateUnavailable
from mailsyncd.state.dynamo_client import DynamoClient
from mailsyncd.state.dynamo_errors import code_of

KEYS = [{"AttributeName": "PK", "KeyType": "HASH"}, {"AttributeName": "SK", "KeyType": "RANGE"}]
ATTRIBUTES = [{"AttributeName": name, "AttributeType": "S"} for name in ("PK", "SK")]
TTL = "ttl"
LOOK_EVERY = 1.0  # seconds
LOOKS = 120
# Backups of a table that was made just now are being set up, and can't be changed meanwhile.
NOT_YET = "ContinuousBackupsUnavailableException"
UNKNOWN = "UnknownOperationException"


async def check(client: DynamoClient) -> None:
    """Raises StateUnavailable if the table is not there, or can't be ours."""
    described = (await client.ask("describe_table", TableName=client.table))["Table"]
    if described["TableStatus"] not in ("ACTIVE", "UPDATING"):
        raise StateUnavailable(f"{client.where}: the table is {described['TableStatus']}")
    kinds = {one["AttributeName"]: one["AttributeType"] for one in described["AttributeDefinitions"]}
    if described["KeySchema"] != KEYS or {kinds["PK"], kinds["SK"]} != {"S"}:
        raise StateUnavailable(
            f"{client.where}: its keys are not PK and SK, so it is not mailsyncd's: set another name, "
            "and run `mailsyncd state init`"
        )


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
            AttributeDefinitions=ATTRIBUTES,
            BillingMode="PAY_PER_REQUEST",
            DeletionProtectionEnabled=deletion_protection,
        )
    except sdk.ClientError:
        return f"table {client.table} was there"
    return f"table {client.table} created, on demand"


async def _until_active(client: DynamoClient) -> None:
    for _ in range(LOOKS):
        if (await client.ask("describe_table", TableName=client.table))["Table"]["TableStatus"] == "ACTIVE":
            return
        await client.clock.sleep(LOOK_EVERY)
    raise StateUnavailable(f"{client.where}: the table did not become active")


async def _expiry(client: DynamoClient) -> str:
    described = (await client.ask("describe_time_to_live", TableName=client.table))["TimeToLiveDescription"]
    if described.get("TimeToLiveStatus") not in ("ENABLED", "ENABLING"):
        wanted = {"Enabled": True, "AttributeName": TTL}
        await client.ask("update_time_to_live", TableName=client.table, TimeToLiveSpecification=wanted)
        return f"expiry by {TTL} is on"
    if (by := described.get("AttributeName", TTL)) != TTL:
        raise StateUnavailable(f"{client.where}: items expire by the attribute {by}, not by {TTL}")
    return f"expiry by {TTL} was on"


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
            await client.clock.sleep(LOOK_EVERY)
        else:
            return "point-in-time recovery is on"
    raise StateUnavailable(
        f"{client.where}: point-in-time recovery can't be switched on yet: try again later"
    )


async def _protection(client: DynamoClient) -> str:
    described = (await client.ask("describe_table", TableName=client.table))["Table"]
    if not described.get("DeletionProtectionEnabled"):
        await client.ask("update_table", TableName=client.table, DeletionProtectionEnabled=True)
    return "deletion protection is on"
