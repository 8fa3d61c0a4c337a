"""Where rotated refresh tokens are kept, so that a restart goes on with the newest one (C15).

A kept token is used only if it descends from the configured one: a newly configured refresh
token always wins.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import secrets
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import quote

import structlog

from mailsyncd.account import Secret
from mailsyncd.auth.private import own_directory, read_private, write_private
from mailsyncd.errors import RouteBlocked, Transient

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
            content = read_private(path)
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
            own_directory(self._directory)
            write_private(path, json.dumps(fields).encode() + b"\n")
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
