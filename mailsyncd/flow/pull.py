"""The only way in: list what lies past the watermark, put references on the queue.

IDLE, sweep, reconnect and run-once all end here; a notification is a hint, never data. pull()
only lists: a short listing is live mail, a long one a backlog. feed() describes what was
listed and brings it to the queue as there is room, each lane on its own, so that a full queue
stops neither listing nor IDLE.
"""

from __future__ import annotations

from collections.abc import Coroutine, Sequence
from itertools import islice
from typing import Any

import structlog

from mailsyncd.errors import FailureKind
from mailsyncd.flow.allowance import Allowance
from mailsyncd.flow.progress import Progress, Sighting
from mailsyncd.flow.queue import RefQueue
from mailsyncd.flow.ready import Ready, ReadyQueue, Setback
from mailsyncd.model import Lane, Listing, MessageRef, Route, Via
from mailsyncd.policy import search_since, wanted
from mailsyncd.ports import Clock, SourceSession
from mailsyncd.steps import Step, reached
from mailsyncd.tasks import all_of

log = structlog.get_logger()

AT_ONCE = 200  # messages: a longer listing is a backlog
PAGE = 500  # messages described by one request


class Puller:
    """Lists one route's mailbox into the queue."""

    def __init__(
        self,
        route: Route,
        queue: RefQueue,
        ready: ReadyQueue,
        clock: Clock,
        allowance: Allowance,
        *,
        max_size: int,
    ) -> None:
        self.route = route
        self._queue = queue
        self._ready = ready
        self._clock = clock
        self._max_size = max_size
        self._allowance = allowance

    async def pull(
        self, session: SourceSession, progress: Progress, via: Via, beside: Coroutine[Any, Any, None]
    ) -> int:
        """Take in all that is new; returns how many messages that is. `beside` shares the flight, and
        nothing is taken in if it raises."""
        examined_to, asked = session.mailbox.uidnext - 1, self._clock.monotonic()
        sightings: list[Sighting] = []
        await all_of(self._look(session, progress, via, sightings), beside)
        if not session.lists_at_once:
            self._note_unlisted(progress, {one.uid for one in sightings}, examined_to, asked)
        if via is not Via.PUSH or not self._is_plain(progress) or progress.unlisted:
            progress.listed(examined_to)
        reached(Step.LISTED)
        fresh = progress.expect(sightings, AT_ONCE)
        if fresh:
            log.info("mailbox.listed", new=fresh, via=via.value)
        return fresh

    def _note_unlisted(self, progress: Progress, shown: set[int], promised: int, asked_mono: float) -> None:
        progress.unlisted.listed(shown, asked_mono)
        above, up_to = max(progress.listed_to, progress.shown_to), max(shown, default=0)
        progress.unlisted.note(above, max(promised, up_to), shown, self._clock.monotonic())

    async def _look(
        self, session: SourceSession, progress: Progress, via: Via, found: list[Sighting]
    ) -> None:
        """A few that are known to be there are listed and described at once; what has yet to turn up is
        looked for before, so that no news in between is lost."""
        seen_mono = self._clock.monotonic()
        if progress.unlisted:
            uids = await self._search(session, progress, progress.unlisted.lowest - 1)
            found += [Sighting(uid, via, seen_mono) for uid in uids if uid in progress.unlisted]
        few = 0 < session.mailbox.uidnext - 1 - progress.listed_to <= AT_ONCE
        if self._is_plain(progress) and (few or via is Via.PUSH):
            listings = await session.newest(progress.listed_to)
            found += [Sighting(one.uid, via, seen_mono, one) for one in listings]
        else:
            uids = await self._search(session, progress, progress.listed_to)
            found += [Sighting(uid, via, seen_mono) for uid in uids]

    def _is_plain(self, progress: Progress) -> bool:
        """Whether everything past what is listed is wanted, so that no SEARCH is needed."""
        return self.route.filter is None and progress.listed_to + 1 >= progress.stored.backlog_until

    async def _search(self, session: SourceSession, progress: Progress, start: int) -> list[int]:
        """UIDs above `start`; below `backlog_until` only those of the wanted days."""
        since, raw = search_since(progress.stored), self.route.filter
        border = progress.stored.backlog_until
        if since is None or start + 1 >= border:
            return await session.search(start, raw=raw)
        window = await session.search(start, before=border, since=since, raw=raw)
        return window + await session.search(border - 1, raw=raw)

    async def feed(self, session: SourceSession, progress: Progress, lane: Lane) -> None:
        """Bring what is to do in a lane to the queue whenever there is room for it. Never ends.

        A sighting leaves `todo` only when it has been dealt with, so that this can be cut short
        anywhere and goes on over the next session.
        """
        todo = progress.todo[lane]
        while True:
            while todo:
                page = await self._describe(session, list(islice(todo, PAGE)))
                if lane is Lane.OLD:
                    reached(Step.BACKLOG_PAGE)
                for sighting, listing in page:
                    await self._dispatch(sighting, listing, lane, progress)
                    todo.popleft()
            progress.filled.clear()  # both lanes are woken, and whose there is nothing for waits again
            await progress.filled.wait()

    async def _describe(
        self, session: SourceSession, page: Sequence[Sighting]
    ) -> list[tuple[Sighting, Listing | None]]:
        unknown = [one.uid for one in page if one.listing is None]
        found = {one.uid: one for one in await session.describe(unknown)} if unknown else {}
        return [(one, one.listing or found.get(one.uid)) for one in page]

    async def _dispatch(
        self, sighting: Sighting, listing: Listing | None, lane: Lane, progress: Progress
    ) -> None:
        if sighting.via is not Via.PUSH and self._allowance.is_old(listing):
            lane = Lane.OLD  # few at a time are no backlog, but they are no news either
            progress.is_backlog(sighting.uid)
        described = listing or Listing(sighting.uid, 0, "")
        ref = MessageRef(self.route, progress.uidvalidity, described, lane, sighting.via, sighting.seen_mono)
        if listing is not None and not wanted(listing, progress.stored):
            progress.settle(listing.uid, self._clock.monotonic())
        else:
            await self.refer(ref, present=listing is not None)

    async def refer(self, ref: MessageRef, *, present: bool) -> None:
        """Put a reference on the queue; or to the writer at once, if it can't or won't be read."""
        if not present:
            error = "listed by the source, then gone before it could be read"
            self._ready.put(Ready(Setback(ref, FailureKind.VANISHED, error)))
        elif ref.listing.size > self._max_size:
            error = f"{ref.listing.size:,} bytes; the limit of this destination is {self._max_size:,}"
            self._ready.put(Ready(Setback(ref, FailureKind.OVERSIZE, error)))
        else:
            await self._queue.put(ref)
