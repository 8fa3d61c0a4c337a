"""SEARCH: its keys, from a route's filter and a day, and the UIDs that are its answer."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import date

from aioimaplib.aioimaplib import quoted

from mailsyncd.errors import RouteBlocked
from mailsyncd.imap.commands import Argument, Literal
from mailsyncd.imap.responses import Response

MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")

_WORD = re.compile(r'"(?:[^"\\]|\\.)*"|\S+')
_ESCAPED = re.compile(r"\\(.)")


def search_date(day: date) -> str:
    return f"{day.day}-{MONTHS[day.month - 1]}-{day.year:04d}"


def found_uids(responses: Sequence[Response]) -> list[int]:
    """Of untagged SEARCH, in one line or several."""
    return [
        int(word)
        for response in responses
        for word in response.text.split()[2:]
        if word.isdigit() and len(word) <= 10
    ]


def _string(words: str) -> Argument:
    """A quoted string where that can hold it, else a literal."""
    return quoted(words) if words.isascii() else Literal(words.encode())


def search_keys(raw: str, *, gmail: bool) -> list[Argument]:
    """A Gmail query where the server knows them, else the user's own SEARCH keys. Raises
    RouteBlocked for what can't be sent."""
    if not raw.isprintable():
        raise RouteBlocked(f"the filter {raw!r} has control characters in it: correct it")
    if gmail:
        return ["X-GM-RAW", _string(raw)]
    if raw.isascii():
        return [raw]
    return [one if one.isascii() else Literal(_bare(one).encode()) for one in _WORD.findall(raw)]


def _bare(word: str) -> str:
    return _ESCAPED.sub(r"\1", word[1:-1]) if word.startswith('"') and word.endswith('"') else word
