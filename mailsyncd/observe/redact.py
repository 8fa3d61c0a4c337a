"""The second line of defence for I9: makes any log value plain, short and free of secrets.

The first line is that nothing secret is handed to a log in the first place.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import Enum
from functools import lru_cache
from typing import Any

HIDDEN = "***"
LONGEST_TEXT = 4000
MOST_ITEMS = 200
DEEPEST = 4
PLAIN = frozenset({type(None), bool, int, float})

_SECRET_KEY = re.compile(
    r"passw|passphrase|secret|token|authorization|credential|cookie|api_?key|assertion|verifier|service_?key|"
    r"private_?key|device_?code",
    re.I,
)
_SECRET_TEXT = re.compile(
    "|".join(
        (
            r"ya29\.[\w.~+/=-]+",  # Google: access token
            r"1//[\w-]{16,}",  # Google: refresh token
            r"GOCSPX-[\w-]+",  # Google: client secret
            r"(?<![\w/])4/[\w-]{20,}",  # Google: authorization code
            r"(?s:-----BEGIN [A-Z ]*PRIVATE KEY.*)",
            r"\bE[wW][A-Z][A-Za-z0-9+/=]{40,}",  # Microsoft, personal accounts: access token
            r"\b[0M]\.[A-Z][\w.!*$-]{20,}",  # Microsoft: refresh token, authorization code
            r"[\w.~-]{3}\dQ~[\w.~-]{20,}",  # Microsoft: client secret
            r"(?<=[Bb]earer)\s+\S+",
            r"(?<=BEARER)\s+\S+",
            r"dXNlcj[A-Za-z0-9+/=]{6,}",  # base64 of "user=", the head of an XOAUTH2 response
            r"user=[^\s\x01]*\x01auth=[^\x01]*",
            r"\beyJ[\w-]{10,}\.[\w.-]+",  # JSON web token
            r"(?<=://)[^/@\s]+:[^/@\s]+(?=@)",  # user and password in an address
        )
    )
)
LONG = 100  # characters
_OPAQUE_TEXT = re.compile(rf"(?=[\w+/-]*[A-Z])(?=[\w+/-]*[a-z])(?=[\w+/-]*[0-9])[\w+/-]{{{LONG},}}=*")


# Short texts that hold no secret: the names of events and routes come with every line.
MOST_CLEAN = 1024
clean: set[str] = set()


@lru_cache(1024)
def _is_secret(key: str) -> bool:
    return _SECRET_KEY.search(key) is not None


def text(value: str) -> str:
    """The same text with anything that looks like a secret replaced, cut to a bounded length."""
    if value in clean:
        return value
    cut = value if len(value) <= LONGEST_TEXT else value[:LONGEST_TEXT] + "..."
    shown = _SECRET_TEXT.sub(HIDDEN, cut)
    if len(shown) >= LONG:
        return _OPAQUE_TEXT.sub(HIDDEN, shown)
    if shown == value:
        if len(clean) >= MOST_CLEAN:
            clean.clear()
        clean.add(value)
    return shown


def value(given: object, *, key: str = "", depth: int = 0) -> Any:
    """`given` as JSON can hold it, whatever it was, with secrets replaced."""
    if type(given) is str:  # by far the most
        return HIDDEN if _is_secret(key) else text(given)
    if type(given) in PLAIN:
        return given
    match given:
        case _ if _is_secret(key):
            return HIDDEN
        case str() if not isinstance(given, Enum):
            return text(given)
        case bytes() | bytearray() | memoryview():
            return f"<{len(given)} bytes>"
        case Enum():
            return value(given.value, depth=depth)
        case BaseException():
            return text(f"{type(given).__name__}: {given}")
        case Mapping() | list() | tuple() | set() | frozenset() if depth >= DEEPEST:
            return "..."
        case Mapping():
            pairs = list(given.items())[:MOST_ITEMS]
            return {text(str(k)): value(v, key=str(k), depth=depth + 1) for k, v in pairs}
        case list() | tuple() | set() | frozenset():
            return [value(item, depth=depth + 1) for item in list(given)[:MOST_ITEMS]]
        case _:
            return text(str(given))
