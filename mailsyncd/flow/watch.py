"""A route: session, pull, IDLE as a hint, again; and its reconnect loop.

One task a route, for as long as the route is configured. Everything that goes wrong with the
source ends here and is answered here: wait, and connect again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, field
from functools import partial
from typing import Any
from uuid import uuid4

import structlog

from mailsyncd.errors import (
    AuthRejected,
    LeaseLost,
    RouteBlocked,
    StateForgot,
    StateUnavailable,
    Throttled,
    Transient,
)
from mailsyncd.flow.allowance import Allowance
from mailsyncd.flow.belt import Belt
from mailsyncd.flow.failures import Retries
from mailsyncd.flow.oddities import Oddities
from mailsyncd.flow.origin import Origin
from mailsyncd.flow.pages import all_records
from mailsyncd.flow.pause import Pause
from mailsyncd.flow.preflight import Preflight
from mailsyncd.flow.progress import Progress, Tally
from mailsyncd.flow.pull import Puller
from mailsyncd.flow.read import Reader
from mailsyncd.flow.reconnect import RARE, Reconnects
from mailsyncd.flow.sweep import SweepTimer
from mailsyncd.flow.unlisted import CONFIRMED
from mailsyncd.model import Lane, Route, Status, Via, Wake
from mailsyncd.policy import backoff
from mailsyncd.ports import Source, SourceSession
from mailsyncd.status import RouteState, RouteStatus
from mailsyncd.tasks import all_of, begun, first_of, until

log = structlog.get_logger()

BLOCKED_RETRY = 300.0  # seconds between tries of a route that needs its user
ONCE_ATTEMPTS = 3  # connections that run-once spends on a route
LONGEST_ONCE = 60.0  # seconds that run-once waits for a source
BUDGET_LOOK = 15.0  # seconds between looks whether old mail may go on
SETTLE_LOOK = 0.25  # seconds between looks whether run-once waits in vain


@dataclass(frozen=True, slots=True)
class RouteSettings:
    """Seconds and bytes that a route's watch goes by, and what the destination asks of its mail."""

    sweep_interval: float
    uidvalidity_window: float
    record_ttl: float
    max_message: int
    preflight: Preflight = field(default_factory=Preflight)


