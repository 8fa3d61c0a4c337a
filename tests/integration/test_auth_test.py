"""`mailsyncd auth test` between simulated servers."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from bed import environment

from mailsyncd.observe.clock import SystemClock
from mailsyncd.sim import GmailServer, OutlookServer, TokenEndpoint
from mailsyncd.sim.verdict import foreign_commands

DESTINATION = "me@outlook.example"
SOURCES = ("a@gmail.example", "b@gmail.example")


@dataclass
class Bed:
    directory: Path
    tokens: TokenEndpoint
    gmail: GmailServer
    outlook: OutlookServer

    def configure(self, *, create_folder: bool = True) -> None:
        lines = ["[state]", 'path = "state.db"', "[outlook]", f'email = "{DESTINATION}"']
        lines += self._server(self.outlook.port, self.tokens.microsoft_url, DESTINATION, "microsoft")
        for user in SOURCES:
            lines += ["[[routes]]", f'gmail = "{user}"', f'folder = "Gmail/{user[0]}"']
            lines += [f"create_folder = {str(create_folder).lower()}"]
            lines += self._server(self.gmail.port, self.tokens.google_url, user, "google")
        (self.directory / "c.toml").write_text("\n".join(lines) + "\n")

    def _server(self, port: int, url: str, user: str, provider: str) -> list[str]:
        (self.directory / user).write_text(self.tokens.grant(user, provider))
        (self.directory / user).chmod(0o600)
        return [
            *('host = "127.0.0.1"', f"port = {port}", "tls = false", 'client_id = "c"'),
            *(f'token_url = "{url}"', f'refresh_token = {{ file = "{user}" }}'),
        ]

    async def test(self, *arguments: str) -> tuple[int | None, str, str]:
        child = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "mailsyncd", "auth", "test", "--config", "c.toml", *arguments),
            cwd=self.directory,
            env=environment(self.directory),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        async with asyncio.timeout(60):
            out, err = await child.communicate()
        return child.returncode, out.decode(), err.decode()


@pytest.fixture
async def bed(tmp_path: Path) -> AsyncIterator[Bed]:
    clock = SystemClock()
    async with (
        TokenEndpoint(clock) as tokens,
        GmailServer(clock, tokens=tokens) as gmail,
        OutlookServer(clock, tokens=tokens) as outlook,
    ):
        made = Bed(tmp_path, tokens, gmail, outlook)
        made.configure()
        yield made


async def test_it_says_what_each_server_has(bed: Bed) -> None:
    for _ in range(3):
        bed.gmail.deliver(SOURCES[0], b"Subject: hidden\r\n\r\nbody\r\n")
    os.utime(bed.directory / SOURCES[0], (0, 1_700_000_000))
    status, out, err = await bed.test()
    assert (status, err) == (0, "")
    assert f"{SOURCES[0]} at 127.0.0.1: signed in\n" in out
    assert "X-GM-EXT-1" in out
    assert "  INBOX: 3 messages\n" in out
    assert "days ago (2023-11-14)" in out
    assert f"{SOURCES[1]} at 127.0.0.1: signed in\n" in out
    assert "stored today (" in out
    assert "  Gmail/a: not there yet; it is made when the first message comes\n" in out
    assert "hidden" not in out
    assert foreign_commands(bed.gmail.transcript) == []
    assert not bed.outlook.messages(DESTINATION, "Gmail/a")


async def test_one_route_is_one_source_and_its_destination(bed: Bed) -> None:
    status, out, _ = await bed.test("--route", SOURCES[1])
    assert status == 0
    assert [line.split()[0] for line in out.splitlines() if "signed in" in line] == [SOURCES[1], DESTINATION]
    assert "Gmail/a" not in out


async def test_a_consent_that_is_gone_is_told_and_the_others_are_still_tried(bed: Bed) -> None:
    bed.tokens.revoke(SOURCES[0])
    status, out, _ = await bed.test()
    assert status == 1
    assert (
        f"{SOURCES[0]} at 127.0.0.1: NOT signed in: {SOURCES[0]}: the token endpoint refused: invalid_grant"
        in out
    )
    assert f"{SOURCES[1]} at 127.0.0.1: signed in\n" in out
    assert f"{DESTINATION} at 127.0.0.1: signed in\n" in out


async def test_a_folder_that_is_missing_and_not_made_is_a_failure(bed: Bed) -> None:
    bed.configure(create_folder=False)
    status, out, _ = await bed.test()
    assert status == 1
    assert "  Gmail/a: NOT to be had: " in out


async def test_a_rotated_token_is_kept_for_the_daemon(bed: Bed) -> None:
    bed.tokens.revokes_rotated = True
    before = (bed.directory / DESTINATION).read_text()
    for _ in range(2):
        status, _, _ = await bed.test("--route", SOURCES[0])
        assert status == 0
    assert (bed.directory / DESTINATION).read_text() != before


async def test_no_token_is_shown_at_debug(bed: Bed) -> None:
    config = bed.directory / "c.toml"
    config.write_text('[daemon]\nlog_level = "debug"\n' + config.read_text())
    _, out, err = await bed.test()
    tokens = [(bed.directory / user).read_text() for user in (*SOURCES, DESTINATION)]
    assert "token.renewed" in err
    assert not [one for one in (*tokens, *bed.tokens._access) if one in out + err]
