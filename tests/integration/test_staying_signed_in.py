"""The real daemon and its refresh tokens: rotated, refused, put back, killed at the worst moment."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from bed import environment
from between_sims import Child

from mailsyncd.observe.clock import SystemClock
from mailsyncd.sim import GmailServer, OutlookServer, TokenEndpoint
from mailsyncd.sim.http import Reply
from mailsyncd.steps import Step

ME = "me@outlook.example"
ANN, BOB = "ann@gmail.example", "bob@gmail.example"
MESSAGE = b"From: a@example.org\r\nSubject: s\r\nMessage-ID: <%d@example.org>\r\n\r\nbody\r\n"
KILLED_AT = """
import os, signal, sys
from mailsyncd.steps import Step, listen
listen(lambda step: os.kill(os.getpid(), signal.SIGKILL) if step is Step[sys.argv[1]] else None)
from mailsyncd.cli import main
sys.exit(main(sys.argv[2:]))
"""


@dataclass
class Bed:
    directory: Path
    tokens: TokenEndpoint
    gmail: GmailServer
    outlook: OutlookServer
    environ: dict[str, str] = field(default_factory=dict)
    delivered: int = 0

    def token(self, user: str) -> Path:
        return self.directory / user

    def sign_in(self, user: str, token: str | None = None) -> None:
        path = self.token(user)
        path.touch(0o600)
        path.write_text(token or self.tokens.grant(user, "microsoft" if user == ME else "google"))

    def configure(self, *, in_environment: bool = False) -> None:
        lines = ["[daemon]", 'socket = "s"', "[http]", 'listen = "off"']
        lines += ["[state]", 'path = "state.db"', "[outlook]", f'email = "{ME}"']
        lines += self._server(self.outlook.port, self.tokens.microsoft_url)
        if in_environment:
            self.environ["MS_REFRESH_TOKEN"] = self.tokens.grant(ME, "microsoft")
        else:
            lines += [f'refresh_token = {{ file = "{ME}" }}']
        for user in (ANN, BOB):
            lines += ["[[routes]]", f'gmail = "{user}"', f'folder = "{user[:3]}"', 'start = "all"']
            lines += self._server(self.gmail.port, self.tokens.google_url)
            lines += [f'refresh_token = {{ file = "{user}" }}']
        (self.directory / "c.toml").write_text("\n".join(lines) + "\n")

    def _server(self, port: int, url: str) -> list[str]:
        return [
            *(
                'host = "127.0.0.1"',
                f"port = {port}",
                "tls = false",
                'client_id = "c"',
                f'token_url = "{url}"',
            )
        ]

    def deliver(self, *users: str) -> None:
        for user in users:
            self.delivered += 1
            self.gmail.deliver(user, MESSAGE % self.delivered)

    def copied(self, user: str) -> bool:
        return len(self.outlook.messages(ME, user[:3])) == len(self.gmail.messages(user))

    async def start(self, *arguments: str, at: Step | None = None) -> Child:
        program = ["-c", KILLED_AT, at.name] if at else ["-m", "mailsyncd"]
        log = self.directory / "daemon.log"
        with log.open("ab") as output:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, *program, *arguments, "--config", "c.toml"),
                cwd=self.directory,
                env=environment(self.directory) | self.environ,
                stdout=output,
                stderr=output,
            )
        return Child(process, log)

    @asynccontextmanager
    async def daemon(self) -> AsyncIterator[Child]:
        child = await self.start("run")
        try:
            yield child
        finally:
            if child.process.returncode is None:
                child.process.terminate()
                await child.process.wait()

    async def ask(self, *arguments: str) -> tuple[int | None, str]:
        child = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "mailsyncd", *arguments, "--config", "c.toml"),
            cwd=self.directory,
            env=environment(self.directory) | self.environ,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        out, _ = await child.communicate()
        return child.returncode, out.decode()

    async def account(self, user: str) -> Mapping[str, Any]:
        _, out = await self.ask("check", "--json")
        told: list[Mapping[str, Any]] = json.loads(out).get("accounts", [])
        return next((one for one in told if one["name"] == user), {})

    async def until_it_stands(self, user: str, state: str) -> Mapping[str, Any]:
        async with asyncio.timeout(60):
            while True:
                if (found := await self.account(user)).get("state") == state:
                    return found


@pytest.fixture
async def bed(tmp_path: Path) -> AsyncIterator[Bed]:
    clock = SystemClock()
    async with (
        TokenEndpoint(clock) as tokens,
        GmailServer(clock, tokens=tokens) as gmail,
        OutlookServer(clock, tokens=tokens) as outlook,
    ):
        made = Bed(tmp_path, tokens, gmail, outlook)
        for user in (ME, ANN, BOB):
            made.sign_in(user)
        made.configure()
        yield made


async def test_who_needs_their_user_is_told_and_holds_up_nobody_and_needs_no_restart(bed: Bed) -> None:
    bed.sign_in(ANN, "1//revoked")
    bed.deliver(ANN, BOB)
    async with bed.daemon() as daemon:
        found = await bed.until_it_stands(ANN, "needs_sign_in")
        assert found["reason"] == "expired_or_revoked"
        assert found["command"] == f"mailsyncd auth gmail --config {bed.directory / 'c.toml'} --route {ANN}"
        assert found["refusals"] == 1
        await daemon.until(lambda: bed.copied(BOB))
        assert not bed.copied(ANN)
        (told,) = daemon.events("account.sign_in_needed")
        assert str(told["error"]).endswith(f"Run: {found['command']}")
        status, out = await bed.ask("check")
        assert status == 1
        assert "needs_sign_in" in out
        bed.sign_in(ANN)
        await daemon.until(lambda: bed.copied(ANN), 20)
        assert (await bed.account(ANN))["state"] == "good"
        assert len(daemon.events("account.signed_in_again")) == 1
    assert "1//" not in daemon.log.read_text()


async def test_a_destination_that_needs_its_user_goes_on_once_its_token_is_there(bed: Bed) -> None:
    bed.sign_in(ME, "dead")
    bed.deliver(ANN)
    async with bed.daemon() as daemon:
        await daemon.until(lambda: bool(daemon.events("writer.needs_sign_in")))
        assert (await bed.account(ME))["command"].endswith("--destination outlook")
        bed.sign_in(ME)
        await daemon.until(lambda: bed.copied(ANN), 20)


@pytest.mark.parametrize(
    "trouble",
    [
        [Reply(503, "busy")] * 3,
        [Reply(200, "<html>sign in to the hotel's network</html>")] * 3,
        [Reply(429, {}, headers={"Retry-After": "1"})],
        [Reply(400, {"error": "invalid_grant"}, headers={"Date": "Sat, 17 Jul 2010 09:40:08 GMT"})],
    ],
    ids=["broken", "html", "throttled", "clock"],
)
async def test_what_passes_is_waited_for_and_nobody_is_called(bed: Bed, trouble: list[Reply]) -> None:
    bed.tokens.answer_next(*trouble)
    bed.deliver(ANN, BOB)
    async with bed.daemon() as daemon:
        await daemon.until(lambda: bed.copied(ANN) and bed.copied(BOB))
        assert daemon.events("account.sign_in_needed") == []


async def test_each_use_of_a_token_that_rotates_is_put_back_into_its_file(bed: Bed) -> None:
    bed.tokens.revokes_rotated = True
    bed.deliver(ANN)
    seen = {bed.token(ME).read_text()}
    for _ in range(3):
        async with bed.daemon() as daemon:
            await daemon.until(lambda: bed.copied(ANN))
        seen.add(bed.token(ME).read_text())
        bed.deliver(ANN)
    assert len(seen) == 4
    assert bed.token(ME).stat().st_mode & 0o777 == 0o600


async def test_a_token_of_the_environment_goes_on_in_the_state_where_nobody_can_read_it(bed: Bed) -> None:
    bed.tokens.revokes_rotated = True
    bed.configure(in_environment=True)
    for _ in range(3):
        bed.deliver(ANN)
        async with bed.daemon() as daemon:
            await daemon.until(lambda: bed.copied(ANN))
            found = await bed.account(ME)
        assert (found["state"], found["is_kept"]) == ("good", True)
        assert (
            found["kept_in"] == "the state, sealed (environment variable MS_REFRESH_TOKEN can't be written)"
        )
    assert len(daemon.events("token.kept_in_state")) == 3
    state = b"".join(path.read_bytes() for path in bed.directory.glob("state.db*"))
    assert b"TOKEN#" in state
    for token in bed.tokens._grants:
        assert token.encode() not in state


@pytest.mark.parametrize("in_environment", [False, True], ids=["file", "environment"])
@pytest.mark.parametrize(("at", "strict"), [(Step.TOKEN_RENEWED, False), (Step.TOKEN_KEPT, True)])
async def test_killed_in_the_middle_of_a_rotation_it_signs_in_again_by_itself(
    bed: Bed, at: Step, strict: bool, in_environment: bool
) -> None:
    bed.tokens.revokes_rotated = strict
    bed.configure(in_environment=in_environment)
    bed.deliver(ANN, BOB)
    doomed = await bed.start("run", at=at)
    async with asyncio.timeout(60):
        assert await doomed.process.wait() == -9
    async with bed.daemon() as daemon:
        await daemon.until(lambda: bed.copied(ANN) and bed.copied(BOB))
        assert daemon.events("account.sign_in_needed") == []


@pytest.mark.parametrize("in_environment", [False, True], ids=["file", "environment"])
async def test_many_processes_that_rotate_one_token_end_with_one_that_is_alive(
    bed: Bed, in_environment: bool
) -> None:
    bed.tokens.revokes_rotated = True
    bed.configure(in_environment=in_environment)
    for _ in range(2):
        ends = await asyncio.gather(*(bed.ask("auth", "test") for _ in range(3)))
        assert [status for status, _ in ends] == [0, 0, 0], ends


async def test_a_new_token_while_all_is_well_is_taken_at_a_reload(bed: Bed) -> None:
    bed.deliver(ANN)
    async with bed.daemon() as daemon:
        await daemon.until(lambda: bed.copied(ANN))
        connected = len(daemon.events("writer.connected"))
        daemon.process.send_signal(1)
        await daemon.until(lambda: bool(daemon.events("config.reloaded")))
        bed.deliver(ANN)
        await daemon.until(lambda: bed.copied(ANN))
        assert len(daemon.events("writer.connected")) == connected  # a rotation is no change of settings
        assert daemon.events("destination.restarted") == []


async def test_an_endpoint_that_never_answers_holds_up_its_own_account_alone(bed: Bed) -> None:
    async def say_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    listener = await asyncio.start_server(say_nothing, "127.0.0.1", 0)
    async with listener:
        silent = f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}/token"
        config = bed.directory / "c.toml"
        before, ann, after = config.read_text().partition(f'gmail = "{ANN}"')
        config.write_text(before + ann + after.replace(bed.tokens.google_url, silent, 1))
        bed.deliver(ANN, BOB)
        async with bed.daemon() as daemon:
            await daemon.until(lambda: bed.copied(BOB), 25)
            assert not bed.copied(ANN)


async def test_auth_status_tells_what_stands_where_with_the_daemon_and_without(bed: Bed) -> None:
    beside = bed.directory / f"{ANN}.consent"
    beside.write_text("2026-11-01T09:40:08Z testing\n")
    status, out = await bed.ask("auth", "status")
    assert status == 1
    assert out.startswith("no daemon is running")
    row = next(line for line in out.splitlines() if line.startswith(f"{ANN}  "))
    assert "unused" in row
    assert "2026-11-01" in row
    assert "2026-11-08" in row
    assert f"{ANN}: run mailsyncd auth gmail" in out
    beside.unlink()
    assert (await bed.ask("auth", "status"))[0] == 0
    bed.deliver(ANN, BOB)
    bed.sign_in(BOB, "1//revoked")
    async with bed.daemon() as daemon:
        await daemon.until(lambda: bed.copied(ANN) and bool(daemon.events("account.sign_in_needed")))
        status, out = await bed.ask("auth", "status", "--json")
    assert status == 1
    told = json.loads(out.splitlines()[-1])
    assert told["running"]
    found = {one["name"]: one for one in told["accounts"]}
    assert {name: one["state"] for name, one in found.items()} == {
        ME: "good",
        ANN: "good",
        BOB: "needs_sign_in",
    }
    assert found[ME]["ends_at"] - found[ME]["used_at"] == 90 * 86_400
    status, out = await bed.ask("auth", "status")
    assert (status, "1//" in out) == (0, False)
    row = next(line for line in out.splitlines() if line.startswith(f"{ME}  "))
    assert row.count("(today)") == 2
    assert "(in 8" in row
