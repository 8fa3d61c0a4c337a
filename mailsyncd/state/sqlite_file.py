"""The file of the embedded store: made, opened, kept small; its troubles as one clear sentence each."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from mailsyncd.errors import StateUnavailable
from mailsyncd.state.items import FORMAT

T = TypeVar("T")

BUSY_TIMEOUT = 5.0  # seconds to wait for another process's lock
EXPIRED_AT_ONCE = 1000
NOT_YET_PASSED = """
    SELECT 1 FROM items AS mark WHERE mark.pk = old.pk AND mark.sk = 'WATERMARK'
    AND old.sk > printf('UID#%010d#%010d',
        json_extract(mark.item, '$.uidvalidity'), json_extract(mark.item, '$.last_uid'))
    AND old.sk < printf('UID#%010d#~', json_extract(mark.item, '$.uidvalidity'))
"""
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

_SAYINGS = {
    "SQLITE_NOTADB": "is not a state file of mailsyncd: move it away, or set another [state] path",
    "SQLITE_CORRUPT": "is damaged: restore it from a backup",
    "SQLITE_FULL": "the disk is full: make room",
    "SQLITE_READONLY": "is readonly: check the owner and mode of the file and of its directory",
    "SQLITE_CANTOPEN": "unable to open it: check that it is a file, and who may read it and its directory",
    "SQLITE_BUSY": "another process keeps it locked, for longer than {timeout:.0f} s",
    "SQLITE_LOCKED": "another process keeps it locked, for longer than {timeout:.0f} s",
    "SQLITE_IOERR": "its disk fails to read or write",
}


def guarded(path: Path, work: Callable[[], T]) -> T:
    """What `work` returns; every failure of SQLite or of the file is StateUnavailable."""
    try:
        return work()
    except sqlite3.Error as error:
        raise StateUnavailable(f"{path}: {_sentence(error)}") from error
    except OSError as error:
        raise StateUnavailable(f"{path}: the state can't be used: {error.strerror or error}") from error


def _sentence(error: sqlite3.Error) -> str:
    name = getattr(error, "sqlite_errorname", None) or ""
    primary = "_".join(name.split("_")[:2])  # SQLITE_IOERR_WRITE is a kind of SQLITE_IOERR
    if primary in _SAYINGS:
        return _SAYINGS[primary].format(timeout=BUSY_TIMEOUT)
    return f"the state can't be used: {error}"


def open_file(path: Path, *, read_only: bool) -> sqlite3.Connection:
    """A connection to the file, which is made if it is missing, readable by its owner alone."""
    if not read_only:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        os.close(os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600))
    uri = f"{path.absolute().as_uri()}?mode={'ro' if read_only else 'rw'}"
    connection = sqlite3.connect(uri, uri=True, timeout=BUSY_TIMEOUT, isolation_level=None)
    try:
        _check(connection, path, read_only=read_only)
        if not read_only:
            _prepare(connection)
    except BaseException:
        connection.close()
        raise
    return connection


def _check(connection: sqlite3.Connection, path: Path, *, read_only: bool) -> None:
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version > FORMAT:
        raise StateUnavailable(
            f"{path}: was written by a newer mailsyncd (format {version}): "
            "run that one, or set another [state] path"
        )
    tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    if "items" not in tables and (tables or read_only):
        raise StateUnavailable(f"{path}: holds no state of mailsyncd: set another [state] path")


def _prepare(connection: sqlite3.Connection) -> None:
    connection.execute("PRAGMA journal_mode = WAL")
    # FULL: an acknowledged claim outlives a power cut, not only a crash of ours (I1).
    connection.execute("PRAGMA synchronous = FULL")
    connection.executescript(SCHEMA)
    connection.execute(f"PRAGMA user_version = {FORMAT}")


def identity(path: Path) -> tuple[int, int]:
    """Which file stands at this path. Writing on into one that was removed would lose every claim."""
    there = path.stat()
    return there.st_dev, there.st_ino


def delete_expired(connection: sqlite3.Connection, now: float) -> bool:
    """Delete some of the records whose ttl has passed; False once none are left. What the watermark
    has yet to pass stays, for after a restart it would be copied again: a wall clock that is ahead
    by a year must not make that happen."""
    deleted = connection.execute(
        f"DELETE FROM items WHERE (pk, sk) IN (SELECT pk, sk FROM items AS old WHERE ttl < ? AND "  # noqa: S608 - ours
        f"NOT EXISTS ({NOT_YET_PASSED}) LIMIT ?)",
        (int(now), EXPIRED_AT_ONCE),
    )
    return deleted.rowcount == EXPIRED_AT_ONCE
