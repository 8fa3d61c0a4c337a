"""`mailsyncd state init` and `state show`."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TextIO

from mailsyncd.assemble import make_store, readable_store
from mailsyncd.commands.choose import only_route
from mailsyncd.commands.load import load
from mailsyncd.model import Counts, Route, Watermark
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
    settings = (await load(config, environ)).state
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
    configuration = only_route(await load(config, environ), only)
    store = readable_store(configuration.state, SystemClock())
    if store is None and not as_json:
        print(f"{configuration.state.path}: there is no state yet", file=out)
        return 0
    rows = await _rows(store, [one.route for one in configuration.routes])
    if as_json:
        print(json.dumps({"routes": rows}), file=out)
    else:
        _table(rows, out)
    return 0


async def _rows(store: StateStore | None, routes: Sequence[Route]) -> list[dict[str, Any]]:
    if store is None:
        return [_row(route, None, Counts(0, 0, 0)) for route in routes]
    try:
        await store.open()
        return [
            _row(route, await store.watermark(route.key), await store.counts(route.key)) for route in routes
        ]
    finally:
        await store.close()


def _row(route: Route, watermark: Watermark | None, counts: Counts) -> dict[str, Any]:
    mark: dict[str, Any] = dict.fromkeys(("uidvalidity", "last_uid", "updated_at"))
    if watermark:
        updated = datetime.fromtimestamp(watermark.updated_at, UTC).isoformat(timespec="seconds")
        mark |= {"uidvalidity": watermark.uidvalidity, "last_uid": watermark.last_uid, "updated_at": updated}
    return {"route": route.name, **mark, **asdict(counts)}


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
