"""The local status socket: one JSON line in, one JSON line out, for `mailsyncd check`."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import stat
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import asdict
from enum import Enum
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import Any

import structlog

from mailsyncd.errors import MailsyncError
from mailsyncd.status import DaemonStatus, Health

REQUEST_DEADLINE = 2.0
ANSWER_DEADLINE = 900.0  # a reload waits for what is in flight to a destination that is gone
LONGEST_REQUEST = 4096
MOST_CALLERS = 8
MOST_SLOW = 4  # callers whose answer takes long: there must be room for a look at the health

log = structlog.get_logger()


def as_json(status: DaemonStatus) -> dict[str, Any]:
    """The answer to {"ask":"status"}: the fields of DaemonStatus, enums by their names."""
    return plain(status)


def plain(value: Any) -> dict[str, Any]:
    """A dataclass as JSON can hold it."""

    def pairs_of(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        return {key: _plain(inner) for key, inner in pairs}

    return asdict(value, dict_factory=pairs_of)


def _plain(value: Any) -> Any:
    if isinstance(value, Health):
        return value.name.lower()
    return value.value if isinstance(value, Enum) else value


def _request(name: str) -> str:
    return json.dumps({"ask": name})


class ControlServer:
    """Listens while its context lasts. Only the daemon's own user may connect (mode 0600)."""

    def __init__(
        self,
        path: Path,
        provider: Callable[[], DaemonStatus],
        asks: Mapping[str, Callable[[], Awaitable[dict[str, Any]]]] = MappingProxyType({}),
    ) -> None:
        """`asks` are further questions by name, and who has the answer."""
        self._path = path
        self._provider = provider
        self._asks = asks
        self._slow = 0
        self._server: asyncio.Server | None = None
        self._callers: set[asyncio.Task[None]] = set()
        self._inode = 0

    async def __aenter__(self) -> ControlServer:
        listening = _listen(self._path)
        try:
            self._inode = self._path.stat().st_ino
            self._server = await asyncio.start_unix_server(
                self._accept, sock=listening, limit=LONGEST_REQUEST
            )
        except BaseException:
            listening.close()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, failure: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._server:
            self._server.close()
        with suppress(OSError):
            if self._path.stat().st_ino == self._inode:  # not that of a daemon started since
                self._path.unlink()
        for task in self._callers:
            task.cancel()
        await asyncio.gather(*self._callers, return_exceptions=True)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if len(self._callers) >= MOST_CALLERS:
            writer.transport.abort()
            return
        task = asyncio.get_running_loop().create_task(self._serve(reader, writer), name="control")
        self._callers.add(task)
        task.add_done_callback(self._callers.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(REQUEST_DEADLINE):
                request = await reader.readline()
            async with asyncio.timeout(ANSWER_DEADLINE):
                answer = await self._answer(request)
            async with asyncio.timeout(REQUEST_DEADLINE):
                writer.write(json.dumps(answer).encode() + b"\n")
                await writer.drain()
                writer.close()
                await writer.wait_closed()
        except (OSError, TimeoutError, ValueError) as failure:  # ValueError: a line over the limit
            log.debug("control.caller_lost", error=type(failure).__name__)
        finally:
            writer.transport.abort()

    async def _answer(self, request: bytes) -> dict[str, Any]:
        try:
            asked = json.loads(request)
        except (ValueError, RecursionError):
            return {"error": "not JSON"}
        what = asked.get("ask") if isinstance(asked, dict) else None
        if what == "status":
            return as_json(self._provider())
        if not isinstance(what, str) or what not in self._asks:
            return {"error": f"unknown request: write {' or '.join(map(_request, ('status', *self._asks)))}"}
        if self._slow >= MOST_SLOW:
            return {"error": "too many wait for an answer already: ask again later"}
        self._slow += 1
        try:
            return await self._asks[what]()
        finally:
            self._slow -= 1


def _listen(path: Path) -> socket.socket:
    """A listening socket that was never visible under `path` with a wider mode than 0600."""
    _clear(path)
    fresh = path.with_name(path.name + ".new")
    line = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    try:
        fresh.unlink(missing_ok=True)
        line.bind(str(fresh))
        fresh.chmod(0o600)
        line.listen(MOST_CALLERS)
        line.setblocking(False)
        fresh.rename(path)
    except OSError as failure:
        line.close()
        raise MailsyncError(f"the status socket {path} can't be made: {failure}") from None
    return line


def _clear(path: Path) -> None:
    """Make room: a socket that nobody answers was left by a crash, any other is in use."""
    try:
        found = os.lstat(path)
    except FileNotFoundError:
        return
    except OSError as failure:
        raise MailsyncError(f"the status socket {path} can't be made: {failure}") from None
    if not stat.S_ISSOCK(found.st_mode):
        raise MailsyncError(f"{path} exists and is not a socket: remove it, or set another path")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(REQUEST_DEADLINE)
        try:
            probe.connect(str(path))
        except (ConnectionRefusedError, FileNotFoundError):
            return
        except OSError as failure:
            raise MailsyncError(f"the status socket {path} is in use: {failure}") from None
    raise MailsyncError(f"another mailsyncd is running: it answers at {path}")
