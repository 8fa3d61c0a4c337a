"""The DynamoDB table: made, found, refused; its template, and the permissions that the daemon needs."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]
from aiobotocore.session import get_session
from engines import dynamo
from faulty_line import FaultyLine
from test_state_stores import ROUTE, done, record

from mailsyncd.errors import FailureKind, StateUnavailable
from mailsyncd.model import Claimant, Failure, Lease, Watermark
from mailsyncd.state import dynamo_table
from mailsyncd.state.dynamodb import DynamoStore

DEPLOY = Path(__file__).parents[3] / "deploy"


@pytest.mark.xdist_group("moto")
async def test_making_the_table_is_safe_to_repeat(moto_url: str, aws: None) -> None:
    store = dynamo(moto_url, table="mine")
    asked = {"point_in_time_recovery": True, "deletion_protection": True}
    first = await store.init_table(**asked)
    again = await store.init_table(**asked)
    rest = ["point-in-time recovery is on", "deletion protection is on"]
    assert first == ["table mine created, on demand", "expiry by ttl is on", *rest]
    assert again == ["table mine was there", "expiry by ttl was on", *rest]
    await store.open()
    await store.close()


@pytest.mark.xdist_group("moto")
async def test_protection_comes_to_a_table_that_was_there_without_it(moto_url: str, aws: None) -> None:
    faulty = FaultyLine(moto_url)
    async with faulty.running() as url:
        store = dynamo(url)
        await store.init_table(point_in_time_recovery=False, deletion_protection=False)
        assert "UpdateTable" not in {operation for operation, _ in faulty.asked}
        await store.init_table(point_in_time_recovery=False, deletion_protection=True)
        assert "UpdateTable" in {operation for operation, _ in faulty.asked}
        await store.close()


@pytest.mark.real
@pytest.mark.xdist_group("dynamodb-local")
async def test_an_engine_without_backups_says_so_when_asked_for_them(local_url: str, aws: None) -> None:
    store = dynamo(local_url)
    made = await store.init_table(point_in_time_recovery=True, deletion_protection=True)
    assert made[2:] == ["point-in-time recovery is not known to this engine", "deletion protection is on"]
    await store.close()


@pytest.mark.xdist_group("moto")
async def test_a_table_that_is_not_there_closes_the_gate(moto_url: str, aws: None) -> None:
    store = dynamo(moto_url)
    with pytest.raises(StateUnavailable, match="run `mailsyncd state init`"):
        await store.open()
    await store.close()


@pytest.mark.xdist_group("moto")
@pytest.mark.parametrize("keys", [[("id", "HASH")], [("PK", "HASH")], [("SK", "HASH"), ("PK", "RANGE")]])
async def test_a_table_of_something_else_closes_the_gate(
    moto_url: str, aws: None, keys: list[tuple[str, str]]
) -> None:
    async with get_session().create_client(
        "dynamodb", region_name="us-west-2", endpoint_url=moto_url
    ) as client:
        await client.create_table(
            TableName="theirs",
            KeySchema=[{"AttributeName": name, "KeyType": kind} for name, kind in keys],
            AttributeDefinitions=[{"AttributeName": name, "AttributeType": "S"} for name, _ in keys],
            BillingMode="PAY_PER_REQUEST",
        )
    store = dynamo(moto_url, table="theirs")
    with pytest.raises(StateUnavailable, match="other keys than the strings PK and SK"):
        await store.open()
    with pytest.raises(StateUnavailable, match="other keys than the strings PK and SK"):
        await store.init_table(point_in_time_recovery=False, deletion_protection=False)
    await store.close()


# ------------------------------------------------------------------- deployment


async def _everything(store: DynamoStore) -> None:
    one, other = record(1), record(2, gm_msgid="42")
    await store.open()
    await store.claim(ROUTE, one)
    await store.claim(ROUTE, other)
    await store.claim(ROUTE, record(3, attempt="c", gm_msgid="42"))
    await store.adopt(ROUTE, one, replace(one, claimed_by=Claimant(2, "b")))
    await store.finish(ROUTE, done(other))
    await store.finish(ROUTE, replace(done(record(4)), same_as=(6, 1)))
    failure = Failure(7, 3, FailureKind.REJECTED, "no", 1, 1.0)
    await store.fail(ROUTE, failure, None)
    await store.fail(ROUTE, failure, one)
    await store.advance(ROUTE, Watermark(7, 1, 1.0), expected=None)
    await store.put_lease("me", Lease("one", 1, 1, 60.0, 1.0), expected=None)
    await store.lease("me")
    await store.watermark(ROUTE)
    await store.records(ROUTE, 7)
    await store.pending(ROUTE)
    await store.delivered(ROUTE, 3, 1)
    await store.failures(ROUTE)
    await store.counts(ROUTE)


@pytest.fixture
async def asked(moto_url: str, aws: None) -> list[tuple[str, dict[str, Any]]]:
    """What a store asks for when every method is called."""
    faulty = FaultyLine(moto_url)
    async with faulty.running() as url:
        store = dynamo(url)
        await store.init_table(point_in_time_recovery=False, deletion_protection=False)
        faulty.asked.clear()
        await _everything(store)
        await store.close()
    return faulty.asked


@pytest.mark.xdist_group("moto")
async def test_the_policy_allows_what_the_daemon_asks_for_and_nothing_else(
    asked: list[tuple[str, dict[str, Any]]],
) -> None:
    needed = set()
    for operation, arguments in asked:
        # A transaction needs no permission of its own, but those of what is in it.
        for write in arguments.get("TransactItems", ()):
            needed |= {{"Put": "PutItem"}[kind] for kind in write}
        if operation != "TransactWriteItems":
            needed.add(operation)
    policy = json.loads((DEPLOY / "iam-policy.json").read_text())
    (allowed,) = (one["Action"] for one in policy["Statement"] if one["Sid"] == "MailsyncdState")
    assert {f"dynamodb:{operation}" for operation in needed} == set(allowed)


@pytest.mark.xdist_group("moto")
async def test_every_read_is_strongly_consistent(asked: list[tuple[str, dict[str, Any]]]) -> None:
    reads = [arguments for operation, arguments in asked if operation in ("GetItem", "Query")]
    assert len(reads) > 8
    assert all(arguments["ConsistentRead"] is True for arguments in reads)


def test_the_template_makes_the_table_that_the_code_makes() -> None:
    # CloudFormation's short forms, !Ref and !GetAtt, are no tags that YAML knows.
    template = yaml.safe_load(re.sub(r"!\w+ ", "", (DEPLOY / "table.yaml").read_text()))
    (table,) = template["Resources"].values()
    wanted = table["Properties"]
    assert wanted["KeySchema"] == dynamo_table.KEYS
    assert wanted["AttributeDefinitions"] == dynamo_table.TYPES
    assert wanted["BillingMode"] == "PAY_PER_REQUEST"
    assert wanted["TimeToLiveSpecification"] == {"AttributeName": dynamo_table.TTL, "Enabled": True}
    assert wanted["PointInTimeRecoverySpecification"] == {"PointInTimeRecoveryEnabled": True}
    assert wanted["DeletionProtectionEnabled"] is True
    assert wanted["SSESpecification"] == {"SSEEnabled": True}
    assert (table["DeletionPolicy"], table["UpdateReplacePolicy"]) == ("Retain", "Retain")
    assert set(template["Outputs"]) == {"TableName", "TableArn"}
