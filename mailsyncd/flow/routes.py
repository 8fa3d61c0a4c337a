"""The routes of one destination: start-up, reload and takeover are one operation, reconcile()."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Hashable, Iterable, Mapping
from dataclasses import dataclass

import structlog

from mailsyncd.flow.allowance import Allowance
from mailsyncd.flow.belt import Belt
from mailsyncd.flow.digest import Digest
from mailsyncd.flow.watch import RouteSettings, Watch
from mailsyncd.model import Route
from mailsyncd.ports import Source
from mailsyncd.tasks import all_of, begun, until

log = structlog.get_logger()

Prepare = Callable[[Route], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class RoutePlan:
    """A route that is wanted. Two plans with equal `identity` need no restart."""

    route: Route
    identity: Hashable
    make_source: Callable[[], Source]
    settings: RouteSettings
    allowance: Allowance


@dataclass(frozen=True, slots=True)
class Changes:
    """What a reconciliation will touch, by the routes' names."""

    added: tuple[str, ...]
    removed: tuple[str, ...]
    changed: tuple[str, ...]

    def __bool__(self) -> bool:
        return bool(self.added or self.removed or self.changed)


class Routes:
    """`watches` are those of the wanted routes, by Route.key; others may look at it."""

    def __init__(self, belt: Belt) -> None:
        self.watches: dict[str, Watch] = {}
        self.digest: Digest | None = None
        self._belt = belt
        self._plans: dict[str, RoutePlan] = {}
        self._running: dict[str, tuple[Watch, asyncio.Task[None]]] = {}
        self._changed = asyncio.Event()

    @property
    def wanted(self) -> list[Route]:
        return [plan.route for plan in self._plans.values()]

    def reconcile(self, plans: Iterable[RoutePlan]) -> Changes:
        """Make these the wanted routes. Those that stay as they are keep their connection."""
        old, new = self._plans, {plan.route.key: plan for plan in plans}
        changes = Changes(
            _names(new, new.keys() - old.keys()),
            _names(old, old.keys() - new.keys()),
            _names(new, {key for key in new.keys() & old.keys() if new[key].identity != old[key].identity}),
        )
        for key in list(self.watches):
            if key not in new or new[key].identity != old[key].identity:
                del self.watches[key]
        self._plans = new
        for key, plan in new.items():
            if key not in self.watches:
                self.watches[key] = Watch(
                    plan.route, plan.make_source(), self._belt, plan.settings, plan.allowance
                )
        self._changed.set()
        return changes

    async def run(self, prepare: Prepare) -> None:
        """Keep a task for every wanted route, until cancelled. Raises what reaches further."""
        try:
            while True:
                self._changed.clear()
                await self._stop_unwanted()
                for key, watch in self.watches.items():
                    if key not in self._running:
                        self._running[key] = (watch, asyncio.create_task(self._one(watch, prepare)))
                async with begun(until(self._changed)) as changed:
                    await self._first_to_end(changed)
        finally:
            await self._stop(list(self._running))

    async def run_once(self, prepare: Prepare) -> None:
        """Every wanted route once, side by side; Watch.complete tells how it went."""
        await all_of(*(self._one_once(watch, prepare) for watch in self.watches.values()))

    def forget(self) -> None:
        """The lease is gone: what the routes know of their progress may be true no more."""
        for key, watch in self.watches.items():
            watch.progress = None
            self._belt.queue.drop(key)

    async def _one(self, watch: Watch, prepare: Prepare) -> None:
        self._belt.queue.drop(watch.route.key)  # what came back after its earlier life, and is taken over now
        await prepare(watch.route)
        await watch.run()

    async def _one_once(self, watch: Watch, prepare: Prepare) -> None:
        await prepare(watch.route)
        await watch.run_once()

    async def _first_to_end(self, changed: asyncio.Task[None]) -> None:
        """Until the plans change, or a route's task ends, which it does only by an error."""
        tasks = [task for _, task in self._running.values()]
        await asyncio.wait([changed, *tasks], return_when=asyncio.FIRST_COMPLETED)
        for task in tasks:
            if task.done():
                task.result()

    async def _stop_unwanted(self) -> None:
        # By the watch, not by the plan: a route may be removed and be back before this looks.
        gone = [key for key, (watch, _) in self._running.items() if self.watches.get(key) is not watch]
        await self._stop(gone)
        for key in gone:
            self._belt.queue.drop(key)
            self._belt.ready.drop(key)
            log.info("route.removed" if key not in self._plans else "route.restarted", key=key)

    async def _stop(self, keys: list[str]) -> None:
        tasks = [self._running.pop(key)[1] for key in keys]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _names(plans: Mapping[str, RoutePlan], keys: Iterable[str]) -> tuple[str, ...]:
    return tuple(sorted(plans[key].route.name for key in keys))
