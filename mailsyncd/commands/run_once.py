"""`mailsyncd run-once`: one cycle, and a summary."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from uuid import uuid4

from mailsyncd.commands.choose import only_route
from mailsyncd.commands.cycle import Outcome, cycle
from mailsyncd.commands.load import load
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
    outcome = await cycle(configuration, beside=_progress if shows_progress else None)
    _summarize(outcome, as_json)
    return 0 if outcome.complete else 1


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


def _summarize(outcome: Outcome, as_json: bool) -> None:
    if as_json:
        print(json.dumps({**outcome.totals, "routes": [asdict(one) for one in outcome.routes]}))
        return
    for one in outcome.routes:
        counts = f"{one.copied} copied, {one.skipped} skipped, {one.failed} failed"
        state = "up to date" if one.complete else f"not up to date: {one.error}"
        print(f"{one.route}: {counts}; {state}")