class Watch:
    """One route from its source to the ready queue. `progress` outlives connections."""

    def __init__(
        self, route: Route, source: Source, belt: Belt, settings: RouteSettings, allowance: Allowance
    ) -> None:
        self.route = route
        self.allowance = allowance
        self.progress: Progress | None = None
        self.tally = Tally()
        self.state = RouteState.CONNECTING
        self.detail = ""
        self.folder_trouble = ""
        self.complete = False
        self._between = Pause(belt.clock)
        self._source = source
        self._oddities = Oddities()
        self._belt = belt
        self._settings = settings
        self._origin = Origin(
            route, belt, self._oddities, window=settings.uidvalidity_window, memory=settings.record_ttl
        )
        self._listed = asyncio.Event()
        self._admitting = asyncio.Lock()
        self._settled: list[tuple[int, int]] = []  # while the progress was being loaded
        self._timer = SweepTimer(belt.clock, settings.sweep_interval, belt.rng)
        self._puller = Puller(
            route, belt.queue, belt.ready, belt.clock, allowance, max_size=settings.max_message
        )
        self._retries = Retries(route.key, self._puller, belt)

    # ------------------------------------------------------------ reconnecting

    async def run(self) -> None:
        """Watch until cancelled. Raises only what reaches further than this route."""
        reconnects = Reconnects(self._belt.rng)
        with structlog.contextvars.bound_contextvars(route=self.route.name):
            while True:
                began = self._belt.clock.monotonic()
                pause = await self._connect_and(self._serve)
                lived = self._belt.clock.monotonic() - began
                wait = reconnects.after(lived, planned=pause is None)
                wait = max(wait, pause or 0.0, self.allowance.resting())
                if reconnects.rare:
                    wait = self.allowance.in_turn(wait, RARE)
                await self._between.wait(wait)

    async def run_once(self) -> None:
        """One listing, and wait until all of it is settled. `complete` says whether that was had."""
        await all_of(self._want_destination_if_new(), self._try_once())

    async def _want_destination_if_new(self) -> None:
        """A new route needs it at once: it signs in together with the source."""
        store, gate, key = self._belt.store, self._belt.gate, self.route.key
        if await gate.call(lambda: store.watermark(key)) is None:
            self._belt.wanted.set()

    async def _try_once(self) -> None:
        delays = backoff(self._belt.rng)
        with structlog.contextvars.bound_contextvars(route=self.route.name):
            for attempt in range(1, ONCE_ATTEMPTS + 1):
                pause = await self._connect_and(self._serve_once)
                if pause is None:
                    self.complete = not self.folder_trouble
                    return
                if self.state.needs_a_person or attempt == ONCE_ATTEMPTS:
                    return
                if pause > LONGEST_ONCE:
                    return
                await self._belt.clock.sleep(next(delays) if pause < 0 else pause)

    async def _connect_and(self, serve: Callable[[SourceSession], Awaitable[None]]) -> float | None:
        """One connection's life. Returns how long to pause: None if it ended as planned, below
        zero to leave it to the backoff."""
        self._enter(RouteState.CONNECTING)
        try:
            async with self._source.session() as session:
                await serve(session)
        except (StateUnavailable, LeaseLost):
            raise
        except StateForgot as error:
            self._enter(RouteState.BLOCKED, str(error))
            raise
        except Throttled as error:
            return self._retry(RouteState.RETRYING, error, self.allowance.rest(error))
        except (Transient, AuthRejected) as error:
            return self._retry(RouteState.RETRYING, error, -1)
        except RouteBlocked as error:
            return self._retry(RouteState(error.state), error, BLOCKED_RETRY)
        self._belt.meter.disconnected("source", self.route.name, None)
        return None

    def _retry(self, state: RouteState, error: Exception, pause: float) -> float:
        self._enter(state, str(error))
        self._between.after(error)
        self._belt.meter.disconnected("source", self.route.name, error)
        log.log(40 if state.needs_a_person else 30, f"route.{state.value}", error=str(error))
        return pause

    def _enter(self, state: RouteState, detail: str = "") -> None:
        self.state, self.detail = state, detail

    # --------------------------------------------------------- one connection

    async def _serve(self, session: SourceSession) -> None:
        """List, idle, list again, until the session's planned end."""
        progress = await self._resume(session)
        self._enter(RouteState.WATCHING)
        log.info("route.connected", uidvalidity=progress.uidvalidity, exists=session.mailbox.exists)
        await first_of(
            self._rounds(session, progress),
            *self._feeds(session, progress),
        )

    async def _serve_once(self, session: SourceSession) -> None:
        progress = await self._resume(session)
        self._enter(RouteState.WATCHING)
        await first_of(
            self._settle_all(session, progress),
            *self._feeds(session, progress),
        )

    def _feeds(self, session: SourceSession, progress: Progress) -> list[Coroutine[Any, Any, None]]:
        """What brings messages to the writer over a session, each for ever."""
        self._listed.clear()
        return [
            self._puller.feed(session, progress, Lane.LIVE),
            self._puller.feed(session, progress, Lane.OLD),
            self._retries.feed(session, progress.failures),
            self._read(session, progress),
            self._mind_budget(),
        ]

    async def _rounds(self, session: SourceSession, progress: Progress) -> None:
        via = Via.START
        while True:
            await self._list(session, progress, via)
            left = float("inf")
            if session.ends_mono is not None:
                left = session.ends_mono - self._belt.clock.monotonic()
            if left <= 0:
                return
            wake = await session.wait(max(0.0, min(self._timer.remaining(), left)))
            via = Via.PUSH if wake is Wake.NEWS else Via.SWEEP

    async def _list(self, session: SourceSession, progress: Progress, via: Via) -> None:
        """One listing, within the deadline that tells a stuck connection from a slow one."""
        timer = self._timer
        with structlog.contextvars.bound_contextvars(cycle_id=uuid4().hex[:12]):
            try:
                async with asyncio.timeout(timer.deadline):
                    fresh = await self._puller.pull(session, progress, via, self._origin.compare(session))
            except TimeoutError:
                raise Transient(f"no listing was finished within {timer.deadline:.0f} s") from None
            self._listed.set()
            if self._oddities.emptied(session.mailbox.exists):
                log.warning("route.suddenly_empty", before=self._oddities.emptied_from)
            if via is not Via.PUSH:
                timer.listed()
                progress.failures.stirred.set()
                self._tell_sweep(progress, fresh)

    def _tell_sweep(self, progress: Progress, fresh: int) -> None:
        now, held = self._belt.clock.monotonic(), self._held(progress) > 0
        oldest, late = round(progress.oldest_age(now) or 0.0), round(progress.late(now, held=held))
        waiting = progress.unsettled
        log.info("sweep.finished", new=fresh, unsettled=waiting, oldest_seconds=oldest, late_seconds=late)

    async def _read(self, session: SourceSession, progress: Progress) -> None:
        """Bodies, ahead of the writer."""
        await self.allowance.refresh()
        belt, key, preflight = self._belt, self.route.key, self._settings.preflight
        belt.queue.hold_old(key, self.allowance.spent())
        admit = partial(self._admit, session, progress)
        await Reader(session, key, belt.queue, belt.ready, preflight, self.allowance, belt.clock, admit).run()

    async def _admit(self, session: SourceSession, progress: Progress) -> None:
        """Wait until nothing speaks against copying what the first listing showed."""
        async with self._admitting:
            if self._origin.is_unsure or not self._belt.vouch.admitted(self.route):
                await self._listed.wait()
            if not self._belt.vouch.admitted(self.route):
                await self._belt.vouch.admit(self.route, session, progress)

    async def _mind_budget(self) -> None:
        """Old mail waits while the day's budget is spent. Never ends."""
        while True:
            await self._belt.clock.sleep(BUDGET_LOOK)
            await self.allowance.refresh()
            self._belt.queue.hold_old(self.route.key, self.allowance.spent())

    def _held(self, progress: Progress) -> int:
        """How many old messages wait for the next day."""
        held = self._belt.queue.held(self.route.key)
        return held + len(progress.todo[Lane.OLD]) if held else 0

    async def _settle_all(self, session: SourceSession, progress: Progress) -> None:
        if session.mailbox.uidnext - 1 > progress.listed_to:
            self._belt.wanted.set()  # most likely: the destination is dialled while this is listed
        await self._list(session, progress, Via.SWEEP)
        while (progress.unsettled or progress.failures.busy) and not self.folder_trouble:
            progress.failures.moved.clear()
            if progress.unsettled or progress.failures.under_way:
                self._belt.wanted.set()
            if (held := self._held(progress)) >= max(progress.unsettled, 1):
                raise Throttled(self._budget_spent(held), self.allowance.renewal())
            await first_of(until(progress.failures.moved), self._belt.clock.sleep(SETTLE_LOOK))

    # ------------------------------------------------------ where to go on from

    async def _resume(self, session: SourceSession) -> Progress:
        """The progress to go on with: kept, loaded, begun, or begun anew after a change of
        UIDVALIDITY."""
        mailbox = session.mailbox
        if self.progress is not None and self.progress.uidvalidity == mailbox.uidvalidity:
            self._origin.check(mailbox, self.progress.stored)
            await self._origin.compare(session)
            return self.progress
        self._settled.clear()
        watermark = await self._origin.watermark(session, mailbox)
        store, gate, key = self._belt.store, self._belt.gate, self.route.key
        recorded, shown_to, long_ago = dict[int, Status](), 0, self._belt.clock.now() - CONFIRMED
        async with begun(gate.call(lambda: store.failures(key))) as failures:
            async for record in all_records(store, gate, key, mailbox.uidvalidity, watermark.last_uid):
                recorded[record.uid] = record.status
                shown_to = record.uid if record.claimed_at < long_ago else shown_to
            failed = await failures
        self._belt.queue.drop_unclaimed(key)
        self.progress = Progress.load(watermark, recorded, failed, shown_to)
        for uidvalidity, uid in self._settled:  # since the records were read
            self.settle(uidvalidity, uid)
        return self.progress

    def settle(self, uidvalidity: int, uid: int) -> None:
        """A message is done, skipped, or recorded as a failure. It may be of an earlier plan of this
        route, so that the progress is only being loaded."""
        if self.progress is not None and self.progress.uidvalidity == uidvalidity:
            self.progress.settle(uid, self._belt.clock.monotonic())
        else:
            self._settled.append((uidvalidity, uid))

    # ----------------------------------------------------------------- status

    def _remark(self, held: int) -> str:
        """What is worth a word though nothing is wrong."""
        if held:
            return self._budget_spent(held)
        before = self._oddities.emptied_from
        return f"the mailbox is empty, of a sudden: it held {before:,} messages before" if before else ""

    def _budget_spent(self, held: int) -> str:
        return (
            f"{self.allowance.used:,} bytes were downloaded today, of a budget of {self.allowance.budget:,}: "
            f"{held:,} old messages wait until 0:00 UTC"
        )

    def status(self) -> RouteStatus:
        """As `mailsyncd check` shows it."""
        progress, tally, now = self.progress, self.tally, self._belt.clock.monotonic()
        blocked, held = bool(self.folder_trouble), self._held(progress) if progress else 0
        return RouteStatus(
            name=self.route.name,
            destination=self.route.destination,
            state=RouteState.BLOCKED if blocked else self.state,
            detail=self.folder_trouble or self.detail or self._remark(held),
            last_uid=progress.stored.last_uid if progress else None,
            unsettled=progress.unsettled if progress else 0,
            oldest_age=progress.oldest_age(now) if progress else None,
            copied=tally.copied,
            skipped=tally.skipped,
            failed=tally.failed,
            listed_age=self._timer.age(),
            late=progress.late(now, held=held > 0) if progress else 0.0,
            set_aside=progress.failures.count if progress else 0,
            copied_age=None if tally.copied_mono is None else now - tally.copied_mono,
            copied_in=tally.copied_in,
            pause=max(0.0, self._between.ends_mono - now),
            ages=progress.ages(now) if progress else (),
        )
