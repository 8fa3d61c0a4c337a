"""The life of the process: start, signals, reload, drain, stop.

Signal handlers set an event and nothing else. A reload builds the new configuration whole
before it touches anything, and then touches only what changed.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Protocol

import structlog

from mailsyncd import __version__
from mailsyncd.config.values import Configuration, DestinationSettings
from mailsyncd.errors import ConfigError, MailsyncError, Problem
from mailsyncd.flow.destination import Destination
from mailsyncd.flow.gate import Gate
from mailsyncd.flow.routes import RoutePlan
from mailsyncd.flow.share import Share
from mailsyncd.flow.tasks import all_of, first_of
from mailsyncd.meter import Meter
from mailsyncd.observe.control import ControlServer
from mailsyncd.observe.sight import Sight
from mailsyncd.observe.systemd import Notifier, watchdog_interval
from mailsyncd.observe.website import Place, Website
from mailsyncd.policy import verdict
from mailsyncd.ports import Clock, StateStore
from mailsyncd.status import DaemonStatus
from mailsyncd.steps import Step, reached

log = structlog.get_logger()


class Parts(Protocol):
    """What assemble.Assembly gives: daemon and assemble are neighbours and know only this."""

    store: StateStore
    gate: Gate
    share: Share
    meter: Meter

    @property
    def clock(self) -> Clock: ...

    def destination(self, configuration: Configuration, settings: DestinationSettings) -> Destination: ...

    def plans(self, configuration: Configuration, destination: str) -> list[RoutePlan]: ...


@dataclass(slots=True)
class _Running:
    settings: object
    destination: Destination
    task: asyncio.Task[None]


class Daemon:
    def __init__(
        self,
        configuration: Configuration,
        parts: Parts,
        reread: Callable[[], Awaitable[Configuration]],
        environ: Mapping[str, str],
        run_id: str,
    ) -> None:
        self._configuration = configuration
        self._parts = parts
        self._reread = reread
        self._environ = environ
        self._run_id = run_id
        self._started_mono = parts.clock.monotonic()
        self._running: dict[str, _Running] = {}
        self._stopping = asyncio.Event()
        self._hangup = asyncio.Event()
        self._reload = "none yet"
        self._notifier = Notifier.from_environment(environ)
        self._site = Website(self._sight(), _place(configuration))

    async def run(self) -> None:
        """Until SIGTERM or SIGINT. Raises StateUnavailable, before any connection is opened (I1)
        or when the store stayed away too long."""
        await self._parts.store.open()
        self._on_signals()
        async with ControlServer(self._configuration.daemon.socket, self.status):
            log.info("daemon.started", version=__version__, routes=len(self._configuration.routes))
            try:
                share = self._parts.share
                others = (share.run(), self._reloads(), self._watchdog(), self._site.run())
                await first_of(self._destinations(), *others)
            finally:
                await self._end_all()
        log.info("daemon.stopped")

    # ----------------------------------------------------------------- signals

    def _on_signals(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop, number)
        loop.add_signal_handler(signal.SIGHUP, self._hangup.set)

    def _stop(self, number: int) -> None:
        """The first signal asks, the second ends: what is PENDING then is the next start's."""
        if self._stopping.is_set():
            os._exit(128 + number)
        self._stopping.set()

    # ------------------------------------------------------------ destinations

    async def _destinations(self) -> None:
        """Run every destination until a signal; then let each finish what is in flight."""
        self._reconcile()
        self._notifier.ready(f"{len(self._configuration.routes)} routes")
        stopping = asyncio.create_task(self._stopping.wait())
        try:
            while not self._stopping.is_set():
                tasks = [one.task for one in self._running.values()]
                await asyncio.wait([stopping, *tasks], return_when=asyncio.FIRST_COMPLETED, timeout=1.0)
                for one in list(self._running.values()):
                    if one.task.done():
                        one.task.result()
        finally:
            stopping.cancel()
        log.info("daemon.stopping")
        self._notifier.stopping()
        for one in self._running.values():
            one.destination.stop()
        await all_of(self._parts.share.leave(), *(_end_of(one) for one in self._running.values()))

    def _reconcile(self) -> None:
        """Start what is wanted and not running."""
        for settings in self._configuration.destinations:
            if settings.name not in self._running:
                destination = self._parts.destination(self._configuration, settings)
                task = asyncio.create_task(destination.run())
                self._running[settings.name] = _Running(settings, destination, task)

    async def _end_all(self) -> None:
        tasks = [one.task for one in self._running.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    # ------------------------------------------------------------------ reload

    async def _reloads(self) -> None:
        while True:
            await self._hangup.wait()
            self._hangup.clear()
            self._notifier.reloading()
            try:
                new = await self._reread()
                reached(Step.RELOADING)
                await self._apply(new)
            except MailsyncError as error:
                self._reload = "failed: " + str(error).splitlines()[0]
                self._parts.meter.reloads["failed"] += 1
                for line in str(error).splitlines():
                    log.error("config.reload_failed", error=line)
            except Exception as error:  # noqa: BLE001 - whatever a reload meets, the daemon lives on
                self._reload = f"failed: {type(error).__name__}"
                self._parts.meter.reloads["failed"] += 1
                log.error("config.reload_failed", error=f"the configuration can't be read: {self._reload}")
            self._notifier.ready(f"{len(self._configuration.routes)} routes")

    async def _apply(self, new: Configuration) -> None:
        """Touch only what changed. Raises ConfigError, with nothing touched, for what can't change
        while running."""
        old = self._configuration
        if (new.state, new.daemon.socket) != (old.state, old.daemon.socket):
            raise ConfigError(Problem("state, daemon.socket", "can't change while running: restart to apply"))
        wanted = {settings.name: settings for settings in new.destinations}
        plans = {name: self._parts.plans(new, name) for name in wanted}
        self._configuration = new
        self._site.move(_place(new))
        for name, running in list(self._running.items()):
            if wanted.get(name) != running.settings:
                running.destination.stop()
                await running.task
                del self._running[name]
                log.info("destination.removed" if name not in wanted else "destination.restarted", name=name)
            else:
                running.destination.look_again()
                changes = running.destination.routes.reconcile(plans[name])
                if changes:
                    log.info("routes.reconciled", destination=name, **asdict(changes))
        self._reconcile()
        self._reload = "good"
        self._parts.meter.reloads["good"] += 1
        log.info("config.reloaded", routes=len(new.routes))

    # ------------------------------------------------------------------ status

    async def _watchdog(self) -> None:
        """Tell systemd that the loop still turns, as often as it wants to know."""
        interval = watchdog_interval(self._environ)
        while interval is not None:
            self._notifier.watchdog()
            await self._parts.clock.sleep(interval)
        await asyncio.get_running_loop().create_future()

    def status(self) -> DaemonStatus:
        """All that `mailsyncd check` shows."""
        destinations = [one.destination for one in self._running.values()]
        routes = tuple(watch.status() for one in destinations for watch in one.routes.watches.values())
        writers = tuple(one.status() for one in destinations)
        return DaemonStatus(
            health=verdict(self._parts.gate.closed, routes, writers),
            run_id=self._run_id,
            version=__version__,
            uptime=self._parts.clock.monotonic() - self._started_mono,
            reload=self._reload,
            routes=routes,
            writers=writers,
            sharing=self._parts.share.status(),
            set_aside=tuple(self._parts.meter.aside),
            state_away=self._parts.gate.closed,
        )

    def _sight(self) -> Sight:
        """All that the status page and the metrics show."""
        parts = self._parts
        return Sight(
            self.status, parts.meter, parts.store.usage, lambda: self._configuration.addresses, parts.clock
        )


def _place(configuration: Configuration) -> Place | None:
    http = configuration.http
    return Place(*http.address, http.token, http.hosts) if http.listen else None


async def _end_of(running: _Running) -> None:
    await running.task
