"""What the demo shows while it runs: a live table on a terminal, plain lines anywhere else."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol, TextIO

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

_SHOWN_COPIES = 8


@dataclass(frozen=True, slots=True)
class RouteCount:
    """How far one route is."""

    name: str
    delivered: int
    copied: int


@dataclass(frozen=True, slots=True)
class Copy:
    """One message that has just come over. `delay` is in seconds."""

    route: str
    size: int
    delay: float


@dataclass(frozen=True, slots=True)
class Progress:
    """All that a picture of the moment needs."""

    routes: tuple[RouteCount, ...]
    new: tuple[Copy, ...]
    per_second: float
    phase: str


class Show(Protocol):
    def update(self, progress: Progress) -> None:
        """Show how far things are now."""


class _Silent:
    def update(self, progress: Progress) -> None:
        """Nothing: only the summary is wanted."""


class _Lines:
    """A line for each message that came over, and one when the phase changes."""

    def __init__(self, out: TextIO) -> None:
        self._out = out
        self._phase = ""

    def update(self, progress: Progress) -> None:
        if progress.phase != self._phase:
            self._phase = progress.phase
            self._out.write(f"{progress.phase}\n")
        for copy in progress.new:
            self._out.write(f"  {copy.route:<28} {copy.size:>9,} bytes  {_delay(copy.delay):>9}\n")
        self._out.flush()


class _Table:
    """A table per route and the last messages below it."""

    def __init__(self, live: Live) -> None:
        self._live = live
        self._last: deque[Copy] = deque(maxlen=_SHOWN_COPIES)

    def update(self, progress: Progress) -> None:
        self._last.extend(progress.new)
        self._live.update(Group(self._counts(progress), self._copies()))

    def _counts(self, progress: Progress) -> Table:
        caption = f"{progress.phase}   {progress.per_second:.1f} messages/s"
        table = Table(title="Gmail (simulated) to Outlook (simulated)", caption=caption, title_justify="left")
        table.add_column("route", min_width=30)
        for column in ("delivered", "copied", "in flight"):
            table.add_column(column, justify="right")
        for route in progress.routes:
            in_flight = route.delivered - route.copied
            table.add_row(route.name, str(route.delivered), str(route.copied), str(in_flight))
        return table

    def _copies(self) -> Table:
        table = Table.grid(padding=(0, 2))
        for copy in self._last:
            size = Text(f"{copy.size:,} bytes", justify="right")
            table.add_row(Text(copy.route, style="cyan"), size, Text(_delay(copy.delay), justify="right"))
        return table


def _delay(seconds: float) -> str:
    return f"{seconds * 1000:.0f} ms" if seconds < 10 else f"{seconds:.1f} s"


@contextmanager
def open_show(out: TextIO, *, silent: bool) -> Iterator[Show]:
    """The show that fits `out`."""
    if silent:
        yield _Silent()
    elif out.isatty():
        with Live(console=Console(file=out), refresh_per_second=8) as live:
            yield _Table(live)
    else:
        yield _Lines(out)
