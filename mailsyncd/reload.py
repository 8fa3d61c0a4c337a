"""Reloads: by SIGHUP or by request, one at a time, many askings at once answered by one.

The new configuration is read and checked whole before anything is touched. If it is no good the old one
stays in force, and what was wrong is remembered until the next reload.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import structlog

from mailsyncd.config.changes import Differences
from mailsyncd.config.values import Configuration
from mailsyncd.errors import ConfigError, MailsyncError, SecretsUnavailable
from mailsyncd.meter import Meter
from mailsyncd.observe.systemd import Notifier
from mailsyncd.ports import Clock
from mailsyncd.status import Reload, ReloadOutcome
from mailsyncd.steps import Step, reached

log = structlog.get_logger()

APART = 0.5  # seconds between the beginnings of two reloads, at the least
READING = 60.0  # seconds that reading a configuration, and secrets of AWS, may take


class Reloads:
    """`apply` touches what changed, and says what that was; it raises, with nothing touched, for what
    can't change while running."""

    def __init__(
        self,
        reread: Callable[[], Awaitable[Configuration]],
        apply: Callable[[Configuration], Awaitable[Differences]],
        clock: Clock,
        notifier: Notifier,
        meter: Meter,
    ) -> None:
        self.last = Reload()
        self._reread = reread
        self._apply = apply
        self._clock = clock
        self._notifier = notifier
        self._meter = meter
        self._asked = asyncio.Event()
        self._waiting: list[asyncio.Future[Reload]] = []

    def ask(self) -> None:
        """A signal came. Returns at once."""
        self._asked.set()

    async def asked(self) -> Reload:
        """The outcome of a reload that begins from now on."""
        future: asyncio.Future[Reload] = asyncio.get_running_loop().create_future()
        self._waiting.append(future)
        self._asked.set()
        return await future

    async def run(self, status: Callable[[], str]) -> None:
        """Until cancelled. `status` is the line for systemd when a reload has ended."""
        try:
            while True:
                await self._asked.wait()
                self._asked.clear()
                waiting, self._waiting = self._waiting, []
                began = self._clock.monotonic()
                self._notifier.reloading()
                try:
                    self.last = await self._once()
                finally:
                    self._notifier.ready(status())
                    _tell(waiting, self.last)
                await self._clock.sleep(began + APART - self._clock.monotonic())
        finally:
            for one in self._waiting:
                one.cancel()

    async def _once(self) -> Reload:
        """Never raises but for being cancelled: whatever a reload meets, the daemon lives on."""
        try:
            async with asyncio.timeout(READING):
                new = await self._reread()
            reached(Step.RELOADING)
            differences = await self._apply(new)
        except ConfigError as error:
            return self._refused(ReloadOutcome.REFUSED, _one_line(error, len(error.problems)))
        except SecretsUnavailable as error:
            return self._refused(ReloadOutcome.UNAVAILABLE, _one_line(error, len(error.problems)))
        except MailsyncError as error:
            return self._refused(ReloadOutcome.REFUSED, _one_line(error, 1))
        except TimeoutError:
            return self._refused(ReloadOutcome.UNAVAILABLE, f"it could not be read within {READING:.0f} s")
        except Exception as error:  # noqa: BLE001
            return self._refused(ReloadOutcome.REFUSED, f"it can't be read: {type(error).__name__}")
        changes = str(differences)
        log.info("config.reloaded", changes=changes)
        self._meter.reloads["good"] += 1
        return Reload(
            self._clock.now(), ReloadOutcome.APPLIED, "", changes, self.last.applied + 1, self.last.refused
        )

    def _refused(self, outcome: ReloadOutcome, reason: str) -> Reload:
        log.error("config.reload_failed", error=reason)
        self._meter.reloads["failed"] += 1
        return Reload(self._clock.now(), outcome, reason, "", self.last.applied, self.last.refused + 1)


def _one_line(error: MailsyncError, problems: int) -> str:
    first = str(error).partition("\n")[0]
    more = problems - 1
    return f"{first} (and {more} more: see mailsyncd config check)" if more > 0 else first


def _tell(waiting: list[asyncio.Future[Reload]], outcome: Reload) -> None:
    for one in waiting:
        if not one.done():  # whoever asked may have gone
            one.set_result(outcome)
