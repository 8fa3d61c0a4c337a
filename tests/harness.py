"""One destination with fake mailboxes on a virtual clock: the real flow between them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from random import Random

from fakes import FakeMailbox, FakeOutlook, VirtualClock, breathe

from mailsyncd.flow.allowance import Allowance
from mailsyncd.flow.belt import Belt
from mailsyncd.flow.destination import Destination
from mailsyncd.flow.gate import Gate
from mailsyncd.flow.lease import Identity, Tenancy
from mailsyncd.flow.queue import RefQueue
from mailsyncd.flow.ready import ReadyQueue
from mailsyncd.flow.routes import RoutePlan, Routes
from mailsyncd.flow.share import Share
from mailsyncd.flow.times import DestinationSettings
from mailsyncd.flow.vouch import Vouch
from mailsyncd.flow.watch import RouteSettings, Watch
from mailsyncd.model import START_ALL, Route
from mailsyncd.ports import StateStore
from mailsyncd.state.memory import MemoryStore
from mailsyncd.tasks import begun, first_of

TIMES = RouteSettings(
    sweep_interval=300, uidvalidity_window=86_400, record_ttl=90 * 86_400, max_message=10_000
)


def a_route(gmail: str = "ann@gmail.example", folder: str = "Gmail/ann", **fields: object) -> Route:
    return Route(gmail, "me@outlook.example", folder, **{"start": START_ALL, **fields})  # type: ignore[arg-type]


@dataclass
class Bench:
    """`routes` maps each route to its source. Several benches may share a store: several daemons."""

    clock: VirtualClock
    outlook: FakeOutlook
    boxes: dict[Route, FakeMailbox]
    store: StateStore = field(default_factory=MemoryStore)
    owner: str = "one"
    queue_size: int = 100
    budget: int = 300_000
    settle_window: float = 90.0
    grace: float = 60.0
    life: float = 60.0
    gone: frozenset[str] = frozenset()
    times: RouteSettings = TIMES
    email: str = "me@outlook.example"
    download_budget: int = 0
    allowances: dict[str, Allowance] = field(default_factory=dict)
    share: Share | None = None  # that of a daemon with several destinations, which runs it itself

    def __post_init__(self) -> None:
        rng = Random(1)
        self.gate = Gate(self.store, self.clock, rng, grace=self.grace)
        self.queue, self.ready = RefQueue(self.queue_size), ReadyQueue(self.budget)
        belt = Belt(
            self.queue, self.ready, self.store, self.gate, self.clock, rng, Vouch(self.store, self.gate)
        )
        self.routes = Routes(belt)
        self.routes.reconcile(self.plans())
        identity = Identity(self.owner, lambda other: other in self.gone)
        tenancy = Tenancy(self.store, self.gate, self.email, identity, self.clock, life=self.life)
        settings = DestinationSettings(self.settle_window, self.times.record_ttl, drain_timeout=5.0)
        self.own_share = Share(self.store, self.gate, identity, self.clock, life=self.life)
        (self.share or self.own_share).join(tenancy)
        self.destination = Destination("outlook", self.outlook, belt, self.routes, tenancy, settings)

    def plans(self) -> list[RoutePlan]:
        return [
            RoutePlan(route, id(box), lambda box=box: box, self.times, self.allowance(route.gmail))  # type: ignore[misc]
            for route, box in self.boxes.items()
        ]

    def allowance(self, account: str) -> Allowance:
        if account not in self.allowances:
            self.allowances[account] = Allowance(
                account, self.download_budget, self.store, self.gate, self.clock, self.owner
            )
        return self.allowances[account]

    def watch(self, route: Route) -> Watch:
        return self.routes.watches[route.key]

    @asynccontextmanager
    async def running(self) -> AsyncIterator[asyncio.Task[None]]:
        """The destination at work; cancelled at the end, as by kill -9, unless it was stopped."""
        async with begun(self.run()) as task:
            await breathe()
            yield task

    async def run(self) -> None:
        if self.share is None:
            await first_of(self.destination.run(), self.own_share.run())
        else:
            await self.destination.run()

    async def die(self, task: asyncio.Task[None]) -> None:
        """End without a chance to tidy up: even the lease stays."""
        self.destination._tenancy._lease = None
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def bench_of(*routes: Route, **settings: object) -> Bench:
    """A bench with an empty mailbox for each route."""
    clock = settings.pop("clock", None) or VirtualClock()
    assert isinstance(clock, VirtualClock)
    outlook = settings.pop("outlook", None) or FakeOutlook(clock)
    boxes = {route: FakeMailbox(clock) for route in routes or (a_route(),)}
    return Bench(clock, outlook, boxes, **settings)  # type: ignore[arg-type]
