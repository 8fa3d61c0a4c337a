"""The embedded state store: one SQLite file, its own thread, an answer only after the commit.

Calls that come in while the thread is busy share the next transaction, and so its fsync. They
are committed together or not at all.
"""

from __future__ import annotations

import asyncio
import json
import os
import sqlite3
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

from mailsyncd.errors import StateUnavailable
from mailsyncd.model import Counts, Event, Failure, Lease, Record, Watermark
from mailsyncd.ports import Clock, Refused
from mailsyncd.state import items, rules
from mailsyncd.state.items import Item

T = TypeVar("T")

MOST_AT_ONCE = 256  # calls in one transaction
BUSY_TIMEOUT = 5.0  # seconds to wait for another process's lock
SCHEMA = """
CREATE TABLE IF NOT EXISTS items (
    pk TEXT NOT NULL, sk TEXT NOT NULL,
    status TEXT, dest_uid INTEGER, ttl INTEGER,
    item TEXT NOT NULL,
    PRIMARY KEY (pk, sk)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS pending ON items (pk, sk) WHERE status = 'PENDING';
CREATE INDEX IF NOT EXISTS delivered ON items (pk, dest_uid) WHERE status = 'DONE';
CREATE INDEX IF NOT EXISTS expiry ON items (ttl) WHERE ttl IS NOT NULL;
"""
VERSION = 1


