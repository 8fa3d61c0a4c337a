"""`mailsyncd failures` as a person would use it, on real servers: list, show, retry, discard, export."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
from datetime import UTC, datetime
from typing import Any

import pytest
from bed import Bed, Route, until
from mailboxes import Plain

from mailsyncd.errors import FailureKind
from mailsyncd.model import Failure
from mailsyncd.model import Route as ModelRoute
from mailsyncd.observe.clock import SystemClock
from mailsyncd.sim.corpus import Mail
from mailsyncd.state.sqlite import SqliteStore

pytestmark = pytest.mark.real
WHEN = datetime(2024, 5, 5, tzinfo=UTC)
LARGE = Mail(b"Subject: large\r\nX-8: \xff\xfe\r\n\r\n" + b"0123456789abcde\r\n" * 6_000, WHEN)
LONG = Mail(b"Subject: long\r\n\r\n" + b"word " * 600 + b"\r\n", WHEN)
SMALL = Mail(b"Subject: small\r\n\r\nbody\r\n", WHEN)
ANN, BOB = Route("src1", "Gmail/src1"), Route("src2", "Gmail/src2")
RUN = ("run-once", "--config", "config.toml", "--json")


def failures(bed: Bed, *arguments: str) -> subprocess.CompletedProcess[str]:
    return bed.cli("failures", arguments[0], "--config", "config.toml", *arguments[1:])


def listed(bed: Bed, *arguments: str) -> list[dict[str, Any]]:
    done = failures(bed, "list", "--json", *arguments)
    assert done.returncode == 0, done.stderr
    found: list[dict[str, Any]] = json.loads(done.stdout)["failures"]
    return found


def refused(bed: Bed, *arguments: str) -> str:
    """The one line that says why."""
    done = failures(bed, *arguments)
    assert (done.returncode, done.stdout) == (1, "")
    (line,) = done.stderr.splitlines()
    return line


def export_bytes(bed: Bed, name: str) -> bytes:
    command = [sys.executable, "-m", "mailsyncd", "failures", "export", "--config", "config.toml", name, "-"]
    done = subprocess.run(
        command, cwd=bed.directory, env=bed.environ, capture_output=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_what_is_too_large_is_listed_exported_whole_and_copied_once_it_may_be(bed: Bed) -> None:
    bed.deliver("src1", [SMALL, LARGE])
    # The daemon's own limit, below which a source session reads nothing: export goes beyond it.
    bed.configure(ANN, daemon='max_message_size = "80KB"')
    assert bed.cli(*RUN).returncode == 1
    (row,) = listed(bed)
    sent = bed.sent("src1")
    assert (row["kind"], row["uid"], row["next_try"]) == ("oversize", 2, "by hand")
    assert (row["size"], row["retry_count"], row["resolved"]) == (len(sent[1].body), 0, False)
    table = failures(bed, "list").stdout.splitlines()
    assert table[0].split() == ["ROUTE", "ID", "KIND", "SIZE", "RETRIES", "NEXT", "TRY", "ERROR"]
    assert row["id"] in table[1]
    assert "80,000" in failures(bed, "show", row["id"]).stdout

    assert failures(bed, "export", row["id"], "large.eml").returncode == 0
    file = bed.directory / "large.eml"
    assert file.read_bytes() == sent[1].body == LARGE.raw
    assert file.stat().st_mode & 0o777 == 0o600
    assert export_bytes(bed, "2") == LARGE.raw
    file.write_bytes(b"mine")
    assert "large.eml is there already" in refused(bed, "export", "2", "large.eml")
    assert "nowhere/large.eml" in refused(bed, "export", "2", "nowhere/large.eml")
    assert file.read_bytes() == b"mine"
    assert bed.sent("src1") == sent  # no flag was set

    assert "will be tried again" in failures(bed, "retry", "2").stdout
    bed.configure(ANN)
    assert bed.once()["copied"] == 1
    assert [one.body for one in bed.copies("Gmail/src1")] == [SMALL.raw, LARGE.raw]
    assert listed(bed) == []
    assert failures(bed, "list").stdout == "nothing is set aside\n"
    (row,) = listed(bed, "--all")
    assert (row["resolved"], row["next_try"]) == (True, "resolved")
    assert "is dealt with already" in refused(bed, "retry", "2")


def test_the_running_daemon_takes_up_what_is_asked_for(bed: Bed) -> None:
    bed.environ["MAILSYNCD_DAEMON__SWEEP_INTERVAL"] = "5s"
    bed.deliver("src1", [LONG, SMALL])
    bed.configure(ANN, max_line_length="1000")
    with bed.daemon() as daemon:
        daemon.await_event("message.copied")
        daemon.await_event("message.failed")
        (row,) = listed(bed)
        assert row["kind"] == "line_too_long"
        assert all(text in row["error"] for text in ("3,000", "1,000", "wrap_long_lines"))
        assert failures(bed, "retry", "--all").returncode == 0
        daemon.await_event("message.failed", 2)
        bed.configure(ANN, max_line_length="1000", wrap_long_lines="true")
        daemon.process.send_signal(signal.SIGHUP)
        daemon.await_event("config.reloaded")
        assert failures(bed, "retry", row["id"], "--route", "src1@example.com").returncode == 0
        until(lambda: bed.count("Gmail/src1") == 2)
        until(lambda: listed(bed) == [])
        copied = daemon.events("message.copied")[-1]
        assert copied["repairs"] == ["wrap_long_lines"]
        assert daemon.stop() == 0
    (_, wrapped) = bed.copies("Gmail/src1")
    assert max(map(len, wrapped.body.split(b"\r\n"))) <= 1_000
    assert wrapped.body.replace(b"\r\n", b"") == LONG.raw.replace(b"\r\n", b"")


def test_what_is_discarded_is_listed_no_more_and_never_copied(bed: Bed) -> None:
    bed.deliver("src1", [LONG])
    bed.configure(ANN, max_line_length="1000")
    assert bed.cli(*RUN).returncode == 1
    assert "is discarded" in failures(bed, "discard", "1").stdout
    assert listed(bed) == []
    assert listed(bed, "--all")[0]["error"].startswith("discarded: ")
    assert "is dealt with already" in refused(bed, "discard", "1")
    assert failures(bed, "retry", "--all").stdout.startswith("0 of them")
    bed.configure(ANN)
    assert bed.once()["copied"] == 0


def test_mistakes_are_told_in_one_line_and_change_nothing(bed: Bed) -> None:
    bed.configure(ANN, BOB, max_line_length="1000")
    for command in (["list"], ["retry", "--all"]):
        assert failures(bed, *command).returncode == 0
    for command in (["show", "1"], ["retry", "1"], ["discard", "1"], ["export", "1", "x.eml"]):
        assert "no failure is called 1" in refused(bed, *command)
    assert not list(bed.directory.glob("state.db*"))
    assert failures(bed, "show", "first").returncode == 2
    assert failures(bed, "retry").returncode == 2
    assert failures(bed, "list", "--route", "nobody").returncode == 78

    for user in ("src1", "src2"):
        bed.deliver(user, [LONG])
    assert bed.cli(*RUN).returncode == 1
    assert len(listed(bed)) == 2
    assert "several are called 1" in refused(bed, "show", "1")
    assert failures(bed, "show", "1", "--route", "Gmail/src2").stdout.startswith("route: src2@example.com")


def test_a_failure_from_before_the_source_was_renumbered_says_so(bed: Bed) -> None:
    bed.deliver("src1", [SMALL])
    bed.configure(ANN)
    bed.once()

    async def remember() -> None:
        store = SqliteStore(bed.directory / "state.db", clock=SystemClock())
        await store.open()
        key = ModelRoute("src1@example.com", "dst@example.com", "Gmail/src1").key
        await store.fail(key, Failure(1, 9, FailureKind.REJECTED, "no", 0, 1.0, next_attempt_at=2.0), None)
        await store.close()

    asyncio.run(remember())
    assert listed(bed)[0]["next_try"] == "never: renumbered"
    assert bed.once()["failed"] == 0
    for command in (["retry", "1-9"], ["export", "1-9", "old.eml"]):
        assert "has renumbered its messages" in refused(bed, *command)
    assert len(listed(bed)) == 1
    assert failures(bed, "discard", "1-9").returncode == 0
    assert listed(bed) == []


def test_a_message_that_is_gone_from_the_source_can_not_be_exported(bed: Bed) -> None:
    bed.deliver("src1", [LONG, SMALL])
    bed.configure(ANN, max_line_length="1000")
    assert bed.cli(*RUN).returncode == 1
    with Plain(bed.source.port, "src1") as box:
        box.command('SELECT "INBOX"')
        box.command("UID STORE 1 +FLAGS (\\Deleted)")
        box.command("EXPUNGE")
    assert "is gone from the source" in refused(bed, "export", "1", "gone.eml")
    assert not (bed.directory / "gone.eml").exists()
    assert failures(bed, "retry", "1").returncode == 0
    assert bed.cli(*RUN).returncode == 1
    assert listed(bed)[0]["kind"] == "vanished"
