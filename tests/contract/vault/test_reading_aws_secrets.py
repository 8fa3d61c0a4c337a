"""Reading SSM and Secrets Manager: few requests, an answer for every name, a sentence for every failure."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest
from cloud import REGION, Cloud
from faulty_line import FaultyLine, Refusal

from mailsyncd.account import Secret
from mailsyncd.stored import Reference, Trouble, Vault
from mailsyncd.vault import client
from mailsyncd.vault.read import read

pytestmark = pytest.mark.xdist_group("moto")
CANARY = "C4N4RY"


def parameter(name: str) -> Reference:
    return Reference(Vault.SSM, name)


def secret(name: str) -> Reference:
    return Reference(Vault.SECRETS_MANAGER, name)


def operations(line: FaultyLine) -> list[str]:
    return [operation for operation, _ in line.asked]


async def trouble(wanted: Reference, region: str | None = REGION) -> Trouble:
    found = (await read([wanted], region))[wanted]
    assert isinstance(found, Trouble)
    assert CANARY not in found.what
    assert "secret-ish" not in found.what
    return found


async def test_a_configuration_is_read_in_as_few_requests_as_aws_allows(line: FaultyLine, aws: Cloud) -> None:
    for number in range(23):
        await aws.parameter(f"/mail/{number}", f"p{number}")
        await aws.secret(f"mail/{number}", SecretString=f"s{number}")
    wanted = [make(f"{slash}mail/{n}") for n in range(23) for make, slash in ((parameter, "/"), (secret, ""))]
    found = await read([*wanted, *wanted], REGION)
    assert found == {
        **{parameter(f"/mail/{n}"): Secret(f"p{n}") for n in range(23)},
        **{secret(f"mail/{n}"): Secret(f"s{n}") for n in range(23)},
    }
    asked = operations(line)
    assert sorted(asked) == ["BatchGetSecretValue"] * 2 + ["GetParameters"] * 3
    assert all(sent.get("WithDecryption", True) for _, sent in line.asked)


async def test_nothing_wanted_is_nothing_asked(line: FaultyLine) -> None:
    assert await read([], REGION) == {}
    assert line.asked == []


async def test_versions_labels_and_arns_are_found(line: FaultyLine, aws: Cloud) -> None:
    await aws.parameter("/p", "one")
    await aws.parameter("/p", "two", Overwrite=True)
    made = await aws.secret("s", SecretString="three")
    arn = "arn:aws:ssm:us-west-2:123456789012:parameter/p"
    wanted = [parameter("/p:1"), parameter("/p"), parameter(arn), secret(made["ARN"]), secret("s")]
    found = await read(wanted, "eu-west-1")  # an ARN knows its own region
    assert found[wanted[2]] == Secret("two")
    assert found[wanted[3]] == Secret("three")
    assert found[wanted[0]] == found[wanted[4]] == Trouble("does not exist")
    found = await read(wanted, REGION)
    assert [found[one] for one in wanted] == [Secret(one) for one in ("one", "two", "two", "three", "three")]


async def test_what_is_missing_is_told_of_that_name_alone(line: FaultyLine, aws: Cloud) -> None:
    await aws.parameter("/there", CANARY)
    await aws.secret("there", SecretString=CANARY)
    await aws.secret("binary", SecretBinary=CANARY.encode())
    gone = [parameter("/gone"), secret("gone"), secret("gone-too")]
    found = await read([parameter("/there"), secret("there"), secret("binary"), *gone], REGION)
    assert found[parameter("/there")] == found[secret("there")] == Secret(CANARY)
    assert [found[one] for one in gone] == [Trouble("does not exist")] * 3
    assert found[secret("binary")] == Trouble("is binary; store it as text")
    assert operations(line).count("GetParameters") == 1
    assert await trouble(secret("gone")) == Trouble("does not exist")


@pytest.mark.parametrize(
    ("kind", "message", "said"),
    [
        ("AccessDeniedException", CANARY, "AWS denies {}: see deploy/iam-policy.json"),
        ("AccessDeniedException", f"{CANARY} kms:Decrypt", "can't be decrypted: AWS denies kms:Decrypt"),
        ("InvalidKeyId", CANARY, "can't be decrypted: AWS denies kms:Decrypt"),
        ("DecryptionFailure", CANARY, "can't be decrypted: AWS denies kms:Decrypt"),
        ("SomethingNew", CANARY, "(SomethingNew)"),
        ("ExpiredTokenException", CANARY, "credentials have expired"),
        ("UnrecognizedClientException", CANARY, "does not know these credentials"),
    ],
)
async def test_a_refusal_is_a_sentence_for_its_user_to_act_on(
    line: FaultyLine, kind: str, message: str, said: str
) -> None:
    for wanted, action in (
        (parameter("/p"), "ssm:GetParameters"),
        (secret("s"), "secretsmanager:GetSecretValue"),
    ):
        line.refuse = [Refusal(kind, more={"message": message})]
        found = await trouble(wanted)
        assert said.format(action) in found.what
        assert not found.passes


async def test_one_denied_name_denies_no_other(line: FaultyLine, aws: Cloud) -> None:
    for name in ("a", "b", "c"):
        await aws.parameter(f"/{name}", name)
        await aws.secret(name, SecretString=name)
    denied = Refusal("AccessDeniedException")
    line.refuse = [denied, denied]  # the batch, then the first by itself
    found = await read([parameter(f"/{name}") for name in "abc"], REGION)
    assert [isinstance(one, Trouble) for one in found.values()] == [True, False, False]
    line.refuse = [denied, denied]
    found = await read([secret(name) for name in "abc"], REGION)
    assert [isinstance(one, Trouble) for one in found.values()] == [True, False, False]
    assert operations(line) == (["GetParameters"] * 4 + ["BatchGetSecretValue"] + ["GetSecretValue"] * 3)


async def test_of_a_batch_of_secrets_each_denial_is_told(line: FaultyLine, aws: Cloud) -> None:
    made = await aws.secret("a", SecretString=CANARY)
    errors = [
        {"SecretId": "b", "ErrorCode": "AccessDeniedException", "Message": CANARY},
        {"SecretId": "c", "ErrorCode": "DecryptionFailure", "Message": CANARY},
    ]
    values = [{"ARN": made["ARN"], "Name": "a", "SecretString": "x"}]
    line.refuse = [Refusal("", status=200, more={"SecretValues": values, "Errors": errors})]
    found = await read([secret("a"), secret("b"), secret("c")], REGION)
    assert found[secret("a")] == Secret("x")
    assert "AWS denies secretsmanager:GetSecretValue" in str(found[secret("b")])
    assert "kms:Decrypt" in str(found[secret("c")])


async def test_throttling_is_tried_again_and_then_told_as_passing(
    line: FaultyLine, aws: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    await aws.parameter("/p", CANARY)
    line.refuse = [Refusal("ThrottlingException")]
    assert await read([parameter("/p")], REGION) == {parameter("/p"): Secret(CANARY)}
    assert len(line.asked) == 2
    monkeypatch.setattr(client, "ATTEMPTS", 2)
    line.refuse = [Refusal("ThrottlingException")] * 2
    wanted = [parameter(f"/{n}") for n in range(25)]
    found = await read(wanted, REGION)
    told = Trouble("AWS throttles, also after several tries", passes=True)
    assert found == dict.fromkeys(wanted, told)
    assert len(line.asked) == 4  # nothing more is asked of a store that throttles


@pytest.mark.parametrize(
    "refusal",
    [
        Refusal("", status=503, content_type="text/html"),
        Refusal("InternalServerError", status=500),
        Refusal("", status=200, content_type="text/html"),
    ],
    ids=["503", "500", "a web page"],
)
async def test_what_is_not_aws_may_pass(
    line: FaultyLine, monkeypatch: pytest.MonkeyPatch, refusal: Refusal
) -> None:
    monkeypatch.setattr(client, "ATTEMPTS", 1)
    line.refuse = [refusal]
    assert (await trouble(parameter("/p"))).passes


async def test_without_region_or_credentials_the_user_is_told(
    line: FaultyLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nonexistent")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent")
    assert await trouble(parameter("/p"), None) == Trouble(
        "no region is set: set AWS_REGION, or [state] region"
    )
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    found = await trouble(secret("s"))
    assert (found.what.startswith("there are no AWS credentials"), found.passes) == (True, False)
    monkeypatch.setenv("AWS_PROFILE", CANARY)
    assert "AWS_PROFILE" in (await trouble(secret("s"))).what
    assert line.asked == []


@pytest.mark.parametrize(
    ("url", "said", "passes"),
    [
        ("http://127.0.0.1:9", "can't be reached", True),
        ("http://192.0.2.1:80", "must begin with https://", False),
        ("no address", "is not an address", False),
    ],
)
async def test_an_endpoint_that_is_none_is_told(
    line: FaultyLine, monkeypatch: pytest.MonkeyPatch, url: str, said: str, passes: bool
) -> None:
    monkeypatch.setattr(client, "ATTEMPTS", 1)
    monkeypatch.setenv("AWS_ENDPOINT_URL", url)
    found = await trouble(parameter("/p"))
    assert (said in found.what, found.passes) == (True, passes)


async def test_a_store_that_hangs_is_given_up(line: FaultyLine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "DEADLINE", 0.5)
    line.slow_answers = 10
    began = time.monotonic()
    found = await trouble(parameter("/p"))
    assert found.passes
    assert "within" in found.what
    assert time.monotonic() - began < 5


async def test_a_reading_can_be_cancelled(line: FaultyLine) -> None:
    line.slow_answers = 10
    task: asyncio.Task[Any] = asyncio.create_task(read([parameter("/p"), secret("s")], REGION))
    for _ in range(1000):
        if len(line.asked) == 2:
            break
        await asyncio.sleep(0.01)
    assert not task.done()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
