"""What a source mailbox does that mailboxes rarely do: it is empty of a sudden, is renumbered again and
again, or gives out lower numbers than before. None of it is answered by a guess.

Pure: no await, no clock.
"""

from __future__ import annotations

from collections.abc import Iterable

from mailsyncd.errors import RouteBlocked
from mailsyncd.model import Listing, Mailbox, Record, Watermark
from mailsyncd.policy import instant

MANY = 100  # messages: fewer may well be gone from one look to the next
RENUMBERINGS = 5  # changes of UIDVALIDITY that follow one another too soon
QUIET = 3600.0  # seconds without one, after which the next is the first again
WITNESSES = 50  # UIDs below the watermark whose messages are compared with their records
ELSEWHERE = "If the mailbox was put back from a backup, give the route another folder"


class Oddities:
    """Of one route; it outlives connections."""

    def __init__(self) -> None:
        self.emptied_from = 0  # messages that were there before it was empty of a sudden
        self.doubted = True  # whether the numbers are to be compared with what was copied under them
        self._exists = 0
        self._uidvalidity: int | None = None
        self._renumbered = 0
        self._renumbered_mono = float("-inf")

    def emptied(self, exists: int) -> bool:
        """Take note of how many messages there are; True when it has just become empty of a sudden."""
        before, self._exists = self._exists, exists
        if exists or before < MANY:
            self.emptied_from = 0 if exists else self.emptied_from
            return False
        self.emptied_from = before
        return True

    def check(self, mailbox: Mailbox, stored: Watermark | None, now_mono: float) -> None:
        """Raises RouteBlocked where going on could lose messages, or copy a mailbox over and over."""
        if self._uidvalidity is None and stored is not None:
            self._uidvalidity = stored.uidvalidity
        if now_mono - self._renumbered_mono >= QUIET:
            self._renumbered = 0
        if self._uidvalidity not in (None, mailbox.uidvalidity):
            self._renumbered += 1
            self._renumbered_mono = now_mono
        self._uidvalidity = mailbox.uidvalidity
        if self._renumbered >= RENUMBERINGS:
            raise RouteBlocked(
                f"the source has renumbered its messages {self._renumbered} times, each within an hour of "
                "the last (UIDVALIDITY): nothing is copied until it has left them alone for an hour"
            )
        if stored is None or stored.uidvalidity != mailbox.uidvalidity or not mailbox.is_exact:
            return
        if 0 < mailbox.uidnext <= stored.last_uid:
            self.doubted = True
            raise RouteBlocked(
                f"the source gives the next message the number {mailbox.uidnext}, though number "
                f"{stored.last_uid} was copied (UIDNEXT, RFC 3501 2.3.1.1): new messages can't be told from "
                f"old ones. {ELSEWHERE}"
            )

    def compare(self, records: Iterable[Record], listings: Iterable[Listing]) -> None:
        """Whether the numbers still mean the messages they meant. Raises RouteBlocked: where a number
        was given out again, mail below the watermark may never have been copied."""
        known = {record.uid: record for record in records}
        for one in listings:
            if not _same(known[one.uid], one):
                raise RouteBlocked(
                    f"the source shows another message under number {one.uid} than was copied under it "
                    f"(UID, RFC 3501 2.3.1.1): new messages can't be told from old ones. {ELSEWHERE}"
                )
        self.doubted = False


def _same(record: Record, listing: Listing) -> bool:
    """By what never changes of a message; what either does not know speaks against nothing."""
    if record.gm_msgid and listing.gm_msgid:
        return record.gm_msgid == listing.gm_msgid
    before, now = instant(record.internaldate), instant(listing.internaldate)
    return before is None or now is None or before == now
