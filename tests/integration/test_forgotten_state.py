"""A state store that was emptied or restored, on real servers: noticed, rebuilt, and gone on with."""

from __future__ import annotations

import json
import secrets
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable

import pytest
from bed import Bed, Route, until
from corpus import varied
from engines import moto
from mailboxes import SAME, Comparison

pytestmark = pytest.mark.real
ANN, BOB = Route("src1", "Gmail/src1"), Route("src2", "Gmail/src2")
SAYS = "holds copies that the state store knows nothing of: it was emptied or restored. Nothing is copied"
Row = dict[str, int | str]


def empty(bed: Bed) -> None:
    for path in bed.directory.glob("state.db*"):
        path.unlink()


def keep(bed: Bed) -> Callable[[], None]:
    """A backup; call it to restore it."""
    kept = bed.directory.parent / "kept.db"
    shutil.copy(bed.directory / "state.db", kept)

    def restore() -> None:
        empty(bed)
        shutil.copy(kept, bed.directory / "state.db")

    return restore


def refused(bed: Bed) -> None:
    """run-once copies nothing, and says what is wrong and what to do."""
    before = bed.count("Gmail/src1")
    done = bed.cli("run-once", "--config", "config.toml")
    assert done.returncode == 1, done.stderr
    assert SAYS in done.stdout
    assert "mailsyncd state rebuild" in done.stdout
    assert bed.count("Gmail/src1") == before


def rebuilt(bed: Bed, *arguments: str) -> list[Row]:
    done = bed.cli("state", "rebuild", "--config", "config.toml", "--json", *arguments)
    assert done.returncode == 0, done.stderr + done.stdout
    rows: list[Row] = json.loads(done.stdout)["routes"]
    return rows


def is_exact(bed: Bed, *routes: Route) -> bool:
    return all(Comparison.of(bed.sent(one.user), bed.copies(one.folder)) == SAME for one in routes)


@pytest.mark.parametrize("start", ["all", "now", "2024-01-01"])
def test_a_deleted_file_is_noticed_and_rebuilt_without_loss_or_double(bed: Bed, start: str) -> None:
    bed.deliver("src1", varied(1, 60))
    bed.deliver("src2", varied(2, 7))
    bed.configure(ANN, BOB)
    bed.once()
    empty(bed)
    bed.deliver("src1", varied(3, 5))
    keys = {"start": f'"{start}"'}
    bed.configure(Route("src1", "Gmail/src1", keys), Route("src2", "Gmail/src2", keys))
    refused(bed)
    ann, bob = rebuilt(bed, "--dry-run")
    assert (ann["source"], ann["found"], ann["left"], bob["found"]) == (65, 60, 5, 7)
    refused(bed)
    assert rebuilt(bed) == [ann, bob]
    assert bed.once()["copied"] == 5
    assert is_exact(bed, ANN, BOB)
    assert bed.once()["copied"] == 0


def test_a_restored_file_is_noticed_and_rebuilt_without_loss_or_double(bed: Bed) -> None:
    bed.deliver("src1", varied(1, 20))
    bed.configure(ANN)
    bed.once()
    restore = keep(bed)
    bed.deliver("src1", varied(2, 25))
    bed.once()
    restore()
    bed.deliver("src1", varied(3, 4))
    refused(bed)
    (row,) = rebuilt(bed)
    assert (row["source"], row["found"], row["left"], row["extra"]) == (29, 25, 4, 0)
    assert bed.once()["copied"] == 4
    assert is_exact(bed, ANN)


