"""The embedded state store: one SQLite file, its own thread, an answer only after the commit.

Calls that come in while the thread is busy share the next transaction, and so its fsync. What
troubles the file fails them all; an item that can't be read, only the call that is about it.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from mailsyncd.errors import StateUnavailable
from mailsyncd.model import (
    Counts,
    Event,
    Failure,
    Lease,
    Member,
    Record,
    TokenNote,
    Trace,
    Traffic,
    Usage,
    Watermark,
)
from mailsyncd.ports import Clock, Refused
from mailsyncd.state import items, rules, sqlite_file
from mailsyncd.state.sqlite_table import Key, SqliteTable
from mailsyncd.steps import Step, reached

T = TypeVar("T")

# The indexes are named, because SQLite by itself would rather read through the whole route.
PENDING = "items INDEXED BY pending WHERE pk = ? AND status = 'PENDING' ORDER BY sk"
DELIVERED = "items INDEXED BY delivered WHERE pk = ? AND status = 'DONE' AND dest_uid >= ?"
DELIVERED_SOMEWHERE = "items INDEXED BY delivered WHERE pk = ? AND status = 'DONE' AND dest_uid IS NULL"
UNREADABLE = (LookupError, TypeError, ValueError)  # an item that no mailsyncd wrote
MOST_AT_ONCE = 256  # calls in one transaction
EXPIRY_INTERVAL = 3600.0  # seconds between deletions of what has expired


class _Call(NamedTuple):
    """`about` are the items that it will ask for, or some of them."""

    work: Callable[[SqliteTable], Any]
    about: Sequence[Key]
    answer: asyncio.Future[Any]


class SqliteStore:
    """See ports.StateStore. The file is made at open(), readable by its owner alone."""

    def __init__(self, path: Path, *, clock: Clock, read_only: bool = False) -> None:
        self._path = path
        self._clock = clock
        self._read_only = read_only
        self._connection: sqlite3.Connection | None = None
        self._identity = (0, 0)
        self._expiry_due = 0.0
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="state")
        self._closed = False
        self._calls = self._transactions = 0
        self._waiting: list[_Call] = []
        self._running: asyncio.Task[None] | None = None

    # --------------------------------------------------------------------- life

    async def open(self) -> None:
        await self._on_thread(self._open)

    def _open(self) -> None:
        if self._connection is None:
            self._connection = sqlite_file.open_file(self._path, read_only=self._read_only)
            self._identity = sqlite_file.identity(self._path)
            self._expiry_due = self._clock.monotonic()
        self._transact([])

    async def close(self) -> None:
        if self._closed:
            return
        if self._running is not None:
            await asyncio.wait([self._running])
        try:
            await self._on_thread(self._close)
        finally:
            self._closed = True
            self._thread.shutdown(wait=False)

    def _close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    async def _on_thread(self, work: Callable[[], T]) -> T:
        if self._closed:
            raise StateUnavailable(f"{self._path}: the state has been closed")
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._thread, sqlite_file.guarded, self._path, work)

    def usage(self) -> Usage:
        return Usage({"call": self._calls, "transaction": self._transactions})

    # ------------------------------------------------------------ transactions

    async def _do(self, work: Callable[[SqliteTable], T], *about: Key) -> T:
        """Run `work` in a transaction; returns once that is committed."""
        answer: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._waiting.append(_Call(work, about, answer))
        if self._running is None or self._running.done():
            self._running = asyncio.create_task(self._run())
        return await answer

    async def _run(self) -> None:
        while self._waiting:
            calls, self._waiting = self._waiting[:MOST_AT_ONCE], self._waiting[MOST_AT_ONCE:]
            outcomes: list[Any]
            self._calls, self._transactions = self._calls + len(calls), self._transactions + 1
            try:
                outcomes = await self._on_thread(lambda calls=calls: self._transact(calls))  # type: ignore[misc]
            except Exception as error:  # noqa: BLE001 - each caller is told, none is left waiting
                outcomes = [error] * len(calls)
            for call, outcome in zip(calls, outcomes, strict=True):
                if call.answer.done():
                    continue
                if isinstance(outcome, Exception):
                    call.answer.set_exception(outcome)
                else:
                    call.answer.set_result(outcome)

    def _transact(self, calls: Sequence[_Call]) -> list[Any]:
        connection = self._connection
        if connection is None:
            raise StateUnavailable(f"{self._path}: the state is not open")
        if sqlite_file.identity(self._path) != self._identity:
            raise StateUnavailable(f"{self._path}: another file was put in its place: restart mailsyncd")
        connection.execute("BEGIN" if self._read_only else "BEGIN IMMEDIATE")
        try:
            outcomes = self._outcomes(connection, calls)
            self._expire(connection)
            connection.execute("COMMIT")
            if calls and not self._read_only:
                reached(Step.STORE_COMMITTED)
        except BaseException:
            if connection.in_transaction:  # SQLite has already rolled back when the disk is full
                connection.execute("ROLLBACK")
            raise
        return outcomes

    def _outcomes(self, connection: sqlite3.Connection, calls: Sequence[_Call]) -> list[Any]:
        table = SqliteTable(connection)
        table.foresee([key for call in calls for key in call.about])
        outcomes = [self._outcome(table, call.work) for call in calls]
        table.write()
        return outcomes

    def _outcome(self, table: SqliteTable, work: Callable[[SqliteTable], Any]) -> Any:
        """What one call answers, or its own failure: an item that no mailsyncd wrote."""
        try:
            outcome = work(table)
        except UNREADABLE as error:
            table.withdraw()
            return StateUnavailable(
                f"{self._path}: holds an item that can't be read ({type(error).__name__})"
            )
        table.keep()
        return outcome

    def _expire(self, connection: sqlite3.Connection) -> None:
        now = self._clock.monotonic()
        if self._read_only or now < self._expiry_due:
            return
        if not sqlite_file.delete_expired(connection, self._clock.now()):
            self._expiry_due = now + EXPIRY_INTERVAL

    # --------------------------------------------------------------- the rules

    async def watermark(self, route: str) -> Watermark | None:
        return await self._do(lambda table: rules.watermark(table, route))

    async def advance(self, route: str, new: Watermark, *, expected: Watermark | None) -> bool:
        return await self._do(lambda table: rules.advance(table, route, new, expected))

    async def claim(self, route: str, record: Record) -> Refused | None:
        about = [(route, items.uid_key(record.uidvalidity, record.uid))]
        if record.gm_msgid is not None:
            about.append((route, items.message_key(record.gm_msgid)))
        return await self._do(lambda table: rules.claim(table, route, record), *about)

    async def adopt(self, route: str, record: Record, new: Record) -> bool:
        return await self._do(lambda table: rules.adopt(table, route, record, new))

    async def finish(self, route: str, record: Record, events: Sequence[Event] = ()) -> bool:
        about = (route, items.uid_key(record.uidvalidity, record.uid))
        return await self._do(lambda table: rules.finish(table, route, record), about)

    async def fail(self, route: str, failure: Failure, claimed: Record | None) -> None:
        await self._do(lambda table: rules.fail(table, route, failure, claimed))

    async def records(
        self, route: str, uidvalidity: int, after: int = 0, *, most: int | None = None
    ) -> list[Record]:
        return await self._do(lambda table: rules.records(table, route, uidvalidity, after, most))

    async def delivered(self, route: str, dest_uidvalidity: int | None, from_uid: int) -> list[Trace]:
        def work(table: SqliteTable) -> list[Trace]:
            found = chain(
                table.select(DELIVERED, (route, from_uid)), table.select(DELIVERED_SOMEWHERE, (route,))
            )
            return rules.delivered(found, dest_uidvalidity, from_uid)

        return await self._do(work)

    async def pending(self, route: str) -> list[Record]:
        return await self._do(lambda table: [*map(items.record_of, table.select(PENDING, (route,)))])

    async def failures(self, route: str) -> list[Failure]:
        return await self._do(lambda table: rules.failures(table, route))

    async def counts(self, route: str) -> Counts:
        return await self._do(lambda table: rules.counts(table.count(route), rules.failures(table, route)))

    async def lease(self, destination: str) -> Lease | None:
        return await self._do(lambda table: rules.lease(table, destination))

    async def put_lease(self, destination: str, new: Lease, *, expected: Lease | None) -> bool:
        return await self._do(lambda table: rules.put_lease(table, destination, new, expected))

    async def note_traffic(self, traffic: Traffic) -> None:
        await self._do(lambda table: rules.note_traffic(table, traffic))

    async def traffic(self, account: str, day: str) -> list[Traffic]:
        return await self._do(lambda table: rules.traffic(table, account, day))

    async def announce(self, member: Member) -> None:
        await self._do(lambda table: rules.announce(table, member))

    async def members(self) -> list[Member]:
        return await self._do(rules.members)

    async def token_note(self, account: str, line: str) -> TokenNote | None:
        return await self._do(lambda table: rules.token_note(table, account, line))

    async def put_token_note(self, new: TokenNote, *, expected: TokenNote | None) -> bool:
        return await self._do(lambda table: rules.put_token_note(table, new, expected))
