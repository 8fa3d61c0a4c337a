"""A world for whole daemons within one process and in jumping time: two sources, a destination, a state
store, daemons that come and go; and the judge, who compares them.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import Counter, defaultdict
from collections.abc import Callable, Coroutine, Generator
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from typing import Any

from fakes import mail
from harness import Bench, a_route
from travel import TravelClock, TravelLoop

from mailsyncd.errors import StateUnavailable
from mailsyncd.model import Record, Route, Status
from mailsyncd.state import rules
from mailsyncd.state.memory import MemoryStore
from turmoil.destination import Destination, SinkView
from turmoil.source import Box
from turmoil.wire import Wire, WireClock, WireStore

ANN = a_route("ann@gmail.example", "Mail/ann")  # the server has X-GM-MSGID
BEA = a_route("bea@plain.example", "Mail/bea")  # the server has not
SHARED = a_route("bea@plain.example", ANN.folder)
LIFE, SETTLE, GRACE = 60.0, 90.0, 60.0
ENOUGH = 6 * 3600.0  # seconds in which everything must have come to rest
NEWS = 900.0  # seconds between healthy messages meanwhile, where they are needed
AFTERWARDS = 100.0  # seconds in which nothing more may happen then
_owner: ContextVar[Daemon | None] = ContextVar("owner", default=None)


@dataclass(eq=False)
class Daemon:
    owner: str
    wire: Wire
    store: WireStore
    bench: Bench
    tasks: dict[asyncio.Task[Any], None] = field(default_factory=dict)
    main: asyncio.Task[None] | None = None

    @property
    def frozen(self) -> bool:
        return not self.wire.thawed.is_set()


class World:
    """Close it after use."""

    def __init__(self, *routes: Route, store: MemoryStore | None = None) -> None:
        self.loop = TravelLoop()
        self.loop.set_task_factory(_owned_task)
        self.clock = TravelClock(self.loop)
        self.destination = Destination()
        self.store = store or MemoryStore()
        self.routes = routes or (ANN, BEA)
        self.boxes = {one: Box(self.clock, has_gm="gmail" in one.gmail) for one in self.routes}
        self.daemons: list[Daemon] = []
        self.known_dead: set[str] = set()  # owners of which this host can tell that they are gone
        self.violations: list[str] = []
        self._born = self._edits = self._news = 0
        self._delivered = 0
        self.wrap_store: Callable[[WireStore], Any] = lambda store: store
        self.wrap_source: Callable[[Any], Any] = lambda source: source
        self.wrap_sink: Callable[[Any], Any] = lambda sink: sink

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        return self.loop.run_until_complete(work)

    def close(self) -> None:
        for daemon in list(self.daemons):
            self.run(self.kill(daemon))
        self.run(self.loop.shutdown_asyncgens())
        self.loop.close()

    # ------------------------------------------------------------------- daemons

    def start(self) -> Daemon:
        self._born += 1
        wire = Wire()
        store = WireStore(self.store, wire)
        sink = SinkView(self.destination, wire, lambda folder, body: self._law(daemon, folder, body))
        sources = {one: self.wrap_source(box.seen_over(wire)) for one, box in self.boxes.items()}
        bench = Bench(
            WireClock(self.clock, wire),  # type: ignore[arg-type]
            self.wrap_sink(sink),
            sources,
            self.wrap_store(store),
            f"daemon {self._born}",
            life=LIFE,
            settle_window=SETTLE,
            grace=GRACE,
            gone=self.known_dead,  # type: ignore[arg-type]
        )
        daemon = Daemon(f"daemon {self._born}", wire, store, bench)
        self.daemons.append(daemon)
        token = _owner.set(daemon)
        daemon.main = self.loop.create_task(bench.run())
        _owner.reset(token)
        return daemon

    async def kill(self, daemon: Daemon) -> None:
        """SIGKILL: nothing is tidied up, and the kernel closes its connections."""
        daemon.wire.dead = True
        for session in list(self.destination.sessions):
            if session.wire is daemon.wire:
                session.cut()
        while left := [task for task in daemon.tasks if not task.done()]:
            for task in left:
                task.cancel()
            await asyncio.sleep(0)
        self.daemons.remove(daemon)

    def reload(self, daemon: Daemon, *, without: Route | None = None, changed: Route | None = None) -> None:
        """SIGHUP, with a route removed, and one that is to be begun anew."""
        plans = [plan for plan in daemon.bench.plans() if plan.route != without]
        self._edits += 1
        for number, plan in enumerate(plans):
            old = daemon.bench.routes._plans.get(plan.route.key, plan)
            identity = self._edits if plan.route == changed else old.identity
            plans[number] = replace(plan, identity=identity)
        daemon.bench.routes.reconcile(plans)

    async def stop(self, daemon: Daemon) -> None:
        """SIGTERM; what isn't over in half a minute is held against it."""
        assert daemon.main is not None
        daemon.bench.destination.stop()
        await asyncio.wait([daemon.main], timeout=30)
        if not daemon.main.done():
            self.violations.append(f"{daemon.owner} did not stop")
        await self.kill(daemon)

    def supervise(self) -> None:
        """Whatever ended is started again; it may only end for want of the state store."""
        for daemon in [one for one in self.daemons if one.main and one.main.done()]:
            assert daemon.main is not None
            why = None if daemon.main.cancelled() else daemon.main.exception()
            if not isinstance(why, StateUnavailable):
                self.violations.append(f"{daemon.owner} ended by {why!r}")
            self.run(self.kill(daemon))
            self.known_dead.add(daemon.owner)
            self.start()

    # ---------------------------------------------------------------------- mail

    def deliver(self, route: Route, body: bytes, *, silently: bool = False) -> None:
        self._delivered += 1
        self.boxes[route].deliver(self._delivered, body, silently=silently)

    # ------------------------------------------------------------------ the judge

    def _law(self, daemon: Daemon, folder: str, body: bytes) -> None:
        """No byte of an APPEND without an acknowledged PENDING under a live lease."""
        lease = rules.lease(self.store._table, daemon.bench.email)
        if lease is None or lease.owner != daemon.owner:
            self.violations.append(f"{daemon.owner} appends under the lease {lease}")
        sha256 = hashlib.sha256(body).hexdigest()
        for route in self.routes:
            for record in self._records(route) if route.folder == folder else ():
                mine = lease is not None and record.claimed_by.epoch == lease.epoch
                told = record.claimed_by in daemon.store.acknowledged
                if record.sha256 == sha256 and record.status is Status.PENDING and mine and told:
                    return
        self.violations.append(f"{daemon.owner} appends without an acknowledged PENDING")

    def _records(self, route: Route) -> list[Record]:
        return rules.all_records(self.store._table, route.key)

    def check(self) -> None:
        """What must be true at every moment."""
        assert not self.violations, self.violations
        allowed: Counter[tuple[str, bytes]] = Counter()
        for route, box in self.boxes.items():
            for one in {one.identity: one for one in box.numbered.values()}.values():
                allowed[route.folder, one.body] += 1
        for (folder, body), count in self.destination.ever.items():
            assert count <= allowed[folder, body], f"{body!r} is {count} times in {folder}"
        for route in self.routes:
            mark = rules.watermark(self.store._table, route.key)
            box = self.boxes[route]
            if mark is not None and mark.uidvalidity == box.uidvalidity:
                passed = [uid for uid in self._unsettled(route) if uid <= mark.last_uid]
                assert not passed, f"the watermark {mark} of {route.name} has passed {passed}"

    def _unsettled(self, route: Route) -> list[int]:
        box = self.boxes[route]
        settled = {
            (one.uidvalidity, one.uid) for one in self._records(route) if one.status is not Status.PENDING
        }
        settled |= {(one.uidvalidity, one.uid) for one in rules.failures(self.store._table, route.key)}
        # Where there is X-GM-MSGID, a record under one number speaks for all that a message ever had.
        copied = {box.numbered[number].identity for number in settled} if box.has_gm else set()
        return [
            uid
            for uid, one in box.messages.items()
            if (box.uidvalidity, uid) not in settled and one.identity not in copied
        ]

    # ------------------------------------------------------------------ at the end

    async def calm(self) -> None:
        """The faults stop."""
        for box in self.boxes.values():
            box.refuse_connect.clear()
            box.refuse_read.clear()
            box.lives = None
        there = self.destination
        there.refuse_connect.clear()
        there.replies.clear()
        there.full, there.lives, there.slow = None, None, 1.0
        for daemon in self.daemons:
            daemon.wire.thawed.set()
            self.reload(daemon)
            daemon.store.away, daemon.store.lost_answers, daemon.store.latency = False, 0, 0.0

    def settle(self) -> None:
        """To the end of all that goes on, and a while longer."""
        self.run(self.calm())
        for daemon in self.daemons[1:]:
            self.run(self.stop(daemon))
        if not self.daemons:
            self.start()
        began = self.clock.monotonic()
        while self.unrest() and self.clock.monotonic() - began < ENOUGH:
            self._go_on(self.clock.monotonic() - began)
            self.run(asyncio.sleep(7))
            self.supervise()
            self.check()
        assert not self.unrest(), f"after {ENOUGH:.0f} s: {self.unrest()}; {self._state()}"
        self.run(asyncio.sleep(AFTERWARDS))
        self.check()
        self.judge()

    def _go_on(self, seconds: float) -> None:
        """Only mail that passes tells messages at fault from a destination at fault, so some comes."""
        vague = any(getattr(refusal, "vague", False) for refusal in self.destination.poison.values())
        if vague and seconds >= NEWS * self._news:
            self._news += 1
            self.deliver(self.routes[0], mail(-self._news))

    def unrest(self) -> list[str]:
        """What is not yet as it must be at the end."""
        found = ["the server has yet to commit"] if self.destination.committing else []
        for route, box in self.boxes.items():
            pending = [one for one in self._records(route) if one.status is Status.PENDING]
            found += [f"{route.name}: {one}" for one in pending]
            found += [f"{route.name}: {uid} is not settled" for uid in self._unsettled(route)]
            mark = rules.watermark(self.store._table, route.key)
            place = (mark.uidvalidity, mark.last_uid) if mark else None
            if place is None or place < (box.uidvalidity, max(box.messages, default=0)):
                found.append(f"{route.name}: the watermark is at {place}")
        return found

    def judge(self) -> None:
        """Every wanted message is there once, or listed as a failure; as it was; and nothing else."""
        assert not self.unrest(), self.unrest()
        wanted: Counter[tuple[str, bytes]] = Counter()
        dates: defaultdict[tuple[str, bytes], set[str]] = defaultdict(set)
        for route, box in self.boxes.items():
            failed = {
                (one.uidvalidity, one.uid)
                for one in rules.failures(self.store._table, route.key)
                if not one.resolved
            }
            for uid, one in box.messages.items():
                wanted[route.folder, one.body] += (box.uidvalidity, uid) not in failed
            for one in box.numbered.values():
                dates[route.folder, one.body].add(one.when)
        for (folder, body), count in wanted.items():
            there = self.destination.ever[folder, body]
            assert there >= count, f"{body!r} is {there} times in {folder}, not {count}: lost"
        for folder, copies in self.destination.copies.items():
            for copy in copies:
                assert copy.when in dates[folder, copy.body], f"{copy} is not what was sent"
                assert not copy.seen

    def _state(self) -> list[object]:
        return [(one.owner, one.bench.destination.status()) for one in self.daemons]


def _owned_task(
    loop: asyncio.AbstractEventLoop, work: Coroutine[Any, Any, Any] | Generator[Any, None, Any], **named: Any
) -> asyncio.Task[Any]:
    task = asyncio.Task(work, loop=loop, **named)
    if (daemon := _owner.get()) is not None:
        daemon.tasks[task] = None
        task.add_done_callback(daemon.tasks.pop)
    return task
