"""`mailsyncd demo`, as its users run it: the real daemon as a child, between simulated servers."""

from __future__ import annotations

import asyncio
import io
import json
import signal
import stat
import sys
import tomllib
from pathlib import Path

import pytest

from mailsyncd.commands.demo import demo
from mailsyncd.commands.demo_stage import set_stage, write_configuration
from mailsyncd.observe.clock import SystemClock

_SECONDS = 90


async def _started(*arguments: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "mailsyncd", "demo", *arguments),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )


async def test_every_message_arrives_once_and_unchanged() -> None:
    process = await _started("--messages", "12", "--routes", "2", "--seed", "3", "--json")
    async with asyncio.timeout(_SECONDS):
        out, err = await process.communicate()
    assert process.returncode == 0, (out, err)
    result = json.loads(out)
    assert (result["delivered"], result["copied"], result["routes"]) == (12, 12, 2)
    assert (result["lost"], result["duplicated"], result["altered"]) == (0, 0, 0)
    assert result["source_untouched"] is True
    assert 0 < result["delay_ms_median"] <= result["delay_ms_worst"]


async def test_it_tells_the_story_in_lines_where_there_is_no_terminal() -> None:
    process = await _started("--messages", "4", "--routes", "1")
    async with asyncio.timeout(_SECONDS):
        out, err = await process.communicate()
    assert process.returncode == 0, (out, err)
    text = out.decode()
    assert text.count(" bytes ") == 4
    assert "Every message arrived, once, byte for byte." in text


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
async def test_a_signal_ends_it_and_its_daemon(how: signal.Signals) -> None:
    process = await _started("--messages", "500", "--routes", "1")
    assert process.stdout is not None
    async with asyncio.timeout(_SECONDS):
        while b"Gmail/ann" not in await process.stdout.readline():
            pass
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        process.send_signal(how)
        _, err = await process.communicate()
    assert process.returncode == 130
    assert err == b""
    assert len(children) == 1
    assert not Path(f"/proc/{children[0]}").exists()


async def test_a_daemon_that_can_not_start_is_explained(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/false")
    for as_json in (False, True):
        out = io.StringIO()
        assert await demo(2, 1, 1, as_json, out) == 1
        assert "the daemon" in out.getvalue().lower()
        assert "ended by itself" in out.getvalue()


async def test_the_configuration_is_for_its_owner_alone_and_of_the_agreed_shape(tmp_path: Path) -> None:
    async with set_stage(SystemClock(), 7, 1) as stage:
        path = write_configuration(stage, tmp_path)
        config = tomllib.loads(path.read_text())
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert config["state"]["backend"] == "sqlite"
        assert config["outlook"]["port"] == stage.outlook.port
        assert config["outlook"]["tls"] is False
        assert config["outlook"]["token_url"] == stage.tokens.microsoft_url
        assert [route["gmail"] for route in config["routes"]] == [route.user for route in stage.routes]
        assert len({route["refresh_token"] for route in config["routes"]}) == 7
        assert {route["start"] for route in config["routes"]} == {"all"}
