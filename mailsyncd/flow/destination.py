"""One destination: its lease, its routes, and one connection after the other.

Waits for the lease, then runs its routes and its writer until the lease is lost or it is told
to stop. The reconnect loop of the destination is here, and nowhere else.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import structlog

from mailsyncd.errors import (
    AuthRejected,
    LeaseLost,
    MailsyncError,
    RouteBlocked,
    StateForgot,
    Throttled,
    Transient,
)
from mailsyncd.flow.belt import Belt
from mailsyncd.flow.delivery import Course, Delivery
from mailsyncd.flow.lease import Tenancy
from mailsyncd.flow.pause import Pause
from mailsyncd.flow.reconnect import Reconnects
from mailsyncd.flow.recover import Recovery
from mailsyncd.flow.routes import Routes
from mailsyncd.flow.standstill import Standstill
from mailsyncd.flow.suspicion import Suspicion
from mailsyncd.flow.times import DestinationSettings
from mailsyncd.flow.writer import Writer
from mailsyncd.model import Route
from mailsyncd.ports import Sink
from mailsyncd.status import WriterState, WriterStatus
from mailsyncd.tasks import first_of, until

log = structlog.get_logger()

BLOCKED_RETRY = 300.0  # seconds between tries of a destination that needs its user
LAST_NOTES = 5.0  # seconds for what is to be stored at the end: supervisors wait for no state store
HUNG = 1800.0  # seconds without a step: more than the largest message takes over a slow line
TICK = 1.0  # seconds: watermarks are stored this often at the most
ONCE_ATTEMPTS = 3  # connections that run-once spends on a destination


class Destination:
    def __init__(
        self, name: str, sink: Sink, belt: Belt, routes: Routes, tenancy: Tenancy, times: DestinationSettings
    ) -> None:
        self.name = name
        self.routes = routes
        self._sink = sink
        self._belt = belt
        self._tenancy = tenancy
        self._settings = times
        self._recovery = Recovery(belt.store, belt.gate, belt.clock, settle_window=times.settle_window)
        self._standstill = Standstill(name, belt.clock, Suspicion(), belt.meter)
        self._writer = Writer(
            belt, routes.watches, tenancy, self._recovery, self._standstill, record_ttl=times.record_ttl
        )
        self._course = Course()
        self._delivery = Delivery(
            belt,
            self._writer,
            self._recovery,
            self._standstill,
            routes,
            self._course,
            enter=self._enter,
            paused=self._paused,
        )
        self._look_again = asyncio.Event()
        self._forgot: StateForgot | None = None
        self._attempts_left: int | None = None
        self._slow_start = False
        self._between = Pause(belt.clock)
        self._state = WriterState.STANDBY
        self._detail = ""
        self._moved_mono = belt.clock.monotonic()

    # -------------------------------------------------------------------- life

    async def run(self) -> None:
        """Until stop(). Raises StateUnavailable when the state store stayed away too long."""
        while not self._tenancy.retired:
            self._course.stopping.clear()
            self._enter(WriterState.STANDBY)
            await first_of(self._tenancy.turn(), until(self._course.stopping))
            try:
                if not self._course.stopping.is_set() and await self._tenancy.take():
                    await first_of(self._tenancy.keep(), self._work(self.routes.run), self._until_surplus())
            except LeaseLost as lost:
                log.error("lease.lost", destination=self.name, error=str(lost))
            except StateForgot as forgot:
                self._forgot = forgot
            finally:
                await self._leave()
            await self._blocked()

    async def run_once(self) -> bool:
        """Bring every route up to date once; False if another daemon holds the lease. Raises what kept
        the destination from being written to."""
        if not await self._tenancy.try_take_once():
            return False
        self._attempts_left, self._standstill.patient = ONCE_ATTEMPTS, False
        try:
            await first_of(self._tenancy.keep(), self._work(self.routes.run_once))
        finally:
            await self._leave()
        return True

    def stop(self) -> None:
        """Take nothing more, finish what is in flight; run() then returns by itself."""
        self._tenancy.retired = True
        self._course.end()

    def look_again(self) -> None:
        """Whoever asks for a reload wants to know at once whether what was wrong is mended."""
        self._look_again.set()

    def refit(self, settings: DestinationSettings, memory: int, sink: Sink | None) -> None:
        """Go by these from now on; with a sink, over a new connection once what is in flight has ended."""
        self._settings = settings
        self._belt.ready.resize(memory)
        self._recovery.settle_window = settings.settle_window
        if sink is not None:
            self._sink = sink
            self._standstill.lift()
            self._course.over.set()

    async def _blocked(self) -> None:
        """If the state store has forgotten: without the lease, so that a rebuild may take it."""
        forgot, self._forgot = self._forgot, None
        if forgot is not None:
            self._enter(WriterState.BLOCKED, str(forgot))
            log.error("state.forgotten", destination=self.name, error=str(forgot))
            self._look_again.clear()
            timer = self._belt.clock.sleep(BLOCKED_RETRY)
            await first_of(timer, until(self._look_again), until(self._course.stopping))

    async def _until_surplus(self) -> None:
        """When another daemon is to write here, end the work as on stop(); then stand by."""
        await self._tenancy.surplus()
        self._course.end()
        await asyncio.get_running_loop().create_future()

    async def _leave(self) -> None:
        """Forget what only the lease's holder may know, and give it up for a successor."""
        self._belt.ready.drain()
        self._belt.vouch.forget()
        self._recovery.forget()
        self._writer.forget()
        self.routes.forget()
        self._course.fatal = None
        self._enter(WriterState.STOPPED)
        await asyncio.shield(self._tenancy.release())

    async def _work(self, feed: Callable[[Callable[[Route], Awaitable[None]]], Awaitable[None]]) -> None:
        """Write while `feed` brings messages; when that ends, or on stop(), finish and return."""
        await first_of(self._feed(feed), self._connections(), self._tick())
        await first_of(self._last_notes(), self._belt.clock.sleep(LAST_NOTES))

    async def _last_notes(self) -> None:
        """What can't be stored in time, the next start finds out by itself."""
        await self._writer.watermarks.store()
        for watch in self.routes.watches.values():
            await watch.allowance.note()

    async def _feed(self, feed: Callable[[Callable[[Route], Awaitable[None]]], Awaitable[None]]) -> None:
        await feed(self._inherit)
        self._course.end()
        await asyncio.get_running_loop().create_future()  # until the writer has finished

    async def _inherit(self, route: Route) -> None:
        """Before a route runs: what its earlier life left PENDING becomes recovery's."""
        self._recovery.serve(self.routes.wanted)
        self._belt.vouch.serve(self.routes.wanted)
        self._writer.duplicates.serve(self.routes.wanted)
        await self._recovery.inherit(route, self._tenancy.require(), self._writer.in_hands)
        self._course.wake.set()
        if len(self._recovery):
            self._belt.wanted.set()

    async def _tick(self) -> None:
        """Once a second: store watermarks, put back what is to be tried again."""
        while True:
            await self._belt.clock.sleep(TICK)
            self._writer.later.requeue_due()
            await self._writer.watermarks.store()

    # ------------------------------------------------------------- connections

    async def _connections(self) -> None:
        """Connect, write, reconnect; until stop(), or something that reaches further."""
        reconnects = Reconnects(self._belt.rng)
        while not self._course.stopping.is_set():
            began, answers = self._belt.clock.monotonic(), self._standstill.answers
            pause = await self._one_connection()
            if self._course.fatal is not None:
                raise self._course.fatal
            self._slow_start = pause is not None
            lived, fruitful = self._belt.clock.monotonic() - began, self._standstill.answers > answers
            wait = reconnects.after(lived, planned=pause is None, fruitful=fruitful)
            await self._between.wait(max(wait, pause or 0.0, self._standstill.silence()), self._mended())

    async def _mended(self) -> None:
        """Until what was wrong may be right by now; but a server that wants silence gets it."""
        self._look_again.clear()
        silence = self._state is WriterState.THROTTLED or self._standstill.silence()
        again = self._look_again if self._state.needs_a_person else self._course.over
        await first_of(
            until(self._course.stopping), *(() if silence else (until(self._course.over), until(again)))
        )

    async def _one_connection(self) -> float | None:
        """One connection's life. Returns the shortest pause before the next; None: it ended as planned."""
        self._enter(WriterState.CONNECTING)
        opened = asyncio.Event()
        if not self._course.stopping.is_set():
            self._course.over.clear()
        try:
            await first_of(self._session(opened), self._stopped_before(opened))
        except Throttled as error:
            return self._trouble(WriterState.THROTTLED, error, error.pause)
        except (Transient, AuthRejected) as error:
            return self._trouble(WriterState.RETRYING, error, 0.0)
        except RouteBlocked as error:
            return self._trouble(WriterState(error.state), error, BLOCKED_RETRY)
        self._belt.meter.disconnected("destination", self.name, None)
        return None

    async def _session(self, opened: asyncio.Event) -> None:
        once = self._attempts_left is not None  # and does not sign in for nothing
        async with self._sink.session(self._belt.wanted if once else None) as session:
            opened.set()
            self._writer.connected()
            self._enter(*self._standstill.state)
            log.info("writer.connected", destination=self.name)
            await self._delivery.serve(session, self._settings.drain_timeout, slow_start=self._slow_start)

    async def _stopped_before(self, opened: asyncio.Event) -> None:
        """A slow greeting must not hold up the end; once there is a session, it ends by itself."""
        await self._course.over.wait()
        if opened.is_set():
            await asyncio.get_running_loop().create_future()

    # ------------------------------------------------------------------ trouble

    def _paused(self, error: Transient) -> None:
        """The destination wants a pause. For run-once that may be the end."""
        self._standstill.begin(error)
        self._enter(*self._standstill.state)
        if self._standstill.hopeless(self._belt.ready):
            self._spend(error, at_once=True)

    def _trouble(self, state: WriterState, error: MailsyncError, pause: float) -> float:
        """The connection failed. In run-once that is final after a few times."""
        self._enter(state, str(error))
        self._between.after(error)
        self._belt.meter.disconnected("destination", self.name, error)
        level = 40 if state.needs_a_person else 30
        log.log(level, f"writer.{state.value}", destination=self.name, error=str(error))
        self._spend(error, at_once=state.needs_a_person)
        return pause

    def _spend(self, error: MailsyncError, *, at_once: bool = False) -> None:
        """One of the tries that run-once has."""
        if self._attempts_left is not None:
            self._attempts_left -= 1
            if at_once or self._attempts_left <= 0:
                self._course.fatal = self._course.fatal or error

    def _enter(self, state: WriterState, detail: str = "") -> None:
        self._state, self._detail, self._moved_mono = state, detail, self._belt.clock.monotonic()

    @property
    def hangs(self) -> bool:
        """Whether it should have moved long ago, though each thing that it waits for has a deadline."""
        moves = self._state not in (WriterState.STANDBY, WriterState.STOPPED) and not self._belt.gate.closed
        return moves and self._belt.clock.monotonic() - self._moved_mono > HUNG

    def status(self) -> WriterStatus:
        """As `mailsyncd check` shows it."""
        return WriterStatus(
            name=self.name,
            state=self._state,
            detail=self._detail,
            queued=len(self._belt.queue) + len(self._belt.ready),
            in_flight=self._delivery.in_hand,
            settling=len(self._recovery),
            epoch=self._tenancy.epoch,
            holder=self._tenancy.holder,
            pause=max(self._standstill.left(), self._between.ends_mono - self._belt.clock.monotonic(), 0.0),
        )
