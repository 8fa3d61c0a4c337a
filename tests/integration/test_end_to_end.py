"""The main job on real servers: TLS, XOAUTH2, the real program, every byte compared."""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import islice

import pytest
from bed import Bed, Route, until
from engines import moto
from mailboxes import SAME, Comparison, Plain

from mailsyncd.sim.corpus import Mail, corpus

pytestmark = pytest.mark.real
ANN = Route("src1", "Gmail/src1")
READING = re.compile(
    r"CAPABILITY|ID |AUTHENTICATE |EXAMINE |STATUS |LIST |UID SEARCH |IDLE$|DONE$|NOOP$|LOGOUT$"
    r"|UID FETCH \S+ \((UID )?(RFC822\.SIZE|INTERNALDATE|X-GM-MSGID|X-GM-THRID|UID|"
    r"BODY\.PEEK\[\](<0\.\d+>)?| )+\)$"
)


def same(bed: Bed, route: Route = ANN) -> bool:
    return Comparison.of(bed.sent(route.user), bed.copies(route.folder)) == SAME


async def test_a_mailbox_goes_over_whole_then_nothing_then_only_what_is_new(bed: Bed) -> None:
    mail = list(corpus(11, 210))
    bed.deliver("src1", mail[:100])
    bed.deliver("src1", mail[100:200], "\\Seen")
    bed.source.raw_log_for("src1")
    flags = [one.flags for one in bed.sent("src1")]
    bed.configure(ANN)
    assert bed.once()["copied"] == 200
    assert same(bed)
    assert bed.once()["copied"] == 0
    with bed.daemon() as daemon:
        daemon.await_event("route.connected")
        bed.deliver("src1", mail[200:])
        daemon.await_event("message.copied", 10)
        assert bed.cli("check", "--config", "config.toml").returncode == 0
        assert daemon.stop() == 0
    assert same(bed)
    assert [one.flags for one in bed.sent("src1")][:200] == flags
    assert all(not one.flags for one in bed.copies("Gmail/src1"))
    commands = bed.source.commands("src1")
    assert {'EXAMINE "INBOX"', "IDLE", "DONE", "LOGOUT"} <= set(commands)
    assert [line for line in commands if not READING.match(line)] == []


async def test_the_same_with_dynamodb_as_state(bed: Bed, monkeypatch: pytest.MonkeyPatch) -> None:
    bed.deliver("src1", corpus(12, 40))
    with moto() as url:
        bed.environ |= {"AWS_ACCESS_KEY_ID": "T" + secrets.token_hex(4), "AWS_SECRET_ACCESS_KEY": "x"}
        state = f'backend = "dynamodb"\nregion = "us-west-2"\nendpoint_url = "{url}"'
        bed.configure(ANN, state=state)
        refused = bed.cli("run-once", "--config", "config.toml")
        assert refused.returncode == 75
        assert "run `mailsyncd state init`" in refused.stderr
        assert bed.cli("state", "init", "--config", "config.toml").returncode == 0
        assert bed.once()["copied"] == 40
        assert same(bed)
        assert bed.once()["copied"] == 0
        shown = json.loads(bed.cli("state", "show", "--config", "config.toml", "--json").stdout)
        assert [(row["done"], row["pending"], row["failed"]) for row in shown["routes"]] == [(40, 0, 0)]


async def test_several_routes_share_a_folder_and_a_broken_one_leaves_them_alone(bed: Bed) -> None:
    bed.deliver("src1", corpus(13, 20))
    bed.deliver("src2", corpus(14, 20))
    broken = Route("src3", "Gmail/broken", refresh_token="r-nobody")
    bed.configure(Route("src1", "Both"), Route("src2", "Both"), broken)
    done = bed.cli("run-once", "--config", "config.toml", "--json")
    assert done.returncode == 1
    answer = json.loads(done.stdout)
    assert answer["copied"] == 40
    (told,) = [row["error"] for row in answer["routes"] if row["error"]]
    assert "invalid_grant" in told
    assert Comparison.of(bed.sent("src1") + bed.sent("src2"), bed.copies("Both")) == SAME


async def test_several_destinations_have_each_their_own_writer(bed: Bed) -> None:
    bed.deliver("src1", corpus(21, 10))
    bed.deliver("src2", corpus(22, 10))
    to_one = Route("src1", "One", {"start": '"all"', "destination": '"one"'})
    to_two = Route("src2", "Two", {"start": '"all"', "destination": '"two"'})
    path = bed.configure(to_one, to_two)
    daemon, _, rest = path.read_text().partition("[outlook]\n")
    outlook, _, routes = rest.partition("[[routes]]\n")
    second = outlook.replace("dst@example.com", "dst2@example.com")
    both = f'[[destinations]]\nname = "one"\n{outlook}[[destinations]]\nname = "two"\n{second}'
    path.write_text(f"{daemon}{both}[[routes]]\n{routes}")
    with bed.daemon() as running:
        running.await_event("message.copied", 20)
        assert {row["destination"] for row in running.events("lease.taken")} == {
            "dst@example.com",
            "dst2@example.com",
        }
        assert running.stop() == 0
    assert same(bed, to_one)
    assert same(bed, to_two)


