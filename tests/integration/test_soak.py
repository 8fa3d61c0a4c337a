"""A soak of a quarter of an hour of the daemon's time, with all the faults; and what counts as growth.
The long one is `make soak`."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from faults.measures import Hour, Sample, flat
from faults.pace import LEAD, LONGEST_STEP, PATIENCE, STEP, Keeper, SharedTime

TESTS = Path(__file__).parent.parent
CALM = Sample(mib=70.0, tasks=70, files=17, blocks=400)
HOUR = Hour(1, 800, 800, mib=70.0, tasks=(50, 75), files=(12, 20), blocks=400, records=2.0, octets=800.0)


def hours(**last: Any) -> Sequence[Hour]:
    return [replace(HOUR, number=number) for number in range(1, 24)] + [replace(HOUR, number=24, **last)]


@pytest.mark.xdist_group("memory")
@pytest.mark.timeout(300)  # half a minute, but a busy machine's time goes slower there
def test_a_soak_loses_doubles_and_alters_nothing() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "faults.soak", "--hours", "0.25", "--harshness", "6", "--seed", "1"],
        cwd=TESTS,
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr[-2000:]
    assert "lost 0, doubled 0, altered 0" in done.stdout


def test_a_day_that_ends_as_it_began_is_flat() -> None:
    assert flat(hours(mib=75.0, tasks=(58, 95), files=(14, 22)), CALM, replace(CALM, tasks=71)) == []


@pytest.mark.parametrize(
    ("last", "said"),
    [
        ({"mib": 77.5}, "memory grew"),
        ({"blocks": 460}, "blocks of memory"),
        ({"tasks": (63, 95)}, "tasks: never below 63"),
        ({"tasks": (50, 300)}, "tasks: 300"),
        ({"files": (18, 30)}, "files: never below 18"),
        ({"records": 2.5}, "records a message"),
        ({"octets": 2000.0}, "bytes of state"),
    ],
)
def test_what_grows_over_a_day_is_told(last: dict[str, Any], said: str) -> None:
    (told,) = flat(hours(**last), CALM, CALM)
    assert said in told


def test_tasks_that_stay_after_the_faults_are_told() -> None:
    assert flat(hours(), CALM, replace(CALM, tasks=74)) == ["tasks: 70 before the faults, 74 after"]


def test_the_time_of_a_soak_waits_for_a_keeper_that_is_held_up(tmp_path: Path) -> None:
    shared = SharedTime.beginning(tmp_path / "time", 100.0)
    keeper = Keeper(shared, speed=120.0)
    time.sleep(5 * LONGEST_STEP)
    keeper.select(0)
    assert shared.read() == 100.0 + LONGEST_STEP * 120.0
    keeper.close()


def test_the_time_of_a_soak_waits_for_a_follower_for_a_while(tmp_path: Path) -> None:
    shared = SharedTime.beginning(tmp_path / "time", 100.0)
    keeper = Keeper(shared, speed=120.0)
    shared.look(1)
    for _ in range(int(PATIENCE / STEP / 2)):
        keeper.select(None)
    assert shared.read() == 100.0 + LEAD
    shared.look(1)
    keeper.select(None)
    assert shared.read() > 100.0 + LEAD
    shared.look(1)
    for _ in range(int(2 * PATIENCE / STEP)):
        keeper.select(None)
    assert shared.read() > 100.0 + 3 * LEAD
    keeper.close()
