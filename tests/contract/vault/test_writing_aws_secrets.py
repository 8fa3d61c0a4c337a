"""One key of a JSON object is written: others stay, nobody's write is lost, nothing is in clear text."""

from __future__ import annotations

import asyncio
import json
import traceback
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import pytest
from cloud import REGION, Cloud
from faulty_line import FaultyLine, Refusal

from mailsyncd.account import Secret
from mailsyncd.errors import RouteBlocked, Transient
from mailsyncd.ports import SecretDocument
from mailsyncd.stored import Reference, Vault
from mailsyncd.vault import client
from mailsyncd.vault.documents import document

pytestmark = pytest.mark.xdist_group("moto")
CANARY = "C4N4RY"
KEY = "REFRESH_TOKEN"
NAMES = {Vault.SSM: "/mail-syncer/routes", Vault.SECRETS_MANAGER: "mail-syncer/routes"}
WRITES = {Vault.SSM: "PutParameter", Vault.SECRETS_MANAGER: "PutSecretValue"}
Content = Callable[[], Awaitable[dict[str, Any]]]


@pytest.fixture
def kept(vault: Vault, line: FaultyLine) -> SecretDocument:
    return document(Reference(vault, NAMES[vault]), REGION)


async def give(aws: Cloud, vault: Vault, whole: str) -> None:
    if vault is Vault.SSM:
        await aws.parameter(NAMES[vault], whole)
    else:
        await aws.secret(NAMES[vault], SecretString=whole)


async def change(aws: Cloud, vault: Vault, whole: str) -> None:
    if vault is Vault.SSM:
        await aws.parameter(NAMES[vault], whole, Overwrite=True)
    else:
        await aws.ask("secretsmanager", "put_secret_value", SecretId=NAMES[vault], SecretString=whole)


@pytest.fixture
def content(aws: Cloud, vault: Vault) -> Content:
    async def read() -> dict[str, Any]:
        if vault is Vault.SSM:
            whole = (await aws.value_of(NAMES[vault]))["Value"]
        else:
            which = {"SecretId": NAMES[vault], "VersionStage": "AWSCURRENT"}  # which moto does not default to
            answer = await aws.ask("secretsmanager", "get_secret_value", **which)
            whole = answer["SecretString"]
        found: dict[str, Any] = json.loads(whole)
        return found

    return read


async def test_what_is_missing_is_made(
    aws: Cloud, kept: SecretDocument, vault: Vault, content: Content
) -> None:
    assert await kept.read(KEY) is None
    await kept.write(KEY, Secret(CANARY))
    assert await content() == {KEY: CANARY}
    assert await kept.read(KEY) == Secret(CANARY)
    if vault is Vault.SSM:
        assert (await aws.value_of(NAMES[vault]))["Type"] == "SecureString"


async def test_other_keys_are_kept_as_they_are(
    aws: Cloud, kept: SecretDocument, vault: Vault, content: Content
) -> None:
    others = {"B": "b\u00e9", "N": 12345678901234567890, "L": [{"x": None}], "A": "a"}
    await give(aws, vault, json.dumps({**others, KEY: "old"}))
    await kept.write(KEY, Secret(CANARY))
    assert await content() == {**others, KEY: CANARY}
    assert await kept.read("B") == Secret("b\u00e9")
    assert await kept.read("NONE") is None


async def test_what_is_there_already_is_not_written_again(
    aws: Cloud, kept: SecretDocument, vault: Vault, line: FaultyLine
) -> None:
    await give(aws, vault, json.dumps({KEY: CANARY}))
    await kept.write(KEY, Secret(CANARY))
    assert WRITES[vault] not in [operation for operation, _ in line.asked]


async def test_a_write_that_comes_between_is_not_lost(
    aws: Cloud, kept: SecretDocument, vault: Vault, line: FaultyLine, content: Content
) -> None:
    await give(aws, vault, json.dumps({"A": "old"}))
    others = iter(({"A": "new"}, {"A": "new", "B": "b"}))

    async def meddle() -> None:
        if (theirs := next(others, None)) is not None:
            await change(aws, vault, json.dumps(theirs))

    line.before[WRITES[vault]] = meddle
    await kept.write(KEY, Secret(CANARY))
    assert next(others, None) is None
    assert await content() == {"A": "new", "B": "b", KEY: CANARY}


async def test_somebody_else_makes_it_first(
    aws: Cloud, kept: SecretDocument, vault: Vault, line: FaultyLine, content: Content
) -> None:
    made = False

    async def meddle() -> None:
        nonlocal made
        if not made:
            made = True
            await give(aws, vault, json.dumps({"A": "a"}))

    line.before["PutParameter" if vault is Vault.SSM else "CreateSecret"] = meddle
    await kept.write(KEY, Secret(CANARY))
    assert await content() == {"A": "a", KEY: CANARY}


async def test_many_who_write_at_once_lose_nothing(
    kept: SecretDocument, vault: Vault, content: Content
) -> None:
    await asyncio.gather(*(kept.write(f"K{n}", Secret(f"v{n}")) for n in range(3)))
    assert await content() == {f"K{n}": f"v{n}" for n in range(3)}


