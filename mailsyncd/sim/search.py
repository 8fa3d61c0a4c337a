"""SEARCH keys, compiled into one predicate (RFC 3501 6.4.4), with Gmail's X-GM keys.

Dates are whole days in a zone of the server's choosing, not of the message's (A37).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime, tzinfo

from mailsyncd.sim.fetch import section
from mailsyncd.sim.mailstore import StoredMessage
from mailsyncd.sim.wire import BadSyntax, Cursor, NumberSet, day, number_set

Predicate = Callable[[int, StoredMessage], bool]

_FLAG_KEYS = {
    "ANSWERED": ("\\Answered", True),
    "DELETED": ("\\Deleted", True),
    "DRAFT": ("\\Draft", True),
    "FLAGGED": ("\\Flagged", True),
    "SEEN": ("\\Seen", True),
    "UNANSWERED": ("\\Answered", False),
    "UNDELETED": ("\\Deleted", False),
    "UNDRAFT": ("\\Draft", False),
    "UNFLAGGED": ("\\Flagged", False),
    "UNSEEN": ("\\Seen", False),
}
_HEADER_KEYS = frozenset({"FROM", "TO", "CC", "BCC", "SUBJECT"})
_RAW_TERM = re.compile(r'(-?)(?:([a-z0-9]+):)?("[^"]*"|\S+)')
_FOLD = re.compile(rb"\r?\n(?=[ \t])")
_DEEPEST = 20


class SearchKeys:
    """Compiles the keys of one SEARCH. `top_uid` and `count` say what `*` means."""

    def __init__(self, cursor: Cursor, *, top_uid: int, count: int, zone: tzinfo, gmail: bool) -> None:
        self._cursor = cursor
        self._top_uid = top_uid
        self._count = count
        self._zone = zone
        self._gmail = gmail

    def compile(self) -> Predicate:
        """All keys up to the end of the command, joined by AND."""
        if self._cursor.take(b"CHARSET "):
            if self._cursor.astring().upper() not in (b"UTF-8", b"US-ASCII"):
                raise BadSyntax("unknown charset")
            self._cursor.space()
        keys = [self._key(0)]
        while not self._cursor.at_end:
            self._cursor.space()
            keys.append(self._key(0))
        return lambda number, message: all(key(number, message) for key in keys)

    def _key(self, depth: int) -> Predicate:
        if depth > _DEEPEST:
            raise BadSyntax("too deep")
        if self._cursor.take(b"("):
            keys = [self._key(depth + 1)]
            while not self._cursor.take(b")"):
                self._cursor.space()
                keys.append(self._key(depth + 1))
            return lambda number, message: all(key(number, message) for key in keys)
        name = self._cursor.atom().upper()
        if name[0].isdigit() or name[0] == "*":
            numbers = number_set(name)
            return lambda number, message: numbers.has(number, self._count)
        if name == "NOT":
            inner = self._argument_key(depth)
            return lambda number, message: not inner(number, message)
        if name == "OR":
            left, right = self._argument_key(depth), self._argument_key(depth)
            return lambda number, message: left(number, message) or right(number, message)
        test = self._test(name)
        return lambda number, message: test(message)

    def _argument_key(self, depth: int) -> Predicate:
        self._cursor.space()
        return self._key(depth + 1)

    def _test(self, name: str) -> Callable[[StoredMessage], bool]:
        if name == "ALL":
            return lambda message: True
        if name in _FLAG_KEYS:
            flag, present = _FLAG_KEYS[name]
            return lambda message: (flag in message.flags) == present
        if name in ("SINCE", "BEFORE", "ON"):
            return self._date(name)
        if name in ("LARGER", "SMALLER", "X-GM-MSGID", "X-GM-THRID"):
            return self._number(name)
        return self._text(name)

    def _text(self, name: str) -> Callable[[StoredMessage], bool]:
        if name == "UID":
            numbers: NumberSet = number_set(self._word())
            return lambda message: numbers.has(message.uid, self._top_uid)
        if name in ("KEYWORD", "UNKEYWORD"):
            flag = self._word()
            return lambda message: (flag in message.flags) == (name == "KEYWORD")
        if name == "HEADER":
            header = self._string()
            wanted = self._string().lower()
            return lambda message: _header_has(message, header, wanted)
        if name in _HEADER_KEYS:
            wanted = self._string().lower()
            return lambda message: _header_has(message, name.encode(), wanted)
        if name in ("BODY", "TEXT"):
            wanted = self._string().lower()
            part = "TEXT" if name == "BODY" else ""
            return lambda message: wanted in section(message.raw, part).lower()
        if name == "X-GM-RAW" and self._gmail:
            return gmail_query(self._string().decode("utf-8", "replace"), self._zone)
        raise BadSyntax(f"{name[:30]} is not a search key here")

    def _date(self, name: str) -> Callable[[StoredMessage], bool]:
        wanted = day(self._string().decode("latin-1")).date()
        zone = self._zone
        if name == "SINCE":
            return lambda message: message.internaldate.astimezone(zone).date() >= wanted
        if name == "BEFORE":
            return lambda message: message.internaldate.astimezone(zone).date() < wanted
        return lambda message: message.internaldate.astimezone(zone).date() == wanted

    def _number(self, name: str) -> Callable[[StoredMessage], bool]:
        text = self._word()
        if not text.isdecimal() or (name.startswith("X-") and not self._gmail):
            raise BadSyntax("bad number")
        number = int(text)
        match name:
            case "LARGER":
                return lambda message: len(message.raw) > number
            case "SMALLER":
                return lambda message: len(message.raw) < number
            case "X-GM-MSGID":
                return lambda message: message.gm_msgid == number
            case _:
                return lambda message: message.gm_thrid == number

    def _word(self) -> str:
        self._cursor.space()
        return self._cursor.atom()

    def _string(self) -> bytes:
        self._cursor.space()
        return self._cursor.astring()


def _header_has(message: StoredMessage, name: bytes, wanted: bytes) -> bool:
    """Whether one of the fields of that name, unfolded, contains `wanted` (lower case)."""
    unfolded = _FOLD.sub(b"", section(message.raw, "HEADER.FIELDS", (name,)))
    fields = (line.partition(b":") for line in unfolded.splitlines())
    return any(colon and wanted in value.lower() for _, colon, value in fields)


def gmail_query(query: str, zone: tzinfo) -> Callable[[StoredMessage], bool]:
    """A subset of Gmail's search box: words joined by AND, `-` for not, and a few operators."""
    terms = [
        (found[1] == "-", _term(found[2] or "", found[3].strip('"'), zone))
        for found in _RAW_TERM.finditer(query.lower())
    ]
    return lambda message: all(test(message) != negated for negated, test in terms)


