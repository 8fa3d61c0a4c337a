"""Simulated Gmail and Outlook in this process, and the real daemon as a child: for what Dovecot can't
be asked, as it holds each notification back for half a second, or is too much for one machine."""

from __future__ import annotations

import asyncio
import json
import os
import ssl
import subprocess
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import BinaryIO

from bench import daemon
from bench.line import Line
from mailsyncd.observe.clock import SystemClock
from mailsyncd.sim import OUTLOOK, GmailServer, OutlookServer
from mailsyncd.sim.mailstore import StoredMessage

PASSWORD = "pw"
DESTINATION = "dst"
STOP_SECONDS = 30.0
TICK = os.sysconf("SC_CLK_TCK")


@dataclass
class Sims:
    """Each user's INBOX goes to the folder Gmail/<user>."""

    directory: Path
    gmail: GmailServer
    outlook: OutlookServer
    users: Sequence[str]
    ca_file: Path | None = None
    ports: tuple[int, int] = (0, 0)
    lines: list[Line] = field(default_factory=list)

    def copies(self, user: str) -> int:
        return len(self.outlook.messages(DESTINATION, f"Gmail/{user}"))

    def create_folders(self) -> None:
        for user in self.users:
            self.outlook.account(DESTINATION).create(f"Gmail/{user}")

    def on_copy(self, user: str, tell: Callable[[StoredMessage], None]) -> None:
        """`tell` hears of each copy at the moment it is stored."""
        folder = self.outlook.mailbox(DESTINATION, f"Gmail/{user}")

        def stored(uid: int) -> None:
            if message := folder.find(uid):
                tell(message)

        folder.watchers.add(stored)

    def store(self, user: str, raw: bytes, count: int) -> None:
        """So many of the same message in INBOX alone, which is quicker than delivering them."""
        box = self.gmail.mailbox(user)
        for _ in range(count):
            self.gmail.backend.store(box, raw, gm_msgid=self.gmail.account(user).next_msgid())

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
            DESTINATION,
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
async def sims(
    directory: Path, users: Sequence[str], *, tls: bool = False, largest: int = 36_700_160
) -> AsyncIterator[Sims]:
    """They last as long as the block. As Dovecot does, the destination honours LITERAL+ even where it
    refuses. `largest`: bytes that a message may have."""
    clock = SystemClock()
    words = dict.fromkeys((*users, DESTINATION), PASSWORD)
    context = _certified(directory) if tls else None
    async with (
        GmailServer(clock, passwords=words, tls=context) as gmail,
        OutlookServer(
            clock,
            passwords=words,
            tls=context,
            personality=replace(OUTLOOK, max_message=largest, literals_after_refusal=True),
        ) as outlook,
    ):
        made = Sims(directory, gmail, outlook, users, directory / "cert.pem" if tls else None)
        made.create_folders()
        yield made


def _certified(directory: Path) -> ssl.SSLContext:
    names = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]
    key, certificate = directory / "key.pem", directory / "cert.pem"
    kind = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "30"]
    out = ["-keyout", str(key), "-out", str(certificate)]
    subprocess.run(["openssl", "req", "-x509", *kind, *names, *out], check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    return context
