"""docs/benchmarks/results.json: what every job has measured last, and on what machine."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from mailsyncd import __version__

FILE = Path(__file__).parents[2] / "docs" / "benchmarks" / "results.json"

Row = dict[str, Any]


def machine() -> dict[str, int]:
    """By cores and memory only."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {"cores": os.cpu_count() or 1, "memory_gib": round(memory / 2**30)}


def load() -> dict[str, Any]:
    """Job -> {"when", "version", "machine", "rows"}."""
    return json.loads(FILE.read_text()) if FILE.exists() else {}


def save(job: str, rows: Sequence[Row]) -> None:
    """Put these in the place of what the job measured before: figures that are compared come from one run."""
    results = load()
    results[job] = {
        "when": datetime.now(UTC).date().isoformat(),
        "version": __version__,
        "machine": machine(),
        "rows": list(rows),
    }
    FILE.parent.mkdir(exist_ok=True)
    FILE.write_text(json.dumps(results, indent=1, sort_keys=True) + "\n")


def best(rows: Sequence[Row], key: str = "seconds", **where: object) -> Row | None:
    """The quickest of the repetitions that fit: what else the machine did only ever slows one down."""
    fit = [row for row in rows if all(row.get(name) == value for name, value in where.items())]
    return min(fit, key=lambda row: row[key]) if fit else None
