"""What a process is doing at this moment, as lines of its log: for a daemon that seems to hang.

Of tasks there is only where they wait, by file, line and function: no argument, no variable and so no
secret. Everything is bounded.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import PurePath
from types import FrameType
from typing import Any

import structlog

from mailsyncd.observe.control import as_json
from mailsyncd.status import DaemonStatus

log = structlog.get_logger()

MOST_TASKS = 300
DEEPEST = 16  # calls shown of one task
MOST_ROUTES = 300


def dump(status: DaemonStatus) -> None:
    """The daemon's status, each route and destination, and each task."""
    tasks = sorted(asyncio.all_tasks(), key=lambda task: task.get_name())
    told = as_json(status)
    whole = {key: value for key, value in told.items() if not isinstance(value, list | tuple)}
    log.info("dump.began", tasks=len(tasks), routes=len(status.routes), **whole)
    for route in told["routes"][:MOST_ROUTES]:
        log.info("dump.route", **{"route" if key == "name" else key: value for key, value in route.items()})
    for writer in told["writers"][:MOST_ROUTES]:
        log.info("dump.destination", **writer)
    for task in tasks[:MOST_TASKS]:
        log.info("dump.task", name=task.get_name(), waits_in=" > ".join(_calls(task)))
    log.info("dump.ended", tasks_left_out=max(0, len(tasks) - MOST_TASKS))


def _calls(task: asyncio.Task[Any]) -> list[str]:
    """From the task's own coroutine to where it waits; the innermost ones, if there are too many."""
    return [_place(frame) for frame in _frames(task.get_coro())][-DEEPEST:]


def _frames(awaited: object) -> Iterator[FrameType]:
    """asyncio's own get_stack() ends at the first coroutine that waits for another."""
    for _ in range(1000):
        for kind in ("cr", "gi", "ag"):
            if isinstance(frame := getattr(awaited, f"{kind}_frame", None), FrameType):
                yield frame
                break
        else:
            return
        awaited = getattr(awaited, "gi_yieldfrom" if kind == "gi" else f"{kind}_await", None)


def _place(frame: FrameType) -> str:
    return f"{PurePath(frame.f_code.co_filename).name}:{frame.f_lineno} {frame.f_code.co_qualname}"
