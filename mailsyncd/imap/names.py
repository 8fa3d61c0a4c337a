"""Mailbox names: modified UTF-7 (RFC 3501 5.1.3), and the user's slashes to the server's separator."""

from __future__ import annotations

import base64
import re

from mailsyncd.errors import RouteBlocked

_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f]")
_RUN = re.compile(r"[^\x20-\x7e]+|&")
_ENCODED = re.compile(r"&([A-Za-z0-9+,]*)-")


def encode(name: str) -> str:
    """To modified UTF-7."""

    def shifted(run: re.Match[str]) -> str:
        if run[0] == "&":
            return "&-"
        octets = run[0].encode("utf-16-be", "surrogatepass")
        return "&" + base64.b64encode(octets).decode().rstrip("=").replace("/", ",") + "-"

    return _RUN.sub(shifted, name)


def decode(name: str) -> str:
    """From modified UTF-7; what is not valid stays as it is."""

    def plain(run: re.Match[str]) -> str:
        if not run[1]:
            return "&"
        padded = run[1].replace(",", "/") + "=" * (-len(run[1]) % 4)
        try:
            return base64.b64decode(padded, validate=True).decode("utf-16-be", "surrogatepass")
        except (ValueError, UnicodeDecodeError):
            return run[0]

    return _ENCODED.sub(plain, name)


def check(name: str) -> str:
    """The name itself. Raises RouteBlocked for what no server can take."""
    if not name or _UNPRINTABLE.search(name):
        raise RouteBlocked(f"the folder name {name!r} is empty or has control characters: choose another")
    return name


def to_server(name: str, separator: str, prefix: str) -> str:
    """A user's "A/B" in the server's own form: its separator, its personal prefix, INBOX as such."""
    parts = check(name).split("/")
    if parts[0].upper() == "INBOX":
        parts[0] = "INBOX"
        return encode(separator.join(parts) if separator else name)
    joined = separator.join(parts) if separator else name
    return encode(joined if joined.startswith(prefix) else prefix + joined)
