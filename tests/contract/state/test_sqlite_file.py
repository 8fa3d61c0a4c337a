"""The embedded store: its file, its failures, and kill -9."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from test_state_stores import ROUTE, done, record

from mailsyncd.errors import StateUnavailable
from mailsyncd.observe.clock import SystemClock
from mailsyncd.state.sqlite import SqliteStore

CLAIMS = """
import asyncio, sys
from pathlib import Path
sys.path[:0] = {path!r}
from test_state_stores import ROUTE, record
from mailsyncd.observe.clock import SystemClock
from mailsyncd.state.sqlite import SqliteStore
async def main():
    store = SqliteStore(Path(sys.argv[1]), clock=SystemClock())
    await store.open()
    async def claim(uid):
        await store.claim(ROUTE, record(uid))
        print(uid, flush=True)
    for start in range(1, 100_000, 8):
        await asyncio.gather(*(claim(uid) for uid in range(start, start + 8)))
asyncio.run(main())
"""


async def test_what_was_acknowledged_outlives_kill_9(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    child = subprocess.Popen(
        [sys.executable, "-c", CLAIMS.format(path=[str(Path(__file__).parent)]), str(path)],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert child.stdout
    heard = [int(child.stdout.readline()) for _ in range(200)]
    child.send_signal(signal.SIGKILL)
    heard += [int(line) for line in child.stdout.read().split("\n")[:-1]]
    child.wait()
    child.stdout.close()
    store = SqliteStore(path, clock=SystemClock())
    await store.open()
    assert {one.uid for one in await store.records(ROUTE, 7)} >= set(heard)
    await store.close()


async def test_the_file_is_for_its_owner_alone(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "new" / "state.db", clock=SystemClock())
    await store.open()
    await store.close()
    assert (tmp_path / "new").stat().st_mode & 0o777 == 0o700
    assert (tmp_path / "new" / "state.db").stat().st_mode & 0o777 == 0o600


async def test_reading_only_creates_and_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    store = SqliteStore(path, clock=SystemClock(), read_only=True)
    with pytest.raises(StateUnavailable, match="unable to open"):
        await store.open()
    await store.close()
    assert list(tmp_path.iterdir()) == []
    writer = SqliteStore(path, clock=SystemClock())
    await writer.open()
    await writer.claim(ROUTE, record(1))
    reader = SqliteStore(path, clock=SystemClock(), read_only=True)
    await reader.open()
    assert len(await reader.records(ROUTE, 7)) == 1
    with pytest.raises(StateUnavailable, match="readonly"):
        await reader.claim(ROUTE, record(2))
    await reader.close()
    await writer.close()


async def test_expired_records_go_when_the_file_is_opened(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "state.db", clock=SystemClock())
    await store.open()
    await store.claim(ROUTE, record(1))
    await store.finish(ROUTE, replace(done(record(1)), expires_at=1_000))
    assert len(await store.records(ROUTE, 7)) == 1
    await store.close()
    again = SqliteStore(tmp_path / "state.db", clock=SystemClock())
    await again.open()
    assert await again.records(ROUTE, 7) == []
    await again.close()


@pytest.mark.parametrize("trouble", ["not a database", "newer", "directory", "no parent"])
async def test_a_file_that_cannot_be_used_is_one_clear_sentence(tmp_path: Path, trouble: str) -> None:
    path = tmp_path / "state.db"
    if trouble == "not a database":
        path.write_bytes(b"this is no database, as anyone can see" * 100)
    elif trouble == "newer":
        connection = sqlite3.connect(path)
        connection.execute("PRAGMA user_version = 99")
        connection.close()
    elif trouble == "directory":
        path.mkdir()
    else:
        (tmp_path / "file").write_text("")
        path = tmp_path / "file" / "state.db"
    store = SqliteStore(path, clock=SystemClock())
    with pytest.raises(StateUnavailable) as caught:
        await store.open()
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
    await store.close()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
async def test_a_file_that_may_not_be_written_is_one_clear_sentence(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    store = SqliteStore(tmp_path / "state.db", clock=SystemClock())
    with pytest.raises(StateUnavailable, match="Permission denied"):
        await store.open()
    await store.close()
