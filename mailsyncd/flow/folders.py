"""What is known of the destination's folders over one connection, and which can't be opened."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import replace

import structlog

from mailsyncd.errors import RouteBlocked
from mailsyncd.flow.belt import Belt
from mailsyncd.flow.watch import Watch
from mailsyncd.model import Appended, Mailbox, Record, Route, Watermark
from mailsyncd.ports import SinkSession
from mailsyncd.steps import Step, reached

log = structlog.get_logger()


class Folders:
    """Of one destination."""

    def __init__(self, belt: Belt, watches: Mapping[str, Watch]) -> None:
        self._belt = belt
        self._watches = watches
        self._known: dict[str, Mailbox] = {}
        self._told: dict[str, Mailbox] = {}  # seen over this connection, not yet needed
        self._ahead: dict[str, Route] = {}  # by folder: routes of which messages are being read
        self._asking: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    def forget_all(self) -> None:
        """A new connection: what was known may be true no more."""
        self._known.clear()
        self._told.clear()

    def forget(self, name: str) -> None:
        """It is not there any more, or not as it was."""
        self._known.pop(name, None)
        self._told.pop(name, None)

    async def vouch(self, session: SinkSession) -> None:
        """See whether the state store remembers what they show, which tells their numbers as well.
        Nothing may be in flight."""
        self._told.update(await self._belt.vouch.look(session))

    def wanted(self) -> Route | None:
        """A route whose messages are being read, while its folder is yet to be opened. Told once: it may
        fail, and whoever needs the folder opens it."""
        self._ahead.update((route.folder, route) for route in self._belt.queue.fresh())
        while self._ahead:
            name, route = self._ahead.popitem()
            watch = self._watches.get(route.key)
            if name not in self._known and watch is not None and not watch.folder_trouble:
                return route
        return None

    async def open(self, session: SinkSession, route: Route) -> Mailbox:
        """The numbers of a route's folder: the UIDNEXT is a lower bound for every APPEND from now on.
        Raises what session.open() raises; that a folder can't be opened is shown with its routes."""
        name = route.folder
        while (known := self._known.get(name)) is None:
            async with self._asking[name]:  # or each message in hand would ask
                if name not in self._known:
                    await self._open(session, route)
        return known

    async def _open(self, session: SinkSession, route: Route) -> None:
        name = route.folder
        try:
            told = self._told.get(name)
            self._known[name] = told or await session.open(name, create=route.create_folder)
        except RouteBlocked as blocked:
            self.trouble(name, str(blocked))
            raise
        reached(Step.FOLDER_SEEN)
        self.trouble(name, "")

    def trouble(self, name: str, error: str) -> None:
        """Why the routes into a folder stand still; an empty text when they don't."""
        for watch in self._watches.values():
            if watch.route.folder == name and watch.folder_trouble != error:
                watch.folder_trouble = error
                if error:
                    log.error("route.blocked", route=watch.route.name, error=error)

    def noted(self, name: str, mark: Watermark) -> Watermark:
        """With the folder's numbers, from which a later start sees whether the store remembers all."""
        folder = self._known.get(name)
        if folder is None or folder.uidnext == 0 or not self._belt.vouch.complete(name):
            return mark
        return replace(mark, dest_uidvalidity=folder.uidvalidity, dest_uidnext=folder.uidnext)

    def note(self, name: str, appended: Appended, claimed: Record) -> None:
        """A copy was made. A number that should not be possible, being lower than any that was to be
        had when it was claimed, means another folder of that name."""
        folder = self._known.get(name)
        if folder is None or appended.uid is None or appended.uidvalidity is None:
            return
        if folder.uidvalidity != appended.uidvalidity or appended.uid < (claimed.dest_uidnext or 0):
            self.forget(name)
        elif appended.uid >= folder.uidnext:
            self._known[name] = replace(folder, uidnext=appended.uid + 1)
