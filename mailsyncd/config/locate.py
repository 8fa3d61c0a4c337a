"""Which line of a TOML file a key stands on, so that a mistake can be shown where it is."""

from __future__ import annotations

import re
import tomllib
from contextlib import suppress

KeyPath = tuple[str | int, ...]

DEEPEST = 16  # parts of a key that are noted; the settings have four at most

_SPACE = re.compile(r"(?:[ \t\r\n]+|#[^\n]*)*")
_STRING = re.compile(
    r'"""(?:\\.|[^\\])*?"""+'  # up to two quotes may stand before the closing three
    r"|'''.*?'''+"
    r'|"(?:\\.|[^"\\])*"'
    r"|'[^']*'",
    re.DOTALL,
)
_PLAIN = re.compile(r"[^,\]}#\n]+")  # numbers, dates, true and false
_PART = re.compile(r"""[A-Za-z0-9_-]+|"(?:\\.|[^"\\])*"|'[^']*'""")
_DOT, _EQUALS = re.compile(r"[ \t]*\.[ \t]*"), re.compile(r"[ \t]*=[ \t]*")
_HEAD, _HEAD_END = re.compile(r"\[\[?[ \t]*"), re.compile(r"[ \t]*\]\]?")
_ARRAY, _ARRAY_END = re.compile(r"\["), re.compile(r"\]")
_TABLE, _TABLE_END = re.compile(r"\{"), re.compile(r"\}")
_COMMA = re.compile(r",")


def lines_of(text: str) -> dict[KeyPath, int]:
    """Key path -> line number from 1. Elements of [[routes]] and of arrays are counted from 0.

    The text has been parsed by tomllib before: only what is valid need be told apart. Of what is
    not understood all the same, only the line is missing.
    """
    scan = _Scan(text)
    with suppress(_Lost, RecursionError):
        scan.document()
    return scan.found


def line_of(found: dict[KeyPath, int], path: KeyPath) -> int | None:
    """The line of a key, or of the nearest table around it."""
    while path:
        if path in found:
            return found[path]
        path = path[:-1]
    return None


class _Lost(Exception):
    """This is not the TOML that the scanner knows."""


class _Scan:
    """Reads a document from beginning to end, for the places of its keys alone."""

    def __init__(self, text: str) -> None:
        self.found: dict[KeyPath, int] = {}
        self._text = text
        self._at = 0
        self._line = 1
        self._counts: dict[KeyPath, int] = {}

    def document(self) -> None:
        table: KeyPath = ()
        self._take(_SPACE)
        while self._at < len(self._text):
            line = self._line
            if head := self._take(_HEAD):
                table = self._numbered(self._key(), is_array=head.startswith("[["))
                self._note(table, line)
                self._need(_HEAD_END)
            else:
                self._pair(table)
            self._take(_SPACE)

    def _pair(self, table: KeyPath) -> None:
        line = self._line
        path = (*table, *self._key())
        self._note(path, line)
        self._need(_EQUALS)
        self._value(path)

    def _value(self, path: KeyPath) -> None:
        if self._take(_ARRAY):
            self._array(path)
        elif self._take(_TABLE):
            self._inline(path)
        elif not self._take(_STRING):
            self._need(_PLAIN)

    def _array(self, path: KeyPath) -> None:
        number = 0
        self._take(_SPACE)
        while not self._take(_ARRAY_END):
            self._note((*path, number), self._line)
            self._value((*path, number))
            number += 1
            self._next()

    def _inline(self, path: KeyPath) -> None:
        self._take(_SPACE)
        while not self._take(_TABLE_END):
            self._pair(path)
            self._next()

    def _next(self) -> None:
        for pattern in (_SPACE, _COMMA, _SPACE):
            self._take(pattern)

    def _key(self) -> tuple[str, ...]:
        parts = [_name(self._need(_PART))]
        while self._take(_DOT):
            parts.append(_name(self._need(_PART)))
        return tuple(parts)

    def _numbered(self, parts: tuple[str, ...], *, is_array: bool) -> KeyPath:
        """[routes.refresh_token] below the second [[routes]] is ("routes", 1, "refresh_token")."""
        path: KeyPath = ()
        for n, part in enumerate(parts):
            path = (*path, part)
            if is_array and n == len(parts) - 1:
                self._counts[path] = self._counts.get(path, -1) + 1
            if path in self._counts:
                path = (*path, self._counts[path])
        return path

    def _note(self, path: KeyPath, line: int) -> None:
        """Its own line counts for more than that of a longer key which implied it."""
        for length in range(1, min(len(path), DEEPEST)):
            self.found.setdefault(path[:length], line)
        self.found[path[:DEEPEST]] = line

    def _take(self, pattern: re.Pattern[str]) -> str:
        match = pattern.match(self._text, self._at)
        if match is None:
            return ""
        self._at = match.end()
        self._line += match[0].count("\n")
        return match[0]

    def _need(self, pattern: re.Pattern[str]) -> str:
        if not (taken := self._take(pattern)):
            raise _Lost
        return taken


def _name(part: str) -> str:
    """A part of a key without its quotes and escapes."""
    return str(tomllib.loads(f"x = {part}")["x"]) if part[0] in "\"'" else part


def dotted(path: KeyPath) -> str:
    """("routes", 0, "folder") -> routes[1].folder"""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part + 1}]"
        else:
            shown = part if re.fullmatch(r"[A-Za-z0-9_-]+", part) else ascii(part)
            text += f".{shown}" if text else shown
    return text
