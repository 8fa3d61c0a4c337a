"""`mailsyncd state init` and `state show`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TextIO

from mailsyncd.assemble import make_store, readable_store
from mailsyncd.commands.choose import only_route
from mailsyncd.config.load import load
from mailsyncd.model import Route
from mailsyncd.observe.clock import SystemClock
from mailsyncd.ports import StateStore
from mailsyncd.state.dynamodb import DynamoStore


async def init(
    config: Path | None,
    environ: Mapping[str, str],
    out: TextIO,
    *,
    point_in_time_recovery: bool,
    deletion_protection: bool,
) -> int:
    """Make the table or the file, if it is missing. Raises StateUnavailable."""
    settings = load(config, environ).configuration.state
    store = make_store(settings, SystemClock())
    try:
        if isinstance(store, DynamoStore):
            done = await store.init_table(
                point_in_time_recovery=point_in_time_recovery, deletion_protection=deletion_protection
            )
        else:
            done = [f"{settings.path} is ready"]
        await store.open()
    finally:
        await store.close()
    for line in done:
        print(line, file=out)
    return 0


async def show(
    config: Path | None, environ: Mapping[str, str], out: TextIO, *, only: str | None, as_json: bool
) -> int:
    """Watermarks and counts of the configured routes. Raises StateUnavailable."""
    configuration = only_route(load(config, environ).configuration, only)
    store = readable_store(configuration.state, SystemClock())
    if store is None:
        print(f"{configuration.state.path}: there is no state yet", file=out)
        return 0
    try:
        await store.open()
        rows = [await _row(store, one.route) for one in configuration.routes]
    finally:
        await store.close()
    if as_json:
        print(json.dumps({"routes": rows}), file=out)
    else:
        _table(rows, out)
    return 0


async def _row(store: StateStore, route: Route) -> dict[str, Any]:
    watermark = await store.watermark(route.key)
    mark = {
        "uidvalidity": watermark.uidvalidity if watermark else None,
        "last_uid": watermark.last_uid if watermark else None,
        "updated_at": datetime.fromtimestamp(watermark.updated_at, UTC).isoformat(timespec="seconds")
        if watermark
        else None,
    }
    return {"route": route.name, **mark, **asdict(await store.counts(route.key))}


def _table(rows: list[dict[str, Any]], out: TextIO) -> None:
    heads = list(rows[0]) if rows else []
    cells = [["-" if row[head] is None else str(row[head]) for head in heads] for row in rows]
    if out.isatty():
        from rich.console import Console
        from rich.table import Table

        table = Table(*heads)
        for row in cells:
            table.add_row(*row)
        Console(file=out).print(table)
        return
    for row in cells:
        print("  ".join(f"{head}={cell}" for head, cell in zip(heads, row, strict=True)), file=out)
