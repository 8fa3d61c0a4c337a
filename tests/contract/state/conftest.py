"""Every state store, each test with a fresh one."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from engines import dynamo, dynamodb_local, light, moto, reset

from mailsyncd.observe.clock import SystemClock
from mailsyncd.ports import StateStore
from mailsyncd.state import dynamo_client
from mailsyncd.state.memory import MemoryStore
from mailsyncd.state.sqlite import SqliteStore


@pytest.fixture(scope="session")
def local_url() -> Iterator[str]:
    with dynamodb_local() as url:
        yield url


@pytest.fixture(scope="session")
def light_url() -> Iterator[str]:
    with light() as url:
        yield url


@pytest.fixture(scope="session")
def moto_server() -> Iterator[str]:
    with moto() as url:
        yield url


@pytest.fixture
def moto_url(moto_server: str) -> str:
    """Emptied for each test: its transactions grow slower with every item in any table."""
    reset(moto_server)
    return moto_server


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch) -> None:
    """An access key of its own: DynamoDB Local keeps a database for each."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "T" + secrets.token_hex(6))
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "x")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")


ENGINES = [
    "memory",
    "sqlite",
    pytest.param("dynamodb-local", marks=[pytest.mark.real, pytest.mark.xdist_group("dynamodb-local")]),
    "light",
    pytest.param("moto", marks=pytest.mark.xdist_group("moto")),
]
URLS = {"dynamodb-local": "local_url", "light": "light_url", "moto": "moto_url"}


@pytest.fixture(params=ENGINES)
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[StateStore]:
    made: StateStore
    if request.param == "memory":
        made = MemoryStore()
    elif request.param == "sqlite":
        made = SqliteStore(tmp_path / "deep" / "state.db", clock=SystemClock())
    else:
        request.getfixturevalue("aws")
        url = request.getfixturevalue(URLS[request.param])
        made = cloud = dynamo(url)
        await cloud.init_table(point_in_time_recovery=False, deletion_protection=False)
    await made.open()
    yield made
    await made.close()


@pytest.fixture(params=["memory", "sqlite", "dynamodb"])
async def away(
    request: pytest.FixtureRequest, tmp_path: Path, aws: None, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[StateStore]:
    """A store that can't be had."""
    made: StateStore
    if request.param == "memory":
        made = memory = MemoryStore()
        memory.down = True
    elif request.param == "sqlite":
        (tmp_path / "file").write_text("")
        made = SqliteStore(tmp_path / "file" / "state.db", clock=SystemClock())
    else:
        monkeypatch.setattr(dynamo_client, "ATTEMPTS", 0)
        made = dynamo("http://127.0.0.1:9")
    yield made
    await made.close()
