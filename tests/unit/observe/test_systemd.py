"""sd_notify over a real datagram socket, by path and by abstract name."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog

from mailsyncd.observe.systemd import Notifier, watchdog_interval


def midnight() -> float:
    return 0.0


@pytest.fixture(params=["path", "abstract"])
def manager(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[socket.socket, str]]:
    name = str(tmp_path / "notify") if request.param == "path" else f"@mailsyncd-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as line:
        line.bind(name.replace("@", "\0", 1) if name.startswith("@") else name)
        line.settimeout(5)
        yield line, name


def heard(line: socket.socket) -> list[str]:
    return line.recv(4096).decode().split("\n")


def test_a_life_as_systemd_hears_it(manager: tuple[socket.socket, str]) -> None:
    line, name = manager
    notifier = Notifier.from_environment({"NOTIFY_SOCKET": name}, lambda: 12.345678)
    notifier.status("connecting")
    assert heard(line) == ["STATUS=connecting"]
    notifier.ready("2 routes watched")
    assert heard(line) == ["READY=1", "STATUS=2 routes watched"]
    notifier.watchdog()
    assert heard(line) == ["WATCHDOG=1"]
    notifier.reloading()
    assert heard(line) == ["RELOADING=1", "MONOTONIC_USEC=12345678"]
    notifier.ready()
    assert heard(line) == ["READY=1"]
    notifier.stopping("draining")
    assert heard(line) == ["STOPPING=1", "STATUS=draining"]


def test_a_status_is_one_line_and_no_other_assignment(manager: tuple[socket.socket, str]) -> None:
    line, name = manager
    Notifier(name, midnight).status("waiting\nREADY=1\n\tfor ever")
    assert heard(line) == ["STATUS=waiting READY=1 for ever"]


def test_an_empty_status_sends_nothing(manager: tuple[socket.socket, str]) -> None:
    line, name = manager
    line.setblocking(False)
    Notifier(name, midnight).status(" \n")
    with pytest.raises(BlockingIOError):
        line.recv(1)


def test_a_manager_that_does_not_listen_holds_nobody_up(manager: tuple[socket.socket, str]) -> None:
    line, name = manager
    notifier = Notifier(name, midnight)
    for _ in range(2000):
        notifier.watchdog()
    assert heard(line) == ["WATCHDOG=1"]


@pytest.mark.parametrize(
    "address", [None, "", "relative/path", "vsock:2:1234", "/nowhere/at/all", "/" + "x" * 300]
)
def test_without_a_manager_nothing_happens(address: str | None) -> None:
    environ = {} if address is None else {"NOTIFY_SOCKET": address}
    with structlog.testing.capture_logs() as logs:
        Notifier.from_environment(environ).ready("up")
    assert logs == []


@pytest.mark.parametrize(
    ("environ", "interval"),
    [
        ({}, None),
        ({"WATCHDOG_USEC": "30000000"}, 15.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": str(os.getpid())}, 15.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "1"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "-1"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
        ({"WATCHDOG_USEC": "٣"}, None),
    ],
)
def test_the_watchdog_is_fed_twice_as_often_as_it_asks(
    environ: dict[str, str], interval: float | None
) -> None:
    assert watchdog_interval(environ) == interval
