"""Does the state store remember what the folders show? If not, it was emptied or restored to earlier.

The proof is a copy that no record explains, of a message that the store takes for not yet copied.
Nothing of a route is handed on, so nothing is written, until its target folder was looked at; where the
folder shows strangers, the ends of what the route has to copy are compared with them first, and
each message before it is claimed. In ordinary life there are no strangers, since a watermark notes
the folder's UIDNEXT, and a look costs one STATUS a folder.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import replace

from mailsyncd.errors import RouteBlocked, StateForgot
from mailsyncd.flow.gate import Gate
from mailsyncd.flow.progress import Progress
from mailsyncd.matching import Marks, TailIndex, concerned, marks_of, pair, seen_marks, trace_of
from mailsyncd.model import Mailbox, Record, Route, TailMessage, Trace, Watermark
from mailsyncd.policy import too_old
from mailsyncd.ports import SinkSession, SourceSession, StateStore
from mailsyncd.tasks import all_of

AT_ONCE = 50  # folders that are asked for in one flight
NEWEST = 1_000  # messages of a folder that are looked at, at the most
SAMPLE = 300  # messages of the source that are compared, from either end


class Vouch:
    """Of one destination, for the time of one lease."""

    def __init__(self, store: StateStore, gate: Gate) -> None:
        self._store = store
        self._gate = gate
        self._routes: tuple[Route, ...] = ()
        self._strangers: dict[str, TailIndex] = {}  # by folder: copies that no record explains
        self._admitted: set[str] = set()
        self._looked = asyncio.Event()

    def serve(self, routes: Iterable[Route]) -> None:
        """The routes that write to this destination."""
        self._routes = tuple(routes)

    def forget(self) -> None:
        """The lease is gone: what others do to store and folders meanwhile is not seen."""
        self._routes = ()
        self._strangers.clear()
        self._admitted.clear()

    def complete(self, folder: str) -> bool:
        """Whether all that is in the folder is accounted for, as far as any of its routes can tell:
        its numbers may then be noted as known."""
        return all(map(self.admitted, (route for route in self._routes if route.folder == folder)))

    def admitted(self, route: Route) -> bool:
        return route.key in self._admitted

    # ------------------------------------------------------------- the folders

    def due(self) -> bool:
        return any(route.folder not in self._strangers for route in self._routes)

    async def look(self, session: SinkSession) -> dict[str, Mailbox]:
        """Look at every folder that was not yet; returns those that are there, with their numbers.
        Nothing may be in flight."""
        folders = list(dict.fromkeys(route.folder for route in self._routes))
        there: dict[str, Mailbox] = {}
        unseen = [one for one in folders if one not in self._strangers]
        for first in range(0, len(unseen), AT_ONCE):
            some = unseen[first : first + AT_ONCE]
            await all_of(*(_open(session, folder, there) for folder in some))
            for folder in some:
                found = await self._strangers_in(session, folder, there.get(folder))
                self._strangers[folder] = TailIndex(found)
        self._looked.set()
        return there

    async def _strangers_in(
        self, session: SinkSession, folder: str, mailbox: Mailbox | None
    ) -> list[TailMessage]:
        if mailbox is None or mailbox.exists == 0:
            return []
        routes = [route for route in self._routes if route.folder == folder]
        marks = [mark for route in routes if (mark := await self._watermark(route)) is not None]
        known = _known(marks, mailbox.uidvalidity)
        if 0 < mailbox.uidnext <= known:
            return []
        try:
            tail = await session.tail(folder, known, newest=NEWEST)
        except RouteBlocked:
            return []  # it has just gone
        if not tail:
            return []
        # First what is PENDING: whatever is finished meanwhile is seen twice, rather than never.
        found = [trace_of(one) for route in routes for one in await self._pending(route)]
        found += await self._gate.call(
            lambda: witnesses(self._store, routes, mailbox.uidvalidity, tail, marks)
        )
        return unexplained(found, tail, mailbox.uidvalidity)

    async def _pending(self, route: Route) -> list[Record]:
        return await self._gate.call(lambda: self._store.pending(route.key))

    async def _watermark(self, route: Route) -> Watermark | None:
        return await self._gate.call(lambda: self._store.watermark(route.key))

    # -------------------------------------------------------------- the routes

    async def begin(self, route: Route, session: SourceSession) -> None:
        """Before a route without a watermark gets its first. Raises StateForgot.

        The same mail may well have come into the folder by another way, so that a copy counts
        only if its INTERNALDATE agrees too.
        """
        uidvalidity = session.mailbox.uidvalidity
        if await self._gate.call(lambda: self._store.records(route.key, uidvalidity, most=1)):
            raise StateForgot(f"the state store has records of {route.name} and no watermark")
        strangers = await self._strangers_of(route)
        if strangers:
            uids = await session.search(0, raw=route.filter)
            for seen in await session.marks(_ends(uids)):
                if strangers.knows(seen_marks(seen).sure()):
                    raise _forgotten(route.folder)
        self._admitted.add(route.key)

    async def admit(self, route: Route, session: SourceSession, progress: Progress) -> None:
        """Before the first message of a route is read, after its first listing. Raises StateForgot."""
        strangers = await self._strangers_of(route)
        if strangers:
            mark = progress.stored
            for seen in await session.marks(_ends(progress.open)):
                wanted = not too_old(seen.uid, seen.received_at or None, mark)
                if wanted and strangers.knows(seen_marks(seen).likely()):
                    raise _forgotten(route.folder)
        self._admitted.add(route.key)

    def check(self, route: Route, record: Record) -> None:
        """Before a message is claimed. Raises StateForgot."""
        strangers = self._strangers.get(route.folder)
        if strangers and strangers.knows(marks_of(record).sure()):
            raise _forgotten(route.folder)

    async def _strangers_of(self, route: Route) -> TailIndex:
        while route.folder not in self._strangers:
            self._looked.clear()
            await self._looked.wait()
        return self._strangers[route.folder]


async def witnesses(
    store: StateStore,
    routes: Sequence[Route],
    uidvalidity: int,
    tail: Sequence[TailMessage],
    marks: Iterable[Watermark],
) -> list[Trace]:
    """The DONE records of these routes that may account for the tail, those from before the folder was
    renumbered included. `marks` are the routes' watermarks."""
    # Noted under another number, or never: what was copied since the last note may have a third. And a
    # server that does not say where a copy is (no UIDPLUS) may have renumbered the folder just before.
    renumbered = any(mark.dest_uidvalidity != uidvalidity for mark in marks)
    first = 0 if renumbered else tail[0].uid
    found: list[Trace] = []
    for route in routes:
        found += concerned(await store.delivered(route.key, None, first), tail)
    return found


