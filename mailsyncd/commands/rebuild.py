"""`mailsyncd state rebuild`: after the state store was emptied or restored to earlier."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TextIO
from uuid import uuid4

from mailsyncd.assemble import Assembly, readable_store
from mailsyncd.commands.choose import only_route
from mailsyncd.commands.load import load
from mailsyncd.config.values import Configuration, DestinationSettings
from mailsyncd.errors import LeaseLost, MailsyncError, RouteBlocked, StateUnavailable
from mailsyncd.flow.lease import STANDBY_POLL, Tenancy
from mailsyncd.flow.rebuild import Rebuild, Report, read_folder
from mailsyncd.flow.routes import RoutePlan
from mailsyncd.model import Route
from mailsyncd.observe.logs import configure
from mailsyncd.ports import Clock, StateStore
from mailsyncd.state.memory import MemoryStore
from mailsyncd.tasks import first_of


async def rebuild(
    config: Path | None,
    environ: Mapping[str, str],
    out: TextIO,
    *,
    only: str | None,
    dry_run: bool,
    skip_missing: bool,
    as_json: bool,
) -> int:
    """0 if every route was compared, else 1. Raises ConfigError, StateUnavailable, and LeaseLost if a
    daemon writes to a destination."""
    whole = await load(config, environ)
    chosen = only_route(whole, only)
    configure("warning", whole.daemon.log_format, sys.stderr, uuid4().hex[:12])
    parts = Assembly(whole)
    store = parts.store if not dry_run else readable_store(whole.state, parts.clock) or MemoryStore()
    reports: list[Report] = []
    try:
        await store.open()
        for target in chosen.destinations:
            work = _Work(parts, store, whole, target, skip_missing)
            plans = parts.plans(chosen, target.name)
            if dry_run:
                reports += await work.compare(plans, None)
            else:
                reports += await work.rewrite(plans)
    finally:
        await parts.close()
        if dry_run:
            await store.close()
    _show(reports, out, dry_run=dry_run, as_json=as_json)
    return 1 if any(report.error for report in reports) else 0


class _Work:
    """One destination's."""

    def __init__(
        self,
        parts: Assembly,
        store: StateStore,
        whole: Configuration,
        target: DestinationSettings,
        skip_missing: bool,
    ) -> None:
        self._parts = parts
        self._store = store
        self._whole = whole
        self._target = target
        self._skip_missing = skip_missing

    async def rewrite(self, plans: Sequence[RoutePlan]) -> list[Report]:
        """Under the lease, so that no daemon writes meanwhile."""
        tenancy = self._parts.tenancy(self._whole.state, self._target)
        await _take(tenancy, self._parts.clock, self._target.name)
        reports: list[Report] = []

        async def work() -> None:
            reports.extend(await self.compare(plans, tenancy.require))

        try:
            await first_of(tenancy.keep(), work())
        finally:
            await asyncio.shield(tenancy.release())
        return reports

    async def compare(self, plans: Sequence[RoutePlan], require: Callable[[], int] | None) -> list[Report]:
        reports: list[Report] = []
        for name in {plan.route.folder: None for plan in plans}:
            here = [plan for plan in plans if plan.route.folder == name]
            try:
                reports += await self._folder(name, here, require)
            except (StateUnavailable, LeaseLost):
                raise
            except RouteBlocked as error:
                reports += [
                    Report(plan.route.name, error=f"nothing to compare with: {error}") for plan in here
                ]
            except MailsyncError as error:
                reports += [Report(plan.route.name, error=str(error)) for plan in here]
        return reports

    async def _folder(
        self, name: str, plans: Sequence[RoutePlan], require: Callable[[], int] | None
    ) -> list[Report]:
        async with self._parts.sink(self._target).session() as session:
            folder = await read_folder(session, name)
        task = Rebuild(self._store, self._parts.clock, require, self._skip_missing)
        return await task.rebuild(folder, plans, self._others(name, plans))

    def _others(self, folder: str, plans: Sequence[RoutePlan]) -> list[Route]:
        """The configured routes into a folder that were not chosen."""
        chosen = {plan.route.key for plan in plans}
        into = (one.route for one in self._whole.routes if one.route.destination == self._target.name)
        return [route for route in into if route.folder == folder and route.key not in chosen]


async def _take(tenancy: Tenancy, clock: Clock, destination: str) -> None:
    """The lease; one that nobody renews any more, such as a restored store may hold, after its life."""
    first = seen = await tenancy.try_take()
    if seen is not None:
        print(f"waiting for the lease of {destination}, held by {seen[0].owner}", file=sys.stderr)
    while seen is not None:
        if first is not None and (seen[0].epoch, seen[0].beat) != (first[0].epoch, first[0].beat):
            raise LeaseLost(
                f"another mailsyncd is writing to {destination}: stop it before its state is rebuilt"
            )
        await clock.sleep(STANDBY_POLL)
        seen = await tenancy.try_take(seen)


def _show(reports: Sequence[Report], out: TextIO, *, dry_run: bool, as_json: bool) -> None:
    if as_json:
        print(json.dumps({"dry_run": dry_run, "routes": [asdict(one) for one in reports]}), file=out)
        return
    for one in reports:
        if one.error:
            print(f"{one.route}: {one.error}", file=out)
            continue
        written = "would be written" if dry_run else "written"
        print(
            f"{one.route}: {one.source} in the source past the watermark, {one.known} known already, "
            f"{one.found} found in the folder, {one.written} {written}, {one.left} left to copy, "
            f"{one.skipped} skipped, {one.extra} extra copies in the folder",
            file=out,
        )
