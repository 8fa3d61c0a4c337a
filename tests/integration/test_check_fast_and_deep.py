"""`check --fast` loads next to nothing, and finds the socket where the full one does; `check --deep` tries
state, sign-ins and an APPEND, with a daemon or without, and harms nothing."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from bed import environment
from between_sims import OUTLOOK_USER, between
from fakes import VirtualClock
from statuses import a_meter, a_status

from mailsyncd.commands import fast
from mailsyncd.config import load
from mailsyncd.errors import ConfigError
from mailsyncd.observe.control import ControlServer
from mailsyncd.sim.verdict import foreign_commands
from mailsyncd.status import Health

ANN = "ann@gmail.example"
MOST_MODULES = 75  # beyond what Python itself loads at its start; the full check takes 260
HEAVY = {"asyncio", "argparse", "structlog", "pydantic", "rich", "httpx", "logging", "mailsyncd.cli"}


def run(directory: Path, *arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "mailsyncd", *arguments],
        cwd=directory,
        env={**environment(directory), **environ},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )


# ------------------------------------------------------------------------- --fast


def modules(program: str, *arguments: str) -> set[str]:
    shown = f"import sys\n{program}\nprint(*sys.modules, file=sys.stderr)"
    done = subprocess.run(
        [sys.executable, "-c", shown, *arguments], capture_output=True, text=True, check=True, env={}
    )
    return set(done.stderr.splitlines()[-1].split())


def test_a_fast_check_loads_next_to_nothing(tmp_path: Path) -> None:
    program = "from mailsyncd.__main__ import program\nassert program() == 3"
    loaded = modules(program, "check", "--fast", "--socket", str(tmp_path / "s")) - modules("")
    assert loaded & HEAVY == set()
    assert len(loaded) < MOST_MODULES, sorted(loaded)


@pytest.mark.parametrize("health", list(Health))
async def test_a_fast_check_has_the_verdict_in_one_word(tmp_path: Path, health: Health) -> None:
    (tmp_path / "config.toml").write_text('[daemon]\nsocket = "s"\n')
    clock = VirtualClock()
    status = a_status(a_meter(clock), clock.now())
    async with ControlServer(tmp_path / "s", lambda: replace(status, health=health)):
        for where in (("--socket", "s"), ("--config", "config.toml"), ("--socket=s",)):
            done = await asyncio.to_thread(run, tmp_path, "check", "--fast", *where)
            assert (done.returncode, done.stdout, done.stderr) == (
                health.value,
                f"{health.name.lower()}\n",
                "",
            )
        done = await asyncio.to_thread(run, tmp_path, "check", "--fast", "--json", "--socket", "s")
        assert json.loads(done.stdout)["health"] == health.name.lower()


def test_a_fast_check_without_a_daemon_says_so(tmp_path: Path) -> None:
    done = run(tmp_path, "check", "--fast", "--socket", "s")
    assert (done.returncode, done.stdout) == (3, "")
    assert done.stderr == "mailsyncd is not running: there is no socket at s\n"


@pytest.mark.parametrize("wrong", [("--socket",), ("--frob",), ("--deep",), ("more",)])
def test_what_a_fast_check_does_not_understand_the_full_one_explains(
    tmp_path: Path, wrong: tuple[str, ...]
) -> None:
    done = run(tmp_path, "check", "--fast", *wrong)
    assert done.returncode == 2
    assert "usage: mailsyncd" in done.stderr


FILES = [
    "",
    '[daemon]\nsocket = "run/s"\n',
    '[daemon]\nsocket = "/run/x/s"\n',
    '[daemon]\nsocket = "~/s"\n',
    '[state]\npath = "var/state.db"\n',
    '[state]\npath = "/var/x/state.db"\n[daemon]\nsocket = ""\n',
]
PLACES: list[dict[str, str]] = [
    {},
    {"RUNTIME_DIRECTORY": "/run/mailsyncd:/run/other"},
    {"XDG_RUNTIME_DIR": "/run/user/7"},
    {"STATE_DIRECTORY": "/var/lib/mailsyncd"},
    {"XDG_STATE_HOME": "/home/x/.state"},
    {"MAILSYNCD_DAEMON__SOCKET": "told"},
    {"mailsyncd_daemon__socket": "not ours"},
    {"MAILSYNCD_daemon__Socket": "/run/odd"},
    {"MAILSYNCD_STATE__PATH": "~/there/state.db"},
    {"MAILSYNCD_STATE__PATH": "", "RUNTIME_DIRECTORY": ""},
]


@pytest.mark.parametrize("text", FILES)
@pytest.mark.parametrize("places", PLACES)
def test_the_socket_is_sought_where_the_configuration_has_it(
    tmp_path: Path, text: str, places: dict[str, str]
) -> None:
    environ = {"HOME": "/home/x", **places}
    (tmp_path / "c.toml").write_text(text)
    for config in (tmp_path / "c.toml", None):
        found = fast._socket(str(config) if config else None, environ)
        try:
            assert found == load.socket(config, environ)
        except ConfigError:
            continue  # which the daemon did not start with either


# ------------------------------------------------------------------------- --deep


@pytest.mark.real
async def test_a_deep_check_tries_all_and_touches_no_source(tmp_path: Path) -> None:
    async with between(tmp_path, {ANN: "Gmail/ann"}) as stage:
        stage.write_configuration()
        check = ("check", "--deep", "--config", "config.toml")
        done = await asyncio.to_thread(run, tmp_path, *check)
        assert done.returncode == 2
        assert "FAILED  state" in done.stdout
        assert (
            await asyncio.to_thread(run, tmp_path, "state", "init", "--config", "config.toml")
        ).returncode == 0
        done = await asyncio.to_thread(run, tmp_path, *check)
        assert (done.returncode, done.stderr) == (3, "")
        assert "FAILED" not in done.stdout
        assert len(stage.outlook.messages(OUTLOOK_USER, "mailsyncd-check")) == 2
        stage.gmail.deliver(ANN, b"Subject: x\r\n\r\nx\r\n")
        async with stage.daemon() as child:
            await child.until(lambda: stage.missing == 0)
            done = await asyncio.to_thread(run, tmp_path, *check, "--json", "--folder", "probes/here")
            assert done.returncode == 0
            told = json.loads(done.stdout)
            assert [one["what"] for one in told["steps"]] == ["state", "source", "destination", "probe"]
            assert all(one["is_good"] for one in told["steps"])
            assert told["daemon"]["health"] == "healthy"
            assert len(stage.outlook.messages(OUTLOOK_USER, "probes/here")) == 1
        assert foreign_commands(stage.gmail.transcript) == []
        assert stage.verdict(ANN).is_clean


@pytest.mark.real
async def test_what_fails_in_depth_counts_though_the_daemon_is_well(tmp_path: Path) -> None:
    async with between(tmp_path, {ANN: "Gmail/ann"}) as stage, stage.daemon() as child:
        await child.until(lambda: len(child.events("route.connected")) == 1)
        path = tmp_path / "config.toml"
        text = path.read_text()
        head, routes, rest = text.partition("[[routes]]")
        path.write_text(head + routes + rest.replace('password = "secret"', 'password = "wrong"'))
        done = await asyncio.to_thread(run, tmp_path, "check", "--deep", "--config", "config.toml")
        assert done.returncode == 2  # the only source
        assert f"FAILED  source       {ANN}" in done.stdout
        assert "wrong" not in done.stdout
        path.write_text(head.replace('password = "secret"', 'password = "wrong"') + routes + rest)
        done = await asyncio.to_thread(run, tmp_path, "check", "--deep", "--config", "config.toml")
        assert done.returncode == 2
        assert "FAILED  probe" in done.stdout
        path.write_text(text)
        done = await asyncio.to_thread(
            run, tmp_path, "check", "--deep", "--config", "config.toml", "--folder", "gmail/ANN"
        )
        assert done.returncode == 78
        assert done.stderr == ("mailsyncd: --folder: gmail/ANN is where mail goes: name another folder\n")