async def test_an_answer_that_is_lost_is_no_second_write(
    aws: Cloud, kept: SecretDocument, vault: Vault, line: FaultyLine, content: Content
) -> None:
    await give(aws, vault, json.dumps({"A": "a"}))

    async def lose() -> None:
        if not line.lose_answers and sum(name == WRITES[vault] for name, _ in line.asked) == 1:
            line.lose_answers = 1

    line.before[WRITES[vault]] = lose
    await kept.write(KEY, Secret(CANARY))
    assert await content() == {"A": "a", KEY: CANARY}


async def test_those_who_never_let_it_through_are_told(
    aws: Cloud, kept: SecretDocument, vault: Vault, line: FaultyLine
) -> None:
    await give(aws, vault, json.dumps({"A": "0"}))
    count = 0

    async def meddle() -> None:
        nonlocal count
        count += 1
        await change(aws, vault, json.dumps({"A": str(count)}))

    line.before[WRITES[vault]] = meddle
    with pytest.raises(Transient, match="is being changed by others again and again"):
        await kept.write(KEY, Secret(CANARY))


@pytest.mark.parametrize("whole", [CANARY, f'["{CANARY}"]'])
async def test_what_is_no_json_object_is_left_alone(
    aws: Cloud, kept: SecretDocument, vault: Vault, line: FaultyLine, whole: str
) -> None:
    await give(aws, vault, whole)
    for doing in (kept.write(KEY, Secret(CANARY)), kept.read(KEY)):
        with pytest.raises(RouteBlocked, match=f"{NAMES[vault]}: is not (JSON|a JSON object)") as caught:
            await doing
        assert CANARY not in "".join(traceback.format_exception(caught.value))
    assert WRITES[vault] not in [operation for operation, _ in line.asked]


async def test_refusals_name_what_to_allow_and_never_the_value(
    aws: Cloud, kept: SecretDocument, vault: Vault, line: FaultyLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "ATTEMPTS", 1)
    await give(aws, vault, "{}")
    for kind, error, said in (
        ("AccessDeniedException", RouteBlocked, f"AWS denies {vault.value}:{WRITES[vault]}"),
        ("ValidationException", RouteBlocked, "refused"),
        ("InvalidKeyId", RouteBlocked, "kms:Encrypt"),
        ("ThrottlingException", Transient, "AWS throttles"),
    ):
        refusal = Refusal(kind, more={"message": CANARY})
        line.before[WRITES[vault]] = partial(_refuse, line, refusal)
        with pytest.raises(error, match=said) as caught:
            await kept.write(KEY, Secret(CANARY))
        assert CANARY not in "".join(traceback.format_exception(caught.value))


async def _refuse(line: FaultyLine, refusal: Refusal) -> None:
    line.refuse = [refusal]


# -------------------------------------------------------------------- each for itself


async def test_a_parameter_in_clear_text_is_not_written(line: FaultyLine, aws: Cloud) -> None:
    await aws.parameter("/plain", "{}", Type="String")
    with pytest.raises(RouteBlocked, match="is a String, not a SecureString"):
        await document(Reference(Vault.SSM, "/plain"), REGION).write(KEY, Secret(CANARY))


async def test_the_key_of_a_parameter_is_kept(line: FaultyLine, aws: Cloud) -> None:
    for number in range(52):  # more than a page of its history
        await aws.parameter("/p", f'{{"N": {number}}}', Overwrite=True, KeyId="alias/mine", Description="d")
    await document(Reference(Vault.SSM, "/p"), REGION).write(KEY, Secret(CANARY))
    answer = await aws.ask("ssm", "describe_parameters")
    (found,) = answer["Parameters"]
    assert (found["KeyId"], found["Description"], found["Version"]) == ("alias/mine", "d", 53)


async def test_what_is_too_large_for_a_parameter_is_refused(line: FaultyLine, aws: Cloud) -> None:
    kept = document(Reference(Vault.SSM, "/p"), REGION)
    with pytest.raises(RouteBlocked, match="would have 9021 bytes, and SSM takes 8192"):
        await kept.write(KEY, Secret("x" * 9000))
    await kept.write(KEY, Secret("x" * 5000))
    sent = [arguments for operation, arguments in line.asked if operation == "PutParameter"]
    assert [one["Tier"] for one in sent] == ["Advanced"]


async def test_a_secret_that_was_made_without_a_value_gets_one(line: FaultyLine, aws: Cloud) -> None:
    await aws.secret("empty")
    kept = document(Reference(Vault.SECRETS_MANAGER, "empty"), REGION)
    await kept.write(KEY, Secret(CANARY))
    assert await kept.read(KEY) == Secret(CANARY)


@pytest.mark.parametrize("name", ["/p:1", "arn:aws:ssm:us-west-2:123456789012:parameter/p"])
def test_what_can_only_be_read_is_told(name: str) -> None:
    with pytest.raises(RouteBlocked, match="can't be written under an ARN, a version or a label"):
        document(Reference(Vault.SSM, name), REGION)
