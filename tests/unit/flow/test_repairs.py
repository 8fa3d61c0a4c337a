"""The repairs: what they mend, and that they leave everything else alone."""

from __future__ import annotations

import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailsyncd.errors import FailureKind
from mailsyncd.flow.repairs import (
    Rules,
    advice,
    fix_bare_lf,
    has_bare_ends,
    header_length,
    longest_line,
    repair,
    wrap_long_lines,
)
from mailsyncd.policy import fingerprint, header_fields

ALL = Rules(True, True, True)
LIMIT = 40

# Bits of mail that meet the rules at their edges, in any order.
BITS = st.sampled_from(
    [
        *(b"\r\n", b"\n", b"\r", b" ", b"\t", b"x" * 39, b"x" * 41),
        *(b"Subject: ", b"Message-ID: <1@a>", b"a b"),
        "é€😀".encode() * 9,
        b"\x80" * 50,
        b"word " * 30,
        b"Disposition-Notification-To: <a@b>",
        b"\0",
        b"\r\n\r\n",
    ]
)
MESSAGES = st.lists(BITS, max_size=30).map(b"".join)
WELL_FORMED = st.lists(
    st.tuples(
        st.sampled_from([b"Subject", b"From", b"Date", b"Message-ID", b"Return-Receipt-To", b"X-Other"]),
        st.lists(st.sampled_from([b"word", b"longer-word", b"<1@example.net>"]), min_size=1, max_size=40),
    ),
    min_size=1,
    max_size=8,
).map(lambda fields: b"".join(b"%s: %s\r\n" % (name, b" ".join(words)) for name, words in fields))


def lines(message: bytes) -> list[bytes]:
    return re.split(rb"\r?\n", message)


@given(MESSAGES, st.integers(20, 200))
def test_without_rules_a_message_is_the_very_same_object(message: bytes, limit: int) -> None:
    sent, applied = repair(message, Rules(), limit)
    assert sent is message
    assert applied == ()


@given(MESSAGES)
def test_a_message_that_needs_no_repair_is_the_very_same_object(message: bytes) -> None:
    once, _ = repair(message, ALL, LIMIT)
    again, applied = repair(once, ALL, LIMIT)
    assert again is once
    assert applied == ()


@given(MESSAGES)
def test_what_is_named_is_what_was_done(message: bytes) -> None:
    sent, applied = repair(message, ALL, LIMIT)
    assert bool(applied) == (sent != message)
    assert ("fix_bare_lf" in applied) == has_bare_ends(message)


@given(MESSAGES)
def test_afterwards_no_line_end_is_bare(message: bytes) -> None:
    fixed = fix_bare_lf(message)
    assert not re.search(rb"(?<!\r)\n|\r(?!\n)", fixed)
    assert re.sub(rb"[\r\n ]", b"", fixed) == re.sub(rb"[\r\n ]", b"", message)


