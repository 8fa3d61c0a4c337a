"""Bytes to responses: the same whatever their cut, and hostile input ends early."""

from __future__ import annotations

import time
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailsyncd.imap.responses import (
    HostileInput,
    Response,
    ResponseReader,
    pairs,
    printable,
    status_of,
    values,
)

STREAM = (
    b"* OK Gimap ready for requests {5}\r\n"
    b"* CAPABILITY IMAP4rev1 IDLE X-GM-EXT-1\r\n"
    b"* 3 EXISTS\r\n"
    b'* 1 FETCH (UID 7 RFC822.SIZE 11 INTERNALDATE "17-Jul-2019 09:40:08 +0000" BODY[] {11}\r\n'
    b"a: b\r\n* 1)\r X-GM-MSGID 1592225494819146101)\r\n"
    b"* 2 FETCH (BODY[HEADER.FIELDS (DATE FROM)] {0}\r\n UID 8)\r\n"
    b"* 3 FETCH (BODY[] ~{3}\r\n\x00\xff\n UID 9)\r\n"
    b'* LIST (\\HasNoChildren) "/" {6}\r\na "b\\c\r\n'
    b"+ idling\r\n"
    b"A1 OK [APPENDUID 3 9] done {2}\r\n"
)


def read(chunks: list[bytes], **limits: int) -> list[Response]:
    reader = ResponseReader(**{"max_literal": 1000, **limits})
    return [response for chunk in chunks for response in reader.feed(chunk)]


WHOLE = read([STREAM])


def test_literals_are_told_from_text_and_free_text_may_end_in_braces() -> None:
    assert [response.text[:12] for response in WHOLE] == [
        b"* OK Gimap r",
        b"* CAPABILITY",
        b"* 3 EXISTS",
        b"* 1 FETCH (U",
        b"* 2 FETCH (B",
        b"* 3 FETCH (B",
        b"* LIST (\\Has",
        b"+ idling",
        b"A1 OK [APPEN",
    ]
    assert WHOLE[3].parts[1] == b"a: b\r\n* 1)\r"
    assert WHOLE[5].parts[1] == b"\x00\xff\n"


@given(st.lists(st.integers(0, len(STREAM)), max_size=30))
def test_any_split_parses_the_same(cuts: list[int]) -> None:
    edges = [0, *sorted(cuts), len(STREAM)]
    assert read([STREAM[a:b] for a, b in pairwise(edges)]) == WHOLE


def test_byte_by_byte_parses_the_same() -> None:
    assert read([STREAM[n : n + 1] for n in range(len(STREAM))]) == WHOLE


@given(st.binary(max_size=300), st.integers(1, 7))
def test_no_input_does_worse_than_to_be_called_hostile(noise: bytes, step: int) -> None:
    try:
        for response in read([noise[n : n + step] for n in range(0, len(noise), step)]):
            assert response.size <= len(noise)
            assert isinstance(values(response), list)
    except HostileInput:
        pass


def test_a_hundred_thousand_lines_in_one_segment_do_not_recurse() -> None:
    assert len(read([b"* 1 FETCH (FLAGS ())\r\n" * 100_000])) == 100_000


def test_a_long_line_in_small_pieces_takes_linear_time() -> None:
    line = b"* SEARCH " + b" ".join(b"%d" % n for n in range(300_000)) + b"\r\n"
    began = time.process_time()
    (response,) = read([line[n : n + 1460] for n in range(0, len(line), 1460)])
    assert time.process_time() - began < 1.0
    assert response.text.endswith(b"299999")


def test_an_endless_line_is_hostile() -> None:
    with pytest.raises(HostileInput, match="a line of more than 10,000 bytes"):
        read([b"x" * 1000] * 11, max_line=10_000)


def test_an_absurd_literal_is_hostile_before_a_byte_of_it_came() -> None:
    with pytest.raises(HostileInput, match=r"4,294,967,296 bytes; the limit is 1,000"):
        read([b"* 1 FETCH (BODY[] {4294967296}\r\n"])


def test_parentheses_have_a_deepest() -> None:
    (response,) = read([b"* 1 FETCH " + b"(" * 10_000 + b"\r\n"])
    with pytest.raises(HostileInput, match="deep"):
        values(response)


@pytest.mark.parametrize(
    "line",
    [
        b"(RFC822.SIZE 5 UID 8 BODY[] NIL)",
        b'(UID 8 BODY[] "" RFC822.SIZE 5)',
        b"(UID 8 MODSEQ (79128) FLAGS (\\Seen) RFC822.SIZE 5)",
        b'(X-GM-LABELS ("a (b" "\\\\Important") UID 8 RFC822.SIZE 5)',
        b"(uid 8 rfc822.size 5 BODY[]<0> NIL)",
        b'(BODY[HEADER.FIELDS (DATE "FROM")] NIL UID 8 RFC822.SIZE 5)',
        b"(UID 8 RFC822.SIZE 5",
    ],
)
def test_fetch_items_are_found_in_whatever_order_and_company(line: bytes) -> None:
    (response,) = read([b"* 12 FETCH " + line + b"\r\n"])
    items = values(response)[3]
    assert isinstance(items, list)
    assert (pairs(items)[b"UID"], pairs(items)[b"RFC822.SIZE"]) == (b"8", b"5")


def test_stars_and_quotes_inside_strings_stay() -> None:
    (response,) = read([b'* LIST () "/" "5 * 3 \\" 2 = a"\r\n'])
    assert values(response)[-1] == b'5 * 3 " 2 = a'


def test_a_response_code_is_told_from_exchanges_brackets() -> None:
    assert status_of(b"OK [UIDVALIDITY 14] UIDVALIDITY value").argument == "14"
    greeting = status_of(b"OK The Microsoft Exchange IMAP4 service is ready. [QQBCAEMA]")
    assert (greeting.kind, greeting.code) == ("OK", "")


def test_what_a_server_says_is_made_fit_for_a_log() -> None:
    assert printable(b"a\x1b[31m\r\nb\xff" + b"x" * 500).startswith("a?[31m??b")
    assert len(printable(b"x" * 500)) == 200


@pytest.mark.parametrize(
    "line",
    [
        b'"\\' * 500_000,
        b'\\"' * 500_000,
        b"a[" * 500_000,
        b"[" * 1_000_000,
        b"a[]<1" * 200_000,
        b'"' * 1_000_001,
    ],
    ids=["quote", "escape", "bracket", "brackets", "partial", "quotes"],
)
def test_strings_and_brackets_that_never_close_take_linear_time(line: bytes) -> None:
    (response,) = read([b"* 1 FETCH (" + line + b"\r\n"])
    began = time.process_time()
    values(response)
    assert time.process_time() - began < 2.0


def test_a_response_that_never_ends_is_hostile() -> None:
    with pytest.raises(HostileInput, match="never ends"):
        read([b"* 1 FETCH (" + b"X {0}\r\n" * 3_000])
    with pytest.raises(HostileInput, match="never ends"):
        read([b"* 1 FETCH ({900}\r\n", *([b"x" * 900 + b" {900}\r\n"] * 10)], max_line=1_000)


def test_more_text_than_any_answer_of_use_is_not_taken_to_pieces() -> None:
    (response,) = read([b"* 1 FETCH " + b"x " * 1_100_000 + b"\r\n"])
    with pytest.raises(HostileInput, match="bytes of text"):
        values(response)


def test_what_is_no_imap_holds_no_literal() -> None:
    assert [one.text for one in read([b"Server Unavailable {5}\r\n* 1 EXISTS\r\n"])] == [
        b"Server Unavailable {5}",
        b"* 1 EXISTS",
    ]
