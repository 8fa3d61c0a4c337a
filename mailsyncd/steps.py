"""Every point between EXISTS and the stored watermark at which the world can end, by name.

The code says reached(Step...) as it passes one. Nobody listens in production, so that costs a
comparison; the fault harness listens, and kills the process right there.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum


class Step(Enum):
    """In the order of a message's life; what belongs to the process comes after."""

    LEASE_TAKEN = 1
    EXISTS_SEEN = 2
    LISTED = 3
    FETCH_SENT = 4
    FETCH_HALF = 5  # half the bytes of a message are here
    FETCHED = 6
    CLAIM_ASKED = 7  # PENDING is on its way to the store
    CLAIMED = 8
    FOLDER_SEEN = 9  # the target's UIDVALIDITY and UIDNEXT
    APPEND_LINE = 10  # with the transport; an early literal's goes with the first of its bytes
    CONTINUED = 11  # the server's `+` is here
    LITERAL_BEGUN = 12  # none of the literal has gone out
    LITERAL_HALF = 13
    LITERAL_BUT_LAST = 14  # all of it is out but the last byte, which goes with the line end
    APPEND_SENT = 15  # complete, unanswered
    APPENDED = 16  # the tagged OK is here
    FINISH_ASKED = 17  # DONE is on its way to the store
    FINISHED = 18
    WATERMARK_ASKED = 19
    WATERMARK_STORED = 20
    FAILURE_SEEN = 21
    FAILURE_WRITTEN = 22
    TOKEN_RENEWED = 23  # the new refresh token is in memory only
    TOKEN_KEPT = 24
    RELOADING = 25  # the new configuration is read, and not yet applied
    DRAINING = 26
    RECOVERING = 27  # the tail has been read, no verdict acted on
    SETTLING = 28  # a look found nothing, and the settle window is not over
    BACKLOG_PAGE = 29  # a page of a backlog is described, and not yet queued
    STORE_COMMITTED = 30  # the state store has a write for good, and its answer is not yet heard


Listener = Callable[[Step], None]

_listener: Listener | None = None


def reached(step: Step) -> None:
    """Called by the code as it passes a step."""
    if _listener is not None:
        _listener(step)


def listen(listener: Listener | None) -> None:
    """Who is to be told from now on; None for nobody. It may be called from the store's thread."""
    global _listener  # noqa: PLW0603 - one process has one death
    _listener = listener
