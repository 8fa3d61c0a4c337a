"""mailsyncd as the benchmarks run it: its configuration, its command line, what its log tells."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from bench.engine import CREDENTIALS

NEWER = ["[http]", 'listen = "off"']  # what checkouts of before it came do not know
PHASES = ("start", "signing in and listing", "copying", "end")
SQLITE = 'path = "state.db"'


@dataclass(frozen=True, slots=True)
class Route:
    user: str
    folder: str
    port: int
    start: str = "all"


def dynamodb(url: str, table: str) -> str:
    """[state] for an engine."""
    return f'backend = "dynamodb"\nregion = "us-west-2"\nendpoint_url = "{url}"\ntable = "{table}"'


def configure(
    directory: Path,
    port: int,
    user: str,
    routes: Iterable[Route],
    *,
    state: str = SQLITE,
    daemon: str = "",
    ca_file: Path | None = None,
) -> Path:
    """Write config.toml: passwords, as for the peers, and plaintext too, unless there is a `ca_file`.
    `daemon`: more lines of its section."""
    lines = ["[daemon]", 'log_format = "json"', 'socket = "d.sock"', daemon]
    lines += [*NEWER, "[state]", state]
    lines += ["[outlook]", f'email = "{user}@example.com"', *_server(port, user, ca_file)]
    for route in routes:
        lines += ["[[routes]]", f'gmail = "{route.user}@example.com"', f'folder = "{route.folder}"']
        lines += [f'start = "{route.start}"', *_server(route.port, route.user, ca_file)]
    path = directory / "config.toml"
    path.write_text("\n".join(lines) + "\n")
    return path


def _server(port: int, user: str, ca_file: Path | None) -> list[str]:
    return [
        'host = "127.0.0.1"',
        f"port = {port}",
        f'ca_file = "{ca_file}"' if ca_file else "tls = false",
        'auth = "password"',
        f'username = "{user}"',
        'password = "pw"',
    ]


Profile = tuple[Path, str]  # a file for what cProfile finds, and the tree that the package is taken from


def command(*arguments: str, profile: Profile | None = None) -> list[str]:
    """The program on config.toml of its directory."""
    program = ["-m", "mailsyncd"]
    if profile is not None:
        program = [str(Path(__file__).with_name("profiled.py")), *map(str, profile)]
    return [sys.executable, *program, *arguments, "--config", "config.toml"]


def environment(home: Path) -> dict[str, str]:
    """Nothing of the machine's own settings but what a program needs to run."""
    kept = {name: os.environ[name] for name in ("PATH", "LANG") if name in os.environ}
    return {**kept, **CREDENTIALS, "HOME": str(home)}


def seconds_at_work(log: Path) -> float:
    """From the lease, before any IMAP connection, to the last line that it logged: a message's finish."""
    when = _when(log)
    return round(when[-1] - when[0], 3) if when else 0.0


def finished(log: Path) -> float:
    """When it logged its last line: the finish of the last message, if there was one."""
    return max(_when(log), default=0.0)


def phases(log: Path, began: float, ended: float) -> dict[str, float]:
    """Seconds of a run that copied something, by what it was about: until the lease, until the first copy,
    until the last, until the end. `began`, `ended`: of the process, as time.time() has it."""
    when, copied = _when(log), _when(log, "message.copied")
    marks = (began, when[0], copied[0], copied[-1], ended)
    names = ("start", "signing in and listing", "copying", "end")
    return {name: round(till - since, 3) for name, since, till in zip(names, marks, marks[1:], strict=False)}


def _when(log: Path, event: str = "") -> list[float]:
    rows = [json.loads(line) for line in log.read_text().splitlines() if line.startswith("{")]
    chosen = [row for row in rows if event in ("", row["event"])]
    return [datetime.fromisoformat(row["timestamp"]).timestamp() for row in chosen]
