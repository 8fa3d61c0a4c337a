"""Which line of a TOML file a key stands on, so that a mistake can be shown where it is."""

from __future__ import annotations

import re

Path = tuple[str | int, ...]

_TABLE = re.compile(r"\s*(\[\[?)\s*([^\]#]+?)\s*\]\]?\s*(#.*)?$")
_KEY = re.compile(
    r"""\s*((?:[A-Za-z0-9_-]+|"[^"]*"|'[^']*')(?:\s*\.\s*(?:[A-Za-z0-9_-]+|"[^"]*"|'[^']*'))*)\s*="""
)
_TRIPLE = re.compile(r'"""|' + "'''")


def lines_of(text: str) -> dict[Path, int]:
    """Key path -> line number from 1. The elements of [[routes]] are counted from 0."""
    found: dict[Path, int] = {}
    table: Path = ()
    counts: dict[Path, int] = {}
    inside: str | None = None
    for number, line in enumerate(text.splitlines(), 1):
        if inside is None:
            if match := _TABLE.match(line):
                table = _parts(match[2])
                if match[1] == "[[":
                    counts[table] = counts.get(table, -1) + 1
                    table = (*table, counts[table])
                found.setdefault(table, number)
            elif match := _KEY.match(line):
                found.setdefault((*table, *_parts(match[1])), number)
        for quote in _TRIPLE.findall(line):
            inside = None if inside == quote else (inside or quote)
    return found


def line_of(found: dict[Path, int], path: Path) -> int | None:
    """The line of a key, or of the nearest table around it."""
    while path:
        if path in found:
            return found[path]
        path = path[:-1]
    return None


def _parts(dotted: str) -> Path:
    return tuple(part.strip().strip("\"'") for part in dotted.split("."))
