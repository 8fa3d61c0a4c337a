"""The demo's mail is the same for the same seed, and its verdict misses nothing."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailsyncd.sim.corpus import corpus
from mailsyncd.sim.mailstore import StoredMessage
from mailsyncd.sim.server import Line
from mailsyncd.sim.verdict import Verdict, compare, foreign_commands

WHEN = datetime(2026, 1, 1, tzinfo=UTC)


def stored(*raws: bytes, at: float = 10.0) -> list[StoredMessage]:
    return [StoredMessage(n, raw, WHEN, stored_mono=at) for n, raw in enumerate(raws, 1)]


def test_the_same_seed_makes_the_same_mail() -> None:
    assert list(corpus(4, 30)) == list(corpus(4, 30))
    assert list(corpus(4, 30)) != list(corpus(5, 30))


def test_the_mail_is_as_odd_as_it_should_be_and_no_odder() -> None:
    mail = [one.raw for one in corpus(1, 60)]
    assert len(mail) == 60
    assert not any(b"\0" in raw or b"\n" in raw.replace(b"\r\n", b"") for raw in mail)
    assert max(len(line) for raw in mail for line in raw.split(b"\r\n")) <= 998
    assert any(b"\r\n.\r\n" in raw for raw in mail)
    assert any(not raw.endswith(b"\r\n") for raw in mail)
    assert any(b"message-id" not in raw.lower() for raw in mail)
    assert any(b"Content-Disposition: attachment" in raw for raw in mail)
    assert Counter(mail).most_common(1)[0][1] == 2
    assert {name for name in (b"koi8-r", b"utf-8", b"iso-2022-jp") if any(name in raw for raw in mail)} == {
        b"koi8-r",
        b"utf-8",
        b"iso-2022-jp",
    }


def test_all_well_is_all_well() -> None:
    verdict = compare(stored(b"a", b"b", b"a"), stored(b"b", b"a", b"a", at=10.5), since=0)
    assert verdict == Verdict(3, 3, 0, 0, 0, (0.5, 0.5, 0.5))
    assert verdict.is_clean


def test_delays_are_of_what_came_while_watching() -> None:
    sent = [*stored(b"a", at=1.0), *stored(b"b", at=5.0)]
    assert compare(sent, stored(b"a", b"b", at=6.0), since=2.0).delays == (1.0,)


@pytest.mark.parametrize(
    ("copies", "lost", "duplicated", "altered"),
    [
        (stored(b"a"), 1, 0, 0),
        (stored(), 2, 0, 0),
        (stored(b"a", b"b", b"b"), 0, 1, 0),
        (stored(b"a", b"a"), 1, 1, 0),
        (stored(b"a", b"B"), 0, 0, 1),
        (stored(b"a", b"b", b"stranger"), 0, 1, 0),
        ([*stored(b"a"), replace(stored(b"b")[0], internaldate=WHEN + timedelta(seconds=1))], 0, 0, 1),
    ],
)
def test_what_went_wrong_is_named(
    copies: list[StoredMessage], lost: int, duplicated: int, altered: int
) -> None:
    verdict = compare(stored(b"a", b"b"), copies, since=0)
    assert (verdict.lost, verdict.duplicated, verdict.altered) == (lost, duplicated, altered)
    assert not verdict.is_clean


@given(st.lists(st.sampled_from([b"a", b"b", b"c"])), st.lists(st.sampled_from([b"a", b"b", b"c", b"d"])))
def test_every_message_is_accounted_for_once(sent: list[bytes], copies: list[bytes]) -> None:
    verdict = compare(stored(*sent), stored(*copies), since=0)
    assert verdict.copied + verdict.altered + verdict.lost == len(sent)
    assert verdict.copied + verdict.altered + verdict.duplicated == len(copies)
    assert verdict.is_clean == (Counter(sent) == Counter(copies))


def test_a_reader_is_not_suspected() -> None:
    lines = [
        *("a1 CAPABILITY", "a2 AUTHENTICATE XOAUTH2 ***", "", "a3 EXAMINE INBOX", "a4 IDLE", "DONE"),
        *("a5 UID FETCH 1:* (UID RFC822.SIZE X-GM-MSGID)", "a6 UID FETCH 1 (UID BODY.PEEK[])"),
        *("a7 UID SEARCH UID 1:*", "a8 NOOP", 'a9 ID ("name" "mailsyncd")', "b1 LOGOUT"),
    ]
    assert foreign_commands(Line(1, "C", line) for line in lines) == []


@pytest.mark.parametrize(
    "line",
    [
        "a SELECT INBOX",
        "a UID FETCH 1 (BODY[])",
        "a UID FETCH 1 RFC822",
        "a UID STORE 1 +FLAGS (\\Seen)",
        "a UID MOVE 1 x",
        "a APPEND INBOX {5}",
        "a EXPUNGE",
        "a FETCH 1 (BODY.PEEK[])",
        "a DELETE x",
    ],
)
def test_whoever_could_change_the_source_is_found_out(line: str) -> None:
    assert foreign_commands([Line(1, "C", line), Line(1, "S", "a OK")]) == [line]
