"""How much may be in flight to a destination: by count, by bytes, by time, and by pace.

What counts is what is on the wire, until its answer: starts small, grows while all is well, falls to
one on trouble (design: manners by server). Beside it some messages are in hand: claimed beforehand,
or answered and yet to be finished, so that the wire never waits for the state store.
"""

from __future__ import annotations

import asyncio
from collections import deque

from mailsyncd.model import Lane
from mailsyncd.ports import Clock, SinkLimits

FIRST = 4  # messages in flight on a fresh connection, or a quarter of the most there may be
LATE = 0.003  # seconds, and twice the quickest: what new mail may have to wait
PATIENT = 0.012  # the same where no new mail came lately
LATELY = 60.0  # seconds
STEP = 8  # the window changes by one part in so many
SURE = 3  # times that messages are late before the window counts as found


class TurnedAway(Exception):
    """No place on the wire: nothing was sent, and nothing is wrong with the message."""


class Window:
    def __init__(self, limits: SinkLimits, clock: Clock) -> None:
        self._limits = limits
        self._clock = clock
        self.most_on_wire = min(max(FIRST, limits.window // 4), limits.window)
        self._bytes = 0
        self._waiting: dict[Lane, deque[tuple[int, asyncio.Future[None]]]] = {
            Lane.LIVE: deque(),
            Lane.OLD: deque(),
        }
        self._changed = asyncio.Event()
        self._next_turn = self._adjusted = clock.monotonic()
        self._quickest_answer = float("inf")  # seconds
        self._times_late = 0
        self._live_mono = float("-inf")
        self.on_wire = 0
        self.in_hand = 0

    # -------------------------------------------------------------------- in hand

    def most_in_hand(self, lane: Lane) -> int:
        """Half as many as on the wire are claimed beforehand or yet to be finished: they, too, are what
        new mail waits behind. It may itself be as many more."""
        beside = self.most_on_wire // 2 if lane is Lane.OLD else self.most_on_wire - 1
        return self.most_on_wire + beside

    def admits(self, lane: Lane) -> bool:
        return self.in_hand < self.most_in_hand(lane)

    async def room(self, lane: Lane) -> None:
        """Wait until some more may be taken in hand: a few at once, which costs less than one by one."""
        while self.in_hand and self.in_hand > self.most_in_hand(lane) - max(1, self.most_on_wire // 4):
            await self._change()

    async def empty(self) -> None:
        """Wait until nothing is in hand."""
        while self.in_hand:
            await self._change()

    def take(self) -> None:
        """One more is in hand."""
        self.in_hand += 1

    def settle(self) -> None:
        self.in_hand -= 1
        self._changed.set()

    async def _change(self) -> None:
        self._changed.clear()
        await self._changed.wait()

    async def turn(self) -> None:
        """Wait for the turn, where the destination wants a pace."""
        if self._limits.per_second:
            now = self._clock.monotonic()
            turn = max(self._next_turn, now - 1.0)
            self._next_turn = turn + 1 / self._limits.per_second
            if turn > now:
                await self._clock.sleep(turn - now)

    # ----------------------------------------------------------------- on the wire

    async def enter(self, size: int, lane: Lane) -> float:
        """Wait for a place on the wire, which is kept until leave(). Live mail goes first. Returns since
        when it is had; raises TurnedAway."""
        if lane is Lane.LIVE:
            self._live_mono = self._clock.monotonic()
        if not self._fits(size) or any(self._waiting.values()):
            await self._wait(size, lane)
        else:
            self._take_place(size)
        return self._clock.monotonic()

    def answered(self, began: float) -> None:
        """What entered then was taken."""
        self._quickest_answer = min(self._quickest_answer, self._clock.monotonic() - began)

    async def _wait(self, size: int, lane: Lane) -> None:
        place: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting[lane].append((size, place))
        try:
            self._let_in()
            await place
        except asyncio.CancelledError:
            if place.done() and not place.cancelled() and place.exception() is None:
                self.leave(size)
            raise

    def _let_in(self) -> None:
        for waiting in self._waiting.values():
            while waiting:
                size, place = waiting[0]
                if place.done():  # its waiter was cancelled
                    waiting.popleft()
                elif self._fits(size):
                    waiting.popleft()
                    self._take_place(size)
                    place.set_result(None)
                else:
                    return

    def _fits(self, size: int) -> bool:
        """Whether there is room for a message. One larger than the window in bytes goes alone."""
        if not self.on_wire:
            return True
        return self.on_wire < self.most_on_wire and self._bytes + size <= self._limits.window_bytes

    def _take_place(self, size: int) -> None:
        self.on_wire += 1
        self._bytes += size

    def leave(self, size: int) -> None:
        self.on_wire -= 1
        self._bytes -= size
        self._let_in()

    # ---------------------------------------------------------------- how it goes

    def went_well(self, began: float, store: float) -> None:
        """What was claimed then has been sent and finished. The window is too large when that takes long:
        messages only wait for each other, for the wire or for the state store, and new mail behind
        them. It doubles until messages were late a few times, for the first bodies all come at once; then
        it is changed once for what was in hand together, by one part in so many. `store`: seconds
        that the state store takes for an answer, at best."""
        took = (now := self._clock.monotonic()) - began
        bearable = LATE if now - self._live_mono < LATELY else PATIENT
        late = took > bearable + 2 * (self._quickest_answer + store)
        if not late and self._times_late < SURE:
            self.most_on_wire = min(self.most_on_wire + 1, self._limits.window)
        elif began >= self._adjusted:
            step = 1 + self.most_on_wire // STEP
            least = min(FIRST, self.most_on_wire)
            wanted = self.most_on_wire - step if late else self.most_on_wire + step
            self.most_on_wire = max(least, min(wanted, self._limits.window))
            self._adjusted, self._times_late = now, self._times_late + late

    def went_badly(self) -> None:
        self.most_on_wire = 1

    def turn_away(self) -> None:
        """The destination wants a pause: whatever waits for a place goes back."""
        for waiting in self._waiting.values():
            while waiting:
                _, place = waiting.popleft()
                if not place.done():
                    place.set_exception(TurnedAway)
