"""What messages can be recognised by, from FETCH: INTERNALDATE, and header fields hashed as they come."""

from __future__ import annotations

from collections.abc import Mapping

from mailsyncd.imap.fetches import Gathered, text
from mailsyncd.imap.responses import Response, Value
from mailsyncd.model import TailMessage
from mailsyncd.policy import fingerprint, instant

MARKS = "(UID INTERNALDATE BODY.PEEK[HEADER.FIELDS (MESSAGE-ID DATE FROM SUBJECT)])"
ITEMS = frozenset({b"INTERNALDATE", b"BODY[HEADER.FIELDS", b"BODY[HEADER]"})


class GatheredMarks:
    """The marks of the messages that a FETCH of MARKS shows: no header text is kept."""

    def __init__(self) -> None:
        self._gathered = Gathered(ITEMS)
        self._seen: dict[int, TailMessage] = {}

    def take(self, response: Response) -> None:
        self._gathered.take(response)
        complete = [uid for uid, items in self._gathered.by_uid.items() if len(items) == 2]
        for uid in complete:
            self._seen[uid] = _marked(uid, self._gathered.by_uid.pop(uid))

    def messages(self) -> list[TailMessage]:
        """By UID. What is incomplete is there all the same: it must not count as missing."""
        for uid, items in self._gathered.by_uid.items():
            self._seen.setdefault(uid, _marked(uid, items))
        return [self._seen[uid] for uid in sorted(self._seen)]


def _marked(uid: int, items: Mapping[bytes, Value]) -> TailMessage:
    """What is not known of it agrees with nothing."""
    header = next((value for name, value in items.items() if name.startswith(b"BODY[HEADER")), None)
    mark = fingerprint(header if isinstance(header, bytes) else b"")
    received = instant(text(items.get(b"INTERNALDATE")))
    return TailMessage(uid, mark.message_id, received or 0.0, mark.digest)
