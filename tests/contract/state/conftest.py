"""Every state store, each test with a fresh one."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from engines import dynamodb_local, moto

from mailsyncd.observe.clock import SystemClock
from mailsyncd.ports import StateStore
from mailsyncd.state.dynamodb import DynamoStore
from mailsyncd.state.memory import MemoryStore
from mailsyncd.state.sqlite import SqliteStore


@pytest.fixture(scope="session")
def local_url() -> Iterator[str]:
    with dynamodb_local() as url:
        yield url


@pytest.fixture(scope="session")
def moto_url() -> Iterator[str]:
    with moto() as url:
        yield url


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch) -> None:
    """An access key of its own: DynamoDB Local keeps a database for each."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "T" + secrets.token_hex(6))
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "x")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")


def dynamo(url: str, table: str | None = None) -> DynamoStore:
    name = table or "t" + secrets.token_hex(6)
    return DynamoStore(name, region="us-west-2", endpoint_url=url, clock=SystemClock())


ENGINES = [
    "memory",
    "sqlite",
    pytest.param("dynamodb-local", marks=[pytest.mark.real, pytest.mark.xdist_group("dynamodb-local")]),
    pytest.param("moto", marks=pytest.mark.xdist_group("moto")),
]


@pytest.fixture(params=ENGINES)
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[StateStore]:
    made: StateStore
    if request.param == "memory":
        made = MemoryStore()
    elif request.param == "sqlite":
        made = SqliteStore(tmp_path / "deep" / "state.db", clock=SystemClock())
    else:
        request.getfixturevalue("aws")
        url = request.getfixturevalue("local_url" if request.param == "dynamodb-local" else "moto_url")
        made = dynamo(url)
        assert isinstance(made, DynamoStore)
        await made.init_table(point_in_time_recovery=False, deletion_protection=False)
    await made.open()
    yield made
    await made.close()
