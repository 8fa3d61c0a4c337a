"""Bodies between the readers and a destination's writer: bounded in bytes, and fair.

Routes take turns, and live mail and old mail take turns. Old mail may fill three quarters of
the budget at most, so that a live message never waits for a backlog to be written. A large message
for which there is no room now has its room beside the budget, one at a time: nothing stands still for it.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass

from mailsyncd.errors import FailureKind
from mailsyncd.model import Lane, Message, MessageRef

LARGE = 4  # a message is large that takes more than a fourth of the budget


@dataclass(frozen=True, slots=True)
class Setback:
    """A reference whose body can't or won't be had: to be recorded as a failure."""

    ref: MessageRef
    kind: FailureKind
    error: str


@dataclass(frozen=True, slots=True)
class Ready:
    """A message to write, or a setback to record; `reserved` bytes go back with `release`."""

    item: Message | Setback
    reserved: int = 0

    @property
    def ref(self) -> MessageRef:
        return self.item.ref


class ReadyQueue:
    def __init__(self, budget: int) -> None:
        self._budget = budget
        self._used = 0
        self._beside = 0  # bytes of the one large message that has its room there
        self._in_line = {Lane.LIVE: asyncio.Lock(), Lane.OLD: asyncio.Lock()}
        self._turns: dict[Lane, deque[str]] = {Lane.LIVE: deque(), Lane.OLD: deque()}
        self._shelves: dict[tuple[Lane, str], deque[Ready]] = {}
        self._turn = Lane.LIVE
        self._filled = asyncio.Event()
        self._freed = asyncio.Event()

    def __len__(self) -> int:
        return sum(map(len, self._shelves.values()))

    @property
    def used(self) -> int:
        """Bytes reserved now, by readers and by messages not yet settled."""
        return self._used + self._beside

    def resize(self, budget: int) -> None:
        """From now on; what is there keeps its room."""
        self._budget = budget
        self._freed.set()

    def _limit(self, lane: Lane) -> int:
        return self._budget if lane is Lane.LIVE else self._budget * 3 // 4

    async def reserve(self, sizes: Collection[int], lane: Lane) -> None:
        """Wait until there is room for messages of these sizes; in line, so that a large one is not
        passed over for ever."""
        async with self._in_line[lane]:
            while (beside := self._beside_of(sizes, lane)) is None:
                self._freed.clear()
                await self._freed.wait()
            self._used += sum(sizes) - beside
            self._beside += beside

    def _beside_of(self, sizes: Collection[int], lane: Lane) -> int | None:
        """The bytes of them that go beside the budget now; None if there is no room yet."""
        limit, whole = self._limit(lane), sum(sizes)
        if not whole or self._used + whole <= limit:
            return 0
        largest = max(sizes)
        if largest > self._budget // LARGE and not self._beside and self._used + whole - largest <= limit:
            return largest
        return 0 if not self._used and (largest <= limit or not self._beside) else None

    def release(self, size: int) -> None:
        """A message's room is free again."""
        if size == self._beside:
            self._beside = 0
        else:
            self._used -= size
        self._freed.set()

    def put(self, ready: Ready) -> None:
        """Never waits: the room was reserved."""
        key = (ready.ref.lane, ready.ref.route.key)
        shelf = self._shelves.setdefault(key, deque())
        if not shelf:
            self._turns[key[0]].append(key[1])
        shelf.append(ready)
        self._filled.set()

    async def wait(self, *, live_only: bool = False) -> None:
        """Until there is something to get."""
        while not (self.has_live if live_only else len(self)):
            self._filled.clear()
            await self._filled.wait()

    @property
    def has_live(self) -> bool:
        return bool(self._turns[Lane.LIVE])

    def get(self, *, live_only: bool = False) -> Ready:
        """The next in turn. Raises IndexError if there is none."""
        lane = Lane.LIVE if live_only else self._turn
        lane = lane if self._turns[lane] or live_only else _other(lane)
        self._turn = _other(lane)
        route = self._turns[lane].popleft()
        shelf = self._shelves[lane, route]
        ready = shelf.popleft()
        if shelf:
            self._turns[lane].append(route)
        else:
            del self._shelves[lane, route]
        return ready

    def get_best(self, rank: Callable[[Ready], tuple[int, int]]) -> Ready:
        """The one of the lowest rank, out of turn. Raises ValueError if there is none."""
        lane, route = key = min(
            (key for key, shelf in self._shelves.items() if shelf),
            key=lambda key: min(map(rank, self._shelves[key])),
        )
        shelf = self._shelves[key]
        best = min(shelf, key=rank)
        shelf.remove(best)
        if not shelf:
            del self._shelves[key]
            self._turns[lane].remove(route)
        return best

    def __iter__(self) -> Iterator[Ready]:
        for shelf in self._shelves.values():
            yield from shelf

    def drop(self, route: str) -> None:
        """Forget a route's items, and give their room back."""
        for lane, turns in self._turns.items():
            for ready in self._shelves.pop((lane, route), ()):
                self.release(ready.reserved)
            if route in turns:
                turns.remove(route)

    def drain(self) -> list[Ready]:
        """Everything, with its room given back: the writer stops."""
        left = []
        while len(self):
            left.append(self.get())
            self.release(left[-1].reserved)
        return left


def _other(lane: Lane) -> Lane:
    return Lane.OLD if lane is Lane.LIVE else Lane.LIVE
