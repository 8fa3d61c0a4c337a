"""`mailsyncd run-once`: one sweep of every route, and a summary."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from uuid import uuid4

from mailsyncd.assemble import Assembly
from mailsyncd.commands.choose import only_route
from mailsyncd.commands.load import load
from mailsyncd.errors import LeaseLost, MailsyncError, StateUnavailable
from mailsyncd.flow.destination import Destination
from mailsyncd.flow.tasks import all_of, first_of
from mailsyncd.flow.watch import Watch
from mailsyncd.observe.logs import configure


async def run_once(
    config: Path | None, environ: Mapping[str, str], *, only: str | None, as_json: bool
) -> int:
    """0 if every route was brought up to date without a failure, else 1.

    Raises LeaseLost if another daemon writes to a destination, StateUnavailable, ConfigError.
    """
    configuration = only_route(await load(config, environ), only)
    shows_progress = sys.stderr.isatty() and not as_json
    level = "critical" if shows_progress else configuration.daemon.log_level
    configure(level, configuration.daemon.log_format, sys.stderr, uuid4().hex[:12])
    parts = Assembly(configuration)
    try:
        await parts.store.open()
        destinations = [parts.destination(configuration, one) for one in configuration.destinations]
        watches = [watch for one in destinations for watch in one.routes.watches.values()]
        errors: dict[str, str] = {}
        work = [_bring_up_to_date(one, errors) for one in destinations]
        if shows_progress:
            await first_of(all_of(*work), _progress(watches))
        else:
            await all_of(*work)
    finally:
        await parts.close()
    return _summarize(watches, errors, as_json)


async def _bring_up_to_date(destination: Destination, errors: dict[str, str]) -> None:
    try:
        held = await destination.run_once()
    except (StateUnavailable, LeaseLost):
        raise
    except MailsyncError as error:
        errors[destination.name] = str(error)
        return
    if not held:
        raise LeaseLost(
            f"another mailsyncd is writing to {destination.name}; it brings these routes up to date by itself"
        )


async def _progress(watches: Sequence[Watch]) -> None:
    """A bar a route, on a terminal, until cancelled."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True)) as progress:
        bars = [progress.add_task(watch.route.name, total=None) for watch in watches]

        def draw() -> None:
            for bar, watch in zip(bars, watches, strict=True):
                settled = watch.tally.copied + watch.tally.skipped + watch.tally.failed
                total = settled + (watch.progress.unsettled if watch.progress else 0)
                progress.update(bar, completed=settled, total=total or None if watch.progress else None)

        try:
            while True:
                draw()
                await asyncio.sleep(0.1)
        finally:
            draw()


def _summarize(watches: Sequence[Watch], errors: Mapping[str, str], as_json: bool) -> int:
    rows = [
        {
            "route": watch.route.name,
            "copied": watch.tally.copied,
            "skipped": watch.tally.skipped,
            "failed": watch.tally.failed,
            "complete": watch.complete,
            "error": errors.get(watch.route.destination) or watch.folder_trouble or watch.detail,
        }
        for watch in watches
    ]
    totals = {name: sum(int(str(row[name])) for row in rows) for name in ("copied", "skipped", "failed")}
    well = all(row["complete"] for row in rows) and not totals["failed"]
    if as_json:
        print(json.dumps({**totals, "routes": rows}))
    else:
        for row in rows:
            counts = f"{row['copied']} copied, {row['skipped']} skipped, {row['failed']} failed"
            state = "up to date" if row["complete"] else f"not up to date: {row['error']}"
            print(f"{row['route']}: {counts}; {state}")
    return 0 if well else 1
