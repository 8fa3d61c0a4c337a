"""The campaign: every fault of the list against the real daemon, and a table of what came of it.

python -m faults.campaign                  all of it (make faults)
python -m faults.campaign --sample 240     some of every row, for so many seconds
python -m faults.campaign --case ID --seed N   one case again
"""

from __future__ import annotations

import argparse
import asyncio
import os
import shutil
import sys
import time
import zlib
from collections import defaultdict
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random

from faults.cases import Case
from faults.nursery import Nursery, nursery
from faults.rows import ROWS, all_cases
from faults.world import Finding, world

CASE_SECONDS = 300.0
WORKERS = 2
SIDE_BY_SIDE = 5  # worlds in one worker: most of a case is waiting


@dataclass(frozen=True, slots=True)
class Outcome:
    case: str
    seed: int
    finding: Finding
    recovery: float
    seconds: float


async def play(case: Case, seed: int, place: Nursery) -> Outcome:
    """One case from its seed, in a world of its own. What goes wrong with the case itself is a
    finding like any other."""
    began = time.monotonic()
    recovery, finding = 0.0, Finding(0, 0, 0, 0, 0)
    try:
        async with asyncio.timeout(CASE_SECONDS), world(place, seed, case.ground) as made:
            await case.play(made)
            finding = await made.end()
            recovery = made.worst_recovery
            if not finding.clean and (kept := os.environ.get("FAULTS_KEEP")):
                shutil.copy(made.directory / "log", Path(kept) / f"{case.id.replace('/', '_')}.log")
    except Exception as error:  # noqa: BLE001
        complaint = "; ".join(f"{type(one).__name__}: {one}" for one in (error, *_within(error)))
        finding = replace(finding, complaints=(*finding.complaints, complaint))
    return Outcome(case.id, seed, finding, recovery, time.monotonic() - began)


def _within(error: BaseException) -> list[BaseException]:
    if not isinstance(error, BaseExceptionGroup):
        return []
    return [found for one in error.exceptions for found in (one, *_within(one))]


async def _several(work: Sequence[tuple[str, int]]) -> list[Outcome]:
    cases = {case.id: case for case in all_cases()}
    async with nursery() as place:
        waiting, done = list(reversed(work)), list[Outcome]()

        async def one() -> None:
            while waiting:
                case, seed = waiting.pop()
                done.append(await play(cases[case], seed, place))

        await asyncio.gather(*(one() for _ in range(min(SIDE_BY_SIDE, len(work)))))
        return done


def _batch(work: Sequence[tuple[str, int]]) -> list[Outcome]:
    return asyncio.run(_several(work))


def seed_of(case: Case, seed: int) -> int:
    """Every case has its own, and the campaign's seed moves them all."""
    return zlib.crc32(f"{case.id}/{seed}".encode())


def chosen(rows: set[str], sample: bool, seed: int) -> list[Case]:
    """In an order in which a sample, cut off anywhere, has something of every row."""
    by_row: defaultdict[str, list[Case]] = defaultdict(list)
    for case in all_cases():
        if not rows or case.row in rows:
            by_row[case.row].append(case)
    if not sample:
        return [case for cases in by_row.values() for case in cases]
    rng, order = Random(seed), list[Case]()
    for cases in by_row.values():
        rng.shuffle(cases)
    for turn in range(max(map(len, by_row.values()))):
        order += [cases[turn] for cases in by_row.values() if turn < len(cases)]
    return order


def run(cases: Sequence[Case], seed: int, seconds: float | None) -> list[Outcome]:
    ends = None if seconds is None else time.monotonic() + seconds
    work = [(case.id, seed_of(case, seed)) for case in cases]
    size = SIDE_BY_SIDE * (2 if seconds is None else 1)
    batches = [work[at : at + size] for at in range(0, len(work), size)]
    outcomes: list[Outcome] = []
    with ProcessPoolExecutor(WORKERS) as pool:
        running = {pool.submit(_batch, batch) for batch in batches[:WORKERS]}
        left = batches[WORKERS:]
        while running:
            for future in as_completed(running):
                running.discard(future)
                for outcome in future.result():
                    outcomes.append(outcome)
                    _tell(outcome, seed)
                if left and (ends is None or time.monotonic() < ends):
                    running.add(pool.submit(_batch, left.pop(0)))
                break
    return outcomes


def _tell(outcome: Outcome, seed: int) -> None:
    if outcome.finding.clean:
        print(".", end="", flush=True)
        return
    found = outcome.finding
    counts = f"lost {found.lost}, duplicated {found.duplicated}, altered {found.altered}"
    print(
        f"\nFAILED {outcome.case}: {counts}; {'; '.join(found.complaints) or 'no complaint'}\n"
        f"  again: make faults CASE='{outcome.case}' SEED={seed}",
        flush=True,
    )


def table(outcomes: Sequence[Outcome]) -> str:
    rows: defaultdict[str, list[Outcome]] = defaultdict(list)
    for outcome in outcomes:
        rows[outcome.case.partition(":")[0]].append(outcome)
    lines = [
        f"{'':4} {'fault':44} {'cases':>5} {'lost':>5} {'dup.':>5} {'alt.':>5} {'bad':>4} {'recovery':>9}"
    ]
    for row, name in ROWS.items():
        if found := rows.get(row):
            lost, duplicated, altered = (
                sum(getattr(one.finding, what) for one in found) for what in ("lost", "duplicated", "altered")
            )
            bad = sum(not one.finding.clean for one in found)
            worst = max(one.recovery for one in found)
            lines.append(
                f"{row:4} {name:44} {len(found):5} {lost:5} {duplicated:5} {altered:5} {bad:4} {worst:7.0f} s"
            )
    messages = sum(one.finding.delivered for one in outcomes)
    lines.append(
        f"{len(outcomes)} cases, {messages} messages; recovery in the daemon's own seconds, at worst"
    )
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(prog="faults", description=__doc__.partition("\n")[0])
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--sample", type=float, metavar="SECONDS")
    parser.add_argument("--rows", default="", help="R1,R4: only these")
    parser.add_argument("--case", help="one case, by its id")
    parser.add_argument("--list", action="store_true", help="the cases' ids")
    arguments = parser.parse_args()
    cases = chosen(set(filter(None, arguments.rows.split(","))), arguments.sample is not None, arguments.seed)
    if arguments.case:
        cases = [case for case in cases if case.id == arguments.case]
    if arguments.list or not cases:
        print("\n".join(case.id for case in cases) or "there is no such case")
        return 0 if cases else 2
    outcomes = run(cases, arguments.seed, arguments.sample)
    print("\n" + table(outcomes))
    return int(any(not outcome.finding.clean for outcome in outcomes))


if __name__ == "__main__":
    sys.exit(main())
