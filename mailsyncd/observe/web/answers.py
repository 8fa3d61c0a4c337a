"""What there is to be asked for, each path with its answer."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from importlib.resources import files

from mailsyncd.observe import exposition
from mailsyncd.observe.sight import Sight
from mailsyncd.observe.web.public import page_status
from mailsyncd.ports import Clock
from mailsyncd.status import DaemonStatus, Health, RouteState, WriterState

FRESH = 1.0  # seconds for which an answer serves everybody who asks
PATIENCE = 50.0  # times as long as it took to make: with a thousand routes that is a tenth of a second
PAGE = {
    "/": ("page.html", "text/html; charset=utf-8"),
    "/page.css": ("page.css", "text/css; charset=utf-8"),
    "/page.js": ("page.js", "text/javascript; charset=utf-8"),
    "/plot.js": ("plot.js", "text/javascript; charset=utf-8"),
    "/icon.svg": ("icon.svg", "image/svg+xml"),
}
TEXT = "text/plain; charset=utf-8"


@dataclass(frozen=True, slots=True)
class Answer:
    body: bytes
    kind: str = TEXT
    status: int = 200


class Answers:
    """The files of the page are read once."""

    def __init__(self, sight: Sight) -> None:
        self._sight = sight
        here = files(__package__) / "page"
        self._paths: dict[str, Callable[[], Answer]] = {
            "/healthz": self._alive,
            "/readyz": self._ready,
            "/metrics": _Kept(self._metrics, sight.clock),
            "/status.json": _Kept(self._status, sight.clock),
        }
        for path, (name, kind) in PAGE.items():
            self._paths[path] = _file((here / name).read_bytes(), kind)

    def to(self, path: str) -> Answer | None:
        """None if there is nothing of that name."""
        answer = self._paths.get(path)
        return answer() if answer else None

    def _alive(self) -> Answer:
        """That this is answered at all says that the process lives and its loop turns."""
        return Answer(f"{self._sight.status().health.name.lower()}\n".encode())

    def _ready(self) -> Answer:
        ready, why = readiness(self._sight.status())
        return Answer(f"{why}\n".encode(), status=200 if ready else 503)

    def _status(self) -> Answer:
        sight, clock = self._sight, self._sight.clock
        told = page_status(sight.status(), sight.meter, sight.addresses(), clock.monotonic(), clock.now())
        return Answer(json.dumps(told, separators=(",", ":")).encode(), "application/json")

    def _metrics(self) -> Answer:
        return Answer(exposition.exposition(self._sight), exposition.CONTENT_TYPE)


class _Kept:
    """An answer that is made anew so seldom that mail does not wait for those who look."""

    def __init__(self, make: Callable[[], Answer], clock: Clock) -> None:
        self._make = make
        self._clock = clock
        self._answer = Answer(b"")
        self._until = float("-inf")

    def __call__(self) -> Answer:
        began = self._clock.monotonic()
        if began >= self._until:
            self._answer = self._make()
            took = self._clock.monotonic() - began
            self._until = began + max(FRESH, PATIENCE * took)
        return self._answer


def _file(body: bytes, kind: str) -> Callable[[], Answer]:
    answer = Answer(body, kind)
    return lambda: answer


def readiness(status: DaemonStatus) -> tuple[bool, str]:
    """Whether mail is copied, or would be if there were some, by this daemon or the one it stands by for."""
    if status.health is Health.FAILING:
        return False, "failing"
    if not status.writers or any(one.state is WriterState.CONNECTING for one in status.writers):
        return False, "starting"
    awake = {one.name for one in status.writers if one.state is not WriterState.STANDBY}
    routes = [one.state for one in status.routes if one.destination in awake]
    if routes and all(state is RouteState.CONNECTING for state in routes):
        return False, "starting"
    return True, "ready"
