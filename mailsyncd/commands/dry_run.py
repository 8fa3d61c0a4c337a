"""`mailsyncd run-once --dry-run`: what would be copied, and what would fail and why.

Writes nothing anywhere: the source is only listed, the destination is not even connected to,
and the state store is only read, if it exists.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from uuid import uuid4

from mailsyncd.assemble import Assembly, max_size, readable_store
from mailsyncd.commands.choose import only_route
from mailsyncd.commands.load import load
from mailsyncd.config.values import Configuration, RouteSettings
from mailsyncd.errors import MailsyncError, StateUnavailable
from mailsyncd.model import Listing, Mailbox, Route, Status, Watermark
from mailsyncd.observe.logs import configure
from mailsyncd.policy import Past, first_watermark, search_since, wanted, watermark_after_change
from mailsyncd.ports import SourceSession, StateStore


@dataclass(slots=True)
class Plan:
    """What a run would do for one route."""

    route: str
    copy: list[Listing] = field(default_factory=list)
    too_large: list[Listing] = field(default_factory=list)
    limit: int = 0
    skipped: int = 0
    error: str = ""


async def dry_run(config: Path | None, environ: Mapping[str, str], *, only: str | None, as_json: bool) -> int:
    """0 if everything could be listed and nothing would fail, else 1. Raises ConfigError and
    StateUnavailable."""
    configuration = only_route(await load(config, environ), only)
    configure("warning", configuration.daemon.log_format, sys.stderr, uuid4().hex[:12])
    parts = Assembly(configuration)
    store = readable_store(configuration.state, parts.clock)
    try:
        if store is not None:
            await store.open()
        plans = [await _plan(parts, store, configuration, one) for one in configuration.routes]
    finally:
        await parts.close()
        if store is not None:
            await store.close()
    _show(plans, as_json)
    return 0 if all(not plan.too_large and not plan.error for plan in plans) else 1


async def _plan(
    parts: Assembly, store: StateStore | None, configuration: Configuration, settings: RouteSettings
) -> Plan:
    (target,) = (one for one in configuration.destinations if one.name == settings.route.destination)
    plan = Plan(settings.route.name, limit=max_size(configuration.daemon, target))
    try:
        async with parts.source(configuration.daemon, settings).session() as session:
            watermark = await _watermark(parts, store, configuration, settings.route, session.mailbox)
            await _list(plan, session, store, settings.route, watermark)
    except StateUnavailable:
        raise
    except MailsyncError as error:
        plan.error = str(error)
    return plan


async def _watermark(
    parts: Assembly,
    store: StateStore | None,
    configuration: Configuration,
    route: Route,
    mailbox: Mailbox,
) -> Watermark:
    """Where a run would begin, without storing it."""
    stored = await store.watermark(route.key) if store else None
    now = parts.clock.now()
    if stored is None or store is None:
        return first_watermark(route, mailbox, now)
    if stored.uidvalidity == mailbox.uidvalidity:
        return stored
    window, memory = configuration.daemon.uidvalidity_window, configuration.state.record_ttl
    past = Past(stored)
    for record in await store.records(route.key, stored.uidvalidity):
        past.take(record)
    return watermark_after_change(past, mailbox, now, window=window, memory=memory)


async def _list(
    plan: Plan, session: SourceSession, store: StateStore | None, route: Route, watermark: Watermark
) -> None:
    start, border, since = watermark.last_uid, watermark.backlog_until, search_since(watermark)
    uids: list[int] = []
    if since is not None and start + 1 < border:
        uids = await session.search(start, before=border, since=since, raw=route.filter)
        start = border - 1
    uids += await session.search(start, raw=route.filter)
    settled: set[int] = set()
    if store is not None:
        records = await store.records(route.key, watermark.uidvalidity, watermark.last_uid)
        failures = await store.failures(route.key)
        settled = {record.uid for record in records if record.status is not Status.PENDING}
        settled |= {one.uid for one in failures if one.uidvalidity == watermark.uidvalidity}
    for listing in await session.describe([uid for uid in uids if uid not in settled]):
        if not wanted(listing, watermark):
            plan.skipped += 1
        elif listing.size > plan.limit:
            plan.too_large.append(listing)
        else:
            plan.copy.append(listing)
    plan.skipped += len(settled.intersection(uids))


def _show(plans: list[Plan], as_json: bool) -> None:
    if as_json:
        routes = [
            {
                "route": plan.route,
                "would_copy": [_row(one) for one in plan.copy],
                "would_fail": [
                    _row(one) | {"kind": "oversize", "error": _too_large(one, plan.limit)}
                    for one in plan.too_large
                ],
                "skipped": plan.skipped,
                "error": plan.error,
            }
            for plan in plans
        ]
        print(
            json.dumps(
                {
                    "dry_run": True,
                    "copied": 0,
                    "would_copy": sum(len(plan.copy) for plan in plans),
                    "skipped": sum(plan.skipped for plan in plans),
                    "failed": sum(len(plan.too_large) for plan in plans),
                    "routes": routes,
                }
            )
        )
        return
    for plan in plans:
        for one in plan.copy:
            print(f"{plan.route}: would copy uid {one.uid}, {one.size:,} bytes, {one.internaldate}")
        for one in plan.too_large:
            print(f"{plan.route}: would fail uid {one.uid}: {_too_large(one, plan.limit)}")
        summary = f"{len(plan.copy)} to copy, {len(plan.too_large)} would fail"
        print(f"{plan.route}: {plan.error or summary}")


def _row(listing: Listing) -> dict[str, object]:
    return {"uid": listing.uid, "size": listing.size, "internaldate": listing.internaldate}


def _too_large(listing: Listing, limit: int) -> str:
    return f"{listing.size:,} bytes; the limit of this destination is {limit:,}"
