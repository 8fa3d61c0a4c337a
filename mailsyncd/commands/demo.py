"""`mailsyncd demo`: the real daemon between a simulated Gmail and a simulated Outlook, and the proof.

Some mail lies waiting when the daemon starts, the rest arrives while you watch. At the end both
mailboxes are compared byte for byte: that is the verdict, not what the daemon says of itself.
"""

from __future__ import annotations

import asyncio
import json
import signal
import statistics
import tempfile
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import TextIO

from mailsyncd.commands.demo_show import Copy, Progress, RouteCount, Show, open_show
from mailsyncd.commands.demo_stage import Daemon, DemoRoute, Stage, daemon, set_stage, write_configuration
from mailsyncd.observe.clock import SystemClock
from mailsyncd.ports import Clock
from mailsyncd.sim.corpus import Mail, corpus
from mailsyncd.sim.mailstore import StoredMessage
from mailsyncd.sim.verdict import Verdict, compare, foreign_commands

_LOOK_SECONDS = 0.1
_LIVE_SECONDS = 9.0  # the live half arrives within about this time
_LONGEST_GAP = 0.4
_STUCK_SECONDS = 60.0  # nothing moved for so long: what is missing is lost
_QUIET_SECONDS = 1.0  # after the last copy, for a duplicate to show itself


@dataclass(slots=True)
class _Story:
    """What has been delivered so far, and when the live part began."""

    stage: Stage
    clock: Clock
    rng: Random
    began: float
    expected: int
    live_since: float = float("inf")
    sent: dict[DemoRoute, list[StoredMessage]] = field(default_factory=dict)
    seen: dict[DemoRoute, int] = field(default_factory=dict)
    under_way: dict[tuple[DemoRoute, bytes], deque[float]] = field(default_factory=dict)
    phase: str = ""
    turn: int = -1
    last_raw: bytes = b""

    def deliver(self, mail: Mail) -> None:
        """The next message goes to the next route; a twin to the same one as its original."""
        if mail.raw != self.last_raw:
            self.turn = (self.turn + 1) % len(self.stage.routes)
        self.last_raw = mail.raw
        route = self.stage.routes[self.turn]
        uid = self.stage.gmail.deliver(route.user, mail.raw, internaldate=mail.internaldate)
        stored = self.stage.gmail.mailbox(route.user).find(uid)
        if stored is not None:
            self.sent.setdefault(route, []).append(stored)
            self.under_way.setdefault((route, mail.raw), deque()).append(stored.stored_mono)

    def copies(self, route: DemoRoute) -> list[StoredMessage]:
        return self.stage.outlook.messages(self.stage.outlook_user, route.folder)

    @property
    def copied(self) -> int:
        return sum(len(self.copies(route)) for route in self.stage.routes)

    @property
    def delivered(self) -> int:
        return sum(map(len, self.sent.values()))

    def verdicts(self) -> list[Verdict]:
        return [
            compare(self.sent.get(route, []), self.copies(route), self.live_since)
            for route in self.stage.routes
        ]

    def source_is_untouched(self) -> bool:
        """Every message is where it was, flags and all, and nobody tried otherwise."""
        same = all(
            self.stage.gmail.messages(route.user) == self.sent.get(route, []) for route in self.stage.routes
        )
        return same and not foreign_commands(self.stage.gmail.transcript)

    def progress(self) -> Progress:
        """How far it is now; what came since the last call is new."""
        new: list[Copy] = []
        for route in self.stage.routes:
            copies = self.copies(route)
            for copy in copies[self.seen.get(route, 0) :]:
                new.append(Copy(route.folder, len(copy.raw), self._delay(route, copy)))
            self.seen[route] = len(copies)
        counts = (
            RouteCount(f"{route.user} > {route.folder}", len(self.sent.get(route, [])), self.seen[route])
            for route in self.stage.routes
        )
        elapsed = max(self.clock.monotonic() - self.began, 0.001)
        return Progress(tuple(counts), tuple(new), self.copied / elapsed, self.phase)

    def _delay(self, route: DemoRoute, copy: StoredMessage) -> float:
        """From delivery, or from the start for what lay there before it. Twins go in turn."""
        times = self.under_way.get((route, copy.raw))
        return copy.stored_mono - max(times.popleft() if times else self.began, self.began)


async def demo(messages: int, routes: int, seed: int, as_json: bool, out: TextIO) -> int:
    """Run it. Returns 0 only if every message arrived unchanged, once."""
    clock = SystemClock()
    with tempfile.TemporaryDirectory(prefix="mailsyncd-demo-") as directory, _sigterm_as_ctrl_c():
        async with set_stage(clock, routes, seed) as stage:
            story = _Story(stage, clock, Random(seed), clock.monotonic(), messages)
            configuration = write_configuration(stage, Path(directory))
            with open_show(out, silent=as_json) as show:
                complaint = await _play(story, list(corpus(seed, messages)), configuration, show)
            if complaint is not None:
                return _tell_failure(complaint, as_json, out)
            return _tell_result(story, as_json, out)


