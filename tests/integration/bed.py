"""Two Dovecots with TLS and XOAUTH2, a token endpoint, and the real program between them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from dovecot import Dovecot
from mailboxes import Plain, Stored

from mailsyncd.sim.corpus import Mail

DEADLINE = 40.0


def until(what: Callable[[], bool], seconds: float = DEADLINE) -> None:
    """Look, with small pauses, until it is so: the servers are real and in no hurry."""
    ends = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < ends, "it did not come to pass in time"
        time.sleep(0.02)


@dataclass
class Route:
    """Keys of a [[routes]] table, beside those that name the bed's servers."""

    user: str
    folder: str
    keys: dict[str, str] = field(default_factory=lambda: {"start": '"all"'})
    refresh_token: str = ""


@dataclass
class Bed:
    directory: Path
    source: Dovecot
    destination: Dovecot
    tokens: str
    environ: dict[str, str]

    # ------------------------------------------------------------------ the mail

    def deliver(self, user: str, mail: Iterable[Mail], flags: str = "") -> None:
        with Plain(self.source.port, user) as box:
            for one in mail:
                box.append("INBOX", one.raw, one.internaldate, flags)

    def sent(self, user: str) -> list[Stored]:
        with Plain(self.source.port, user) as box:
            return box.messages("INBOX")

    def copies(self, folder: str) -> list[Stored]:
        with Plain(self.destination.port, "dst") as box:
            return box.messages(folder)

    def count(self, folder: str) -> int:
        with Plain(self.destination.port, "dst") as box:
            try:
                ((text, _),) = box.command(f'STATUS "{folder}" (MESSAGES)')
            except RuntimeError:
                return 0
            return int(text.rpartition(b"MESSAGES ")[2].split(b")")[0])

    # --------------------------------------------------------- the configuration

    def configure(
        self,
        *routes: Route,
        state: str = 'path = "state.db"',
        daemon: str = "",
        http: str = 'listen = "off"',
        **more: str,
    ) -> Path:
        """Write config.toml; `more` are further keys of [outlook]."""
        lines = [
            "[daemon]",
            'sweep_interval = "5m"',
            'socket = "d.sock"',
            daemon,
            "[http]",
            http,
            "[state]",
            state,
            "[outlook]",
        ]
        lines += ['email = "dst@example.com"', 'username = "dst"']
        lines += self._server(self.destination, "r-dst")
        lines += [f"{key} = {value}" for key, value in more.items()]
        for route in routes:
            lines += ["[[routes]]", f'gmail = "{route.user}@example.com"', f'username = "{route.user}"']
            lines += [f"folder = {json.dumps(route.folder, ensure_ascii=False)}"]
            lines += self._server(self.source, route.refresh_token or f"r-{route.user}")
            lines += [f"{key} = {value}" for key, value in route.keys.items()]
        path = self.directory / "config.toml"
        path.write_text("\n".join(lines) + "\n")
        return path

    def _server(self, server: Dovecot, refresh_token: str) -> list[str]:
        return [
            'host = "localhost"',
            f"port = {server.tls_port}",
            f'ca_file = "{server.ca_file}"',
            'client_id = "tests"',
            f'refresh_token = "{refresh_token}"',
            f'token_url = "{self.tokens}"',
        ]

    # --------------------------------------------------------------- the program

    def cli(self, *arguments: str, timeout: float = 90) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "mailsyncd", *arguments],
            cwd=self.directory,
            env=self.environ,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )

    def once(self, *arguments: str) -> dict[str, int]:
        """`run-once --json`, which must go well."""
        done = self.cli("run-once", "--config", "config.toml", "--json", *arguments)
        assert done.returncode == 0, done.stderr
        answer: dict[str, int] = json.loads(done.stdout)
        return answer

    @contextmanager
    def daemon(self, log_name: str = "daemon.log") -> Iterator[Daemon]:
        """`mailsyncd run`, killed at the end if it still runs."""
        with (self.directory / log_name).open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "mailsyncd", "run", "--config", "config.toml"],
                cwd=self.directory,
                env=self.environ,
                stdout=log,
                stderr=log,
            )
        daemon = Daemon(process, self.directory / log_name)
        try:
            yield daemon
        finally:
            process.kill()
            process.wait()


@dataclass
class Daemon:
    process: subprocess.Popen[bytes]
    log: Path

    def events(self, name: str = "") -> list[dict[str, object]]:
        """What it logged, or only the events of that name."""
        rows = [json.loads(line) for line in self.log.read_text().splitlines() if line.startswith("{")]
        return [row for row in rows if not name or row["event"] == name]

    def await_event(self, name: str, count: int = 1) -> None:
        until(lambda: len(self.events(name)) >= count or self._must_run())

    def _must_run(self) -> bool:
        assert self.process.poll() is None, self.log.read_text()
        return False

    def stop(self, number: int = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        return self.process.wait(30)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


def environment(home: Path) -> dict[str, str]:
    """Nothing of the machine's own settings but what a program needs to run."""
    kept = {name: os.environ[name] for name in ("PATH", "LANG", "TMPDIR") if name in os.environ}
    return {**kept, "HOME": str(home), "PYTHONDONTWRITEBYTECODE": "1"}
