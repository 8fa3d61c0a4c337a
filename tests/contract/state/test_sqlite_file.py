"""The embedded store: its file, its thread, its failures, and kill -9."""

from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
import subprocess
import sys
import tracemalloc
from dataclasses import replace
from pathlib import Path

import pytest
from fakes import VirtualClock  # type: ignore[import-not-found, unused-ignore]
from test_state_stores import ROUTE, done, record

from mailsyncd.errors import StateUnavailable
from mailsyncd.model import Watermark
from mailsyncd.observe.clock import SystemClock
from mailsyncd.ports import Refused
from mailsyncd.state import sqlite, sqlite_file
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


async def opened(path: Path, **arguments: bool) -> SqliteStore:
    store = SqliteStore(path, clock=SystemClock(), **arguments)
    await store.open()
    return store


async def test_reading_all_records_of_a_route_takes_little_more_than_they_do(tmp_path: Path) -> None:
    store = await opened(tmp_path / "state.db")
    await asyncio.gather(*(store.claim(ROUTE, record(uid)) for uid in range(1, 2001)))
    tracemalloc.start()
    try:
        records = await store.records(ROUTE, 7)
        left, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(records) == 2000
    assert most < 1.2 * left
    await store.close()


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
    store = await opened(path)
    assert {one.uid for one in await store.records(ROUTE, 7)} >= set(heard)
    await store.close()


async def test_every_commit_reaches_the_disk(tmp_path: Path) -> None:
    store = await opened(tmp_path / "state.db")
    ask = ("PRAGMA synchronous", "PRAGMA journal_mode")
    answers = await store._do(lambda table: [table._connection.execute(one).fetchone()[0] for one in ask])
    assert answers == [2, "wal"]  # 2 is FULL
    await store.close()


# --------------------------------------------------------------------- the file


async def test_the_file_is_for_its_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "new" / "state.db"
    store = await opened(path)
    await store.claim(ROUTE, record(1))
    modes = {one.name: one.stat().st_mode & 0o777 for one in path.parent.iterdir()}
    assert modes == {"state.db": 0o600, "state.db-wal": 0o600, "state.db-shm": 0o600}
    assert path.parent.stat().st_mode & 0o777 == 0o700
    await store.close()


async def test_reading_only_creates_and_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    store = SqliteStore(path, clock=SystemClock(), read_only=True)
    with pytest.raises(StateUnavailable, match="unable to open"):
        await store.open()
    await store.close()
    assert list(tmp_path.iterdir()) == []
    writer = await opened(path)
    await writer.claim(ROUTE, record(1))
    reader = await opened(path, read_only=True)
    assert len(await reader.records(ROUTE, 7)) == 1
    with pytest.raises(StateUnavailable, match="readonly"):
        await reader.claim(ROUTE, record(2))
    await writer.close()
    assert len(await reader.records(ROUTE, 7)) == 1
    await reader.close()
    later = await opened(path, read_only=True)
    assert len(await later.records(ROUTE, 7)) == 1
    await later.close()


async def test_two_daemons_share_one_file(tmp_path: Path) -> None:
    stores = await asyncio.gather(*(opened(tmp_path / "state.db") for _ in range(2)))
    claims = [record(1, attempt=str(n)) for n in range(2)]
    answers = await asyncio.gather(
        *(store.claim(ROUTE, one) for store, one in zip(stores, claims, strict=True))
    )
    assert sorted(answer is None for answer in answers) == [False, True]
    winner = claims[answers.index(None)]
    assert Refused(winner) in answers
    for store in stores:
        assert await store.records(ROUTE, 7) == [winner]
        await store.close()


@pytest.mark.parametrize(
    ("trouble", "said"),
    [
        ("not a database", "is not a state file"),
        ("someone else's", "holds no state of mailsyncd"),
        ("newer", "newer mailsyncd"),
        ("directory", "Is a directory"),
        ("no parent", "File exists"),
    ],
)
async def test_a_file_that_cannot_be_used_is_one_clear_sentence(
    tmp_path: Path, trouble: str, said: str
) -> None:
    path = tmp_path / "state.db"
    if trouble == "not a database":
        path.write_bytes(b"this is no database, as anyone can see" * 100)
    elif trouble in ("newer", "someone else's"):
        connection = sqlite3.connect(path)
        connection.execute("PRAGMA user_version = 99" if trouble == "newer" else "CREATE TABLE theirs (a)")
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
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)
    await store.close()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
