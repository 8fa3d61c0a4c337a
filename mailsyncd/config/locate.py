"""Which line of a TOML file a key stands on, so that a mistake can be shown where it is."""

from __future__ import annotations

import re

KeyPath = tuple[str | int, ...]

_PART = r"""(?:[A-Za-z0-9_-]+|"[^"]*"|'[^']*')"""
_DOTTED = rf"{_PART}(?:\s*\.\s*{_PART})*"
_TABLE = re.compile(rf"\s*(\[\[?)\s*({_DOTTED})\s*\]")
_KEY = re.compile(rf"\s*({_DOTTED})\s*=")
_TRIPLE = re.compile(r'"""|' + "'''")


def lines_of(text: str) -> dict[KeyPath, int]:
    """Key path -> line number from 1. The elements of [[routes]] are counted from 0.

    The text has been parsed by tomllib before: only what is valid need be told apart.
    """
    found: dict[KeyPath, int] = {}
    table: KeyPath = ()
    counts: dict[KeyPath, int] = {}
    inside: str | None = None
    for number, line in enumerate(text.split("\n"), 1):
        if inside is None:
            if match := _TABLE.match(line):
                table = _numbered(_parts(match[2]), counts, is_array=match[1] == "[[")
                _note(found, table, number)
            elif match := _KEY.match(line):
                _note(found, (*table, *_parts(match[1])), number)
        for quote in _TRIPLE.findall(line):
            inside = None if inside == quote else (inside or quote)
    return found


def line_of(found: dict[KeyPath, int], path: KeyPath) -> int | None:
    """The line of a key, or of the nearest table around it."""
    while path:
        if path in found:
            return found[path]
        path = path[:-1]
    return None


def _numbered(parts: tuple[str, ...], counts: dict[KeyPath, int], *, is_array: bool) -> KeyPath:
    """[routes.refresh_token] below the second [[routes]] is ("routes", 1, "refresh_token")."""
    path: KeyPath = ()
    for n, part in enumerate(parts):
        path = (*path, part)
        if is_array and n == len(parts) - 1:
            counts[path] = counts.get(path, -1) + 1
        if path in counts:
            path = (*path, counts[path])
    return path


def _note(found: dict[KeyPath, int], path: KeyPath, line: int) -> None:
    for length in range(1, len(path) + 1):
        found.setdefault(path[:length], line)


def _parts(dotted: str) -> tuple[str, ...]:
    return tuple(part[1:-1] if part[0] in "\"'" else part for part in re.findall(_PART, dotted))
