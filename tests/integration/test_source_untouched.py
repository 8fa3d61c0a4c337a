"""The source is only ever read (I4): judged by all that was said to it, and by what it holds after."""

from __future__ import annotations

import hashlib
import os
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest
from bed import Bed, Route, until
from corpus import varied
from mailboxes import SAME, Comparison, Plain
from wire import Wire, wire_to

from mailsyncd.sim.corpus import Mail

pytestmark = pytest.mark.real
ANN = Route("src1", "Gmail/src1")
ITEM = r"(?:UID|RFC822\.SIZE|INTERNALDATE|X-GM-MSGID|X-GM-THRID|BODY\.PEEK\[\](?:<0\.\d+>)?)"
SPOKEN = re.compile(
    r"(?:CAPABILITY|NOOP|LOGOUT|IDLE|ID \(.*\)|AUTHENTICATE XOAUTH2 \S+|EXAMINE \"[^\"]+\"|LIST \"\" \"\""
    r"|STATUS .+|UID SEARCH [A-Z0-9 :*,-]+|UID FETCH [0-9:*,]+ \({0}(?: {0})*\))".replace("{0}", ITEM)
)


@dataclass(frozen=True, slots=True)
class Kept:
    """A message file of a Maildir: where it lies, what it is called, and what is in it. Its name holds
    its flags, and `new` or `cur` whether a session has ever claimed it as recent."""

    folder: str
    name: str
    sha256: str
    modified_ns: int


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def maildir(bed: Bed, user: str) -> set[Kept]:
    home = bed.source.directory / "mail" / user / "Maildir"
    return {
        Kept(path.parent.name, path.name, _sha256(path), path.stat().st_mtime_ns)
        for folder in ("new", "cur")
        for path in (home / folder).iterdir()
    }


def drop(bed: Bed, user: str, mail: list[Mail]) -> None:
    """Deliver as a mail transfer agent does: a file in `new`, which no session has seen."""
    new = bed.source.directory / "mail" / user / "Maildir" / "new"
    owner = new.stat()
    for number, one in enumerate(mail):
        path = new.parent / "tmp" / f"{int(one.internaldate.timestamp())}.M{number}.host"
        path.write_bytes(one.raw)
        path.chmod(0o600)
        os.chown(path, owner.st_uid, owner.st_gid)
        path.rename(new / path.name)


def spoken(wire: Wire) -> list[str]:
    """Every line the program sent, without its tag; DONE has none."""
    lines = b"".join(bytes(said) for said in wire.said).decode("latin-1").split("\r\n")
    return [line if line == "DONE" else line.partition(" ")[2] for line in lines if line]


def over(bed: Bed, wire: Wire, path: Path) -> None:
    """Lead the source's line over the wire, in plaintext: the wire is to understand what is said."""
    text = path.read_text()
    head, _, routes = text.partition("[[routes]]")
    routes = routes.replace(f"port = {bed.source.tls_port}", f"port = {wire.port}\ntls = false")
    path.write_text(f"{head}[[routes]]{routes}")


def test_a_whole_life_changes_nothing_in_the_source_and_says_nothing_that_could(bed: Bed) -> None:
    mail = list(varied(7, 75))
    bed.deliver("src1", mail[:30])
    bed.deliver("src1", mail[30:60], "\\Seen \\Flagged")
    too_large = Mail(b"Subject: big\r\n\r\n" + b"x" * 6_000_000 + b"\r\n", datetime.now(UTC))
    bed.deliver("src1", [too_large])
    before, seen = maildir(bed, "src1"), bed.sent("src1")
    with wire_to(bed.source.port) as wire:
        over(bed, wire, bed.configure(ANN, max_message_size='"5.5MB"'))
        with bed.daemon() as daemon:
            daemon.await_event("message.failed")
            until(lambda: bed.count("Gmail/src1") == 60)
            bed.deliver("src1", mail[60:])
            until(lambda: bed.count("Gmail/src1") == 75)
            assert daemon.stop() == 0
        dry = bed.cli("run-once", "--config", "config.toml", "--dry-run", "--json")
        assert dry.returncode == 0, dry.stdout + dry.stderr
        lines = spoken(wire)
    assert before <= maildir(bed, "src1")
    assert len(maildir(bed, "src1")) == len(before) + 15
    after = bed.sent("src1")
    assert after[: len(seen)] == seen
    wanted = [one for one in after if one.body != too_large.raw]
    assert Comparison.of(wanted, bed.copies("Gmail/src1")) == SAME
    assert {'EXAMINE "INBOX"', "IDLE", "DONE", "LOGOUT"} <= set(lines)
    assert [line for line in lines if line != "DONE" and not SPOKEN.fullmatch(line)] == []


def test_what_no_session_has_seen_is_still_recent_for_the_next_one(bed: Bed) -> None:
    bed.deliver("src1", varied(8, 1))
    with Plain(bed.source.port, "src1") as box:
        box.command("SELECT INBOX")
        box.command("UNSELECT")
    bed.configure(ANN)
    with bed.daemon() as daemon:
        daemon.await_event("message.copied", 1)
        drop(bed, "src1", list(varied(9, 4)))
        daemon.await_event("message.copied", 5)
        assert daemon.stop() == 0
    with Plain(bed.source.port, "src1") as box:
        told = b"".join(text for text, _ in box.command("SELECT INBOX"))
    assert b"* 4 RECENT" in told