class _SqliteTable:
    """A rules.Table on a connection, inside a transaction."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def get(self, pk: str, sk: str) -> Item | None:
        rows = self.select("pk = ? AND sk = ?", (pk, sk))
        return next(iter(rows), None)

    def put(self, pk: str, sk: str, item: Item) -> None:
        self._connection.execute(
            "INSERT OR REPLACE INTO items VALUES (?, ?, ?, ?, ?, ?)",
            (pk, sk, item.get("status"), item.get("dest_uid"), item.get("ttl"), json.dumps(item)),
        )

    def query(self, pk: str, start: str, end: str) -> Iterable[Item]:
        return self.select("pk = ? AND sk >= ? AND sk < ? ORDER BY sk", (pk, start, end))

    def select(self, where: str, values: tuple[Any, ...]) -> list[Item]:
        found = self._connection.execute(f"SELECT item FROM items WHERE {where}", values)  # noqa: S608 - ours
        return [json.loads(row[0]) for row in found]


Call = tuple[Callable[[_SqliteTable], Any], "asyncio.Future[Any]"]


class SqliteStore:
    """See ports.StateStore. The file is made at open(), readable by its owner alone."""

    def __init__(self, path: Path, *, clock: Clock, read_only: bool = False) -> None:
        self._path = path
        self._clock = clock
        self._read_only = read_only
        self._connection: sqlite3.Connection | None = None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="state")
        self._waiting: list[Call] = []
        self._running: asyncio.Task[None] | None = None

    # --------------------------------------------------------------------- life

    async def open(self) -> None:
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(self._thread, self._guarded, self._open)

    def _open(self) -> None:
        if self._connection is not None:
            self._connection.execute("SELECT 1 FROM items LIMIT 1")
            return
        if not self._read_only:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            os.close(os.open(self._path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600))
        mode = "ro" if self._read_only else "rw"
        uri = f"{self._path.absolute().as_uri()}?mode={mode}"
        connection = sqlite3.connect(
            uri, uri=True, timeout=BUSY_TIMEOUT, isolation_level=None, check_same_thread=False
        )
        try:
            self._prepare(connection)
        except BaseException:
            connection.close()
            raise
        self._connection = connection

    def _prepare(self, connection: sqlite3.Connection) -> None:
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        if version > VERSION:
            raise StateUnavailable(f"{self._path}: was written by a newer mailsyncd (format {version})")
        if self._read_only:
            return
        connection.execute("PRAGMA journal_mode = WAL")
        # FULL: an acknowledged claim outlives a power cut, not only a crash of ours (I1).
        connection.execute("PRAGMA synchronous = FULL")
        connection.executescript(SCHEMA)
        connection.execute(f"PRAGMA user_version = {VERSION}")
        connection.execute("DELETE FROM items WHERE ttl < ?", (int(self._clock.now()),))

    async def close(self) -> None:
        if self._running is not None:
            await asyncio.gather(self._running, return_exceptions=True)
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(self._thread, self._close)
        self._thread.shutdown()

    def _close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _guarded(self, work: Callable[[], T]) -> T:
        """Run on the thread; every failure of SQLite or the file is one clear sentence."""
        try:
            return work()
        except sqlite3.Error as error:
            raise StateUnavailable(f"{self._path}: the state can't be used: {error}") from error
        except OSError as error:
            raise StateUnavailable(f"{self._path}: the state can't be used: {error.strerror}") from error

    # ------------------------------------------------------------ transactions

    async def _do(self, work: Callable[[_SqliteTable], T]) -> T:
        """Run `work` in a transaction; returns once that is committed."""
        answer: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._waiting.append((work, answer))
        if self._running is None or self._running.done():
            self._running = asyncio.create_task(self._run())
        return await answer

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        while self._waiting:
            calls, self._waiting = self._waiting[:MOST_AT_ONCE], self._waiting[MOST_AT_ONCE:]
            try:
                outcomes = await loop.run_in_executor(
                    self._thread, self._guarded, lambda calls=calls: self._transact(calls)
                )
            except StateUnavailable as error:
                outcomes = [error] * len(calls)
            for (_, answer), outcome in zip(calls, outcomes, strict=True):
                if answer.done():
                    continue
                if isinstance(outcome, BaseException):
                    answer.set_exception(outcome)
                else:
                    answer.set_result(outcome)

    def _transact(self, calls: Sequence[Call]) -> list[Any]:
        connection = self._connection
        if connection is None:
            raise StateUnavailable(f"{self._path}: the state is not open")
        table, outcomes = _SqliteTable(connection), list[Any]()
        connection.execute("BEGIN" if self._read_only else "BEGIN IMMEDIATE")
        try:
            for work, _ in calls:
                outcomes.append(work(table))
            connection.execute("COMMIT")
        except BaseException:
            connection.execute("ROLLBACK")
            raise
        return outcomes

    # --------------------------------------------------------------- the rules

    async def watermark(self, route: str) -> Watermark | None:
        return await self._do(lambda table: rules.watermark(table, route))

    async def advance(self, route: str, new: Watermark, *, expected: Watermark | None) -> bool:
        return await self._do(lambda table: rules.advance(table, route, new, expected))

    async def claim(self, route: str, record: Record) -> Refused | None:
        return await self._do(lambda table: rules.claim(table, route, record))

    async def adopt(self, route: str, record: Record, new: Record) -> bool:
        return await self._do(lambda table: rules.adopt(table, route, record, new))

    async def finish(self, route: str, record: Record, events: Sequence[Event] = ()) -> bool:
        return await self._do(lambda table: rules.finish(table, route, record))

    async def fail(self, route: str, failure: Failure, claimed: Record | None) -> None:
        await self._do(lambda table: rules.fail(table, route, failure, claimed))

    async def records(self, route: str, uidvalidity: int, after: int = 0) -> list[Record]:
        return await self._do(lambda table: rules.records(table, route, uidvalidity, after))

    async def delivered(self, route: str, dest_uidvalidity: int, from_uid: int) -> list[Record]:
        where = "pk = ? AND status = 'DONE' AND (dest_uid IS NULL OR dest_uid >= ?)"

        def work(table: _SqliteTable) -> list[Record]:
            found = [items.record_of(item) for item in table.select(where, (route, from_uid))]
            return rules.delivered(found, dest_uidvalidity, from_uid)

        return await self._do(work)

    async def pending(self, route: str) -> list[Record]:
        where = "pk = ? AND status = 'PENDING' ORDER BY sk"
        return await self._do(lambda table: [items.record_of(item) for item in table.select(where, (route,))])

    async def failures(self, route: str) -> list[Failure]:
        return await self._do(lambda table: rules.failures(table, route))

    async def counts(self, route: str) -> Counts:
        def work(table: _SqliteTable) -> Counts:
            return rules.counts(rules.all_records(table, route), rules.failures(table, route))

        return await self._do(work)

    async def lease(self, destination: str) -> Lease | None:
        return await self._do(lambda table: rules.lease(table, destination))

    async def put_lease(self, destination: str, new: Lease, *, expected: Lease | None) -> bool:
        return await self._do(lambda table: rules.put_lease(table, destination, new, expected))
