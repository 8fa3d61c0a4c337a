"""The life of the process: start, signals, reload, drain, stop.

Signal handlers set an event and nothing else. A reload (reload.py) reads the new configuration whole
before anything is touched; then only what changed is.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Protocol

import structlog

from mailsyncd import __version__
from mailsyncd.config.changes import Differences, Footprint, differences
from mailsyncd.config.values import Configuration, DestinationSettings
from mailsyncd.errors import ConfigError, Problem
from mailsyncd.flow.destination import Destination
from mailsyncd.flow.gate import Gate
from mailsyncd.flow.routes import RoutePlan
from mailsyncd.flow.share import Share
from mailsyncd.meter import Meter
from mailsyncd.notify.notices import Limits
from mailsyncd.notify.notifier import Hooks, Notifications
from mailsyncd.observe import logs
from mailsyncd.observe.control import ControlServer, plain
from mailsyncd.observe.dump import dump
from mailsyncd.observe.shown import shown
from mailsyncd.observe.sight import Sight
from mailsyncd.observe.systemd import Notifier, watchdog_interval
from mailsyncd.observe.website import Place, Website
from mailsyncd.policy import verdict
from mailsyncd.ports import Clock, StateStore
from mailsyncd.reload import Reloads
from mailsyncd.status import AccountStatus, DaemonStatus
from mailsyncd.tasks import all_of, begun, first_of, until

log = structlog.get_logger()

DUMPS_APART = 1.0  # seconds


class SignIns(Protocol):
    """The accounts that sign in by tokens."""

    async def keep_signed_in(self) -> None: ...

    def status(self) -> tuple[AccountStatus, ...]: ...


class Parts(Protocol):
    """What assemble.Assembly gives: daemon and assemble are neighbours and know only this."""

    store: StateStore
    gate: Gate
    share: Share
    meter: Meter
    salt: bytes

    @property
    def clock(self) -> Clock: ...

    @property
    def accounts(self) -> SignIns: ...

    def destination(self, configuration: Configuration, settings: DestinationSettings) -> Destination: ...

    def refit(
        self,
        running: Destination,
        configuration: Configuration,
        old: DestinationSettings,
        new: DestinationSettings,
    ) -> None: ...

    def prepare(self, configuration: Configuration) -> None: ...

    def share_out(self, configuration: Configuration) -> None: ...

    def footprint(self, configuration: Configuration) -> Footprint: ...

    def plans(self, configuration: Configuration, destination: str) -> list[RoutePlan]: ...


@dataclass(slots=True)
class _Running:
    settings: DestinationSettings
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
        self._environ = environ
        self._run_id = run_id
        self._started_mono = parts.clock.monotonic()
        self._running: dict[str, _Running] = {}
        self._dumped_mono = float("-inf")
        self._stopping = asyncio.Event()
        self._notifier = Notifier.from_environment(environ)
        self._reloads = Reloads(reread, self._apply, parts.clock, self._notifier, parts.meter)
        self._site = Website(self._sight(), _place(configuration))
        self._notices = Notifications(_hooks(configuration), self.status, self._shown, parts.clock, environ)

    async def run(self) -> None:
        """Until SIGTERM or SIGINT. Raises StateUnavailable, before any connection is opened (I1)
        or when the store stayed away too long."""
        await self._parts.store.open()
        self._on_signals()
        asks = {"running": self._footprint, "reload": self._reload}
        async with ControlServer(self._configuration.daemon.socket, self.status, asks):
            log.info("daemon.started", version=__version__, routes=len(self._configuration.routes))
            try:
                share, accounts = self._parts.share, self._parts.accounts
                others = (share.run(), self._reloads.run(self._line), self._watchdog(), self._site.run())
                more = (accounts.keep_signed_in(), self._notices.run())
                await first_of(self._destinations(), *others, *more)
            finally:
                await self._end_all()
        log.info("daemon.stopped")

    # ----------------------------------------------------------------- signals

    def _on_signals(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop, number)
        loop.add_signal_handler(signal.SIGHUP, self._reloads.ask)
        loop.add_signal_handler(signal.SIGUSR1, self._dump)

    def _dump(self) -> None:
        """Signals that come faster are one."""
        now = self._parts.clock.monotonic()
        if now - self._dumped_mono >= DUMPS_APART:
            self._dumped_mono = now
            dump(self.status())

    def _stop(self, number: int) -> None:
        """The first signal asks, the second ends: what is PENDING then is the next start's."""
        if self._stopping.is_set():
            os._exit(128 + number)
        self._stopping.set()

    # ------------------------------------------------------------ destinations

    async def _destinations(self) -> None:
        """Run every destination until a signal; then let each finish what is in flight."""
        self._reconcile()
        self._notifier.ready(self._line())
        async with begun(until(self._stopping)) as stopping:
            while not self._stopping.is_set():
                tasks = [one.task for one in self._running.values()]
                await asyncio.wait([stopping, *tasks], return_when=asyncio.FIRST_COMPLETED, timeout=1.0)
                for one in list(self._running.values()):
                    if one.task.done():
                        one.task.result()
        log.info("daemon.stopping")
        self._notifier.stopping()
        for one in self._running.values():
            one.destination.stop()
        await all_of(self._parts.share.leave(), *(_end_of(one) for one in self._running.values()))

    def _reconcile(self) -> None:
        """Start what is wanted and not running."""
        for settings in self._configuration.destinations:
            if settings.name not in self._running and not self._stopping.is_set():
                destination = self._parts.destination(self._configuration, settings)
                task = asyncio.create_task(destination.run())
                self._running[settings.name] = _Running(settings, destination, task)

    async def _end_all(self) -> None:
        tasks = [one.task for one in self._running.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    # ------------------------------------------------------------------ reload

    async def _apply(self, new: Configuration) -> Differences:
        """Touch only what changed. Raises ConfigError, with nothing touched, for what can't change
        while running."""
        parts, old = self._parts, self._configuration
        changes = differences(parts.footprint(old), parts.footprint(new))
        if changes.restart:
            what = ", ".join(key for key, _, _ in changes.restart)
            raise ConfigError(Problem(what, "can't change while running: restart to apply"))
        parts.prepare(new)
        wanted = {settings.name: settings for settings in new.destinations}
        plans = {name: parts.plans(new, name) for name in wanted}
        self._configuration = new
        self._site.move(_place(new))
        self._notices.move(_hooks(new))
        parts.share_out(new)
        self._log_as(old, new)
        kept = {name for name, one in self._running.items() if _stays(one.settings, wanted.get(name))}
        for name in kept:
            running = self._running[name]
            parts.refit(running.destination, new, running.settings, wanted[name])
            running.settings = wanted[name]
            running.destination.look_again()
            if touched := running.destination.routes.reconcile(plans[name]):
                log.info("routes.reconciled", destination=name, **asdict(touched))
        await self._end([name for name in self._running if name not in kept], wanted)
        self._reconcile()
        return changes

    async def _end(self, names: list[str], wanted: Mapping[str, object]) -> None:
        """Side by side: each takes as long as what is in flight to it."""
        gone = [self._running[name] for name in names]
        for one in gone:
            one.destination.stop()
        await all_of(*(_end_of(one) for one in gone))
        for name in names:
            del self._running[name]
            log.info("destination.removed" if name not in wanted else "destination.restarted", name=name)

    def _log_as(self, old: Configuration, new: Configuration) -> None:
        wanted = (new.daemon.log_level, new.daemon.log_format)
        if wanted != (old.daemon.log_level, old.daemon.log_format):
            logs.configure(*wanted, sys.stdout, self._run_id)

    async def _reload(self) -> dict[str, Any]:
        """For `mailsyncd reload`."""
        return plain(await self._reloads.asked())

    async def _footprint(self) -> dict[str, Any]:
        """For `mailsyncd config diff`."""
        footprint = self._parts.footprint(self._configuration)
        return {"salt": self._parts.salt.hex(), "footprint": plain(footprint)}

    def _line(self) -> str:
        """For `systemctl status`."""
        return f"{len(self._configuration.routes)} routes"

    # ------------------------------------------------------------------ status

    async def _watchdog(self) -> None:
        """Tell systemd, as often as it wants to know, that the loop still turns and every writer moves."""
        interval, told = watchdog_interval(self._environ), False
        while interval is not None:
            hanging = [name for name, one in self._running.items() if one.destination.hangs]
            if not hanging:
                self._notifier.watchdog()
            elif not told:
                log.error("writer.hangs", destinations=hanging)
            told = bool(hanging)
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
            reload=self._reloads.last,
            routes=routes,
            writers=writers,
            sharing=self._parts.share.status(),
            set_aside=tuple(self._parts.meter.aside),
            state_away=self._parts.gate.closed,
            accounts=self._parts.accounts.status(),
        )

    def _shown(self, detail: str) -> str:
        return shown(detail, self._configuration.addresses)

    def _sight(self) -> Sight:
        """All that the status page and the metrics show."""
        parts = self._parts
        return Sight(
            self.status, parts.meter, parts.store.usage, lambda: self._configuration.addresses, parts.clock
        )


def _place(configuration: Configuration) -> Place | None:
    http = configuration.http
    return Place(*http.address, http.token, http.hosts) if http.address else None


def _hooks(configuration: Configuration) -> Hooks:
    given = configuration.notify
    limits = Limits(given.failing_after, given.objective, given.repeat)
    return Hooks(given.command, given.webhook, given.timeout, limits)


def _stays(running: DestinationSettings, wanted: DestinationSettings | None) -> bool:
    """Whether a destination can go on with what changed. Another email is another lease, and other keys
    of all that is known of its routes."""
    return wanted is not None and wanted.email == running.email


async def _end_of(running: _Running) -> None:
    await running.task
