"""A simulated provider, a home directory, and a browser that goes where it is sent: for sign-ins."""

from __future__ import annotations

import asyncio
import io
import os
import re
import socket
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from mailsyncd.auth.providers import GOOGLE, Provider
from mailsyncd.commands.auth import How, sign_in
from mailsyncd.commands.auth_account import Asked
from mailsyncd.errors import MailsyncError
from mailsyncd.sim import TokenEndpoint

USER = "me@example.org"
SECRET = "client-secret-canary"
BROWSER = """\
import json, os, sys, urllib.error, urllib.request
with open("argv", "w") as file:
    json.dump([sys.argv, dict(os.environ)], file)
try:
    page = urllib.request.urlopen(sys.argv[1]).read()
except urllib.error.HTTPError as error:
    page = error.read()
with open("page.new", "wb") as file:
    file.write(page)
os.rename("page.new", "page")
"""


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


async def until(happened: Callable[[], object]) -> None:
    """Wait for what another process, or another task, does."""
    async with asyncio.timeout(20):
        while not happened():  # noqa: ASYNC110 - a file and a text have no events
            await asyncio.sleep(0.02)


@dataclass
class Bed:
    """A provider, a home directory, and a browser that goes where it is sent."""

    endpoint: TokenEndpoint
    home: Path
    provider: Provider = GOOGLE
    out: io.StringIO = field(default_factory=io.StringIO)
    port: int = field(default_factory=free_port)
    path: str = "google"

    @property
    def environ(self) -> dict[str, str]:
        return {
            "PATH": os.environ["PATH"],
            "HOME": str(self.home),
            "PWD": str(self.home),
            "BROWSER": f"{sys.executable} {self.home / 'browser.py'} %s",
            "MS_CLIENT_SECRET": SECRET,
            "GMAIL_CLIENT_SECRET": SECRET,
        }

    @property
    def asked(self) -> Asked:
        return Asked(
            email=USER,
            client_id="client",
            authorize_url=self.endpoint.url(self.path, "authorize"),
            token_url=self.endpoint.url(self.path, "token"),
            device_url=self.endpoint.url(self.path, "device") if self.path == "microsoft" else None,
            file=self.token,
        )

    @property
    def token(self) -> Path:
        return self.home / "tokens" / USER

    async def sign_in(self, asked: Asked | None = None, **how: Any) -> int:
        wanted = How(**({"port": self.port} | how))
        async with asyncio.timeout(30):
            return await sign_in(self.provider, asked or self.asked, wanted, self.environ, self.out)

    async def failure(self, asked: Asked | None = None, **how: Any) -> str:
        """What is said; by then nothing may have been stored."""
        with pytest.raises(MailsyncError) as refusal:
            await self.sign_in(asked, **how)
        assert not self.token.exists()
        return str(refusal.value)

    async def page(self) -> str:
        """What the browser got."""
        await until((self.home / "page").exists)
        return (self.home / "page").read_text()

    def address(self) -> str:
        (found,) = re.findall(r"^http://\S+/authorize\?\S+$", self.out.getvalue(), re.MULTILINE)
        return str(found)


async def run(bed: Bed, *arguments: str, **environ: str) -> tuple[int | None, str, str]:
    child = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "mailsyncd", "auth", *arguments),
        cwd=bed.home,
        env=bed.environ | environ,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(30):
        out, err = await child.communicate()
    return child.returncode, out.decode(), err.decode()
