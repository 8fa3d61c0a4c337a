"""What of a detail may be shown to whoever may look, or be sent to whom a webhook tells: no words of
anybody's mail (I9). Details hold what servers have said, and what a server says of a message may quote it.
"""

from __future__ import annotations

import re

from mailsyncd.observe.redact import text

HIDDEN = "…"
LONGEST = 400  # characters of a detail
# What a server says when it takes or gives a message; a code in brackets is of RFC 5530, the rest is its own.
_OF_A_MESSAGE = re.compile(
    r"(\((?:APPEND|UID FETCH)\): the server said [A-Z]+(?: \[[A-Z-]+(?:\]|(?= )))?).*", re.S
)
_ADDRESS = re.compile(r"[^\s@<>()\[\]{}\"',:;]+@[^\s@<>()\[\]{}\"',:;]+")


def shown(detail: str, own: frozenset[str]) -> str:
    """A detail without what a server has said of a message, and without strangers' addresses."""

    def address(found: re.Match[str]) -> str:
        return found[0] if found[0].rstrip(".").casefold() in own else HIDDEN

    return _ADDRESS.sub(address, _OF_A_MESSAGE.sub(rf"\1 {HIDDEN}", text(detail)))[:LONGEST]
