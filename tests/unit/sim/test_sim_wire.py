"""Commands are understood, or refused as BAD; nothing else ever comes of them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailsyncd.sim.wire import (
    Announced,
    BadSyntax,
    Cursor,
    announced,
    date_time,
    day,
    decode_name,
    encode_name,
    internaldate,
    number_set,
    quote,
    without_literals,
)


@given(st.text())
def test_mailbox_names_survive_modified_utf7(name: str) -> None:
    encodable = name.encode("utf-16-be", "replace").decode("utf-16-be")
    assert decode_name(encode_name(encodable).encode("ascii")) == encodable


@pytest.mark.parametrize(
    ("name", "encoded"),
    [("Entwürfe", "Entw&APw-rfe"), ("a&b", "a&-b"), ("台北", "&U,BTFw-"), ("😀", "&2D3eAA-")],
)
def test_names_are_encoded_as_the_rfc_says(name: str, encoded: str) -> None:
    assert encode_name(name) == encoded


@pytest.mark.parametrize("name", [b"\xc3\xa9", b"&!!-"])
def test_a_name_in_another_encoding_is_refused(name: bytes) -> None:
    with pytest.raises(BadSyntax):
        decode_name(name)


@given(st.text(st.characters(codec="latin-1", exclude_characters="\r\n\0")))
def test_what_is_quoted_reads_back(text: str) -> None:
    assert Cursor(quote(text).encode("latin-1")).astring().decode("latin-1") == text


@given(st.binary(max_size=60))
def test_reading_any_bytes_ends_in_a_value_or_in_bad(data: bytes) -> None:
    for read in (Cursor.atom, Cursor.astring, Cursor.mailbox, Cursor.words):
        try:
            found: object = read(Cursor(data))
        except BadSyntax:
            continue
        assert isinstance(found, str | bytes | list)


def test_a_literal_is_read_whatever_it_holds() -> None:
    cursor = Cursor(b'INBOX {6}\r\n" )\r\n{ done')
    assert cursor.astring() == b"INBOX"
    cursor.space()
    assert cursor.astring() == b'" )\r\n{'
    cursor.space()
    assert cursor.atom() == "done"
    cursor.end()


@pytest.mark.parametrize(
    ("line", "found"),
    [
        (b"a APPEND x {12}", Announced(12, True)),
        (b"a APPEND x {12+}", Announced(12, False)),
        (b"a APPEND x {12-}", Announced(12, False)),
        (b"a APPEND x ~{12}", Announced(12, True)),
        (b"a NOOP {x}", None),
        (b"a LOGIN {3} y", None),
    ],
)
def test_literals_are_announced_at_the_end_of_a_line(line: bytes, found: Announced | None) -> None:
    assert announced(line) == found


def test_the_transcript_keeps_announcements_and_drops_bodies() -> None:
    line = b"* 1 FETCH (BODY[] {7}\r\nsecret\n UID 1 X {2}\r\n\r\n)\r\n* OK\r\n"
    assert without_literals(line) == "* 1 FETCH (BODY[] {7} UID 1 X {2})\r\n* OK\r\n"


@pytest.mark.parametrize(
    ("text", "top", "members"),
    [
        ("1:3,5", 9, {1, 2, 3, 5}),
        ("7:*", 9, {7, 8, 9}),
        ("12:*", 9, {9, 10, 11, 12}),
        ("*", 9, {9}),
        ("3:1", 9, {1, 2, 3}),
    ],
)
def test_number_sets_mean_what_the_rfc_says(text: str, top: int, members: set[int]) -> None:
    numbers = number_set(text)
    assert {n for n in range(1, 20) if numbers.has(n, top)} == members


@pytest.mark.parametrize("text", ["", "0", "1:", "a", "1,,2", "-1"])
def test_bad_number_sets_are_refused(text: str) -> None:
    with pytest.raises(BadSyntax):
        number_set(text)


@given(
    st.datetimes(datetime(1970, 1, 2), datetime(2100, 1, 1)),  # noqa: DTZ001 - the zone comes below
    st.integers(-14 * 60, 14 * 60),
)
def test_dates_survive_in_any_zone(when: datetime, minutes: int) -> None:
    instant = when.replace(microsecond=0, tzinfo=UTC)
    assert date_time(internaldate(instant, timezone(timedelta(minutes=minutes)))) == instant


def test_a_single_digit_day_wants_a_space_in_an_append() -> None:
    assert date_time(" 1-Feb-2020 00:00:00 +0000") == datetime(2020, 2, 1, tzinfo=UTC)
    with pytest.raises(BadSyntax):
        date_time("1-Feb-2020 00:00:00 +0000")


@pytest.mark.parametrize("text", ["31-Feb-2020 00:00:00 +0000", "01-Foo-2020 00:00:00 +0000", "now"])
def test_impossible_dates_are_refused(text: str) -> None:
    with pytest.raises(BadSyntax):
        date_time(text)
    with pytest.raises(BadSyntax):
        day(text.partition(" ")[0])