@pytest.mark.parametrize("folder", ["Plain", "Été/à la mer", "with space/and 'quotes\"", "a & b", "📮/下"])
async def test_folders_of_any_name_are_made(bed: Bed, folder: str) -> None:
    bed.deliver("src1", corpus(15, 2))
    bed.configure(Route("src1", folder, {"start": '"all"', "mark_seen": "true"}))
    assert bed.once()["copied"] == 2
    with Plain(bed.destination.port, "dst") as box:
        names = box.folders()
    from mailsyncd.imap.names import decode

    assert folder.replace('"', '\\"') in [decode(name) for name in names]


async def test_a_missing_folder_is_a_clear_failure_when_it_may_not_be_made(bed: Bed) -> None:
    bed.deliver("src1", corpus(15, 1))
    bed.configure(Route("src1", "Nowhere", {"start": '"all"', "create_folder": "false"}))
    done = bed.cli("run-once", "--config", "config.toml", "--json")
    assert done.returncode == 1
    assert "create_folder is off" in json.loads(done.stdout)["routes"][0]["error"]


def dated(*days_ago: int) -> Iterator[Mail]:
    now = datetime.now(UTC).replace(microsecond=0)
    for one, days in zip(corpus(16, len(days_ago)), days_ago, strict=True):
        yield Mail(one.raw + f"X: {days}\r\n".encode(), now - timedelta(days=days))


async def test_a_route_starts_now_or_on_a_day(bed: Bed) -> None:
    bed.deliver("src1", dated(9, 1, 8, 0))
    bed.configure(Route("src1", "Now", {"start": '"now"'}))
    assert bed.once()["copied"] == 0
    bed.deliver("src1", islice(corpus(17, 1), 1))
    assert bed.once()["copied"] == 1
    day = (datetime.now(UTC) - timedelta(days=3)).date()
    bed.configure(Route("src1", "Day", {"start": day.isoformat()}))
    bed.once()
    received = sorted((datetime.now(UTC) - one.received).days for one in bed.copies("Day"))
    assert received[:2] == [0, 1]
    assert 8 not in received


async def test_a_label_and_a_filter_choose_what_is_copied(bed: Bed) -> None:
    mail = list(corpus(18, 6))
    with Plain(bed.source.port, "src1") as box:
        box.command('CREATE "Work/Label"')
        for number, one in enumerate(mail):
            box.append("Work/Label", one.raw, one.internaldate, "\\Flagged" if number % 2 else "")
    keys = {"start": '"all"', "mailbox": '"Work/Label"', "filter": '"FLAGGED"'}
    bed.configure(Route("src1", "Chosen", keys))
    assert bed.once()["copied"] == 3


async def test_a_changed_uidvalidity_copies_nothing_twice_and_misses_nothing(bed: Bed) -> None:
    recent = list(dated(*[0] * 6))
    recent.append(Mail(recent[0].raw, recent[0].internaldate))  # a twin: two messages all the same
    bed.deliver("src1", recent)
    bed.configure(ANN)
    assert bed.once()["copied"] == 7
    bed.source.renumber("src1")
    bed.deliver("src1", dated(0, 0))
    assert bed.once() | {"routes": 0} == {"copied": 2, "skipped": 7, "failed": 0, "routes": 0}
    assert same(bed)
    assert bed.once()["copied"] == 0


async def test_a_dry_run_lists_and_writes_nothing_anywhere(bed: Bed) -> None:
    bed.deliver("src1", corpus(19, 5))
    bed.deliver("src1", [Mail(b"Subject: big\r\n\r\n" + b"x" * 50_000 + b"\r\n", datetime.now(UTC))])
    bed.configure(ANN, max_message_size='"40KB"')
    before = {path: path.stat().st_mtime_ns for path in bed.directory.glob("*")}
    done = bed.cli("run-once", "--config", "config.toml", "--dry-run", "--json")
    answer = json.loads(done.stdout)
    assert done.returncode == 1
    (route,) = answer["routes"]
    assert answer["would_copy"] + answer["failed"] == 6
    assert {"uid": 6, "kind": "oversize"}.items() <= route["would_fail"][-1].items()
    assert {path: path.stat().st_mtime_ns for path in bed.directory.glob("*")} == before
    with Plain(bed.destination.port, "dst") as box:
        assert box.folders() == ["INBOX"]
    real = bed.cli("run-once", "--config", "config.toml", "--json")
    assert json.loads(real.stdout)["copied"] == answer["would_copy"]
    assert real.returncode == 1
    again = bed.cli("run-once", "--config", "config.toml", "--dry-run", "--json")
    assert json.loads(again.stdout)["would_copy"] == 0


async def test_killed_again_and_again_it_loses_and_doubles_nothing(bed: Bed) -> None:
    bed.deliver("src1", corpus(20, 300))
    bed.configure(ANN, daemon='settle_window = "2s"')
    for stage in (20, 90, 150, 220):
        with bed.daemon() as daemon:
            until(lambda stage=stage: bed.count("Gmail/src1") >= stage)  # type: ignore[misc]
            daemon.kill()
    with bed.daemon() as daemon:
        until(lambda: bed.count("Gmail/src1") >= 300)
        until(lambda: not _pending(bed))
        assert daemon.stop() == 0
    assert same(bed)


def _pending(bed: Bed) -> int:
    shown = bed.cli("state", "show", "--config", "config.toml", "--json")
    return int(json.loads(shown.stdout)["routes"][0]["pending"])
