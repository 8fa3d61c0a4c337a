"""UID sets, FETCH gathered by UID, SEARCH keys and their answers."""

from __future__ import annotations

from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailsyncd.errors import RouteBlocked
from mailsyncd.imap.commands import Literal
from mailsyncd.imap.fetches import LONGEST_SET, Gathered, digits, number, uid_sets
from mailsyncd.imap.responses import Response
from mailsyncd.imap.searches import found_uids, search_date, search_keys


def expanded(sets: list[str]) -> list[int]:
    uids: list[int] = []
    for one in ",".join(sets).split(","):
        first, _, last = one.partition(":")
        uids += range(int(first), int(last or first) + 1)
    return uids


@given(st.sets(st.integers(1, 2**32 - 1), min_size=1), st.integers(1, 50))
def test_uid_sets_hold_every_uid_once_and_fit_a_line(uids: set[int], most: int) -> None:
    sets = list(uid_sets(sorted(uids), most=most))
    assert expanded(sets) == sorted(uids)
    assert all(len(one) < LONGEST_SET + 25 for one in sets)


def test_neighbours_become_ranges() -> None:
    assert list(uid_sets([1, 2, 3, 7, 9, 10], most=100)) == ["1:3,7,9:10"]
    assert list(uid_sets([], most=1)) == []


def test_a_message_told_in_pieces_is_put_together_and_what_nobody_asked_for_is_dropped() -> None:
    gathered = Gathered({b"RFC822.SIZE", b"INTERNALDATE"})
    for text in (
        b"* 1 FETCH (UID 7 RFC822.SIZE 5)",
        b'* 1 FETCH (INTERNALDATE "x" UID 7)',
        b"* 1 FETCH (UID 8 FLAGS ())",
    ):
        gathered.take(Response((text,)))
    gathered.take(Response((b"* 2 FETCH (UID 9 BODY[] ", b"x" * 1000, b")")))
    assert gathered.by_uid == {7: {b"RFC822.SIZE": b"5", b"INTERNALDATE": b"x"}}


@pytest.mark.parametrize("value", [None, b"", b"x", b"-1", b"1" * 21, "²".encode(), [b"1"]])
def test_what_is_no_number_is_zero(value: object) -> None:
    assert number(value) == 0  # type: ignore[arg-type]
    assert digits(value) is None  # type: ignore[arg-type]


def test_search_answers_may_come_in_lines_and_with_a_modseq() -> None:
    lines = (b"* SEARCH 4 9", b"* SEARCH", b"* SEARCH 11 (MODSEQ 917162500)")
    assert found_uids([Response((line,)) for line in lines]) == [4, 9, 11]


def test_days_are_written_as_imap_has_them() -> None:
    assert search_date(date(2026, 2, 1)) == "1-Feb-2026"


def test_a_gmail_query_is_one_string() -> None:
    assert search_keys('from:"a b"', gmail=True) == ["X-GM-RAW", '"from:\\"a b\\""']
    assert search_keys("from:é", gmail=True) == ["X-GM-RAW", Literal("from:é".encode())]


def test_search_keys_go_as_they_are_but_for_what_needs_a_literal() -> None:
    assert search_keys('UNSEEN FROM "a b"', gmail=False) == ['UNSEEN FROM "a b"']
    assert search_keys('FROM "é \\"x" UNSEEN', gmail=False) == ["FROM", Literal('é "x'.encode()), "UNSEEN"]


@pytest.mark.parametrize("gmail", [True, False])
def test_a_filter_with_a_line_end_is_refused(*, gmail: bool) -> None:
    with pytest.raises(RouteBlocked, match="control characters"):
        search_keys("ALL\r\nX1 DELETE INBOX", gmail=gmail)
