"""One cycle: every route brought up to date once, and what came of it. `run-once` and the AWS Lambda
function are two ways to ask for it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any

import structlog

from mailsyncd.assemble import Assembly
from mailsyncd.config.values import Configuration
from mailsyncd.errors import LeaseLost, MailsyncError, StateUnavailable
from mailsyncd.flow.destination import LAST_NOTES, Destination
from mailsyncd.flow.watch import Watch
from mailsyncd.ports import Clock
from mailsyncd.tasks import all_of, first_of

log = structlog.get_logger()

Beside = Callable[[Sequence[Watch]], Coroutine[Any, Any, None]]

HANDING_OVER = 5.0  # seconds, at the end, to give up leases and close connections


@dataclass(frozen=True, slots=True)
class RouteOutcome:
    route: str
    copied: int
    skipped: int
    failed: int
    complete: bool
    error: str


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a cycle has done. `stopped_early`: there was no time for the rest."""

    routes: tuple[RouteOutcome, ...]
    stopped_early: bool = False

    @property
    def totals(self) -> dict[str, int]:
        return {
            "copied": sum(one.copied for one in self.routes),
            "skipped": sum(one.skipped for one in self.routes),
            "failed": sum(one.failed for one in self.routes),
        }

    @property
    def complete(self) -> bool:
        """Every route was brought up to date, and no message was set aside."""
        return all(one.complete for one in self.routes) and not self.totals["failed"]


async def cycle(
    configuration: Configuration, *, seconds: float | None = None, beside: Beside | None = None
) -> Outcome:
    """`seconds`: in which it has to be over; what is in flight is finished in time, and nothing is begun
    that could not be. `beside` runs along, and is cancelled at the end.

    Raises LeaseLost if another daemon writes to a destination, StateUnavailable.
    """
    parts = Assembly(configuration)
    began = parts.clock.monotonic()
    errors: dict[str, str] = {}
    stopped: list[str] = []
    try:
        await parts.store.open()
        destinations = [parts.destination(configuration, one) for one in configuration.destinations]
        watches = [watch for one in destinations for watch in one.routes.watches.values()]
        along = [beside(watches)] if beside else []
        if seconds is not None:
            left = seconds - closing_time(configuration) - (parts.clock.monotonic() - began)
            along.append(_stop_in_time(destinations, parts.clock, left, stopped))
        work = all_of(*(_bring_up_to_date(one, errors) for one in destinations))
        await first_of(work, *along)
    finally:
        await parts.close()
    return Outcome(tuple(_outcome(one, errors) for one in watches), bool(stopped))


def closing_time(configuration: Configuration) -> float:
    """Seconds that the end of a cycle may take: what is in flight, the last notes, the leases."""
    return configuration.daemon.drain_timeout + LAST_NOTES + HANDING_OVER


async def _stop_in_time(
    destinations: Sequence[Destination], clock: Clock, seconds: float, stopped: list[str]
) -> None:
    """Never ends: the work does, when it has been told to."""
    await clock.sleep(max(0.0, seconds))
    log.info("cycle.out_of_time")
    for one in destinations:
        stopped.append(one.name)
        one.stop()
    await asyncio.get_running_loop().create_future()


async def _bring_up_to_date(destination: Destination, errors: dict[str, str]) -> None:
    try:
        held = await destination.run_once()
    except (StateUnavailable, LeaseLost):
        raise
    except MailsyncError as error:
        errors[destination.name] = str(error)
        return
    if not held:
        raise LeaseLost(
            f"another mailsyncd is writing to {destination.name}; it brings these routes up to date by itself"
        )


def _outcome(watch: Watch, errors: dict[str, str]) -> RouteOutcome:
    tally = watch.tally
    error = errors.get(watch.route.destination) or watch.folder_trouble or watch.detail
    return RouteOutcome(watch.route.name, tally.copied, tally.skipped, tally.failed, watch.complete, error)
