"""A refresh token of AWS's stores is replaced by its successor, and by nothing but that."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from cloud import REGION, Cloud
from faulty_line import FaultyLine, Refusal

from mailsyncd.account import Home, Secret
from mailsyncd.auth.consent import Consent
from mailsyncd.auth.homes import DocumentHome
from mailsyncd.errors import RouteBlocked
from mailsyncd.stored import Reference, Vault
from mailsyncd.vault.documents import document

pytestmark = pytest.mark.xdist_group("moto")
NAME, KEY = "/mail-syncer/outlook", "MS_REFRESH_TOKEN"
WRITES = {Vault.SSM: "PutParameter", Vault.SECRETS_MANAGER: "PutSecretValue"}
OLD, NEW = Secret("old-C4N4RY"), Secret("new-C4N4RY")
POLICY = Path(__file__).parents[3] / "deploy" / "iam-policy.json"

Give = Callable[..., Awaitable[None]]
Content = Callable[[], Awaitable[dict[str, Any]]]


@pytest.fixture
def home(vault: Vault, line: FaultyLine) -> DocumentHome:
    where = Home(vault.value, NAME, KEY, REGION)
    return DocumentHome(where, document(Reference(vault, NAME), REGION))


@pytest.fixture
def give(aws: Cloud, vault: Vault) -> Give:
    async def write(*, again: bool = False, **entries: str) -> None:
        whole = json.dumps(entries)
        if vault is Vault.SSM:
            await aws.parameter(NAME, whole, Overwrite=again)
        elif again:
            await aws.ask("secretsmanager", "put_secret_value", SecretId=NAME, SecretString=whole)
        else:
            await aws.secret(NAME, SecretString=whole)

    return write


@pytest.fixture
def content(aws: Cloud, vault: Vault) -> Content:
    async def read() -> dict[str, Any]:
        if vault is Vault.SSM:
            whole = (await aws.value_of(NAME))["Value"]
        else:
            which = {"SecretId": NAME, "VersionStage": "AWSCURRENT"}
            whole = (await aws.ask("secretsmanager", "get_secret_value", **which))["SecretString"]
        found: dict[str, Any] = json.loads(whole)
        return found

    return read


async def test_the_successor_takes_its_place_and_other_keys_stay(
    home: DocumentHome, give: Give, content: Content
) -> None:
    await give(**{KEY: OLD.reveal(), "MS_CLIENT_ID": "c"})
    assert await home.read() == OLD
    assert await home.replace(OLD, NEW) == NEW
    assert await content() == {KEY: NEW.reveal(), "MS_CLIENT_ID": "c"}
    assert await home.replace(OLD, NEW) == NEW  # once more, after an answer that was lost


async def test_what_somebody_else_has_put_there_stays(
    home: DocumentHome, give: Give, content: Content
) -> None:
    await give(**{KEY: "theirs"})
    assert await home.replace(OLD, NEW) == Secret("theirs")
    assert await content() == {KEY: "theirs"}


async def test_a_sign_in_that_comes_between_is_not_overwritten(
    home: DocumentHome, vault: Vault, line: FaultyLine, give: Give, content: Content
) -> None:
    await give(**{KEY: OLD.reveal()})
    theirs = iter([{KEY: "theirs", "A": "a"}])

    async def meddle() -> None:
        if (entries := next(theirs, None)) is not None:
            await give(again=True, **entries)

    line.before[WRITES[vault]] = meddle
    assert await home.replace(OLD, NEW) == Secret("theirs")
    assert await content() == {KEY: "theirs", "A": "a"}


async def test_of_two_daemons_that_write_at_once_both_go_on_with_the_same(
    home: DocumentHome, give: Give, content: Content
) -> None:
    await give(**{KEY: OLD.reveal()})
    ends = await asyncio.gather(*(home.replace(OLD, Secret(f"of-{n}")) for n in range(2)))
    assert (await home.read()).reveal() in ("of-0", "of-1")
    assert await home.read() in ends


async def test_the_consent_is_a_key_beside_it(
    home: DocumentHome, vault: Vault, give: Give, content: Content
) -> None:
    await give(A="a")
    kept = document(Reference(vault, NAME), REGION)
    told = Consent(1_784_281_208.0, in_testing=True)
    await kept.write(KEY, OLD, {f"{KEY}_CONSENT": told.text()})
    assert await content() == {"A": "a", KEY: OLD.reveal(), f"{KEY}_CONSENT": "2026-07-17T09:40:08Z testing"}
    assert await home.consent() == told
    await home.replace(OLD, NEW)
    assert await home.consent() == told


async def test_a_key_that_is_gone_is_named(home: DocumentHome, give: Give) -> None:
    await give(A="a")
    with pytest.raises(RouteBlocked, match=f"{NAME}, key {KEY} is not there"):
        await home.read()
    assert await home.consent() is None


async def test_a_denied_write_is_one_sentence_without_a_token(
    home: DocumentHome, vault: Vault, line: FaultyLine, give: Give
) -> None:
    await give(**{KEY: OLD.reveal()})
    denied = WRITES[vault]

    async def deny() -> None:
        line.refuse.append(Refusal("AccessDeniedException", more={"message": f"not {NEW.reveal()}"}))

    line.before[denied] = deny
    with pytest.raises(RouteBlocked, match=f"AWS denies {vault.value}:{denied}") as failure:
        await home.replace(OLD, NEW)
    assert "C4N4RY" not in str(failure.value)


async def test_the_policy_allows_what_a_rotation_asks_for_and_nothing_else(
    home: DocumentHome, vault: Vault, line: FaultyLine, give: Give
) -> None:
    await give(**{KEY: OLD.reveal()})
    await home.read()
    await home.replace(OLD, NEW)
    asked = {f"{vault.value}:{operation}" for operation, _ in line.asked}
    statements = json.loads(POLICY.read_text())["Statement"]
    allowed = {action for one in statements for action in one["Action"]}
    assert asked == {action for action in allowed if action.startswith(f"{vault.value}:")}
    # Standard and advanced parameters, and secrets, are encrypted in three ways.
    keys = {action for action in allowed if action.startswith("kms:")}
    assert keys == {"kms:Decrypt", "kms:Encrypt", "kms:GenerateDataKey"}
    assert {action.partition(":")[0] for action in allowed} == {"dynamodb", "ssm", "secretsmanager", "kms"}
