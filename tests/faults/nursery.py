"""The nursery seen from the harness: ask for a daemon, signal it, know when it has ended."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from faults.child import Orders, request

TESTS = Path(__file__).parents[1]


@dataclass(eq=False)
class Daemon:
    """One life of the real daemon."""

    pid: int
    output: Path
    began: int  # where in the output its own begins
    status: int | None = None
    ended: asyncio.Event = field(default_factory=asyncio.Event)

    def signal(self, number: int) -> None:
        if not self.ended.is_set():
            with suppress(ProcessLookupError):
                os.kill(self.pid, number)

    async def kill(self) -> None:
        """Dead without a chance to tidy up."""
        self.signal(signal.SIGCONT)
        self.signal(signal.SIGKILL)
        await self.ended.wait()

    async def stop(self, seconds: float = 30.0) -> int:
        """SIGTERM; its exit status. Raises TimeoutError if it does not end."""
        self.signal(signal.SIGCONT)
        self.signal(signal.SIGTERM)
        async with asyncio.timeout(seconds):
            await self.ended.wait()
        return self.status if self.status is not None else -1

    def log(self) -> str:
        with self.output.open("rb") as file:
            file.seek(self.began)
            return file.read().decode("utf-8", "replace")

    def said(self, event: str) -> int:
        """How often it has logged this event."""
        return self.log().count(f'"event": "{event}"')


class Nursery:
    """Daemons are born here, one after the other, and their ends are told."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self._asking = asyncio.Lock()
        self._born: asyncio.Queue[int] = asyncio.Queue()
        self._living: dict[int, Daemon] = {}
        self._early: dict[int, int] = {}

    async def birth(self, orders: Orders) -> Daemon:
        """A new daemon, running."""
        output = Path(orders.output)
        began = output.stat().st_size if output.exists() else 0
        assert self._process.stdin is not None
        async with self._asking:
            self._process.stdin.write(request(orders))
            pid = await self._born.get()
        daemon = Daemon(pid, output, began)
        self._living[pid] = daemon
        if pid in self._early:
            self._end(pid, self._early.pop(pid))
        return daemon

    async def listen(self) -> None:
        assert self._process.stdout is not None
        while line := await self._process.stdout.readline():
            said = json.loads(line)
            if "born" in said:
                self._born.put_nowait(said["born"])
            elif said["ended"] in self._living:
                self._end(said["ended"], said["status"])
            else:
                self._early[said["ended"]] = said["status"]

    def _end(self, pid: int, status: int) -> None:
        daemon = self._living.pop(pid)
        daemon.status = status
        daemon.ended.set()

    async def close(self) -> None:
        for daemon in list(self._living.values()):
            await daemon.kill()
        assert self._process.stdin is not None
        self._process.stdin.close()
        await self._process.wait()


@asynccontextmanager
async def nursery() -> AsyncIterator[Nursery]:
    """One process that has everything imported, for as long as the block lasts."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "faults.child",
        cwd=TESTS,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    made = Nursery(process)
    listening = asyncio.create_task(made.listen())
    try:
        yield made
    finally:
        await made.close()
        listening.cancel()
        await asyncio.gather(listening, return_exceptions=True)