def _term(operator: str, value: str, zone: tzinfo) -> Callable[[StoredMessage], bool]:
    wanted = value.encode()
    match operator:
        case "category":
            return lambda message: message.category == value
        case "is":
            return lambda message: ("\\Seen" in message.flags) == (value == "read")
        case "label":
            return lambda message: value in (label.lower() for label in message.labels)
        case "from" | "to" | "cc" | "subject":
            return lambda message: _header_has(message, operator.encode(), wanted)
        case "rfc822msgid":
            return lambda message: _header_has(message, b"Message-ID", wanted)
        case "has":
            return lambda message: b"content-disposition: attachment" in message.raw.lower()
        case "larger":
            return lambda message: len(message.raw) > _bytes(value)
        case "after" | "before":
            border = _slashed(value)
            return lambda message: (
                (message.internaldate.astimezone(zone).date() >= border.date()) == (operator == "after")
            )
        case _:
            return lambda message: wanted in message.raw.lower()


def _bytes(value: str) -> int:
    scale = {"k": 1024, "m": 1024**2}.get(value[-1:], 1)
    digits = value.rstrip("km")
    return int(digits) * scale if digits.isdecimal() else 0


def _slashed(value: str) -> datetime:
    found = re.fullmatch(r"(\d{4})[/-](\d{1,2})[/-](\d{1,2})", value)
    try:
        if found:
            return datetime(int(found[1]), int(found[2]), int(found[3]), tzinfo=UTC)
    except ValueError as error:
        raise BadSyntax("bad date") from error
    raise BadSyntax("bad date")
