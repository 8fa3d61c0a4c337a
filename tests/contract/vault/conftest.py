"""moto's SSM and Secrets Manager behind a line that counts, refuses and loses."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest
from cloud import Cloud
from engines import moto, reset
from faulty_line import FaultyLine

from mailsyncd.stored import Vault


@pytest.fixture(scope="session")
def vault_server() -> Iterator[str]:
    with moto() as url:
        yield url


@pytest.fixture
def credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "x")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")


@pytest.fixture
async def line(
    vault_server: str, credentials: None, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[FaultyLine]:
    """What mailsyncd asks goes through here; what aws() asks does not."""
    reset(vault_server)
    made = FaultyLine(vault_server)
    async with made.running() as url:
        monkeypatch.setenv("AWS_ENDPOINT_URL", url)
        yield made


@pytest.fixture
def aws(vault_server: str, line: FaultyLine) -> Cloud:
    return Cloud(vault_server)


@pytest.fixture(params=list(Vault), ids=lambda one: one.value)
def vault(request: pytest.FixtureRequest) -> Vault:
    found: Vault = request.param
    return found
