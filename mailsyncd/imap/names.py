"""Mailbox names: modified UTF-7 (RFC 3501 5.1.3), and the user's slashes to the server's separator."""

from __future__ import annotations

import base64
import re
from dataclasses import dataclass

from mailsyncd.errors import RouteBlocked

_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
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
    """The name itself. Raises RouteBlocked for what no server can take, or takes as another."""
    if not name or _UNPRINTABLE.search(name):
        raise RouteBlocked(f"the folder name {name!r} is empty or has control characters: choose another")
    if any(part != part.strip() or not part for part in name.split("/")):
        # Some servers make such folders and can't open them (B14).
        raise RouteBlocked(f"the folder name {name!r} has a level that is empty or edged by spaces")
    return name


@dataclass(frozen=True, slots=True)
class Naming:
    """How a server names the mailboxes of the one who signed in. `prefix` is in the server's form."""

    prefix: str = ""
    separator: str = "/"

    def to_server(self, name: str) -> str:
        """A user's "A/B" in the server's own form: its separator, its personal prefix, INBOX as such."""
        parts = check(name).split("/")
        joined = encode(self.separator.join(parts) if self.separator else name)
        if parts[0].upper() == "INBOX":
            return "INBOX" + joined[len("INBOX") :]
        return joined if self.prefix and joined.startswith(self.prefix) else self.prefix + joined