@given(MESSAGES)
def test_afterwards_no_line_is_long_but_a_header_field_without_white_space(message: bytes) -> None:
    sent, _ = repair(message, ALL, LIMIT)
    head = header_length(sent)
    assert all(len(line) <= LIMIT for line in sent[head:].split(b"\r\n"))
    for line in sent[:head].split(b"\r\n"):
        if len(line) > LIMIT:
            assert re.search(rb"[^ \t][^ \t]{%d}|[ \t]{%d}" % (LIMIT // 2, LIMIT // 2), line)


@given(MESSAGES, st.integers(4, 60))
def test_wrapping_adds_line_ends_and_nothing_else(message: bytes, limit: int) -> None:
    wrapped = wrap_long_lines(message, limit)
    assert wrapped.replace(b"\r\n", b"") == message.replace(b"\r\n", b"")
    assert wrapped.count(b"\n") - message.count(b"\n") == (len(wrapped) - len(message)) / 2


@given(WELL_FORMED, MESSAGES)
def test_a_repaired_message_is_recognised_by_the_same_marks(header: bytes, body: bytes) -> None:
    message = header + b"\r\n" + body
    assert fingerprint(repair(message, ALL, LIMIT)[0]) == fingerprint(message)


@given(MESSAGES, st.integers(1, 100))
def test_the_longest_line_is_found_without_splitting(message: bytes, floor: int) -> None:
    assert longest_line(message, floor) == max([floor, *map(len, lines(message))])


def test_a_field_is_folded_before_white_space_and_says_the_same() -> None:
    message = b"Subject: " + b"word " * 20 + b"end\r\n\r\nbody\r\n"
    wrapped = wrap_long_lines(message, LIMIT)
    assert wrapped.startswith(b"Subject: word word word word word word\r\n word word")
    assert header_fields(wrapped, [b"subject"]) == header_fields(message, [b"subject"])
    assert wrapped.endswith(b" end\r\n\r\nbody\r\n")


def test_a_field_without_white_space_is_left_alone() -> None:
    message = b"X-Blob:" + b"x" * 100 + b"\r\nSubject: " + b" " * 100 + b"\r\n\r\nbody\r\n"
    assert wrap_long_lines(message, LIMIT) is message


def test_a_body_line_is_cut_behind_white_space_or_between_characters() -> None:
    text = b"word " * 20
    assert wrap_long_lines(b"\r\n" + text, LIMIT) == b"\r\n" + (b"word " * 8 + b"\r\n") * 2 + b"word " * 4
    euros = ("€" * 30).encode()
    assert (
        wrap_long_lines(b"\r\n" + euros, LIMIT).decode() == "\r\n" + "€" * 13 + "\r\n" + "€" * 13 + "\r\n€€€€"
    )


@pytest.mark.parametrize(
    ("broken", "mended"),
    [
        (b"A: 1\nB: 2\n\nx\ny", b"A: 1\r\nB: 2\r\n\r\nx\r\ny"),
        (b"A: 1\r\n\r\nx\ry\r\rz", b"A: 1\r\n\r\nx\r\ny\r\n\r\nz"),
        (b"A: 1\r\r\n\r\nx\r\r\ny", b"A: 1\r\n\r\nx\r\ny"),
        (b"Subject: a\rb\r\r\n\r\nx", b"Subject: a b\r\n\r\nx"),
        (b"A: 1\r\n\rB: 2\r\n\r\nx", b"A: 1\r\nB: 2\r\n\r\nx"),
    ],
)
def test_bare_line_ends_are_mended_without_ending_a_header_early(broken: bytes, mended: bytes) -> None:
    assert fix_bare_lf(broken) == mended


def test_read_receipts_are_disarmed_in_the_header_only() -> None:
    message = (
        b"From: a\r\nDISPOSITION-notification-to: \r\n <a@example.net>\r\nReturn-Receipt-To : a\r\n"
        b"X-Confirm-Reading-To: a\r\nX-Note: Return-Receipt-To: a\r\n Return-Receipt-To: folded\r\n"
        b"\r\nReturn-Receipt-To: quoted\r\n"
    )
    sent, applied = repair(message, Rules(disarm_read_receipts=True), None)
    assert applied == ("disarm_read_receipts",)
    assert sent == (
        b"From: a\r\nX-Disarmed-DISPOSITION-notification-to: \r\n <a@example.net>\r\n"
        b"X-Disarmed-Return-Receipt-To : a\r\nX-Disarmed-X-Confirm-Reading-To: a\r\n"
        b"X-Note: Return-Receipt-To: a\r\n Return-Receipt-To: folded\r\n\r\nReturn-Receipt-To: quoted\r\n"
    )


def test_advice_names_the_rule_that_might_help_and_is_silent_where_none_would() -> None:
    assert "fix_bare_lf" in advice(b"A: 1\r\n\r\nx\ny\r\n", FailureKind.REJECTED)
    assert "wrap_long_lines" in advice(b"A: 1\r\n\r\n" + b"x" * 12_000, FailureKind.REJECTED)
    assert "12,000 bytes" in advice(b"A: 1\r\n\r\n" + b"x" * 12_000, FailureKind.LINE_TOO_LONG)
    receipt = b"Disposition-Notification-To: a@example.net\r\n\r\nx\r\n"
    assert "disarm_read_receipts" in advice(receipt, FailureKind.REJECTED)
    assert advice(b"A: 1\r\n\r\n" + receipt, FailureKind.REJECTED) == ""
    assert advice(b"A: 1\r\n\r\nx\r\n", FailureKind.REJECTED) == ""


@pytest.mark.parametrize("unit", [b"x" * 76 + b"\r\n", b"x" * 9_900 + b"\r\n", b"\r\n", b"\r", b"x ", b" "])
def test_a_large_message_costs_little_whatever_it_is_made_of(unit: bytes) -> None:
    message = b"A: 1\r\n\r\n" + unit * (20_000_000 // len(unit))
    began = time.process_time()
    longest_line(message, 9_900)
    assert time.process_time() - began < 0.5
    repair(message[:2_000_000], ALL, 9_900)
    repair(message[8:2_000_000], ALL, 9_900)
    assert time.process_time() - began < 5
