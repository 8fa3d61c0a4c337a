"""Writes anew what the state store forgot, from what source and destination show. Copies nothing.

All records first, the watermarks last: cut short, it leaves a store that the daemon still does
not trust, and done again it goes on where it was.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from secrets import token_hex

from mailsyncd.errors import LeaseLost, MailsyncError, StateUnavailable, Transient
from mailsyncd.flow.routes import RoutePlan
from mailsyncd.flow.vouch import unexplained, witnesses
from mailsyncd.matching import TailIndex, pair, seen_marks
from mailsyncd.model import (
    Claimant,
    Listing,
    Mailbox,
    Record,
    Route,
    StartKind,
    Status,
    TailMessage,
    Watermark,
)
from mailsyncd.policy import Past, first_watermark, too_old, watermark_after_change
from mailsyncd.ports import Clock, SinkSession, StateStore
from mailsyncd.tasks import all_of

PAGE = 500  # messages of the source asked for by one request
TAIL_PAGE = 2_000  # UIDs of the folder asked for by one request
AT_ONCE = 32  # writes to the state store under way together


@dataclass(slots=True)
class Report:
    """What became of one route. Of the messages past its present watermark (`source`): `known` had a
    record, `found` none and a copy, `left` neither. `extra`: copies that are there once too often."""

    route: str
    source: int = 0
    known: int = 0
    found: int = 0
    written: int = 0
    left: int = 0
    skipped: int = 0
    extra: int = 0
    error: str = ""


@dataclass(frozen=True, slots=True)
class Folder:
    """A destination folder, and what it holds."""

    name: str
    mailbox: Mailbox
    tail: list[TailMessage]


@dataclass(slots=True)
class Survey:
    """One route: what its source shows past the present watermark, and what the store knows of that.
    `copies` are the UIDs of the copies found, by source UID."""

    plan: RoutePlan
    report: Report
    stored: Watermark | None = None
    mailbox: Mailbox = field(default_factory=lambda: Mailbox(0, 0, 0))
    marks: list[TailMessage] = field(default_factory=list)
    settled: set[int] = field(default_factory=set)
    pending: dict[int, Record] = field(default_factory=dict)
    copies: dict[int, int] = field(default_factory=dict)

    @property
    def route(self) -> Route:
        return self.plan.route


async def read_folder(session: SinkSession, name: str) -> Folder:
    """All of a folder, in pages. Raises RouteBlocked if there is none."""
    mailbox = await session.open(name, create=False)
    if mailbox.uidnext == 0:
        return Folder(name, mailbox, await session.tail(name, 1))
    tail: list[TailMessage] = []
    for first in range(1, mailbox.uidnext if mailbox.exists else 0, TAIL_PAGE):
        tail += await session.tail(name, first, before=min(first + TAIL_PAGE, mailbox.uidnext))
    return Folder(name, mailbox, tail)


@dataclass(frozen=True, slots=True)
class Rebuild:
    """Of the routes into one folder at a time. `require` gives the lease's epoch, or raises LeaseLost;
    without it nothing is written."""

    store: StateStore
    clock: Clock
    require: Callable[[], int] | None
    skip_missing: bool = False

    async def rebuild(
        self, folder: Folder, plans: Sequence[RoutePlan], others: Sequence[Route]
    ) -> list[Report]:
        """`others` are routes into the same folder that are left as they are."""
        surveys = [await self._survey(plan) for plan in plans]
        good = [one for one in surveys if not one.report.error]
        unclaimed = await self._pair(folder, good, [*others, *(one.route for one in surveys)])
        for survey in good:
            index = TailIndex(survey.marks)
            survey.report.extra = sum(index.knows(seen_marks(seen).pairs()) for seen in unclaimed)
            await self._write_records(survey, folder)
        is_whole = not others and not any(one.report.error for one in surveys)
        for survey in good:
            if not survey.report.error:
                await self._write_watermark(survey, folder, is_whole)
        return [one.report for one in surveys]

    # ------------------------------------------------------------------ reading

    async def _survey(self, plan: RoutePlan) -> Survey:
        survey, route = Survey(plan, Report(plan.route.name)), plan.route
        survey.stored = stored = await self.store.watermark(route.key)
        try:
            async with plan.make_source().session() as session:
                survey.mailbox = box = session.mailbox
                after = stored.last_uid if stored and stored.uidvalidity == box.uidvalidity else 0
                uids = await session.search(after, raw=route.filter)
                for first in range(0, len(uids), PAGE):
                    survey.marks += await session.marks(uids[first : first + PAGE])
        except MailsyncError as error:
            survey.report.error = str(error)
            return survey
        records = await self.store.records(route.key, box.uidvalidity, after)
        failures = await self.store.failures(route.key)
        survey.pending = {one.uid: one for one in records if one.status is Status.PENDING}
        survey.settled = {one.uid for one in records} - survey.pending.keys()
        survey.settled |= {one.uid for one in failures if one.uidvalidity == box.uidvalidity}
        survey.report.source = len(survey.marks)
        survey.report.known = sum(seen.uid in survey.settled for seen in survey.marks)
        return survey

    async def _pair(
        self, folder: Folder, surveys: Sequence[Survey], routes: Sequence[Route]
    ) -> list[TailMessage]:
        """Find the copies of what has no settled record; returns the copies that are nobody's."""
        if not folder.tail:
            return []
        marks = [mark for route in routes if (mark := await self.store.watermark(route.key)) is not None]
        known = await witnesses(self.store, routes, folder.mailbox.uidvalidity, folder.tail, marks)
        strangers = unexplained(known, folder.tail, folder.mailbox.uidvalidity)
        claims = [(one, seen) for one in surveys for seen in one.marks if seen.uid not in one.settled]
        found = pair([seen_marks(seen) for _, seen in claims], strangers)
        for (survey, seen), uid in zip(claims, found, strict=True):
            if uid is not None:
                survey.copies[seen.uid] = uid
                survey.report.found += 1
        taken = set(found)
        return [seen for seen in strangers if seen.uid not in taken]

    # ------------------------------------------------------------------ writing

    async def _write_records(self, survey: Survey, folder: Folder) -> None:
        if self.require is None:
            survey.report.written = len(survey.copies)
            survey.settled |= survey.copies.keys()
        elif survey.copies:
            try:
                await self._write_found(survey, folder)
            except (StateUnavailable, LeaseLost):
                raise
            except MailsyncError as error:
                survey.report.error = str(error)

    async def _write_watermark(self, survey: Survey, folder: Folder, is_whole: bool) -> None:
        """`is_whole`: all that the folder holds is accounted for, so its numbers may be noted."""
        new = self._watermark(survey)
        if is_whole:
            numbers = folder.mailbox.uidvalidity, folder.mailbox.uidnext or None
            new = replace(new, dest_uidvalidity=numbers[0], dest_uidnext=numbers[1])
        if self.require is None:
            return
        self.require()
        if not await self.store.advance(survey.route.key, new, expected=survey.stored):
            raise LeaseLost(f"another daemon moved the watermark of {survey.route.name}")

    async def _write_found(self, survey: Survey, folder: Folder) -> None:
        uids = sorted(survey.copies)
        seen = {one.uid: one for one in survey.marks}
        async with survey.plan.make_source().session() as session:
            if session.mailbox.uidvalidity != survey.mailbox.uidvalidity:
                raise Transient("the source was renumbered in the meantime: do it again")
            for first in range(0, len(uids), PAGE):
                page = await session.describe(uids[first : first + PAGE])
                for start in range(0, len(page), AT_ONCE):
                    batch = page[start : start + AT_ONCE]
                    await all_of(*(self._record(survey, folder, one, seen[one.uid]) for one in batch))

    async def _record(self, survey: Survey, folder: Folder, listing: Listing, seen: TailMessage) -> None:
        """A claim and its end for a copy that is there; what stands PENDING is taken over."""
        assert self.require is not None  # noqa: S101 - a dry run does not come here
        key, now, uid = survey.route.key, self.clock.now(), survey.copies[seen.uid]
        record = Record(
            survey.mailbox.uidvalidity,
            listing.uid,
            Status.PENDING,
            Claimant(self.require(), token_hex(16)),
            claimed_at=now,
            sha256="",
            size=listing.size,
            internaldate=listing.internaldate,
            digest=seen.digest,
            message_id=seen.message_id,
            gm_msgid=listing.gm_msgid,
            dest_uidvalidity=folder.mailbox.uidvalidity,
            dest_uidnext=uid,
        )
        if (pending := survey.pending.get(listing.uid)) is not None:
            record = replace(pending, claimed_by=record.claimed_by)
            granted = await self.store.adopt(key, pending, record)
        else:
            granted = await self.store.claim(key, record) is None
        if not granted:
            return  # another UID's record stands for the same message: the daemon will skip this one
        done = replace(
            record,
            status=Status.DONE,
            dest_uid=uid,
            dest_uidvalidity=folder.mailbox.uidvalidity,
            copied_at=now,
            expires_at=int(now + survey.plan.settings.record_ttl),
        )
        if not await self.store.finish(key, done):
            raise LeaseLost(f"another daemon took over {survey.route.name}")
        survey.settled.add(listing.uid)
        survey.report.written += 1

    def _watermark(self, survey: Survey) -> Watermark:
        """The highest contiguous settled UID past the route's start point (I6)."""
        start = self._start(survey)
        left = [
            seen.uid
            for seen in survey.marks
            if seen.uid > start.last_uid
            and seen.uid not in survey.settled
            and not too_old(seen.uid, seen.received_at or None, start)
        ]
        if self.skip_missing:  # but for what is in doubt: that is recovery's
            survey.report.skipped = sum(uid not in survey.pending for uid in left)
            left = [uid for uid in left if uid in survey.pending]
        survey.report.left = len(left)
        last = left[0] - 1 if left else max(start.last_uid, survey.mailbox.uidnext - 1)
        return replace(start, last_uid=last, updated_at=self.clock.now())

    def _start(self, survey: Survey) -> Watermark:
        """Where the route's watermark stands, or would stand: what it says to be settled, is. A route
        that started with the next message, at a time that nobody knows, started at its first copy."""
        stored, box, now = survey.stored, survey.mailbox, self.clock.now()
        settings = survey.plan.settings
        if stored is None:
            first = first_watermark(survey.route, box, now)
            copied = min(survey.copies.keys() | survey.settled, default=box.uidnext)
            is_now = survey.route.start.kind is StartKind.NOW
            return replace(first, last_uid=min(first.last_uid, copied - 1)) if is_now else first
        if stored.uidvalidity == box.uidvalidity:
            return stored
        window, memory = settings.uidvalidity_window, settings.record_ttl
        return watermark_after_change(Past(stored), box, now, window=window, memory=memory)
