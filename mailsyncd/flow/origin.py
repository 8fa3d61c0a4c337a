"""From which watermark a route goes on, when it meets its mailbox: the one that is stored, a first one, or
one made anew after a change of UIDVALIDITY; and whether the source's numbers may be trusted for it.
"""

from __future__ import annotations

import structlog

from mailsyncd.errors import LeaseLost
from mailsyncd.flow.belt import Belt
from mailsyncd.flow.oddities import WITNESSES, Oddities
from mailsyncd.flow.pages import all_records
from mailsyncd.model import Mailbox, Route, Watermark
from mailsyncd.policy import Past, first_watermark, watermark_after_change
from mailsyncd.ports import SourceSession

log = structlog.get_logger()


class Origin:
    """Of one route; it outlives connections. `window` and `memory`: seconds before a change of UIDVALIDITY
    that are searched again, and for which records are kept."""

    def __init__(self, route: Route, belt: Belt, oddities: Oddities, *, window: float, memory: float) -> None:
        self._route = route
        self._belt = belt
        self._oddities = oddities
        self._window = window
        self._memory = memory
        self._unsure: Watermark | None = None  # to be compared with what the source shows

    @property
    def is_unsure(self) -> bool:
        return self._unsure is not None

    async def watermark(self, session: SourceSession, mailbox: Mailbox) -> Watermark:
        store, gate, key = self._belt.store, self._belt.gate, self._route.key
        stored = await gate.call(lambda: store.watermark(key))
        self.check(mailbox, stored)
        if stored is not None and stored.uidvalidity == mailbox.uidvalidity:
            return stored
        now = self._belt.clock.now()
        if stored is None:
            self._belt.wanted.set()
            await self._belt.vouch.begin(self._route, session)
            new = first_watermark(self._route, mailbox, now)
        else:
            window, memory = self._window, self._memory
            past, unread = await self._past(stored), await self._unread(stored)
            new = watermark_after_change(past, mailbox, now, window=window, memory=memory, unread=unread)
            log.warning("route.uidvalidity_changed", before=stored.uidvalidity, now=mailbox.uidvalidity)
        if not await gate.call(lambda: store.advance(key, new, expected=stored)):
            raise LeaseLost(f"another daemon moved the watermark of {self._route.name}")
        return new

    async def _past(self, stored: Watermark) -> Past:
        past = Past(stored)
        for uidvalidity in (*stored.rescan_of, stored.uidvalidity):
            async for record in all_records(self._belt.store, self._belt.gate, self._route.key, uidvalidity):
                past.take(record)
        return past

    async def _unread(self, stored: Watermark) -> bool:
        """Whether something of a window that was searched again could not be read, or was not."""
        failures = await self._belt.gate.call(lambda: self._belt.store.failures(self._route.key))
        return any(
            one.uidvalidity == stored.uidvalidity and one.uid < stored.backlog_until and not one.resolved
            for one in failures
        )

    def check(self, mailbox: Mailbox, stored: Watermark | None) -> None:
        """Whether the source still numbers its messages as the watermark takes for granted."""
        self._oddities.check(mailbox, stored, self._belt.clock.monotonic())
        same = stored is not None and stored.uidvalidity == mailbox.uidvalidity
        self._unsure = stored if same and self._oddities.doubted else None

    async def compare(self, session: SourceSession) -> None:
        """The same by a look at some messages, before anything new is taken in."""
        if (stored := self._unsure) is None:
            return
        store, key, after = self._belt.store, self._route.key, max(0, stored.last_uid - WITNESSES)
        records = await self._belt.gate.call(
            lambda: store.records(key, stored.uidvalidity, after, most=WITNESSES)
        )
        known = [record for record in records if record.uid <= stored.last_uid]
        there = await session.describe([record.uid for record in known]) if known else []
        self._oddities.compare(known, there)
        self._unsure = None
