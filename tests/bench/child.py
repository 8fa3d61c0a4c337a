"""A process, and what it took of time, CPU and memory. Run as a program it is the small parent that
such a process needs: a child's peak memory starts at that of its parent."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import NamedTemporaryFile


@dataclass(frozen=True, slots=True)
class Usage:
    status: int
    began: float  # of the clock that logs go by
    seconds: float
    cpu_s: float
    peak_mb: float


def measure(
    argv: Sequence[str],
    *,
    log: Path,
    cwd: Path,
    environ: Mapping[str, str],
    limit: float = 900.0,
) -> Usage:
    """Run to the end, all output to `log`; killed after `limit` seconds."""
    with NamedTemporaryFile("r") as answer, log.open("ab") as out:
        subprocess.run(
            [sys.executable, "-I", "-S", __file__, answer.name, str(limit), *argv],
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            cwd=cwd,
            env=dict(environ),
            check=True,
        )
        return Usage(**json.load(answer))


def _main(answer: str, limit: str, *argv: str) -> None:
    began, started = time.monotonic(), time.time()
    process = subprocess.Popen(argv)
    timer = threading.Timer(float(limit), process.kill)
    timer.start()
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.monotonic() - began
    timer.cancel()
    found = {
        "status": os.waitstatus_to_exitcode(status),
        "began": started,
        "seconds": round(seconds, 3),
        "cpu_s": round(usage.ru_utime + usage.ru_stime, 3),
        "peak_mb": round(usage.ru_maxrss / 1024, 1),
    }
    Path(answer).write_text(json.dumps(found))


if __name__ == "__main__":
    _main(*sys.argv[1:])
