"""Who this process is, in a form that another process can judge: is it certainly gone?

The name of a lease's owner holds the boot, the PID namespace, the PID and the process's start
time. One that was started in the same namespace, and is no longer there, is gone for certain;
of any other nothing is known, and its lease must be waited out.
"""

from __future__ import annotations

import os
import socket
from pathlib import Path

PROC = Path("/proc")


def owner() -> str:
    """`host/boot/namespace/pid/start`; parts that this system does not tell are "?"."""
    pid = os.getpid()
    return "/".join((socket.gethostname(), _boot(), _namespace(), str(pid), _start_time(pid) or "?"))


def is_gone(other: str) -> bool:
    """Whether the process of that name certainly runs no more."""
    parts = other.split("/")
    if len(parts) != 5 or "?" in parts[1:]:
        return False
    _, boot, namespace, pid, start = parts
    if boot != _boot() or namespace != _namespace() or not pid.isdigit():
        return False
    try:
        os.kill(int(pid), 0)  # asks whether it is there; /proc may hide other users' processes
    except ProcessLookupError:
        return True
    except (PermissionError, OverflowError):
        pass
    return _start_time(int(pid)) not in (start, None)


def _boot() -> str:
    """The kernel's own word; where a sandbox hides it, that of systemd (%b), which our units hand on."""
    boot = _read(PROC / "sys/kernel/random/boot_id")
    if boot == "?":
        boot = os.environ.get("BOOT_ID") or "?"
    return boot.replace("-", "")[:12]


def _namespace() -> str:
    try:
        return os.readlink(PROC / "self/ns/pid").partition("[")[2].rstrip("]") or "?"
    except OSError:
        return "?"


def _start_time(pid: int) -> str | None:
    """Field 22 of /proc/PID/stat, in clock ticks since boot (proc(5)); None if there is none."""
    stat = _read(PROC / str(pid) / "stat")
    fields = stat.rpartition(")")[2].split()
    return fields[19] if len(fields) > 19 else None


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return "?"
