"""The bytes of IMAP, from a server's side: commands with literals in, quoted strings out.

Names are in modified UTF-7 (RFC 3501 5.1.3); literals may be {n}, {n+} or {n-} (RFC 7888).
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone, tzinfo

LITERAL = re.compile(rb"~?\{(\d{1,10})([+-]?)\}$")
_ATOM_END = frozenset(b' (){"\r\n')
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_DATE_TIME = re.compile(r"( \d|\d\d)-([A-Za-z]{3})-(\d{4}) (\d\d):(\d\d):(\d\d) ([+-])(\d\d)(\d\d)$")
_DATE = re.compile(r"(\d{1,2})-([A-Za-z]{3})-(\d{4})$")


class BadSyntax(ValueError):
    """The command can't be understood; the answer is BAD."""


@dataclass(frozen=True, slots=True)
class Announced:
    """A literal that a line announces: its size, and whether the client waits for `+`."""

    size: int
    waits: bool


def announced(line: bytes) -> Announced | None:
    """The literal at the end of a command line, if there is one."""
    found = LITERAL.search(line)
    return Announced(int(found[1]), found[2] == b"") if found else None


def without_literals(text: bytes) -> str:
    """Commands or answers for the transcript: literals shrink to their announcement."""
    shown, rest = b"", text
    while (end := rest.find(b"\r\n")) >= 0:
        found = announced(rest[:end])
        shown += rest[:end] if found else rest[: end + 2]
        rest = rest[end + 2 + (found.size if found else 0) :]
    return (shown + rest).decode("latin-1")


