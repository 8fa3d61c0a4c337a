"""`mailsyncd secrets migrate`: JSON secrets become SecureStrings, and no value is ever said."""

from __future__ import annotations

import io
import json

import pytest
from cloud import REGION, Cloud
from faulty_line import FaultyLine, Refusal

from mailsyncd.commands.secrets import copy
from mailsyncd.errors import MailsyncError
from mailsyncd.vault.migrate import Wish

pytestmark = pytest.mark.xdist_group("moto")
CANARY = "C4N4RY"
WHOLE = json.dumps({"A": CANARY, "B": [CANARY]}, indent=1)
FORWARD = Wish(overwrite=False, dry_run=False)


async def migrate(*mappings: str, wish: Wish = FORWARD) -> tuple[int, list[str], list[str]]:
    out, err = io.StringIO(), io.StringIO()
    status = await copy(mappings, REGION, {}, (out, err), wish)
    assert CANARY not in out.getvalue() + err.getvalue()
    return status, out.getvalue().splitlines(), err.getvalue().splitlines()


async def test_a_secret_is_copied_byte_for_byte_into_a_secure_string(line: FaultyLine, aws: Cloud) -> None:
    await aws.secret("mail-syncer/routes", SecretString=WHOLE)
    done = await migrate("mail-syncer/routes=/mail-syncer/routes")
    assert done == (0, ["mail-syncer/routes -> /mail-syncer/routes: copied; keys: A, B"], [])
    found = await aws.value_of("/mail-syncer/routes")
    assert (found["Value"], found["Type"], found["Version"]) == (WHOLE, "SecureString", 1)


async def test_a_dry_run_writes_nothing(line: FaultyLine, aws: Cloud) -> None:
    await aws.secret("a", SecretString=WHOLE)
    await aws.secret("b", SecretString=WHOLE)
    await aws.parameter("/b", "{}")
    status, said, failed = await migrate("a=/a", "b=/b", wish=Wish(overwrite=True, dry_run=True))
    assert (status, failed) == (0, [])
    assert said == ["a -> /a: would be copied; keys: A, B", "b -> /b: would be overwritten; keys: A, B"]
    assert "PutParameter" not in [operation for operation, _ in line.asked]


async def test_a_parameter_that_exists_is_replaced_only_when_asked(line: FaultyLine, aws: Cloud) -> None:
    await aws.secret("a", SecretString=WHOLE)
    await aws.secret("b", SecretString=WHOLE)
    await aws.parameter("/a", f'{{"OLD": "{CANARY}"}}', KeyId="alias/mine")
    status, said, failed = await migrate("a=/a", "b=/b")
    assert (status, said) == (1, ["b -> /b: copied; keys: A, B"])
    assert failed == ["mailsyncd: a -> /a: SSM parameter /a: exists already; --overwrite replaces it"]
    assert json.loads((await aws.value_of("/a"))["Value"]) == {"OLD": CANARY}
    again = Wish(overwrite=True, dry_run=False)
    assert (await migrate("a=/a", wish=again))[:2] == (0, ["a -> /a: overwritten; keys: A, B"])
    assert (await migrate("a=/a", wish=again))[:2] == (0, ["a -> /a: is the same already; keys: A, B"])
    assert (await aws.value_of("/a"))["Version"] == 2
    history = await aws.ask("ssm", "get_parameter_history", Name="/a")
    assert {one["KeyId"] for one in history["Parameters"]} == {"alias/mine"}


async def test_one_that_comes_into_being_meanwhile_is_not_replaced(line: FaultyLine, aws: Cloud) -> None:
    await aws.secret("a", SecretString=WHOLE)

    async def meddle() -> None:
        await aws.parameter("/a", "{}")

    line.before["PutParameter"] = meddle
    assert (await migrate("a=/a"))[0] == 1
    assert (await aws.value_of("/a"))["Value"] == "{}"


async def test_each_failure_is_a_line_and_the_others_go_on(line: FaultyLine, aws: Cloud) -> None:
    values = {
        "text": CANARY,
        "list": f'["{CANARY}"]',
        "large": json.dumps({"A": CANARY * 2000}),
        "good": WHOLE,
    }
    for name, value in {**values, "plain": WHOLE}.items():
        await aws.secret(name, SecretString=value)
    await aws.parameter("/plain", CANARY, Type="String")
    names = ("text", "list", "large", "gone", "plain", "good")
    status, said, failed = await migrate(*(f"{name}=/{name}" for name in names))
    assert (status, said) == (1, ["good -> /good: copied; keys: A, B"])
    assert [one.partition(": ")[2].partition(": ")[2] for one in failed] == [
        "Secrets Manager secret text: is not JSON (line 1, column 1)",
        "Secrets Manager secret list: is not a JSON object",
        "SSM parameter /large: would have 12009 bytes, and SSM takes 8192",
        "Secrets Manager secret gone: does not exist",
        "SSM parameter /plain: is a String, not a SecureString: delete it, or choose another",
    ]


async def test_a_refusal_names_what_to_allow(line: FaultyLine, aws: Cloud) -> None:
    await aws.secret("a", SecretString=WHOLE)

    async def refuse() -> None:
        line.refuse = [Refusal("AccessDeniedException", more={"message": CANARY})]

    line.before["PutParameter"] = refuse
    status, _, failed = await migrate("a=/a")
    assert status == 1
    assert failed == [
        "mailsyncd: a -> /a: SSM parameter /a: AWS denies ssm:PutParameter: see deploy/iam-policy.json"
    ]


@pytest.mark.parametrize("mapping", ["a", "=/a", "a=", "a=b c", f"1//{CANARY}=/a", "a=/a:1"])
async def test_what_is_no_mapping_is_told_without_it(mapping: str) -> None:
    with pytest.raises(MailsyncError, match="a --mapping is SECRET=/PARAMETER") as caught:
        await migrate(mapping)
    assert CANARY not in str(caught.value)


async def test_two_secrets_do_not_go_into_one_parameter() -> None:
    with pytest.raises(MailsyncError, match="two mappings have the same parameter"):
        await migrate("a=/a", "b=/a")


async def test_a_name_with_an_equals_sign_is_still_a_name(line: FaultyLine, aws: Cloud) -> None:
    await aws.secret("a=b", SecretString=WHOLE)
    assert (await migrate("a=b=/a"))[0] == 0