def unexplained(traces: Iterable[Trace], tail: Sequence[TailMessage], uidvalidity: int) -> list[TailMessage]:
    """The messages of the tail that no record accounts for: by its UID, or else by its marks."""
    owned: set[int] = set()
    claims: list[Marks] = []
    for one in traces:
        same = one.dest_uidvalidity == uidvalidity
        if same and one.dest_uid is not None:
            owned.add(one.dest_uid)
        else:
            claims.append(marks_of(one) if same else replace(marks_of(one), from_uid=0))
    left = [seen for seen in tail if seen.uid not in owned]
    found = set(pair(claims, left))
    return [seen for seen in left if seen.uid not in found]


async def _open(session: SinkSession, folder: str, there: dict[str, Mailbox]) -> None:
    """One that can't be opened holds nothing to vouch for."""
    with suppress(RouteBlocked):
        there[folder] = await session.open(folder, create=False)


def _known(marks: Iterable[Watermark], uidvalidity: int) -> int:
    """The highest UIDNEXT that any route has noted: what lies below, the store has known of."""
    return max((mark.dest_uidnext or 1 for mark in marks if mark.dest_uidvalidity == uidvalidity), default=1)


def _ends(uids: Sequence[int]) -> list[int]:
    return [*uids[:SAMPLE], *uids[SAMPLE:][-SAMPLE:]]


def _forgotten(folder: str) -> StateForgot:
    return StateForgot(f"the folder {folder!r} holds copies that the state store knows nothing of")
