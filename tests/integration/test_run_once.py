"""`run-once` and its dry run, as a script would use them: exit statuses, the summary, what is written."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from bed import Bed, Route
from corpus import varied
from mailboxes import SAME, Comparison, Plain
from wire import wire_to

from mailsyncd.sim.corpus import Mail

pytestmark = pytest.mark.real
ANN = Route("src1", "Gmail/src1")
BOB = Route("src2", "Gmail/src2")
LARGE = Mail(b"Subject: big\r\n\r\n" + b"x" * 90_000 + b"\r\n", datetime(2024, 5, 5, tzinfo=UTC))


def written(bed: Bed) -> dict[str, str]:
    """Every file of the program's directory and home, by its contents."""
    places = (bed.directory, bed.directory.parent / "home")
    files = [path for place in places for path in place.rglob("*") if path.is_file()]
    return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_the_summary_counts_and_only_the_chosen_route_runs(bed: Bed) -> None:
    bed.deliver("src1", varied(1, 6))
    bed.deliver("src2", [*varied(2, 4), LARGE])
    bed.configure(ANN, BOB, max_message_size='"80KB"')
    ann = bed.once("--route", "src1@example.com")
    assert {"copied": 6, "skipped": 0, "failed": 0}.items() <= ann.items()
    assert bed.count("Gmail/src2") == 0
    done = bed.cli("run-once", "--config", "config.toml", "--json")
    answer = json.loads(done.stdout)
    assert done.returncode == 1
    assert (answer["copied"], answer["skipped"], answer["failed"]) == (4, 0, 1)
    rows = {row["route"]: row for row in answer["routes"]}
    assert rows["src1@example.com > Gmail/src1"]["copied"] == 0
    assert rows["src2@example.com > Gmail/src2"]["failed"] == 1
    again = bed.cli("run-once", "--config", "config.toml", "--route", "Gmail/src2")
    assert again.returncode == 0
    assert again.stdout == "src2@example.com > Gmail/src2: 0 copied, 0 skipped, 0 failed; up to date\n"
    assert Comparison.of(bed.sent("src1"), bed.copies("Gmail/src1")) == SAME
    assert Comparison.of(bed.sent("src2")[:4], bed.copies("Gmail/src2")) == SAME


def test_what_is_wrong_is_told_by_one_line_and_the_exit_status(bed: Bed) -> None:
    bed.configure(ANN)
    wrong = {
        ("run-once", "--config", "config.toml", "--rout"): (2, "--rout"),
        ("run-once", "--config", "config.toml", "--route", "nobody"): (78, "there are: src1@example.com"),
        ("run-once", "--config", "nowhere.toml"): (78, "nowhere.toml"),
        ("run",): (78, "routes: there is none"),
        ("check", "--config", "config.toml"): (3, "mailsyncd is not running"),
    }
    before = written(bed)
    for arguments, (status, says) in wrong.items():
        ended = bed.cli(*arguments)
        assert ended.returncode == status, arguments
        assert says in ended.stderr.splitlines()[-1]
        assert "Traceback" not in ended.stderr
    assert written(bed) == before


def test_a_dry_run_beside_the_daemon_disturbs_nothing_and_nobody(bed: Bed) -> None:
    bed.deliver("src1", varied(3, 5))
    bed.configure(ANN, BOB)
    with bed.daemon() as daemon:
        daemon.await_event("message.copied", 5)
        daemon.await_event("route.connected", 2)
        done = bed.cli("run-once", "--config", "config.toml", "--dry-run", "--json")
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)["would_copy"] == 0
        bed.deliver("src1", varied(4, 1))
        daemon.await_event("message.copied", 6)
        assert not daemon.events("lease.lost")
        assert daemon.stop() == 0


def test_a_dry_run_never_knocks_at_the_destination_and_writes_no_byte(bed: Bed) -> None:
    bed.deliver("src1", [*varied(5, 7), LARGE])
    with wire_to(bed.destination.tls_port) as wire:
        led = replace(bed, destination=replace(bed.destination, tls_port=wire.port))
        led.configure(ANN, max_message_size='"80KB"')
        before = written(bed)
        plain = bed.cli("run-once", "--config", "config.toml", "--dry-run")
        assert wire.said == []
        assert written(bed) == before
    assert plain.returncode == 1
    lines = plain.stdout.splitlines()
    assert sum("would copy uid " in line for line in lines) == 7
    (told,) = [line for line in lines if "would fail uid 8" in line]
    assert "80,000" in told
    with Plain(bed.destination.port, "dst") as box:
        assert box.folders() == ["INBOX"]


def test_a_dry_run_with_state_leaves_the_state_as_it_was(bed: Bed) -> None:
    bed.deliver("src1", varied(6, 4))
    bed.configure(ANN)
    bed.once()
    bed.deliver("src1", varied(7, 3))
    shown = bed.cli("state", "show", "--config", "config.toml", "--json").stdout
    before = hashlib.sha256((bed.directory / "state.db").read_bytes()).digest()
    answer = json.loads(bed.cli("run-once", "--config", "config.toml", "--dry-run", "--json").stdout)
    assert answer["would_copy"] == 3
    assert [row["uid"] for row in answer["routes"][0]["would_copy"]] == [5, 6, 7]
    assert hashlib.sha256((bed.directory / "state.db").read_bytes()).digest() == before
    assert bed.cli("state", "show", "--config", "config.toml", "--json").stdout == shown
    assert bed.once()["copied"] == 3