def test_an_emptied_table_is_noticed_and_rebuilt_without_loss_or_double(bed: Bed) -> None:
    with moto() as url:
        bed.environ |= {"AWS_ACCESS_KEY_ID": "T" + secrets.token_hex(4), "AWS_SECRET_ACCESS_KEY": "x"}
        for table in ("full", "empty"):
            state = f'backend = "dynamodb"\nregion = "us-west-2"\nendpoint_url = "{url}"\ntable = "{table}"'
            bed.configure(ANN, state=state)
            assert bed.cli("state", "init", "--config", "config.toml").returncode == 0
            bed.deliver("src1", varied(len(table), 15))
            if table == "full":
                assert bed.once()["copied"] == 15
        refused(bed)
        (row,) = rebuilt(bed)
        assert (row["found"], row["written"], row["left"]) == (15, 15, 15)
        assert bed.once()["copied"] == 15
        assert is_exact(bed, ANN)


def test_the_daemon_says_so_and_goes_on_after_a_rebuild_beside_it(bed: Bed) -> None:
    bed.deliver("src1", varied(1, 8))
    bed.configure(ANN)
    bed.once()
    restore = keep(bed)
    bed.deliver("src1", varied(2, 6))
    bed.once()
    restore()
    with bed.daemon() as daemon:
        daemon.await_event("state.forgotten")
        check = bed.cli("check", "--config", "config.toml")
        assert check.returncode == 2
        assert "mailsyncd state rebuild" in check.stdout
        bed.deliver("src1", varied(3, 3))
        assert bed.count("Gmail/src1") == 14
        (row,) = rebuilt(bed)
        assert (row["found"], row["left"]) == (6, 3)
        daemon.process.send_signal(signal.SIGHUP)
        until(lambda: bed.count("Gmail/src1") == 17)
        assert daemon.stop() == 0
    assert is_exact(bed, ANN)


def test_beside_a_daemon_that_copies_nothing_is_rebuilt(bed: Bed) -> None:
    bed.deliver("src1", varied(1, 3))
    bed.configure(ANN, state='path = "state.db"\nlease = "10s"')
    with bed.daemon() as daemon:
        daemon.await_event("message.copied", 3)
        done = bed.cli("state", "rebuild", "--config", "config.toml")
        assert (done.returncode, done.stdout) == (75, "")
        assert "another mailsyncd is writing to outlook" in done.stderr.splitlines()[-1]
        assert daemon.stop() == 0


def test_a_rebuild_that_is_killed_is_not_trusted_and_can_be_repeated(bed: Bed) -> None:
    bed.deliver("src1", varied(1, 49))
    bed.configure(ANN)
    bed.once()
    empty(bed)
    bed.deliver("src1", varied(2, 3))
    for tenths in (4, 6, 7, 8, 9, 10):
        process = subprocess.Popen(
            [sys.executable, "-m", "mailsyncd", "state", "rebuild", "--config", "config.toml"],
            cwd=bed.directory,
            env=bed.environ,
            stdout=subprocess.DEVNULL,
        )
        time.sleep(tenths / 10)
        over = process.poll() is not None
        process.kill()
        process.wait()
        if over:
            break
        # The lease of a process that is gone on this very host is free at once.
        done = bed.cli("run-once", "--config", "config.toml")
        assert bed.count("Gmail/src1") in (49, 52), done.stdout
        if done.returncode == 0:
            break
    rebuilt(bed)
    bed.once()
    assert is_exact(bed, ANN)


def test_what_is_missing_can_be_left_out_for_good(bed: Bed) -> None:
    bed.deliver("src1", varied(1, 10))
    bed.configure(ANN)
    bed.once()
    empty(bed)
    bed.deliver("src1", varied(2, 5))
    done = bed.cli("state", "rebuild", "--config", "config.toml", "--skip-missing", "--route", "Gmail/src1")
    assert done.returncode == 0, done.stderr
    assert done.stdout == (
        "src1@example.com > Gmail/src1: 15 in the source past the watermark, 0 known already, "
        "10 found in the folder, 10 written, 0 left to copy, 5 skipped, 0 extra copies in the folder\n"
    )
    assert bed.once()["copied"] == 0
    assert bed.count("Gmail/src1") == 10
