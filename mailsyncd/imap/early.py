"""Bodies that come along with the listing of new mail, in the same flight (RFC 3501 5.5): to read them
then costs no round trip more. Only short ones: how long a message is, the listing has yet to tell."""

from __future__ import annotations

from collections.abc import Sequence

from mailsyncd.imap.fetches import number
from mailsyncd.imap.responses import Response

MOST = 8  # messages: more at once are a backlog, where a round trip counts for little
WHOLE = 64 * 1024  # bytes asked for of each: what is not shorter may be cut off, and is read anew
MOST_BYTES = 4 * MOST * WHOLE  # of answers; room for what a server may say beside it


class EarlyBodies:
    """Of one session. They are kept until they are read, or other mail comes. `max_literal`: bytes,
    beyond which an answer would end the connection."""

    def __init__(self, max_literal: int) -> None:
        self._whole = min(WHOLE, max_literal)
        self.items = f"(UID BODY.PEEK[]<0.{self._whole}>)"
        self.refused = False  # this server does not like to be asked so
        self._asked = range(0)
        self._bodies: dict[int, bytes] = {}

    def ask(self, first: int) -> str:
        """The set of UIDs to fetch when the next new message has the UID `first` at the least."""
        self._asked = range(first, first + MOST)
        self._bodies.clear()
        return f"{first}:{first + MOST - 1}"

    def take(self, response: Response) -> None:
        items = response.items
        body, uid = items.get(b"BODY[]<0>"), number(items.get(b"UID"))
        if isinstance(body, bytes) and uid in self._asked and len(body) < self._whole:
            self._bodies[uid] = body

    def hand_over(self, uids: Sequence[int]) -> list[tuple[int, bytes]]:
        """Those of these messages that are here, whole. They are not kept."""
        return [(uid, self._bodies.pop(uid)) for uid in uids if uid in self._bodies]
