"""What became of a message, for the log and the tally of its route."""

from __future__ import annotations

from collections.abc import Mapping

import structlog

from mailsyncd.flow.watch import Watch
from mailsyncd.model import MessageRef, Record
from mailsyncd.policy import instant
from mailsyncd.ports import Clock

log = structlog.get_logger()


class Outcomes:
    """Of one destination."""

    def __init__(self, watches: Mapping[str, Watch], clock: Clock) -> None:
        self._watches = watches
        self._clock = clock

    def copied(self, ref: MessageRef, done: Record) -> None:
        received = instant(ref.listing.internaldate)
        log.info(
            "message.copied",
            route=ref.route.name,
            uid=ref.uid,
            size=done.size,
            dest_uid=done.dest_uid,
            ms_since_received=None if received is None else round((self._clock.now() - received) * 1000),
            ms_since_seen=round((self._clock.monotonic() - ref.seen_mono) * 1000, 1),
            via=ref.via.value,
            **({"repairs": list(done.repairs)} if done.repairs else {}),
        )
        if watch := self._watches.get(ref.route.key):
            watch.tally.copied += 1

    def skipped(self, ref: MessageRef, reason: str) -> None:
        log.info("message.skipped", uid=ref.uid, reason=reason)
        if watch := self._watches.get(ref.route.key):
            watch.tally.skipped += 1
