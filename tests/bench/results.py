"""docs/benchmarks/results.json: what every job has measured last, and on what machine."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from mailsyncd import __version__

DIRECTORY = Path(__file__).parents[2] / "docs" / "benchmarks"
FILE = DIRECTORY / "results.json"

Row = dict[str, Any]


LOAD = os.getloadavg()[0]  # before anything was measured
LOOPS = 3_000_000


def machine() -> dict[str, float]:
    """By cores and memory only, by what else it did, and by how quick it is at the moment: what shares the
    hardware with a virtual machine shows in nothing else."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "cores": os.cpu_count() or 1,
        "memory_gib": round(memory / 2**30),
        "load": round(LOAD, 1),
        "loop_ns": round(min(_loop() for _ in range(3)) / LOOPS),
    }


def _loop() -> int:
    """Nanoseconds for adding so many numbers up, one by one, in Python."""
    began, total = time.process_time_ns(), 0
    for number in range(LOOPS):
        total += number
    return time.process_time_ns() - began


@dataclass(frozen=True, slots=True)
class Results:
    """Job -> {"when", "version", "machine", "rows"}."""

    jobs: dict[str, Any]

    @classmethod
    def load(cls) -> Results:
        return cls(json.loads(FILE.read_text()) if FILE.exists() else {})

    def rows(self, job: str, **where: object) -> list[Row]:
        """Those that fit. Raises LookupError if there is none."""
        rows: list[Row] = self.jobs.get(job, {}).get("rows", [])
        fit = [row for row in rows if all(row.get(name) == value for name, value in where.items())]
        if not fit:
            raise LookupError(f"{job}: nothing measured with {where}")
        return fit

    def best(self, job: str, key: str = "seconds", **where: object) -> Row:
        """The quickest of the repetitions: what else the machine did only ever slows one down."""
        return min(self.rows(job, **where), key=lambda row: row[key])


def save(job: str, rows: Sequence[Row]) -> None:
    """Put these in the place of what the job measured before: figures that are compared come from one run."""
    jobs = Results.load().jobs
    jobs[job] = {
        "when": datetime.now(UTC).date().isoformat(),
        "version": __version__,
        "machine": machine(),
        "rows": list(rows),
    }
    DIRECTORY.mkdir(exist_ok=True)
    FILE.write_text(json.dumps(jobs, indent=1, sort_keys=True) + "\n")
