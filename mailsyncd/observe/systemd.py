"""What systemd wants to know (sd_notify(3)): ready, reloading, stopping, a status line, alive.

Does nothing where no NOTIFY_SOCKET was given.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from os import getpid


class Notifier:
    """Sends datagrams to the service manager. A failure to send is never an error of ours."""

    def __init__(self, address: str | None, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._address = _socket_address(address or "")

    @classmethod
    def from_environment(
        cls, environ: Mapping[str, str], monotonic: Callable[[], float] = time.monotonic
    ) -> Notifier:
        """`monotonic` is CLOCK_MONOTONIC, by which systemd goes: not the daemon's own clock."""
        return cls(environ.get("NOTIFY_SOCKET"), monotonic)

    def ready(self, status: str = "") -> None:
        """Start-up, or a reload, is complete."""
        self._send("READY=1", *_status(status))

    def reloading(self) -> None:
        """A reload has begun; ready() ends it. systemd wants to know when (Type=notify-reload)."""
        self._send("RELOADING=1", f"MONOTONIC_USEC={int(self._monotonic() * 1_000_000)}")

    def stopping(self, status: str = "") -> None:
        self._send("STOPPING=1", *_status(status))

    def status(self, text: str) -> None:
        """One line for `systemctl status`."""
        self._send(*_status(text))

    def watchdog(self) -> None:
        """Still alive: to be sent every watchdog_interval()."""
        self._send("WATCHDOG=1")

    def _send(self, *assignments: str) -> None:
        if not self._address or not assignments:
            return
        with (
            suppress(OSError),
            socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as line,
        ):
            line.setblocking(False)  # a manager that does not listen must not hold us up
            line.sendto("\n".join(assignments).encode(), self._address)


def watchdog_interval(environ: Mapping[str, str]) -> float | None:
    """Seconds between signs of life, half of what systemd allows; None where it does not watch us."""
    usec, pid = environ.get("WATCHDOG_USEC", ""), environ.get("WATCHDOG_PID", "")
    if not (usec.isascii() and usec.isdigit()) or int(usec) == 0:
        return None
    if pid and pid != str(getpid()):
        return None
    return int(usec) / 2_000_000


def _socket_address(given: str) -> str:
    """A path, or "@name" in the abstract namespace; anything else is not ours to speak to."""
    if given.startswith("@"):
        return "\0" + given[1:]
    return given if given.startswith("/") else ""


def _status(text: str) -> tuple[str, ...]:
    return (f"STATUS={' '.join(text.split())}",) if text.strip() else ()
