"""Looks every few seconds for what is to be told, and tells it, one notice after the other.

A hook that fails is a line in the log and never a notice; what waits for a slow one is bounded; and mail
waits for none of it.
"""

from __future__ import annotations

import asyncio
import json
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

import structlog

from mailsyncd.account import Secret
from mailsyncd.notify.command import HookFailed, run
from mailsyncd.notify.notices import Limits, Notice, Notices
from mailsyncd.ports import Clock
from mailsyncd.status import DaemonStatus

log = structlog.get_logger()

LOOK = 5.0  # seconds between looks
MOST_WAITING = 100  # notices; then the oldest go


@dataclass(frozen=True, slots=True)
class Hooks:
    """Whom to tell, and by which limits."""

    command: tuple[str, ...] = ()
    webhook: Secret | None = None
    timeout: float = 10.0
    limits: Limits = field(default_factory=Limits)


class Notifications:
    """`move()` says whom to tell from now on; run() does it. `shown` gives what of a text may be told."""

    def __init__(
        self,
        hooks: Hooks,
        status: Callable[[], DaemonStatus],
        shown: Callable[[str], str],
        clock: Clock,
        environ: Mapping[str, str],
    ) -> None:
        self._hooks = hooks
        self._status = status
        self._shown = shown
        self._clock = clock
        self._environ = environ
        self._notices = Notices(hooks.limits)
        self._waiting: deque[tuple[float, Notice]] = deque(maxlen=MOST_WAITING)
        self._filled = asyncio.Event()

    def move(self, hooks: Hooks) -> None:
        self._hooks = hooks
        self._notices.limits = hooks.limits

    async def run(self) -> None:
        """Until cancelled. Raises nothing: whatever it meets, mail goes on."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._forever(self._look), name="notify.look")
            group.create_task(self._forever(self._tell_next), name="notify.tell")

    async def _forever(self, act: Callable[[], Awaitable[None]]) -> None:
        while True:
            try:
                await act()
            except Exception as error:  # noqa: BLE001
                log.warning("notify.failed", to="nobody", error=type(error).__name__)
                await self._clock.sleep(LOOK)

    async def _look(self) -> None:
        await self._clock.sleep(LOOK)
        if self._hooks.command or self._hooks.webhook:
            for notice in self._notices.look(self._status(), self._clock.monotonic()):
                self._waiting.append((self._clock.now(), notice))
                self._filled.set()

    async def _tell_next(self) -> None:
        while not self._waiting:
            self._filled.clear()
            await self._filled.wait()
        (at, notice), hooks = self._waiting.popleft(), self._hooks
        facts = self._facts(at, notice)
        body = json.dumps(facts).encode() + b"\n"
        if hooks.command:
            variables = {f"MAILSYNCD_{key.upper()}": _plain(value) for key, value in facts.items()}
            await self._to("command", run(hooks.command, body, variables, self._environ, hooks.timeout))
        if hooks.webhook:
            from mailsyncd.notify.webhook import post  # httpx takes memory that others have no use for

            await self._to("webhook", post(hooks.webhook, body, hooks.timeout, self._clock))

    async def _to(self, whom: str, telling: Awaitable[None]) -> None:
        try:
            await telling
        except HookFailed as error:
            log.warning("notify.failed", to=whom, error=str(error))

    def _facts(self, at: float, notice: Notice) -> dict[str, str | int]:
        status = self._status()
        return {
            "event": notice.kind.value,
            "subject": notice.subject,
            "text": self._shown(notice.text),
            "at": datetime.fromtimestamp(at, UTC).isoformat(timespec="seconds"),
            "health": status.health.name.lower(),
            "left_out": notice.left_out,
            "run_id": status.run_id,
            "version": status.version,
        }


def _plain(value: str | int) -> str:
    """A variable has no NUL, and is no place for what is long."""
    return str(value).replace("\0", "")[:2000]
