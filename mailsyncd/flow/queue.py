"""The one queue of references between the watchers and the readers.

Bounded, duplicate-free, closable, and fair: a route with a backlog can't keep another from
queueing, and within a route live mail and old mail take turns.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterable

from mailsyncd.model import Lane, MessageRef, Route

RESERVED = 16  # places that each lane of every route has, however full the queue


class _Shelf:
    """One route's references."""

    def __init__(self) -> None:
        self.lanes: dict[Lane, deque[MessageRef]] = {Lane.LIVE: deque(), Lane.OLD: deque()}
        self.turn = Lane.LIVE
        self.old_held = False
        self.filled = asyncio.Event()

    def __len__(self) -> int:
        return sum(map(len, self.lanes.values()))

    def lane(self, live_only: bool) -> deque[MessageRef]:
        """The lane whose turn it is, or the other where that one is empty; empty if nothing may be
        taken now."""
        live, old = self.lanes[Lane.LIVE], self.lanes[Lane.OLD]
        if live_only or self.old_held or not old:
            return live
        return live if live and self.turn is Lane.LIVE else old


class RefQueue:
    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._shelves: dict[str, _Shelf] = {}
        self._keys: set[tuple[str, int, int]] = set()
        self._fresh: dict[str, Route] = {}
        self._news = asyncio.Event()
        self._room = asyncio.Event()
        self._closed = False

    def __len__(self) -> int:
        return len(self._keys)

    def waiting(self, route: str) -> int:
        """How many references of that route are queued."""
        return len(self._shelf(route))

    def resize(self, capacity: int) -> None:
        """From now on; what is there stays."""
        self._capacity = capacity
        self._room.set()

    def _shelf(self, route: str) -> _Shelf:
        if route not in self._shelves:
            self._shelves[route] = _Shelf()
        return self._shelves[route]

    def _full(self, lane: deque[MessageRef]) -> bool:
        return len(self._keys) >= self._capacity and len(lane) >= RESERVED

    async def put(self, ref: MessageRef) -> bool:
        """Wait for room and add; False if it is queued already or the queue is closed."""
        shelf = self._shelf(ref.route.key)
        while self._full(shelf.lanes[ref.lane]) and not self._closed:
            self._room.clear()
            await self._room.wait()
        if self._closed or ref.key in self._keys:
            return False
        if not len(shelf):
            self._fresh[ref.route.key] = ref.route
            self._news.set()
        self._keys.add(ref.key)
        shelf.lanes[ref.lane].append(ref)
        shelf.filled.set()
        return True

    async def news(self) -> None:
        """Until some route has something queued, and had nothing before. See fresh()."""
        while not self._fresh:
            self._news.clear()
            await self._news.wait()

    def fresh(self) -> list[Route]:
        """The routes of which that is so. They are told once."""
        fresh, self._fresh = self._fresh, {}
        return list(fresh.values())

    def put_back(self, refs: Iterable[MessageRef]) -> None:
        """Return what was taken, to the front and in order: it had its place already."""
        for ref in reversed(list(refs)):
            if ref.key not in self._keys and not self._closed:
                shelf = self._shelf(ref.route.key)
                self._keys.add(ref.key)
                shelf.lanes[ref.lane].appendleft(ref)
                shelf.filled.set()

    async def take(self, route: str, *, count: int, size: int, live_only: bool = False) -> list[MessageRef]:
        """Wait for, and remove, references of one lane of a route.

        At most `count`, and at most `size` bytes unless the first alone is larger. Empty only
        when the queue is closed.
        """
        shelf = self._shelf(route)
        while not (lane := shelf.lane(live_only)) and not self._closed:
            shelf.filled.clear()
            await shelf.filled.wait()
        taken, total = list[MessageRef](), 0
        while lane and len(taken) < count and (not taken or total + lane[0].listing.size <= size):
            ref = lane.popleft()
            self._keys.discard(ref.key)
            taken.append(ref)
            total += ref.listing.size
        shelf.turn = Lane.OLD if lane is shelf.lanes[Lane.LIVE] else Lane.LIVE
        self._room.set()
        return taken

    def hold_old(self, route: str, held: bool) -> None:
        """Whether old mail of a route has to wait, however long."""
        shelf = self._shelf(route)
        if shelf.old_held != held:
            shelf.old_held = held
            shelf.filled.set()

    def held(self, route: str) -> int:
        """How many references of old mail wait so."""
        shelf = self._shelf(route)
        return len(shelf.lanes[Lane.OLD]) if shelf.old_held else 0

    def drop(self, route: str) -> None:
        """Forget a route's references: it was removed."""
        self._fresh.pop(route, None)
        if shelf := self._shelves.pop(route, None):
            for lane in shelf.lanes.values():
                self._keys.difference_update(ref.key for ref in lane)
            self._room.set()

    def drop_unclaimed(self, route: str) -> None:
        """Forget a route's references, whose UIDs mean nothing any more; but not those with a record,
        which is to be settled."""
        lanes = self._shelf(route).lanes.values()
        claimed = [ref for lane in lanes for ref in lane if ref.record is not None]
        self.drop(route)
        self.put_back(claimed)

    def close(self) -> None:
        """Let nobody wait any longer: put returns False, take what is left, then nothing."""
        self._closed = True
        self._room.set()
        for shelf in self._shelves.values():
            shelf.filled.set()
