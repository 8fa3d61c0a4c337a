"""The demo's stage: simulated Gmail, Outlook and token endpoint, a configuration for them, a daemon."""

from __future__ import annotations

import asyncio
import os
import sys
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from mailsyncd.ports import Clock
from mailsyncd.sim import GmailServer, OutlookServer, TokenEndpoint

_NAMES = ("ann", "bob", "cleo", "dan", "eve")
_OUTLOOK_USER = "me@outlook.example"
_STOP_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class DemoRoute:
    """One Gmail account and the folder that its mail goes to."""

    user: str
    folder: str


@dataclass(frozen=True, slots=True)
class Stage:
    """The simulators and the routes between them."""

    gmail: GmailServer
    outlook: OutlookServer
    tokens: TokenEndpoint
    routes: tuple[DemoRoute, ...]

    @property
    def outlook_user(self) -> str:
        return _OUTLOOK_USER


@asynccontextmanager
async def set_stage(clock: Clock, routes: int, seed: int) -> AsyncIterator[Stage]:
    """Servers on loopback ports of the system's choosing, for as long as the block lasts."""
    names = [_NAMES[n] if n < len(_NAMES) else f"user{n + 1}" for n in range(routes)]
    async with (
        TokenEndpoint(clock, seed=seed) as tokens,
        GmailServer(clock, tokens=tokens, seed=seed) as gmail,
        OutlookServer(clock, tokens=tokens, seed=seed + 1) as outlook,
    ):
        yield Stage(
            gmail,
            outlook,
            tokens,
            tuple(DemoRoute(f"{name}@gmail.example", f"Gmail/{name}") for name in names),
        )


def write_configuration(stage: Stage, directory: Path) -> Path:
    """What a user would write, but with loopback addresses; only its owner may read it."""
    outlook = {
        "email": stage.outlook_user,
        **_server(stage.outlook.port, stage.tokens.grant(stage.outlook_user, "microsoft")),
        "token_url": stage.tokens.microsoft_url,
    }
    lines = [
        *_table("[daemon]", {"sweep_interval": "5m", "socket": str(directory / "mailsyncd.sock")}),
        *_table("[http]", {"listen": "off"}),
        *_table("[state]", {"backend": "sqlite", "path": str(directory / "state.db")}),
        *_table("[outlook]", outlook),
    ]
    for route in stage.routes:
        values = {
            "gmail": route.user,
            "folder": route.folder,
            **_server(stage.gmail.port, stage.tokens.grant(route.user)),
            "client_secret": "demo",
            "token_url": stage.tokens.google_url,
            "start": "all",
        }
        lines += _table("[[routes]]", values)
    path = directory / "config.toml"
    path.touch(mode=0o600)
    path.write_text("\n".join(lines) + "\n")
    return path


def _server(port: int, refresh_token: str) -> dict[str, str | int | bool]:
    return {
        "host": "127.0.0.1",
        "port": port,
        "tls": False,
        "auth": "oauth",
        "client_id": "demo",
        "refresh_token": refresh_token,
    }


def _table(head: str, values: dict[str, str | int | bool]) -> list[str]:
    def shown(value: str | int | bool) -> str:
        if isinstance(value, str):
            return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
        return str(value).lower()

    return [head, *(f"{key} = {shown(value)}" for key, value in values.items()), ""]


class Daemon:
    """The real `mailsyncd run`, as a child process; its last lines are kept to explain an early end."""

    def __init__(self, process: asyncio.subprocess.Process, output: asyncio.StreamReader) -> None:
        self._process = process
        self._output = output
        self._last_lines: deque[str] = deque(maxlen=50)

    @property
    def ended(self) -> bool:
        return self._process.returncode is not None

    def complaint(self) -> str:
        """The last line that speaks of an error, else the last line."""
        lines = [line for line in self._last_lines if line.strip()]
        errors = [line for line in lines if "error" in line.lower() or "critical" in line.lower()]
        return (errors or lines or ["it said nothing"])[-1]

    async def listen(self) -> None:
        """Read what it writes, so that it never blocks on a full pipe, until it ends."""
        while chunk := await self._output.read(65_536):
            self._last_lines.extend(chunk.decode("utf-8", "replace").splitlines())
        await self._process.wait()

    async def stop(self) -> int:
        """SIGTERM, and its exit status; SIGKILL if that takes too long."""
        if self.ended:
            return self._process.returncode or 0
        with suppress(ProcessLookupError):
            self._process.terminate()
        try:
            async with asyncio.timeout(_STOP_SECONDS):
                return await self._process.wait()
        except TimeoutError:
            self.kill()
            return await self._process.wait()

    def kill(self) -> None:
        with suppress(ProcessLookupError):
            self._process.kill()


@asynccontextmanager
async def daemon(configuration: Path) -> AsyncIterator[Daemon]:
    """Run the daemon in a session of its own: Ctrl-C is ours, and we pass on SIGTERM instead."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith("MAILSYNCD_")}
    environment.pop("NOTIFY_SOCKET", None)
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "mailsyncd", "run", "--config", str(configuration)),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        cwd=configuration.parent,
        env=environment,
        start_new_session=True,
    )
    if process.stdout is None:
        raise RuntimeError("the daemon's output was not opened")
    running = Daemon(process, process.stdout)
    listening = asyncio.create_task(running.listen())
    try:
        yield running
    finally:
        try:
            await running.stop()
        finally:
            running.kill()
            listening.cancel()
            await asyncio.wait({listening})
