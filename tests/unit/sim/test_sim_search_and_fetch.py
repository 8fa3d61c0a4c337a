"""SEARCH keys and FETCH items, without a connection."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone, tzinfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailsyncd.sim import GMAIL, OUTLOOK
from mailsyncd.sim.corpus import corpus
from mailsyncd.sim.fetch import parse_items, render, section
from mailsyncd.sim.mailstore import StoredMessage
from mailsyncd.sim.search import SearchKeys
from mailsyncd.sim.wire import BadSyntax, Cursor

RAW = b"Subject: One\r\n two\r\nFrom: Bob <bob@example.org>\r\nX: 1\r\nsubject: again\r\n\r\nbody\r\n\r\nmore"
MESSAGE = StoredMessage(
    5,
    RAW,
    datetime(2021, 3, 10, 23, 30, tzinfo=UTC),
    frozenset({"\\Seen"}),
    gm_msgid=123,
    labels=("\\Important", "Été"),
    category="social",
)


def matches(keys: bytes, *, zone: tzinfo = UTC, gmail: bool = True) -> bool:
    search = SearchKeys(Cursor(keys), top_uid=9, count=3, zone=zone, gmail=gmail)
    return search.compile()(2, MESSAGE)


@pytest.mark.parametrize(
    "keys",
    [
        b"ALL",
        b"UID 5",
        b"UID 1:*",
        b"1:2",
        b"SEEN UNFLAGGED",
        b"NOT UNSEEN",
        b"OR UNSEEN UID 5",
        b"(SEEN UID 5) NOT (UID 6)",
        b"ON 10-Mar-2021",
        b"SINCE 10-Mar-2021 BEFORE 11-Mar-2021",
        b'SUBJECT "one two"',
        b"FROM bob@",
        b'HEADER X ""',
        b"BODY more",
        b"LARGER 10 SMALLER 1000",
        b"KEYWORD \\Seen",
        b"X-GM-MSGID 123",
        b"X-GM-RAW category:social",
        b'X-GM-RAW "from:bob -has:attachment is:read after:2021/3/10 before:2021/3/11"',
        b"CHARSET UTF-8 TEXT body",
    ],
)
def test_these_keys_match(keys: bytes) -> None:
    assert matches(keys)


@pytest.mark.parametrize(
    "keys",
    [b"UID 6:8", b"UNSEEN", b"NOT ALL", b"HEADER Y x", b"SUBJECT two-one", b"X-GM-RAW -category:social"],
)
def test_these_keys_do_not(keys: bytes) -> None:
    assert not matches(keys)


def test_days_are_those_of_the_zone_given() -> None:
    east = timezone(timedelta(hours=1))
    assert matches(b"ON 11-Mar-2021", zone=east)
    assert not matches(b"ON 10-Mar-2021", zone=east)


@pytest.mark.parametrize(
    "keys", [b"", b"WHAT", b"UID", b"SINCE soon", b"(ALL", b"OR ALL", b"LARGER x", b"NOT " * 50 + b"ALL"]
)
def test_bad_keys_are_bad(keys: bytes) -> None:
    with pytest.raises(BadSyntax):
        matches(keys)


@pytest.mark.parametrize("keys", [b"X-GM-MSGID 123", b"X-GM-RAW x", b"X-GM-RAW after:soon"])
def test_gmail_keys_are_for_gmail_and_for_sense(keys: bytes) -> None:
    with pytest.raises(BadSyntax):
        matches(keys, gmail=keys.endswith(b"soon"))


@given(st.binary(max_size=60))
def test_any_keys_compile_or_are_bad(keys: bytes) -> None:
    try:
        assert matches(keys) in (True, False)
    except BadSyntax:
        return


def fetched(items: bytes, *, gmail: bool = True) -> list[bytes]:
    personality = GMAIL if gmail else OUTLOOK
    return [render(item, MESSAGE, personality) for item in parse_items(Cursor(items), gmail=gmail)]


def test_every_item_is_named_as_asked() -> None:
    assert fetched(b"(UID FLAGS INTERNALDATE RFC822.SIZE X-GM-MSGID X-GM-LABELS)") == [
        b"UID 5",
        b"FLAGS (\\Seen)",
        b'INTERNALDATE "10-Mar-2021 23:30:00 +0000"',
        b"RFC822.SIZE %d" % len(RAW),
        b"X-GM-MSGID 123",
        b'X-GM-LABELS ("\\\\Important" "&AMk-t&AOk-")',
    ]


@pytest.mark.parametrize(
    ("item", "label", "value"),
    [
        (b"BODY.PEEK[]", b"BODY[]", RAW),
        (b"body.peek[]<2.5>", b"BODY[]<2>", RAW[2:7]),
        (b"BODY.PEEK[]<900.5>", b"BODY[]<900>", b""),
        (b"BODY[TEXT]", b"BODY[TEXT]", b"body\r\n\r\nmore"),
        (b"RFC822.HEADER", b"RFC822.HEADER", RAW[: RAW.index(b"body")]),
        (
            b"BODY.PEEK[HEADER.FIELDS (SUBJECT Nope)]",
            b"BODY[HEADER.FIELDS (SUBJECT Nope)]",
            b"Subject: One\r\n two\r\nsubject: again\r\n\r\n",
        ),
        (
            b"BODY.PEEK[HEADER.FIELDS.NOT (subject)]",
            b"BODY[HEADER.FIELDS.NOT (subject)]",
            b"From: Bob <bob@example.org>\r\nX: 1\r\n\r\n",
        ),
    ],
)
def test_parts_are_cut_from_the_bytes(item: bytes, label: bytes, value: bytes) -> None:
    assert fetched(item) == [label + b" {%d}\r\n" % len(value) + value]


def test_outlook_guesses_sizes() -> None:
    assert fetched(b"RFC822.SIZE", gmail=False) != fetched(b"RFC822.SIZE")


@pytest.mark.parametrize("items", [b"", b"()", b"ALL", b"BODYSTRUCTURE", b"BODY[1]", b"BODY[]<1>", b"(UID"])
def test_unknown_items_are_bad(items: bytes) -> None:
    with pytest.raises(BadSyntax):
        fetched(items)


def test_gmail_items_are_gmails() -> None:
    with pytest.raises(BadSyntax):
        fetched(b"X-GM-MSGID", gmail=False)


@pytest.mark.parametrize(
    "raw", [b"", b"\r\n", b"\r\nbody", b"no header end", b"A: b\n\nbare", *(m.raw for m in corpus(3, 11))]
)
def test_header_and_text_make_up_the_whole(raw: bytes) -> None:
    assert section(raw, "HEADER") + section(raw, "TEXT") == raw
