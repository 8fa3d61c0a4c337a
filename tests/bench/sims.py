"""Simulated Gmail in this process, Outlook and the real daemon as its children: for what Dovecot can't
be asked, as it holds each notification back for half a second, or is too much for one machine."""

from __future__ import annotations

import asyncio
import gc
import json
import os
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from bench import daemon
from bench.line import Line
from bench.outlook import PASSWORD, USER, Arrived, Outlook
from bench.tls import certify, serving
from mailsyncd.observe.clock import SystemClock
from mailsyncd.sim import GmailServer

STOP_SECONDS = 30.0
TICK = os.sysconf("SC_CLK_TCK")


@dataclass
class Sims:
    """Each user's INBOX goes to the folder Gmail/<user>."""

    directory: Path
    gmail: GmailServer
    outlook: Outlook
    users: Sequence[str]
    ca_file: Path | None = None
    ports: tuple[int, int] = (0, 0)
    lines: list[Line] = field(default_factory=list)

    async def copies(self, user: str) -> int:
        return (await self.outlook.seen(f"Gmail/{user}")).copies

    async def watch(self, users: Iterable[str], arrived: Arrived) -> None:
        """`arrived` hears of each copy of their numbered mail: its number, and when it was stored."""
        await self.outlook.watch((f"Gmail/{user}" for user in users), arrived)

    def store(self, user: str, raw: bytes, count: int) -> None:
        """So many of the same message in INBOX alone, which is quicker than delivering them."""
        box = self.gmail.mailbox(user)
        for _ in range(count):
            self.gmail.backend.store(box, raw, gm_msgid=self.gmail.account(user).next_msgid())
        gc.freeze()  # a collection that looked through all of these would hold the source up for 100 ms

    def configure(
        self, rtt: float, stack: ExitStack, *, state: str = daemon.SQLITE, counted: bool = False
    ) -> None:
        """Write config.toml; the lines, if any, last as long as `stack`. `counted`: even at 0 ms."""
        source, destination = self.gmail.port, self.outlook.port
        if rtt or counted:
            self.lines = [stack.enter_context(Line.to(port, rtt)) for port in (source, destination)]
            source, destination = (line.port for line in self.lines)
        self.ports = source, destination
        routes = [daemon.Route(user, f"Gmail/{user}", source) for user in self.users]
        daemon.configure(
            self.directory,
            destination,
            USER,
            routes,
            state=state,
            ca_file=self.ca_file,
        )

    @asynccontextmanager
    async def daemon(self) -> AsyncIterator[Child]:
        """`mailsyncd run`, which must end in order."""
        async with self.running(daemon.command("run")) as child:
            yield child

    @asynccontextmanager
    async def running(self, command: Sequence[str], ends: int = 0) -> AsyncIterator[Child]:
        """A program that ends with that status when asked to."""
        log = self.directory / "log"
        with log.open("wb") as output:
            process = await asyncio.create_subprocess_exec(
                *command,
                cwd=self.directory,
                env=daemon.environment(self.directory),
                stdout=output,
                stderr=output,
            )
        try:
            with log.open("rb") as lines:
                yield Child(process, lines)
            process.terminate()
            async with asyncio.timeout(STOP_SECONDS):
                status = await process.wait()
            if status != ends:
                raise RuntimeError(f"the program ended with {status}: {log.read_text()[-2000:]}")
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()


@dataclass
class Child:
    process: asyncio.subprocess.Process
    _log: BinaryIO
    _events: Counter[str] = field(default_factory=Counter)
    _partly: bytes = b""

    def events(self, name: str) -> int:
        """How many it has logged of that name."""
        *lines, self._partly = (self._partly + self._log.read()).split(b"\n")
        for line in lines:
            if line.startswith(b"{"):
                self._events[json.loads(line)["event"]] += 1
        return self._events[name]

    def memory(self, name: str = "VmRSS") -> float:
        """MiB resident now; with "VmHWM", at most so far."""
        for line in Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
            if line.startswith(name + ":"):
                return int(line.split()[1]) / 1024
        raise LookupError(name)

    def cpu(self) -> float:
        """Seconds of CPU so far."""
        stat = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(stat[11]) + int(stat[12])) / TICK

    async def until(self, true: Callable[[], bool], seconds: float) -> None:
        async with asyncio.timeout(seconds):
            while not true():
                if self.process.returncode is not None:
                    raise RuntimeError("the program has ended")
                await asyncio.sleep(0.01)


@asynccontextmanager
async def sims(directory: Path, users: Sequence[str], *, tls: bool = False) -> AsyncIterator[Sims]:
    """They last as long as the block."""
    certificate = certify(directory) if tls else None
    words = dict.fromkeys(users, PASSWORD)
    context = serving(certificate) if certificate else None
    async with (
        GmailServer(SystemClock(), passwords=words, tls=context) as gmail,
        Outlook.running(certificate) as outlook,
    ):
        for user in users:
            await outlook.create(f"Gmail/{user}")
        yield Sims(directory, gmail, outlook, users, certificate)