@contextmanager
def _sigterm_as_ctrl_c() -> Iterator[None]:
    """Either way the daemon is to be ended with us, never left behind."""
    before = signal.signal(signal.SIGTERM, signal.getsignal(signal.SIGINT))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


async def _play(story: _Story, mail: list[Mail], configuration: Path, show: Show) -> str | None:
    """Half the mail waits, the daemon starts, the other half comes, the daemon is told to stop.

    Returns what the daemon had to complain of, or None if all went well with it.
    """
    waiting = len(mail) // 2
    for one in mail[:waiting]:
        story.deliver(one)
    story.began = story.clock.monotonic()
    story.phase = f"{waiting} messages are waiting, the daemon starts"
    async with daemon(configuration) as running, asyncio.TaskGroup() as group:
        arriving = group.create_task(_arrive(story, mail[waiting:]))
        try:
            await _watch(story, len(mail), running, show)
        finally:
            arriving.cancel()
        if running.ended:
            return f"it ended by itself: {running.complaint()}"
        status = await running.stop()
        return f"it ended with status {status}: {running.complaint()}" if status else None


async def _arrive(story: _Story, mail: list[Mail]) -> None:
    """Once every route is listening, the rest of the mail comes in, at random moments."""
    while not _everyone_idles(story.stage):
        await story.clock.sleep(_LOOK_SECONDS)
    story.live_since = story.clock.monotonic()
    story.phase = f"{len(mail)} more are arriving"
    mean = min(_LONGEST_GAP, _LIVE_SECONDS / max(len(mail), 1))
    for one in mail:
        await story.clock.sleep(story.rng.uniform(0, 2 * mean))
        story.deliver(one)
    story.phase = "all have arrived at Gmail"


def _everyone_idles(stage: Stage) -> bool:
    idling = {line.connection for line in stage.gmail.transcript if line.text.endswith(" IDLE")}
    return len(idling) >= len(stage.routes)


async def _watch(story: _Story, expected: int, running: Daemon, show: Show) -> None:
    """Return when all is over there, when nothing moves any more, or when the daemon has ended."""
    moved, last = story.clock.monotonic(), (0, 0)
    while story.copied < expected and story.clock.monotonic() - moved < _STUCK_SECONDS:
        show.update(story.progress())
        await story.clock.sleep(_LOOK_SECONDS)
        if running.ended:
            return
        now = (story.delivered, story.copied)
        if now != last:
            moved, last = story.clock.monotonic(), now
    show.update(story.progress())
    await story.clock.sleep(_QUIET_SECONDS)
    story.phase = "done" if story.copied >= expected else f"nothing has moved for {_STUCK_SECONDS:.0f} s"
    show.update(story.progress())


def _tell_failure(complaint: str, as_json: bool, out: TextIO) -> int:
    out.write(
        json.dumps({"error": f"the daemon: {complaint}"}) + "\n" if as_json else f"The daemon: {complaint}\n"
    )
    out.flush()
    return 1


def _tell_result(story: _Story, as_json: bool, out: TextIO) -> int:
    """Print the account of it. Returns the exit status of the demo."""
    verdicts = story.verdicts()
    delays = sorted(delay * 1000 for verdict in verdicts for delay in verdict.delays)
    untouched = story.source_is_untouched()
    result = {
        "delivered": sum(verdict.delivered for verdict in verdicts),
        "copied": sum(verdict.copied for verdict in verdicts),
        "lost": sum(verdict.lost for verdict in verdicts),
        "duplicated": sum(verdict.duplicated for verdict in verdicts),
        "altered": sum(verdict.altered for verdict in verdicts),
        "delay_ms_median": round(statistics.median(delays), 1) if delays else None,
        "delay_ms_worst": round(delays[-1], 1) if delays else None,
        "source_untouched": untouched,
        "seconds": round(story.clock.monotonic() - story.began, 1),
        "routes": len(story.stage.routes),
    }
    clean = untouched and story.delivered == story.expected and all(verdict.is_clean for verdict in verdicts)
    out.write(json.dumps(result) + "\n" if as_json else _summary(result, len(delays), clean=clean))
    out.flush()
    return 0 if clean else 1


def _summary(result: dict[str, int | float | bool | None], live: int, *, clean: bool) -> str:
    lines = [
        f"{name:<12} {result[name]}" for name in ("delivered", "copied", "lost", "duplicated", "altered")
    ]
    if live:
        median, worst = result["delay_ms_median"], result["delay_ms_worst"]
        lines.append(
            f"{'delay':<12} {median} ms median, {worst} ms worst, of {live} that came while watching"
        )
    lines.append(f"{'source':<12} {'untouched' if result['source_untouched'] else 'CHANGED'}")
    lines.append(f"{'time':<12} {result['seconds']} s")
    arrived = "Every message arrived, once, byte for byte."
    lines.append(arrived if clean else "NOT every message arrived, once, byte for byte.")
    return "\n" + "\n".join(lines) + "\n"
