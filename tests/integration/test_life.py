"""Signals, reload, the gate, and what may never be seen: with the real program."""

from __future__ import annotations

import base64
import json
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from bed import Bed, Route, until

from mailsyncd.sim.corpus import Mail, corpus

pytestmark = pytest.mark.real
ANN = Route("src1", "Gmail/src1")
BOB = Route("src2", "Gmail/src2")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_ends_it_with_0_and_hands_the_lease_over(bed: Bed, number: int) -> None:
    bed.deliver("src1", corpus(1, 3))
    bed.configure(ANN)
    with bed.daemon() as daemon:
        daemon.await_event("message.copied", 3)
        assert daemon.stop(number) == 0
        assert daemon.events("daemon.stopped")
    assert bed.once()["copied"] == 0


async def test_run_once_beside_a_running_daemon_says_so(bed: Bed) -> None:
    bed.configure(ANN)
    with bed.daemon() as daemon:
        daemon.await_event("route.connected")
        done = bed.cli("run-once", "--config", "config.toml")
        assert done.returncode == 75
        assert "another mailsyncd is writing to outlook" in done.stderr
        assert daemon.stop() == 0


async def test_check_tells_how_the_daemon_is(bed: Bed) -> None:
    bed.configure(ANN, Route("src3", "Gmail/x", refresh_token="r-nobody"))
    assert bed.cli("check", "--config", "config.toml").returncode == 3
    with bed.daemon() as daemon:
        daemon.await_event("route.needs_sign_in")
        daemon.await_event("route.connected")
        until(lambda: bed.cli("check", "--config", "config.toml").returncode == 1)
        told = json.loads(bed.cli("check", "--config", "config.toml", "--json").stdout)
        assert {row["state"] for row in told["routes"]} == {"watching", "needs_sign_in"}
        assert daemon.stop() == 0


async def test_a_reload_touches_only_what_changed_and_a_bad_one_nothing(bed: Bed) -> None:
    bed.configure(ANN)
    with bed.daemon() as daemon:
        daemon.await_event("route.connected")
        good = (bed.directory / "config.toml").read_text()
        (bed.directory / "config.toml").write_text(good + "\nnonsense = 1\n")
        daemon.process.send_signal(signal.SIGHUP)
        daemon.await_event("config.reload_failed")
        bed.deliver("src1", corpus(2, 1))
        daemon.await_event("message.copied")
        bed.configure(ANN, BOB)
        daemon.process.send_signal(signal.SIGHUP)
        daemon.await_event("config.reloaded")
        daemon.await_event("route.connected", 2)
        bed.deliver("src2", corpus(3, 2))
        daemon.await_event("message.copied", 3)
        bed.configure(BOB)
        daemon.process.send_signal(signal.SIGHUP)
        daemon.await_event("route.removed")
        connected = [row["route"] for row in daemon.events("route.connected")]
        assert connected == ["src1@example.com > Gmail/src1", "src2@example.com > Gmail/src2"]
        assert daemon.stop() == 0


@contextmanager
def counting_listener() -> Iterator[tuple[int, list[object]]]:
    """A port that takes connections and says nothing."""
    taken: list[object] = []
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.05)
        ended = threading.Event()

        def accept() -> None:
            while not ended.is_set():
                try:
                    taken.append(server.accept()[0])
                except TimeoutError:
                    continue

        thread = threading.Thread(target=accept)
        thread.start()
        yield server.getsockname()[1], taken
        ended.set()
        thread.join()
        for one in taken:
            one.close()  # type: ignore[attr-defined]


def _configured(directory: Path, port: int, state: str) -> None:
    server = f'host = "127.0.0.1"\nport = {port}\ntls = false\nauth = "password"\npassword = "x"\n'
    (directory / "config.toml").write_text(
        f'[daemon]\nsocket = "d.sock"\n[http]\nlisten = "off"\n[state]\n{state}\n'
        f'[outlook]\nemail = "me@example.com"\n{server}'
        f'[[routes]]\ngmail = "ann@example.com"\nfolder = "F"\n{server}'
    )


@pytest.mark.parametrize("trouble", ["refused", "silent", "no table", "no database"])
@pytest.mark.parametrize("command", ["run", "run-once"])
async def test_no_connection_is_opened_until_the_state_store_has_answered(
    bed: Bed, trouble: str, command: str
) -> None:
    bed.environ |= {"AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "x", "AWS_MAX_ATTEMPTS": "1"}
    with counting_listener() as (imap_port, connections), counting_listener() as (silent_port, _):
        (bed.directory / "bad.db").write_bytes(b"no database " * 100)
        dynamodb = 'backend = "dynamodb"\nregion = "us-west-2"\nendpoint_url = "http://127.0.0.1:'
        state = {
            "refused": dynamodb + '9"',
            "silent": dynamodb + f'{silent_port}"',
            "no table": dynamodb + '9"',
            "no database": 'path = "bad.db"',
        }[trouble]
        _configured(bed.directory, imap_port, state)
        done = bed.cli(command, "--config", "config.toml", timeout=60)
    assert done.returncode == 75
    assert connections == []
    lines = done.stderr.strip().splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("mailsyncd: ")
    assert "Traceback" not in done.stderr + done.stdout


async def test_secrets_subjects_and_bodies_are_seen_nowhere(bed: Bed) -> None:
    canaries = ["canary-subject", "canary-sender", "canary-body", "r-src1", "r-dst"]
    canaries += [bed.source.token("src1")[:40], bed.destination.token("dst")[:40]]
    when = next(iter(corpus(1, 1))).internaldate
    raw = b"From: canary-sender@example.org\r\nSubject: canary-subject\r\n\r\ncanary-body\r\n"
    bed.deliver("src1", [Mail(raw, when), Mail(raw + b"x" * 60_000, when)])
    bed.configure(
        ANN,
        Route("src3", "F", refresh_token="r-nobody"),
        daemon='log_level = "debug"',
        max_message_size='"50KB"',
    )
    with bed.daemon() as daemon:
        daemon.await_event("message.copied")
        daemon.await_event("message.failed")
        daemon.await_event("route.needs_sign_in")
        check = bed.cli("check", "--config", "config.toml", "--json")
        shown = bed.cli("config", "show", "--config", "config.toml")
        assert daemon.stop() == 0
    everything = (
        daemon.log.read_bytes() + (check.stdout + shown.stdout + check.stderr + shown.stderr).encode()
    )
    for path in bed.directory.glob("state.db*"):
        everything += path.read_bytes()
    for canary in [*canaries, "r-nobody"]:
        assert canary.encode() not in everything
        assert base64.b64encode(canary.encode()).rstrip(b"=")[:-2] not in everything
