"""What became of a message, for the log and the tally of its route."""

from __future__ import annotations

from collections.abc import Mapping

import structlog

from mailsyncd.flow.belt import Belt
from mailsyncd.flow.watch import Watch
from mailsyncd.model import MessageRef, Record
from mailsyncd.policy import instant

log = structlog.get_logger()


class Outcomes:
    """Of one destination."""

    def __init__(self, watches: Mapping[str, Watch], belt: Belt) -> None:
        self._watches = watches
        self._belt = belt

    def copied(self, ref: MessageRef, done: Record) -> None:
        clock, received_at = self._belt.clock, instant(ref.listing.internaldate)
        now, received = clock.monotonic(), None if received_at is None else clock.now() - received_at
        seen = now - ref.seen_mono
        log.info(
            "message.copied",
            route=ref.route.name,
            uid=ref.uid,
            size=done.size,
            dest_uid=done.dest_uid,
            ms_since_received=None if received is None else round(received * 1000),
            ms_since_seen=round(seen * 1000, 1),
            via=ref.via.value,
            **({"repairs": list(done.repairs)} if done.repairs else {}),
        )
        if watch := self._watches.get(ref.route.key):
            watch.tally.copied += 1
            watch.tally.copied_mono, watch.tally.copied_in = now, seen
        self._belt.meter.copied(ref, done.size, seen, received, now)

    def skipped(self, ref: MessageRef, reason: str) -> None:
        log.info("message.skipped", uid=ref.uid, reason=reason)
        if watch := self._watches.get(ref.route.key):
            watch.tally.skipped += 1
        self._belt.meter.skipped(ref)
