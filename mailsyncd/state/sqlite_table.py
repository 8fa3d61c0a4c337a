"""The items as one transaction sees them: foreseen with one statement, written with one at its end.

SQLite gives way to other threads at every step of a statement, and each time has to wait until it may
go on: with a statement or two for each item that would be most of what a transaction takes.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from typing import Any

from mailsyncd.model import Status
from mailsyncd.state.items import Item

Key = tuple[str, str]  # PK and SK

COLUMNS = 6
AT_ONCE = 40  # items a statement: there are fewer than 1,000 parameters to any
READ = """
    WITH wanted (a, b) AS (VALUES {}) SELECT pk, sk, item FROM wanted CROSS JOIN items ON pk = a AND sk = b
"""
WRITE = "INSERT OR REPLACE INTO items VALUES {}"


def _rows(statement: str, count: int, columns: int) -> str:
    row = f"({', '.join('?' * columns)})"
    return statement.format(", ".join([row] * count))


class SqliteTable:
    """A rules.Table on a connection, inside a transaction, for one call after the other.

    What a call puts is kept by keep(), or undone by withdraw(), and in the file after write()."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._seen: dict[Key, str | None] = {}  # as JSON
        self._put: dict[Key, Item] = {}  # by this call
        self._kept: dict[Key, Item] = {}

    def foresee(self, keys: Sequence[Key]) -> None:
        """Read all of these, if they are there."""
        if not keys:
            return
        self._seen = dict.fromkeys(keys)
        for start in range(0, len(keys), AT_ONCE):
            some = keys[start : start + AT_ONCE]
            found = self._connection.execute(_rows(READ, len(some), 2), [*chain.from_iterable(some)])
            self._seen.update(((pk, sk), item) for pk, sk, item in found)

    def get(self, pk: str, sk: str) -> Item | None:
        key = (pk, sk)
        if (item := self._put.get(key) or self._kept.get(key)) is not None:
            return item
        if key not in self._seen:
            return next(self.select("items WHERE pk = ? AND sk = ?", key), None)
        text = self._seen[key]
        return None if text is None else json.loads(text)

    def put(self, pk: str, sk: str, item: Item) -> None:
        self._put[pk, sk] = item

    def keep(self) -> None:
        """The call went well."""
        self._kept.update(self._put)
        self._put.clear()

    def withdraw(self) -> None:
        """The call is to leave no trace."""
        self._put.clear()

    def write(self) -> None:
        """Into the file, with what later questions to it are to find."""
        if not self._kept:
            return
        rows = [
            (pk, sk, item.get("status"), item.get("dest_uid"), item.get("ttl"), json.dumps(item))
            for (pk, sk), item in self._kept.items()
        ]
        for start in range(0, len(rows), AT_ONCE):
            some = rows[start : start + AT_ONCE]
            self._connection.execute(_rows(WRITE, len(some), COLUMNS), [*chain.from_iterable(some)])
        self._kept.clear()
        self._seen.clear()

    def query(self, pk: str, start: str, end: str) -> Iterable[Item]:
        return self.select("items WHERE pk = ? AND sk >= ? AND sk < ? ORDER BY sk", (pk, start, end))

    def select(self, source: str, values: tuple[Any, ...]) -> Iterator[Item]:
        """One by one: an item takes several times the memory of the record that is made of it."""
        self.write()
        found = self._connection.execute(f"SELECT item FROM {source}", values)  # noqa: S608 - ours
        return (json.loads(row[0]) for row in found)

    def count(self, pk: str) -> dict[Status, int]:
        """How many records there are of each status."""
        self.write()
        found = self._connection.execute(
            "SELECT status, COUNT(*) FROM items WHERE pk = ? AND status IS NOT NULL GROUP BY status", (pk,)
        )
        return {Status(status): number for status, number in found}
