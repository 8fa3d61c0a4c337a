"""`mailsyncd check`: asks the running daemon how it is, and says so by table, JSON and exit code.

Exit codes: 0 healthy, 1 degraded, 2 failing, 3 not running. It is a health check of containers
too, so it imports little and answers at once.
"""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any, TextIO

from mailsyncd.commands.tables import Row, printable, show_table
from mailsyncd.observe.ask import NoAnswer, ask
from mailsyncd.status import Health

ANSWER_DEADLINE = 2.0
NOT_RUNNING = 3

_ROUTE_HEADS = (
    "ROUTE",
    "STATE",
    "LAST UID",
    "WAITING",
    "OLDEST",
    "COPIED",
    "SKIPPED",
    "FAILED",
    "LISTED",
    "",
)
_WRITER_HEADS = ("DESTINATION", "STATE", "QUEUED", "IN FLIGHT", "SETTLING", "EPOCH", "")

_COLOURS = {
    "watching": "green",
    "writing": "green",
    "blocked": "bold red",
    "needs_sign_in": "bold red",
    "stopped": "red",
}


def check(socket_path: Path, *, as_json: bool, out: TextIO, err: TextIO) -> int:
    """Print how the daemon is; the exit code is the verdict."""
    try:
        status = ask(socket_path, ANSWER_DEADLINE)
        verdict = verdict_of(status)
    except NoAnswer as failure:
        if as_json:
            print(json.dumps({"health": "not_running", "detail": str(failure)}), file=out)
        else:
            print(failure, file=err)
        return NOT_RUNNING
    if as_json:
        print(json.dumps(status), file=out)
    else:
        show_status(status, out)
    return verdict.value


def verdict_of(status: dict[str, Any]) -> Health:
    try:
        return Health[str(status["health"]).upper()]
    except KeyError:
        raise NoAnswer("the daemon that answers is of another version: restart it") from None


def show_status(status: dict[str, Any], out: TextIO) -> None:
    routes = [_route_row(route) for route in status.get("routes", ())]
    writers = [_writer_row(writer) for writer in status.get("writers", ())]
    summary = f"{status['health']}: mailsyncd {status.get('version')}, up {_age(status.get('uptime'))}"
    summary += f", run {status.get('run_id')}"
    print(printable(summary), file=out)
    if line := reload_line(status.get("reload", {})):
        print(printable(f"last reload: {line}"), file=out)
    if (sharing := status.get("sharing", {})).get("destinations", 1) > 1:
        shared = "writes to {held} of {destinations} destinations, its share is {share}; {daemons} daemons"
        print(printable(shared.format(**sharing)), file=out)
    for heads, rows in ((_ROUTE_HEADS, routes), (_WRITER_HEADS, writers)):
        if rows:
            print(file=out)
            show_table(heads, rows, out, colours=_COLOURS)


def reload_line(last: dict[str, Any]) -> str:
    """Empty if there was none."""
    if not last.get("at"):
        return ""
    when = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(last["at"]))
    return f"{last.get('outcome')} at {when}: {last.get('reason') or last.get('changes')}"


def _route_row(route: dict[str, Any]) -> Row:
    counts = (_cell(route.get(key)) for key in ("copied", "skipped", "failed"))
    return (
        _cell(route.get("name")),
        _cell(route.get("state")),
        _cell(route.get("last_uid")),
        _cell(route.get("unsettled")),
        _age(route.get("oldest_age")),
        *counts,
        _age(route.get("listed_age")),
        printable(str(route.get("detail") or "")),
    )


def _writer_row(writer: dict[str, Any]) -> Row:
    keys = ("name", "state", "queued", "in_flight", "settling", "epoch")
    return (*(_cell(writer.get(key)) for key in keys), printable(str(writer.get("detail") or "")))


def _cell(value: object) -> str:
    return "-" if value is None else printable(str(value))


def _age(seconds: float | None) -> str:
    if seconds is None:
        return "-"
    whole = int(seconds)
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m{whole % 60:02}s"
    if whole < 86400:
        return f"{whole // 3600}h{whole % 3600 // 60:02}m"
    return f"{whole // 86400}d{whole % 86400 // 3600:02}h"