class Cursor:
    """Reads a command's arguments from left to right (RFC 3501 9). Raises BadSyntax."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    @property
    def at_end(self) -> bool:
        return self._at >= len(self._data)

    def peek(self) -> bytes:
        return self._data[self._at : self._at + 1]

    def space(self) -> None:
        self.expect(b" ")

    def expect(self, text: bytes) -> None:
        if not self.take(text):
            raise BadSyntax(f"expected {text.decode()!r}")

    def take(self, text: bytes) -> bool:
        """Step over `text` if it comes next, whatever its case."""
        if self._data[self._at : self._at + len(text)].upper() != text.upper():
            return False
        self._at += len(text)
        return True

    def end(self) -> None:
        if not self.at_end:
            raise BadSyntax("too many arguments")

    def atom(self) -> str:
        start = self._at
        while self._at < len(self._data) and self._data[self._at] not in _ATOM_END:
            self._at += 1
        if start == self._at:
            raise BadSyntax("an atom is missing")
        return self._data[start : self._at].decode("latin-1")

    def until(self, stop: bytes) -> str:
        """Everything up to `stop`, which is stepped over."""
        end = self._data.find(stop, self._at)
        if end < 0:
            raise BadSyntax(f"expected {stop.decode()!r}")
        start, self._at = self._at, end + len(stop)
        return self._data[start:end].decode("latin-1")

    def astring(self) -> bytes:
        if self.peek() in (b'"', b"{", b"~"):
            return self.string()
        return self.atom().encode("latin-1")

    def string(self) -> bytes:
        return self._quoted() if self.peek() == b'"' else self.literal()

    def literal(self) -> bytes:
        end = self._data.find(b"\r\n", self._at)
        found = LITERAL.match(self._data[self._at : end]) if end >= 0 else None
        if not found:
            raise BadSyntax("a string is missing")
        start = end + 2
        self._at = start + int(found[1])
        return self._data[start : self._at]

    def mailbox(self) -> str:
        return decode_name(self.astring())

    def words(self) -> list[str]:
        """A parenthesised list of atoms, such as flags."""
        self.expect(b"(")
        found: list[str] = []
        while not self.take(b")"):
            if found:
                self.space()
            found.append(self.atom())
        return found

    def _quoted(self) -> bytes:
        self.expect(b'"')
        value = bytearray()
        while (char := self.peek()) != b'"':
            if char == b"\\":
                self._at += 1
                char = self.peek()
            if not char or char in b"\r\n":
                raise BadSyntax("a quoted string does not end")
            value += char
            self._at += 1
        self._at += 1
        return bytes(value)


# ------------------------------------------------------------------- numbers


@dataclass(frozen=True, slots=True)
class NumberSet:
    """A sequence set; 0 stands for `*` (RFC 3501 9, sequence-set)."""

    ranges: tuple[tuple[int, int], ...]

    def within(self, top: int) -> Iterator[tuple[int, int]]:
        """The ranges with `*` replaced; n:* above the top is the last message (RFC 3501 6.4.8)."""
        for first, last in self.ranges:
            low, high = first or top, last or top
            yield min(low, high), max(low, high)

    def has(self, number: int, top: int) -> bool:
        return any(low <= number <= high for low, high in self.within(top))


def number_set(text: str) -> NumberSet:
    ranges: list[tuple[int, int]] = []
    for part in text.split(","):
        first, colon, last = part.partition(":")
        bounds = (_number(first), _number(last) if colon else _number(first))
        ranges.append(bounds)
    return NumberSet(tuple(ranges))


def _number(text: str) -> int:
    if text == "*":
        return 0
    if not text.isdecimal() or int(text) == 0:
        raise BadSyntax(f"{text[:20]!r} is no message number")
    return int(text)


# --------------------------------------------------------------------- dates


def date_time(text: str) -> datetime:
    """The date-time of an APPEND (RFC 3501 9): the day has two digits or a space and one (B45)."""
    m = _DATE_TIME.match(text)
    if not m or m[2].title() not in _MONTHS:
        raise BadSyntax("bad date-time")
    minutes = (int(m[8]) * 60 + int(m[9])) * (-1 if m[7] == "-" else 1)
    month = _MONTHS.index(m[2].title()) + 1
    try:
        zone = timezone(timedelta(minutes=minutes))
        return datetime(int(m[3]), month, int(m[1]), int(m[4]), int(m[5]), int(m[6]), tzinfo=zone)
    except ValueError as error:
        raise BadSyntax("bad date-time") from error


def day(text: str) -> datetime:
    """The midnight (zone-less meaning: whole days) that a SEARCH date names."""
    m = _DATE.match(text)
    if not m or m[2].title() not in _MONTHS:
        raise BadSyntax("bad date")
    try:
        return datetime(int(m[3]), _MONTHS.index(m[2].title()) + 1, int(m[1]), tzinfo=UTC)
    except ValueError as error:
        raise BadSyntax("bad date") from error


def internaldate(when: datetime, zone: tzinfo) -> str:
    local = when.astimezone(zone)
    return f"{local.day:02d}-{_MONTHS[local.month - 1]}-{local.year:04d} {local:%H:%M:%S %z}"


# ------------------------------------------------------------------- strings


def quote(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def quote_name(name: str) -> str:
    return quote(encode_name(name))


def encode_name(name: str) -> str:
    """Modified UTF-7 (RFC 3501 5.1.3)."""
    parts = re.split(r"([^\x20-\x7e]+)", name)
    return "".join(
        f"&{base64.b64encode(part.encode('utf-16-be'), b'+,').decode().rstrip('=')}-"
        if n % 2
        else part.replace("&", "&-")
        for n, part in enumerate(parts)
    )


def decode_name(name: bytes) -> str:
    """From modified UTF-7; what is not that is refused."""

    def shifted(found: re.Match[str]) -> str:
        if not found[1]:
            return "&"
        padded = found[1] + "=" * (-len(found[1]) % 4)
        return base64.b64decode(padded, b"+,", validate=True).decode("utf-16-be")

    try:
        return re.sub(r"&([^-]*)-", shifted, name.decode("ascii"))
    except ValueError as error:
        raise BadSyntax("a mailbox name is not in modified UTF-7") from error
