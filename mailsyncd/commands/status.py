"""`mailsyncd status`: a look at the running daemon, once, or again and again until Ctrl-C."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from rich.console import Console, RenderableType
from rich.live import Live
from rich.text import Text

from mailsyncd.commands.check import ANSWER_DEADLINE, NOT_RUNNING
from mailsyncd.commands.status_view import view
from mailsyncd.commands.tables import printable
from mailsyncd.observe.ask import NoAnswer, ask
from mailsyncd.status import Health

PIPE_WIDTH = 160  # columns where there is no terminal


@dataclass(frozen=True, slots=True)
class Look:
    """Where to look, and how to tell."""

    socket: Path
    as_json: bool
    out: TextIO
    err: TextIO
    now: Callable[[], float] = time.time
    sleep: Callable[[float], None] = time.sleep


@dataclass(frozen=True, slots=True)
class Seen:
    """What a daemon said, or why there is nothing; and the exit status that goes with it."""

    status: dict[str, Any]
    trouble: str
    exit_status: int


def once(look: Look) -> int:
    """Print how it goes now."""
    seen = _seen(look)
    if look.as_json:
        print(json.dumps(seen.status), file=look.out)
    elif seen.trouble:
        print(seen.trouble, file=look.err)
    else:
        console = _console(look.out)
        plain, width = _is_plain(console), console.size.width
        console.print(view(seen.status, look.now(), rows=None, width=width, plain=plain))
    return seen.exit_status


def watch(look: Look, interval: float) -> int:
    """Again and again. Ctrl-C ends it; the exit status is that of the last look."""
    if look.as_json:
        return _until_interrupted(
            look, interval, lambda seen: print(json.dumps(seen.status), file=look.out, flush=True)
        )
    console = _console(look.out)
    if not console.is_terminal:
        return _until_interrupted(look, interval, lambda seen: console.print(_shown(seen, look, console)))
    with Live(console=console, screen=True, auto_refresh=False) as live:
        return _until_interrupted(
            look, interval, lambda seen: live.update(_shown(seen, look, console), refresh=True)
        )


def _until_interrupted(look: Look, interval: float, tell: Callable[[Seen], None]) -> int:
    seen = Seen({}, "", NOT_RUNNING)
    try:
        while True:
            seen = _seen(look)
            tell(seen)
            look.sleep(interval)
    except KeyboardInterrupt:
        return seen.exit_status


def _seen(look: Look) -> Seen:
    try:
        status = ask(look.socket, ANSWER_DEADLINE)
        return Seen(status, "", Health[str(status["health"]).upper()].value)
    except NoAnswer as failure:
        return Seen({"health": "not_running", "detail": str(failure)}, str(failure), NOT_RUNNING)
    except KeyError:
        why = "the daemon that answers is of another version: restart it"
        return Seen({"health": "not_running", "detail": why}, why, NOT_RUNNING)


def _shown(seen: Seen, look: Look, console: Console) -> RenderableType:
    if seen.trouble:
        return Text(printable(seen.trouble), style="bold red")
    rows, width = console.size.height if console.is_terminal else None, console.size.width
    return view(seen.status, look.now(), rows=rows, width=width, plain=_is_plain(console))


def _console(out: TextIO) -> Console:
    return Console(file=out, highlight=False, width=None if out.isatty() else PIPE_WIDTH)


def _is_plain(console: Console) -> bool:
    """Whether its encoding has no block elements."""
    return not console.encoding.lower().startswith("utf")
