"""Refresh tokens that go to a store of AWS, by the real command."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from cloud import Cloud
from sign_in_bed import BROWSER, USER, Bed, run

from mailsyncd.observe.clock import SystemClock
from mailsyncd.sim import TokenEndpoint

pytestmark = pytest.mark.xdist_group("moto")
NAME = "/mail-syncer/routes"
KEY = "GMAIL_REFRESH_TOKEN"
PARAMETER = ("--write-parameter-name", NAME, "--write-parameter-key", KEY)


@pytest.fixture
async def bed(tmp_path: Path) -> AsyncIterator[Bed]:
    (tmp_path / "browser.py").write_text(BROWSER)
    async with TokenEndpoint(SystemClock()) as endpoint:
        yield Bed(endpoint, tmp_path)


async def gmail(bed: Bed, at: str, *place: str) -> tuple[int | None, str, str]:
    urls = ("--authorize-url", bed.asked.authorize_url or "", "--token-url", bed.asked.token_url or "")
    options = ("--client-id", "client", "--email", USER, "--port", str(bed.port))
    keys = {"AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "aws-canary", "AWS_REGION": "us-west-2"}
    environ = {"AWS_EC2_METADATA_DISABLED": "true", "AWS_ENDPOINT_URL": at, "LOG_LEVEL": "debug"}
    return await run(bed, "gmail", *options, *urls, *place, **keys, **environ)


async def test_a_parameter_keeps_its_other_keys(bed: Bed, cloud: Cloud) -> None:
    await cloud.parameter(NAME, json.dumps({"OTHER": "kept", KEY: "old"}))
    status, out, err = await gmail(bed, cloud.url, *PARAMETER, "--testing")
    assert status == 0, err
    assert f'refresh_token = {{ ssm = "{NAME}", key = "{KEY}" }}' in out
    found = await cloud.value_of(NAME)
    value = json.loads(found["Value"])
    assert (found["Type"], value["OTHER"]) == ("SecureString", "kept")
    assert value[KEY].startswith("1//")
    assert sorted(value) == sorted(["OTHER", KEY, f"{KEY}_CONSENT"])
    assert value[f"{KEY}_CONSENT"].endswith("Z testing")
    assert value[KEY] not in out + err
    assert "aws-canary" not in (bed.home / "argv").read_text()  # its environment, too
    assert not (bed.home / "refresh-tokens").exists()


async def test_a_secret_is_made_if_it_is_missing(bed: Bed, cloud: Cloud) -> None:
    status, out, err = await gmail(bed, cloud.url, "--write-secret-id", "mail", "--write-secret-key", KEY)
    assert status == 0, err
    assert f'refresh_token = {{ secretsmanager = "mail", key = "{KEY}" }}' in out
    found = await cloud.ask("secretsmanager", "get_secret_value", SecretId="mail")
    assert json.loads(found["SecretString"])[KEY].startswith("1//")


async def test_what_is_no_json_is_not_overwritten_and_told_before_anybody_signs_in(
    bed: Bed, cloud: Cloud
) -> None:
    await cloud.parameter(NAME, "a secret by itself")
    status, out, err = await gmail(bed, cloud.url, *PARAMETER)
    assert (status, out) == (1, "")
    assert err.splitlines()[-1].startswith(f"mailsyncd: SSM parameter {NAME}: is not JSON")
    assert not bed.endpoint.requests
    assert (await cloud.value_of(NAME))["Value"] == "a secret by itself"


async def test_a_store_that_can_not_be_reached_is_told_before_anybody_signs_in(bed: Bed) -> None:
    async with asyncio.timeout(60):
        status, out, err = await gmail(bed, "http://127.0.0.1:9", *PARAMETER)
    assert (status, out) == (1, "")
    assert err.splitlines()[-1].endswith("nothing was stored; try again")


@pytest.mark.parametrize(
    ("place", "sentence"),
    [
        (PARAMETER[:2], "--write-parameter-key: is missing: name and key belong together"),
        (PARAMETER[2:], "--write-parameter-name: is missing: name and key belong together"),
        (
            ("--write-secret-id", "a b", "--write-secret-key", KEY),
            "--write-secret-id: secretsmanager takes the name",
        ),
        (
            ("--write-secret-id", "a", "--write-secret-key", "a b"),
            "--write-secret-key: key takes the name of a key",
        ),
    ],
)
async def test_a_place_that_is_none_is_a_line(bed: Bed, place: tuple[str, ...], sentence: str) -> None:
    status, out, err = await gmail(bed, "http://127.0.0.1:9", *place)
    assert (status, out) == (78, "")
    assert sentence in err


async def test_two_places_are_one_too_many(bed: Bed) -> None:
    status, _, err = await gmail(bed, "http://127.0.0.1:9", *PARAMETER, "--store", "file")
    assert status == 2
    assert "not allowed with" in err
