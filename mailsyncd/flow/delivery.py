"""What goes over a connection to a destination, and when: looks at its folders, messages, the digest.

A step of the loop takes whatever is most due. What is a look needs a wire with nothing in flight;
messages and folders go side by side.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field

from mailsyncd.errors import (
    ConnectionLost,
    LeaseLost,
    MailsyncError,
    MessageRejected,
    RouteBlocked,
    StateForgot,
    StateUnavailable,
    Transient,
)
from mailsyncd.flow.belt import Belt
from mailsyncd.flow.ready import Ready
from mailsyncd.flow.recover import Recovery
from mailsyncd.flow.routes import Routes
from mailsyncd.flow.standstill import Standstill
from mailsyncd.flow.window import Window
from mailsyncd.flow.wire import Wire
from mailsyncd.flow.writer import Writer
from mailsyncd.model import Lane, Route
from mailsyncd.ports import SinkSession
from mailsyncd.status import WriterState
from mailsyncd.steps import Step, reached
from mailsyncd.tasks import first_of, next_time, until, wind_up

RESTING = 240.0  # seconds between looks at an idle connection
GLANCE = 2.0  # seconds between looks for something that may be tried during a standstill


@dataclass(slots=True)
class Course:
    """What ends the work of a destination, and what wakes it."""

    stopping: asyncio.Event = field(default_factory=asyncio.Event)
    over: asyncio.Event = field(default_factory=asyncio.Event)  # for this connection alone
    wake: asyncio.Event = field(default_factory=asyncio.Event)
    fatal: MailsyncError | None = None  # reaches further than a connection

    def end(self) -> None:
        self.stopping.set()
        self.over.set()


class Delivery:
    """Of one destination, over one connection after the other. `enter` is told its state; `paused`, that
    the destination has refused something and wants a pause."""

    def __init__(
        self,
        belt: Belt,
        writer: Writer,
        recovery: Recovery,
        standstill: Standstill,
        routes: Routes,
        course: Course,
        *,
        enter: Callable[[WriterState, str], None],
        paused: Callable[[Transient], None],
    ) -> None:
        self._belt = belt
        self._writer = writer
        self._recovery = recovery
        self._standstill = standstill
        self._routes = routes
        self._course = course
        self._enter = enter
        self._paused = paused
        self._window: Window | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def in_hand(self) -> int:
        return self._window.in_hand if self._window else 0

    async def serve(self, session: SinkSession, drain_timeout: float, *, slow_start: bool) -> None:
        """Write over one connection until it, and what is in flight, has ended. Transient: it was lost."""
        self._window = window = Window(session.limits, self._belt.clock)
        if slow_start:
            window.went_badly()
        wire = Wire(session, window)
        try:
            while self._may_write(session):
                await self._step(wire)
        finally:
            if self._tasks and self._course.stopping.is_set():
                reached(Step.DRAINING)
            await wind_up(self._tasks, drain_timeout)
            self._window = None
        if session.lost and not self._course.stopping.is_set():
            raise Transient("the connection was lost")

    async def _step(self, wire: Wire) -> None:
        """Whatever is most due."""
        if pause := self._standstill.left(self._belt.ready):
            pause = min(pause, GLANCE) if self._standstill.probing else pause
            await first_of(self._belt.clock.sleep(pause), until(self._course.over))
            self._enter(*self._standstill.state)
        elif self._belt.vouch.due():
            await self._inspect(wire, self._writer.folders.vouch)
        elif self._recovery.due() == 0:
            await self._inspect(wire, self._writer.judge)
        elif self._writer.duplicates.due():
            await self._inspect(wire, self._writer.duplicates.look)
        elif (digest := self._routes.digest) is not None and digest.due():
            await self._inspect(wire, digest.write)
        elif (route := self._writer.folders.wanted()) is not None:
            self._start(wire, self._open(wire, route))
        elif len(self._belt.ready):
            await self._begin(wire)
        else:
            await self._rest(wire.session)

    def _start(self, wire: Wire, work: Coroutine[object, object, None]) -> None:
        """Something goes into flight; it says itself when it has ended."""
        wire.window.take()
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _begin(self, wire: Wire) -> None:
        """The next item goes into flight. Here alone, so that nobody holds on to it for hours afterwards."""
        if not wire.admits(self._belt.ready):
            await first_of(wire.room(self._belt.ready), until(self._course.over))
            return
        ready = self._standstill.next(self._belt.ready, live_only=not wire.window.admits(Lane.OLD))
        if await self._admitted(wire, ready):
            self._start(wire, self._deliver(wire, ready))

    async def _inspect(
        self, wire: Wire, look: Callable[[SinkSession], Coroutine[object, object, None]]
    ) -> None:
        """A look at what is in the folders, for which nothing may be in flight."""
        await first_of(wire.window.empty(), until(self._course.over))
        if self._may_write(wire.session) and not self._standstill.left(self._belt.ready):
            await first_of(look(wire.session), until(self._course.stopping))  # its verdicts are acted on

    async def _admitted(self, wire: Wire, ready: Ready) -> bool:
        """Wait for its turn; False, and back to its place, if writing is over meanwhile."""
        if wire.session.limits.per_second:
            await first_of(wire.window.turn(), until(self._course.over))
        if not self._may_write(wire.session) or self._standstill.keeps(ready):
            self._belt.ready.put(ready)
            return False
        return True

    def _may_write(self, session: SinkSession) -> bool:
        ended = session.ends_mono is not None and self._belt.clock.monotonic() >= session.ends_mono
        return not (session.lost or ended or self._course.fatal or self._course.over.is_set())

    async def _rest(self, session: SinkSession) -> None:
        """Until there is something to do, or the connection needs a sign of life."""
        if not self.in_hand:
            self._enter(*self._standstill.state)
        wait = RESTING
        if session.ends_mono is not None:
            wait = min(wait, max(0.0, session.ends_mono - self._belt.clock.monotonic()))
        if (due := self._recovery.due()) is not None:
            wait = min(wait, due)
        course, belt = self._course, self._belt
        await first_of(
            belt.ready.wait(),
            belt.queue.news(),
            next_time(course.wake),
            until(course.over),
            session.rest(wait),
        )

    # ----------------------------------------------------------------- in flight

    async def _open(self, wire: Wire, route: Route) -> None:
        """A route's folder, while the first messages for it are being read. Never raises: what is wrong
        is shown with its routes, and each message meets it again."""
        try:
            await self._writer.folders.open(wire.session, route)
        except (RouteBlocked, ConnectionLost):  # a new connection is no reason to be silent over it
            pass
        except Transient as error:
            self._pause(wire.window, error)
        finally:
            wire.window.settle()
            self._course.wake.set()

    async def _deliver(self, wire: Wire, ready: Ready) -> None:
        """One item in flight. Never raises: what reaches further is left in the course."""
        reserved = ready.reserved
        try:
            if again := await self._writer.deliver(wire, ready):
                self._belt.ready.put(again)
                reserved = 0
            else:
                self._enter(*self._standstill.state)
        except MessageRejected:  # and taken care of
            wire.window.went_badly()
        except Transient as error:
            self._pause(wire.window, error)
        except (StateUnavailable, LeaseLost, StateForgot) as fatal:
            self._course.fatal = self._course.fatal or fatal
        finally:
            wire.window.settle()
            self._belt.ready.release(reserved)
            self._course.wake.set()

    def _pause(self, window: Window, error: Transient) -> None:
        """The destination refused something: send nothing for a while."""
        window.went_badly()
        window.turn_away()
        self._paused(error)
