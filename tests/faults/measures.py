"""What a soak measures of a daemon by the hour, and what it means by flat."""

from __future__ import annotations

import json
import os
import sqlite3
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

GROWTH = 1.10  # of memory, and of what lives in it, from the second hour to the last
# Of the least of each hour, from that of the first two: it has one destination of three routes then,
# or one of two. What leaks has no least that stays.
SPREAD = {"tasks": 12, "files": 4}
MOST = {"tasks": 250, "files": 50}  # at any time: five routes, two destinations, their windows filled
CALM_SPREAD = 2
STATE_SPREAD = 0.05  # of what is kept for a message
STATE_BYTES = 1500  # the most that is kept for a message
OPEN_FAILURES = """
    SELECT COUNT(*) FROM items WHERE sk LIKE 'FAIL#%' AND NOT coalesce(json_extract(item, '$.resolved'), 0)
"""


@dataclass(frozen=True, slots=True)
class Sample:
    """One look at a process."""

    mib: float
    tasks: int
    files: int
    blocks: int  # of memory, in thousands, that Python's live objects take

    def __str__(self) -> str:
        return f"{self.mib:.1f} MiB, {self.tasks} tasks, {self.files} descriptors, {self.blocks},000 blocks"


def sampled(pid: int, pulse: Path) -> list[Sample]:
    """How it is now; nothing if it has not told its pulse yet, or is gone."""
    try:
        told = json.loads(pulse.read_text())
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
        files = len(os.listdir(f"/proc/{pid}/fd"))
    except (FileNotFoundError, ProcessLookupError):
        return []
    mib = pages * os.sysconf("SC_PAGE_SIZE") / 2**20
    return [Sample(mib, told["tasks"], files, told["blocks"] // 1000)]


def store_faults(pulse: Path) -> Counter[str]:
    """What its store did to it, as it told last."""
    return Counter(json.loads(pulse.read_text())["struck"])


@dataclass(frozen=True, slots=True)
class StateSize:
    records: int
    octets: int
    pending: int
    failed: int


def state_size(directory: Path) -> StateSize:
    """Counted in the SQLite file itself."""
    connection = sqlite3.connect(f"{(directory / 'state.db').as_uri()}?mode=ro", uri=True, timeout=5)
    try:
        query = (
            "SELECT COUNT(*), COALESCE(SUM(LENGTH(pk) + LENGTH(sk) + LENGTH(item)), 0),"
            " COALESCE(SUM(sk LIKE 'UID#%' AND item LIKE '%\"PENDING\"%'), 0) FROM items"
        )
        records, octets, pending = connection.execute(query).fetchone()
        (failed,) = connection.execute(OPEN_FAILURES).fetchone()
    finally:
        connection.close()
    return StateSize(records, octets, pending, failed)


@dataclass(slots=True)
class Hour:
    number: int
    delivered: int
    copied: int
    mib: float  # the median
    tasks: tuple[int, int]  # the least and the most
    files: tuple[int, int]
    blocks: int  # the least, in thousands
    records: float  # for each copy
    octets: float  # for each copy
    faults: int = 0

    @classmethod
    def of(cls, number: int, samples: Sequence[Sample], delivered: int, copied: int, size: StateSize) -> Hour:
        return cls(
            number,
            delivered,
            copied,
            median(one.mib for one in samples),
            _range(one.tasks for one in samples),
            _range(one.files for one in samples),
            min(one.blocks for one in samples),
            size.records / copied,
            size.octets / copied,
        )

    def __str__(self) -> str:
        tasks, files = ("-".join(map(str, pair)) for pair in (self.tasks, self.files))
        return (
            f"{self.number:4} {self.delivered:9} {self.copied:7} {self.mib:7.1f} {tasks:>7}"
            f" {files:>7} {self.blocks:4},000 {self.records:11.2f} {self.octets:9.0f} {self.faults:6}"
        )


def _range(counts: Iterable[int]) -> tuple[int, int]:
    found = list(counts)
    return min(found), max(found)


def heading() -> str:
    return "hour delivered  copied     MiB   tasks   files   blocks records/msg bytes/msg faults"


def flat(hours: Sequence[Hour], before: Sample, after: Sample) -> list[str]:
    """What has grown, in words; the hours are compared with the second, or the first two."""
    found = []
    for name in ("tasks", "files"):
        was, now = getattr(before, name), getattr(after, name)
        if now - was > CALM_SPREAD:
            found.append(f"{name}: {was} before the faults, {now} after")
    if len(hours) < 4:
        return found
    base, last = hours[1], hours[-1]
    if last.mib > base.mib * GROWTH:
        found.append(f"memory grew from {base.mib:.1f} MiB in hour 2 to {last.mib:.1f} in hour {last.number}")
    if last.blocks > base.blocks * GROWTH:
        found.append(f"{base.blocks},000 blocks of memory in hour 2, {last.blocks},000 in hour {last.number}")
    for name, spread in SPREAD.items():
        least = max(getattr(hour, name)[0] for hour in hours[:2])
        for hour in hours[2:]:
            low, high = getattr(hour, name)
            if low > least + spread:
                found.append(f"{name}: never below {low} in hour {hour.number}, {least} in the first two")
            if high > MOST[name]:
                found.append(f"{name}: {high} in hour {hour.number}")
    for hour in hours[2:]:
        if abs(hour.records - base.records) > base.records * STATE_SPREAD:
            found.append(
                f"{hour.records:.2f} records a message in hour {hour.number}, {base.records:.2f} in hour 2"
            )
    if last.octets > STATE_BYTES:
        found.append(f"{last.octets:.0f} bytes of state a message")
    return found
