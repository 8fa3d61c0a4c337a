"""Where rotated refresh tokens are kept, so that a restart goes on with the newest one (C15).

A kept token is used only if it descends from the configured one: a newly configured refresh
token always wins.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import secrets
import stat
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import quote

import structlog

from mailsyncd.account import Secret
from mailsyncd.errors import RouteBlocked, Transient

LONGEST_FILE = 64 * 1024

log = structlog.get_logger()


class TokenKeeper(Protocol):
    """Remembers the newest refresh token of each account, with the configured one it came from."""

    async def load(self, account: str, configured: Secret) -> Secret | None:
        """The newest descendant of `configured`, if there is one. Raises RouteBlocked where the
        kept one is open to others."""

    async def save(self, account: str, configured: Secret, token: Secret) -> None:
        """Keep it durably before returning. Raises Transient or RouteBlocked if that can't be done."""


class MemoryKeeper:
    """Keeps tokens as long as the process lives."""

    def __init__(self) -> None:
        self._kept: dict[str, tuple[Secret, Secret]] = {}

    async def load(self, account: str, configured: Secret) -> Secret | None:
        origin, token = self._kept.get(account.casefold(), (None, None))
        return token if origin == configured else None

    async def save(self, account: str, configured: Secret, token: Secret) -> None:
        self._kept[account.casefold()] = (configured, token)


class FileTokenKeeper:
    """One file an account, mode 0600, in a directory of mode 0700.

    The file work is done in place, not in a thread: it is a few hundred bytes an hour, and so
    no cancellation can come between a write and its rename.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def path(self, account: str) -> Path:
        """Readable for people, and distinct for every account whatever is in its name."""
        name = account.casefold()
        digest = hashlib.sha256(name.encode()).hexdigest()[:16]
        return self._directory / f"{quote(name, safe='@')[:80]}.{digest}.json"

    async def load(self, account: str, configured: Secret) -> Secret | None:
        path = self.path(account)
        try:
            content = _read_private(path)
        except FileNotFoundError:
            return None
        except OSError as failure:
            raise RouteBlocked(
                f"{account}: the kept refresh token {path} can't be read: {failure.strerror}"
            ) from None
        fields = _fields(content)
        token = fields.get("refresh_token")
        if not isinstance(token, str) or not token:
            log.warning("token.kept_unreadable", account=account, path=str(path))
            return None
        return Secret(token) if _descends(fields.get("descends_from"), configured) else None

    async def save(self, account: str, configured: Secret, token: Secret) -> None:
        fields = {
            "account": account,
            "descends_from": _mark(configured, secrets.token_hex(16)),
            "refresh_token": token.reveal(),
        }
        path = self.path(account)
        try:
            _own_directory(self._directory)
            _write_private(path, json.dumps(fields).encode() + b"\n")
        except OSError as failure:
            raise Transient(
                f"{account}: the refresh token can't be kept in {path}: {failure.strerror}"
            ) from None


def _mark(token: Secret, salt: str) -> str:
    return f"{salt}:{hashlib.sha256((salt + token.reveal()).encode()).hexdigest()}"


def _descends(mark: Any, configured: Secret) -> bool:
    if not isinstance(mark, str):
        return False
    return hmac.compare_digest(mark.encode(), _mark(configured, mark.partition(":")[0]).encode())


def _fields(content: bytes) -> dict[str, Any]:
    try:
        value = json.loads(content)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


def _own_directory(directory: Path) -> None:
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    _refuse_if_open(directory, directory.stat(), "700")


def _refuse_if_open(path: Path, found: os.stat_result, mode: str) -> None:
    if found.st_mode & 0o077:
        raise RouteBlocked(f"{path} is open to other users: chmod {mode} {path}")


def _read_private(path: Path) -> bytes:
    _refuse_if_open(path.parent, path.parent.stat(), "700")
    handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with open(handle, "rb") as file:
        found = os.fstat(handle)
        _refuse_if_open(path, found, "600")
        if not stat.S_ISREG(found.st_mode):
            raise RouteBlocked(f"{path} is not a regular file: remove it")
        return file.read(LONGEST_FILE)


def _write_private(path: Path, content: bytes) -> None:
    """Whole or not at all, and on the disk before it returns."""
    temporary = path.with_name(f".new.{path.name}")
    temporary.unlink(missing_ok=True)  # a crash may have left it
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        with open(os.open(temporary, flags, 0o600), "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.rename(path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
