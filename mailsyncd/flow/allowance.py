"""How much of an account's mail may be downloaded today: old mail stops at the budget, live mail
never does. Gmail locks an account for a day that downloads too much (A23-A25).

What was downloaded is noted in the state store, a minute late at the most, so that neither a
restart nor a second daemon forgets it. Days are UTC's: the provider does not say which it counts.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import UTC, datetime

import structlog

from mailsyncd.errors import Throttled
from mailsyncd.flow.gate import Gate
from mailsyncd.model import Listing, Traffic
from mailsyncd.policy import instant
from mailsyncd.ports import Clock, StateStore

log = structlog.get_logger()

NOTED_EVERY = 60.0  # seconds, while it changes
LIVE_FOR = 86_400.0  # seconds after its arrival that a message is live mail
KEPT = 3 * 86_400  # seconds for which a day's notes are kept
BANDWIDTH = 600.0  # seconds: a pause as long as this is about bandwidth
LONGEST_REST = 6 * 3600.0


@dataclass(slots=True)
class _Day:
    """One day's bytes: of this daemon, what the state store has under its name (`before`), and of all
    others as last seen."""

    name: str
    ours: int = 0
    before: int = 0
    others: int = 0
    noted: int = 0
    told: bool = False


class Allowance:
    """Of one source account; its routes share it. `budget` in bytes a day; 0 for none."""

    def __init__(
        self, account: str, budget: int, store: StateStore, gate: Gate, clock: Clock, owner: str
    ) -> None:
        self._account = account
        self.budget = budget
        self._store = store
        self._gate = gate
        self._clock = clock
        self._owner = owner
        self._day: _Day | None = None
        self.expected = 0  # bytes of what is being read now
        self._fresh = 0  # bytes that are not yet in a day's books
        self._noting = asyncio.Lock()
        self._next_note = clock.monotonic()
        self._rest_until = clock.monotonic()
        self._last_turn = float("-inf")
        self._refusals = 0

    # --------------------------------------------------------------------- budget

    def count(self, size: int) -> None:
        """So many bytes of a message have come."""
        self._refusals = 0
        self._fresh += size

    @property
    def used(self) -> int:
        """Bytes of today, as far as known."""
        day = self._day
        return self._fresh + (day.ours + day.others if day and day.name == self._today() else 0)

    def spent(self) -> bool:
        """Whether old mail has to wait for the next day, or for what was asked for to come."""
        return 0 < self.budget <= self.used + self.expected

    def is_old(self, listing: Listing | None) -> bool:
        """Whether a message counts as old mail though it was listed among few: it came before
        yesterday. Asked only where there is a budget to keep to."""
        if not self.budget or listing is None:
            return False
        received = instant(listing.internaldate)
        return received is not None and received < self._clock.now() - LIVE_FOR

    def renewal(self) -> float:
        """Seconds until the next day begins."""
        return 86_400.0 - self._clock.now() % 86_400.0

    def _today(self) -> str:
        return datetime.fromtimestamp(self._clock.now(), UTC).date().isoformat()

    # ------------------------------------------------------------------- the state

    async def refresh(self) -> None:
        """Once a minute: note what has come, and see what others have noted."""
        another_day = self._day is None or self._day.name != self._today()
        if another_day or self._clock.monotonic() >= self._next_note:
            await self.note()

    async def note(self) -> None:
        """Note what has come since, and take in what others have."""
        if not self.budget:
            self._fresh = 0
            return
        async with self._noting:
            self._next_note = self._clock.monotonic() + NOTED_EVERY
            await self._turn_over()
            await self._add_up()

    async def _turn_over(self) -> None:
        """Close the books of a day that is over, and look into today's."""
        over, today = self._day, self._today()
        if over is not None and over.name == today:
            return
        if over is not None:
            await self._add_up()
            if over.told:
                log.info("account.budget_renewed", account=self._account, budget=self.budget)
        day = _Day(today)
        await self._read(day)
        day.ours = day.noted = day.before  # of an earlier life of ours, under the same name
        self._day = day

    async def _add_up(self) -> None:
        day = self._day
        if day is None:
            return
        day.ours, self._fresh = day.ours + self._fresh, 0
        if day.ours != day.noted:
            await self._write(day)
            await self._read(day)
        if 0 < self.budget <= self.used and not day.told:
            day.told = True
            log.warning("account.budget_spent", account=self._account, size=self.used, budget=self.budget)

    async def _write(self, day: _Day) -> None:
        size, expires_at = day.ours, int(self._clock.now()) + KEPT
        note = Traffic(self._account, day.name, self._owner, size, expires_at)
        await self._gate.call(lambda: self._store.note_traffic(note))
        day.noted = size

    async def _read(self, day: _Day) -> None:
        found = await self._gate.call(lambda: self._store.traffic(self._account, day.name))
        day.before = sum(one.size for one in found if one.owner == self._owner)
        day.others = sum(one.size for one in found if one.owner != self._owner)

    # ------------------------------------------------------------------------ rest

    def rest(self, throttled: Throttled) -> float:
        """The account was told to pause: for how long no route of it may sign in. A limit on
        bandwidth lasts for hours (A24): longer each time, until a message comes through again."""
        pause = throttled.pause
        if pause >= BANDWIDTH:
            pause = min(pause * 2.0 ** min(self._refusals, 10), max(LONGEST_REST, pause))
            self._refusals += 1
        self._rest_until = max(self._rest_until, self._clock.monotonic() + pause)
        return self.resting()

    def resting(self) -> float:
        """Seconds for which the account is to be left alone."""
        return max(0.0, self._rest_until - self._clock.monotonic())

    def in_turn(self, wait: float, apart: float) -> float:
        """Seconds to wait instead of `wait`, so that logins to the account come that far apart, however
        many of its routes would like to."""
        now = self._clock.monotonic()
        self._last_turn = max(now + wait, self._last_turn + apart)
        return self._last_turn - now
