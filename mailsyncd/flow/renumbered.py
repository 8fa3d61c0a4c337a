"""After the source's UIDVALIDITY changed: which record of an earlier numbering stands for a message.

Where there is X-GM-MSGID the claim itself tells. Elsewhere the records of before are counted out
(matching.Twins), once nothing claimed under an earlier numbering is in flight, so that none is missed;
and one that is still PENDING is waited for, since it is the message's copy if it comes to be one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace

from mailsyncd.flow.belt import Belt
from mailsyncd.flow.pages import all_records
from mailsyncd.flow.progress import Progress
from mailsyncd.flow.watch import Watch
from mailsyncd.matching import Twin, Twins
from mailsyncd.model import MessageRef, Record, Status
from mailsyncd.policy import instant

Key = tuple[str, int, int]  # MessageRef.key


class Undecided(Exception):
    """It can't be told yet: to be asked again."""


class Renumbered:
    """Of one destination. `in_flight` is the writer's own."""

    def __init__(
        self, belt: Belt, watches: Mapping[str, Watch], in_flight: Collection[Key], record_ttl: float
    ) -> None:
        self._belt = belt
        self._watches = watches
        self._in_flight = in_flight
        self._record_ttl = record_ttl
        self._counting = asyncio.Lock()

    def outdated(self, ref: MessageRef) -> bool:
        """Whether its UID means nothing any more."""
        progress = self._progress(ref)
        return progress is not None and progress.uidvalidity != ref.uidvalidity

    def listed_anew(self, ref: MessageRef) -> bool:
        """Whether its UID means nothing any more, and what is searched since then reaches back to it."""
        progress = self._progress(ref)
        if progress is None or not self.outdated(ref):
            return False
        since, came = progress.stored.since, instant(ref.listing.internaldate)
        return since is None or came is None or came >= since

    def _progress(self, ref: MessageRef) -> Progress | None:
        watch = self._watches.get(ref.route.key)
        return watch.progress if watch else None

    async def finish(self, ref: MessageRef, record: Record) -> bool:
        """Whether the message was copied under an earlier numbering: it is DONE then, the `same_as`.
        Raises Undecided."""
        progress = self._progress(ref)
        if progress is None or self.outdated(ref):
            return False
        mark = progress.stored
        # What came after the change had no earlier number, however much it is like another.
        if not mark.rescan_of or record.gm_msgid is not None or ref.uid >= mark.backlog_until:
            return False
        twins = await self._twins(ref, progress)
        while (twin := twins.take(record)) is not None:
            try:
                if await self._finish_as(ref, record, twin):
                    return True
            except BaseException:
                twins.put_back(twin)
                raise
        return False

    async def _finish_as(self, ref: MessageRef, record: Record, twin: Twin) -> bool:
        """False if the twin came to nothing."""
        if twin.status is Status.PENDING:
            status = await self._status(ref.route.key, twin)
            if status is Status.PENDING:
                raise Undecided
            if status is not Status.DONE:
                return False
        now = self._belt.clock.now()
        same = replace(
            record,
            status=Status.DONE,
            same_as=(twin.uidvalidity, twin.uid),
            copied_at=now,
            expires_at=int(now + self._record_ttl),
        )
        await self._belt.gate.call(lambda: self._belt.store.finish(ref.route.key, same))
        return True

    async def _twins(self, ref: MessageRef, progress: Progress) -> Twins:
        async with self._counting:  # once for all the messages that are under way
            if progress.twins is None:
                route = ref.route.key
                if any(key[0] == route and key[1] != ref.uidvalidity for key in self._in_flight):
                    raise Undecided
                progress.twins = await self._count(route, ref.uidvalidity, progress.stored.rescan_of)
            return progress.twins

    async def _count(self, route: str, present: int, earlier: Iterable[int]) -> Twins:
        twins, store, gate = Twins(), self._belt.store, self._belt.gate
        async for record in all_records(store, gate, route, present):
            twins.later(record)
        for uidvalidity in earlier:
            async for record in all_records(store, gate, route, uidvalidity):
                twins.earlier(record)
        return twins

    async def _status(self, route: str, twin: Twin) -> Status | None:
        """As the state store has it now."""
        store, gate = self._belt.store, self._belt.gate
        found = await gate.call(lambda: store.records(route, twin.uidvalidity, twin.uid - 1, most=1))
        return next((one.status for one in found if one.uid == twin.uid), None)
