"""The real program as a child process, between simulated servers that run in the test's own process:
for tests that watch its memory while they decide, message by message, what the servers do."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from bed import environment

from mailsyncd.observe.clock import SystemClock
from mailsyncd.sim import OUTLOOK, GmailServer, OutlookServer
from mailsyncd.sim.verdict import Verdict, compare, foreign_commands

MIB = 1024 * 1024
PASSWORD = "secret"
OUTLOOK_USER = "me@outlook.example"


@dataclass
class Between:
    """`routes` maps each Gmail user to the folder that its mail goes to."""

    directory: Path
    routes: Mapping[str, str]
    gmail: GmailServer
    outlook: OutlookServer
    daemon_keys: Mapping[str, object] = field(default_factory=dict)
    destination_keys: Mapping[str, object] = field(default_factory=dict)
    http_keys: Mapping[str, object] = field(default_factory=lambda: {"listen": "off"})

    def write_configuration(self) -> Path:
        lines = ["[daemon]", 'socket = "s"', *_keys(self.daemon_keys)]
        lines += ["[http]", *_keys(self.http_keys)]
        lines += ["[state]", 'path = "state.db"', "[outlook]", f'email = "{OUTLOOK_USER}"']
        lines += [*_server(self.outlook.port), *_keys(self.destination_keys)]
        for user, folder in self.routes.items():
            lines += ["[[routes]]", f'gmail = "{user}"', f'folder = "{folder}"', 'start = "all"']
            lines += _server(self.gmail.port)
        path = self.directory / "config.toml"
        path.touch(mode=0o600)
        path.write_text("\n".join(lines) + "\n")
        return path

    def copied(self, user: str) -> int:
        return len(self.outlook.messages(OUTLOOK_USER, self.routes[user]))

    @property
    def missing(self) -> int:
        return sum(len(self.gmail.messages(user)) - self.copied(user) for user in self.routes)

    def verdict(self, user: str, since: float = 0.0) -> Verdict:
        """The account of one route; nothing but reading was done at the source."""
        assert foreign_commands(self.gmail.transcript) == []
        copies = self.outlook.messages(OUTLOOK_USER, self.routes[user])
        return compare(self.gmail.messages(user), copies, since)

    @asynccontextmanager
    async def daemon(self) -> AsyncIterator[Child]:
        """`mailsyncd run`; it must stop in order at the end."""
        log = self.directory / "daemon.log"
        with log.open("ab") as output:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "mailsyncd", "run", "--config", str(self.write_configuration())),
                cwd=self.directory,
                env=environment(self.directory),
                stdout=output,
                stderr=output,
            )
        try:
            yield Child(process, log)
            assert process.returncode is None, log.read_text()[-2000:]
            process.terminate()
            async with asyncio.timeout(30):
                assert await process.wait() == 0, log.read_text()[-2000:]
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()


@dataclass
class Child:
    process: asyncio.subprocess.Process
    log: Path

    def memory(self, field_name: str = "VmRSS") -> float:
        """MiB resident now; with "VmHWM", at most so far."""
        for line in Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
            if line.startswith(field_name + ":"):
                return int(line.split()[1]) / 1024
        raise LookupError(field_name)

    def events(self, name: str) -> list[dict[str, object]]:
        whole, _, _ = self.log.read_text().rpartition("\n")  # it may be writing a line at this moment
        rows = [json.loads(line) for line in whole.splitlines() if line.startswith("{")]
        return [row for row in rows if row["event"] == name]

    async def until(self, true: Callable[[], bool], seconds: float = 60.0) -> None:
        """Wait for it, while the daemon runs; what that did instead is told."""
        try:
            async with asyncio.timeout(seconds):
                while not true():
                    assert self.process.returncode is None, self.log.read_text()[-2000:]
                    await asyncio.sleep(0.05)
        except TimeoutError:
            raise AssertionError(f"not within {seconds:.0f} s: {self.log.read_text()[-4000:]}") from None


@asynccontextmanager
async def between(
    directory: Path,
    routes: Mapping[str, str],
    *,
    daemon: Mapping[str, object] | None = None,
    destination: Mapping[str, object] | None = None,
    largest: int = 36_700_160,
    others: Iterable[str] = (),
) -> AsyncIterator[Between]:
    """`largest`: the size of message, in bytes, that the destination takes; `others`: its further users."""
    clock = SystemClock()
    async with (
        GmailServer(clock, passwords=dict.fromkeys(routes, PASSWORD)) as gmail,
        OutlookServer(
            clock,
            passwords=dict.fromkeys((OUTLOOK_USER, *others), PASSWORD),
            personality=replace(OUTLOOK, max_message=largest),
        ) as outlook,
    ):
        yield Between(directory, routes, gmail, outlook, daemon or {}, destination or {})


def _server(port: int) -> list[str]:
    return [
        'host = "127.0.0.1"',
        f"port = {port}",
        "tls = false",
        'auth = "password"',
        f'password = "{PASSWORD}"',
    ]


def _keys(values: Mapping[str, object]) -> list[str]:
    return [f"{key} = {json.dumps(value)}" for key, value in values.items()]