async def test_a_file_that_may_not_be_written_is_one_clear_sentence(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    store = SqliteStore(tmp_path / "state.db", clock=SystemClock())
    with pytest.raises(StateUnavailable, match="Permission denied"):
        await store.open()
    await store.close()


@pytest.mark.parametrize("replaced", [False, True])
async def test_a_file_that_is_removed_or_replaced_takes_no_more_claims(
    tmp_path: Path, replaced: bool
) -> None:
    path = tmp_path / "state.db"
    store = await opened(path)
    path.unlink()
    if replaced:
        path.write_bytes(b"")
    said = r"put in its place|No such file"
    with pytest.raises(StateUnavailable, match=said):
        await store.open()
    with pytest.raises(StateUnavailable, match=said):
        await store.claim(ROUTE, record(1))
    await store.close()


# ------------------------------------------------------------- while it is open


async def test_a_full_disk_refuses_and_is_used_again_once_there_is_room(tmp_path: Path) -> None:
    store = await opened(tmp_path / "state.db")
    await store.claim(ROUTE, record(1))

    def room(pages: int) -> None:
        assert store._connection
        store._connection.execute(f"PRAGMA max_page_count = {pages}")

    await store._on_thread(lambda: room(1))
    big = [record(uid, message_id="<" + "x" * 800 + ">") for uid in range(2, 60)]
    answers = await asyncio.gather(*(store.claim(ROUTE, one) for one in big), return_exceptions=True)
    refused = [answer for answer in answers if answer is not None]
    assert refused
    assert all(isinstance(one, StateUnavailable) and "disk is full" in str(one) for one in refused)
    await store._on_thread(lambda: room(1_000_000))
    granted = [one for one, answer in zip(big, answers, strict=True) if answer is None]
    assert await store.records(ROUTE, 7) == [record(1), *granted]
    assert await store.claim(ROUTE, record(99)) is None
    await store.close()


async def test_a_locked_file_is_one_clear_sentence_and_is_used_again_afterwards(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite_file, "BUSY_TIMEOUT", 0.05)
    path = tmp_path / "state.db"
    store = await opened(path)
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(StateUnavailable, match="another process keeps it locked"):
        await store.claim(ROUTE, record(1))
    other.execute("ROLLBACK")
    other.close()
    assert await store.claim(ROUTE, record(1)) is None
    await store.close()


async def test_calls_that_wait_share_one_commit(tmp_path: Path) -> None:
    store = await opened(tmp_path / "state.db")
    commits: list[str] = []
    assert store._connection
    connection = store._connection
    await store._on_thread(
        lambda: connection.set_trace_callback(lambda said: commits.append(said) if said == "COMMIT" else None)
    )
    await asyncio.gather(*(store.claim(ROUTE, record(uid)) for uid in range(1, 101)))
    assert 1 <= len(commits) <= 3
    assert len(await store.records(ROUTE, 7)) == 100
    await store.close()


async def test_one_damaged_item_troubles_only_who_asks_for_it(tmp_path: Path) -> None:
    store = await opened(tmp_path / "state.db")
    await store.claim(ROUTE, record(1))
    await store._do(
        lambda table: (
            table._connection.execute("UPDATE items SET item = '{}' WHERE pk = ?", (ROUTE,)).rowcount
        )
    )
    answers = await asyncio.gather(
        store.claim(ROUTE, record(1)), store.claim(ROUTE, record(2)), return_exceptions=True
    )
    assert isinstance(answers[0], StateUnavailable)
    assert answers[1] is None
    assert [one.uid for one in await store.records(ROUTE, 7, 1)] == [2]
    await store.close()


async def test_a_caller_that_gives_up_leaves_the_others_alone(tmp_path: Path) -> None:
    store = await opened(tmp_path / "state.db")
    impatient = asyncio.create_task(store.claim(ROUTE, record(1)))
    patient = asyncio.create_task(store.claim(ROUTE, record(2)))
    await asyncio.sleep(0)
    impatient.cancel()
    with pytest.raises(asyncio.CancelledError):
        await impatient
    assert await patient is None
    await store.close()


async def test_closing_waits_for_what_is_under_way_and_then_refuses(tmp_path: Path) -> None:
    store = await opened(tmp_path / "state.db")
    claims = [asyncio.create_task(store.claim(ROUTE, record(uid))) for uid in range(1, 20)]
    await asyncio.sleep(0)
    await store.close()
    assert await asyncio.gather(*claims) == [None] * 19
    await store.close()
    with pytest.raises(StateUnavailable, match="has been closed"):
        await store.open()
    with pytest.raises(StateUnavailable, match="has been closed"):
        await store.pending(ROUTE)


async def test_an_unopened_store_says_so(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "state.db", clock=SystemClock())
    with pytest.raises(StateUnavailable, match="is not open"):
        await store.pending(ROUTE)
    await store.close()


@pytest.mark.parametrize(
    ("source", "plan"),
    [
        (sqlite.PENDING, "INDEX pending (pk=?)"),
        (sqlite.DELIVERED, "INDEX delivered (pk=? AND dest_uid>?)"),
        (sqlite.DELIVERED_SOMEWHERE, "INDEX delivered (pk=? AND dest_uid=?)"),
    ],
)
async def test_recovery_reads_by_index_however_long_the_route_has_run(
    tmp_path: Path, source: str, plan: str
) -> None:
    store = await opened(tmp_path / "state.db")

    def ask() -> list[str]:
        assert store._connection
        question = f"EXPLAIN QUERY PLAN SELECT item FROM {source}"  # noqa: S608 - the store's own
        return [row[3] for row in store._connection.execute(question, [ROUTE, 1][: source.count("?")])]

    assert await store._on_thread(ask) == [f"SEARCH items USING {plan}"]
    await store.close()


async def test_what_a_transaction_is_about_is_searched_for_and_written_at_once(tmp_path: Path) -> None:
    store = await opened(tmp_path / "state.db")
    await store.claim(ROUTE, record(1))
    said: list[str] = []
    assert store._connection
    connection = store._connection
    await store._on_thread(lambda: connection.set_trace_callback(said.append))
    await asyncio.gather(*(store.finish(ROUTE, done(record(1))) for _ in range(5)))
    await store._on_thread(lambda: connection.set_trace_callback(None))
    assert [one.split()[0] for one in said] == ["BEGIN", "WITH", "INSERT", "COMMIT"]
    plan = await store._on_thread(lambda: connection.execute(f"EXPLAIN QUERY PLAN {said[1]}").fetchall())
    assert plan[-1][3] == "SEARCH items USING PRIMARY KEY (pk=? AND sk=?)"
    await store.close()


# ----------------------------------------------------------------------- expiry


async def test_expired_records_go_when_the_file_is_opened_and_every_hour(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite_file, "EXPIRED_AT_ONCE", 2)
    clock = VirtualClock()

    async def settle(store: SqliteStore, first: int) -> None:
        for uid in range(first, first + 5):
            await store.claim(ROUTE, record(uid))
            await store.finish(ROUTE, replace(done(record(uid)), expires_at=int(clock.now()) - 10))

    store = SqliteStore(tmp_path / "state.db", clock=clock)
    await store.open()
    await settle(store, 1)
    await store.claim(ROUTE, record(99))
    assert len(await store.records(ROUTE, 7)) == 6  # expired, but still there: they count
    await store.close()

    store = SqliteStore(tmp_path / "state.db", clock=clock)
    for _ in range(3):  # a few at a time
        await store.open()
    assert await store.records(ROUTE, 7) == [record(99)]
    await settle(store, 1)
    assert len(await store.records(ROUTE, 7)) == 6
    await clock.advance(sqlite.EXPIRY_INTERVAL)
    for _ in range(3):
        await store.open()
    assert await store.records(ROUTE, 7) == [record(99)]
    await store.close()


async def test_a_wall_clock_that_is_far_ahead_deletes_nothing_that_the_watermark_has_yet_to_pass(
    tmp_path: Path,
) -> None:
    """A restart would list it, find no record, and copy it again."""
    clock = VirtualClock()
    store = SqliteStore(tmp_path / "state.db", clock=clock)
    await store.open()
    for one in (record(1), record(3), record(4), record(9, uidvalidity=6), record(9, uidvalidity=8)):
        await store.claim(ROUTE, one)
        await store.finish(ROUTE, replace(done(one), expires_at=int(clock.now()) + 90 * 86_400))
    await store.advance(ROUTE, Watermark(7, 2, clock.now()), expected=None)
    await store.close()
    clock.jumped = 400 * 86_400.0
    store = SqliteStore(tmp_path / "state.db", clock=clock)
    await store.open()
    assert [one.uid for one in await store.records(ROUTE, 7)] == [3, 4]
    assert await store.records(ROUTE, 6) == await store.records(ROUTE, 8) == []
    await store.close()
