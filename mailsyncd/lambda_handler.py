"""The AWS Lambda function: what `run-once` does, at every event, in the time that is left.

The function's environment is its configuration. It ends in an error if a route could not be brought up
to date or a message was set aside, so that Lambda's own count of errors is the alarm; what there was no
time for is no error, for the next event goes on with it.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Protocol, TypedDict
from uuid import uuid4

import structlog

from mailsyncd.commands.choose import only_route
from mailsyncd.commands.cycle import Outcome, closing_time, cycle
from mailsyncd.commands.load import load
from mailsyncd.errors import InvocationFailed, LeaseLost, MailsyncError
from mailsyncd.observe.logs import configure

log = structlog.get_logger()

_ADVICE = "raise the function's timeout, or lower MAILSYNCD_DAEMON__DRAIN_TIMEOUT"
LAST_SECONDS = 2.0  # that are left unused: Lambda freezes whoever is late in the middle of what it does


class Context(Protocol):
    """What is used of the object that Lambda hands over."""

    @property
    def aws_request_id(self) -> str: ...

    def get_remaining_time_in_millis(self) -> int: ...


class Summary(TypedDict):
    """What the function answers."""

    copied: int
    skipped: int
    failed: int
    complete: bool
    stopped_early: bool
    standby: bool
    routes: list[dict[str, object]]


@dataclass(frozen=True, slots=True)
class LocalContext:
    """For `mailsyncd lambda`: so many seconds from now on."""

    seconds: float
    aws_request_id: str = field(default_factory=lambda: str(uuid4()))
    _began: float = field(default_factory=time.monotonic)

    def get_remaining_time_in_millis(self) -> int:
        return max(0, int((self.seconds - (time.monotonic() - self._began)) * 1000))


def handler(event: object, context: Context) -> Summary:
    """Lambda's entry. Raises MailsyncError, which Lambda counts as a failed invocation."""
    configure("info", "json", sys.stdout, context.aws_request_id)
    try:
        return asyncio.run(_in_time(event, context, os.environ))
    except MailsyncError as error:
        for line in str(error).splitlines():
            log.error("cycle.failed", error=line)
        raise


async def _in_time(event: object, context: Context, environ: Mapping[str, str]) -> Summary:
    late = asyncio.timeout(_left(context))
    try:
        async with late:
            return await _one_cycle(_asked_for(event), context, environ)
    except TimeoutError:
        if not late.expired():
            raise
        raise InvocationFailed(f"there was no time to end well: {_ADVICE}") from None


async def _one_cycle(route: str | None, context: Context, environ: Mapping[str, str]) -> Summary:
    configuration = only_route(await load(None, environ), route)
    daemon = configuration.daemon
    configure(daemon.log_level, daemon.log_format, sys.stdout, context.aws_request_id)
    left, kept = _left(context), closing_time(configuration)
    if left <= kept:
        raise InvocationFailed(f"{left:.0f} s are left, of which {kept:.0f} s are for ending well: {_ADVICE}")
    try:
        outcome = await cycle(configuration, seconds=left)
    except LeaseLost as error:
        log.info("cycle.standby", reason=str(error))
        return _summary(Outcome(()), standby=True)
    log.info("cycle.finished", **outcome.totals, complete=outcome.complete, early=outcome.stopped_early)
    _must_be_well(outcome)
    return _summary(outcome)


def _left(context: Context) -> float:
    """Seconds that may be used."""
    return context.get_remaining_time_in_millis() / 1000 - LAST_SECONDS


def _asked_for(event: object) -> str | None:
    """The route that an event names, if it does. Those of a schedule name none."""
    if event is None:
        return None
    if not isinstance(event, Mapping):
        raise InvocationFailed("the event is not an object")
    if "detail-type" in event:  # EventBridge: its other keys say only which rule it was, and when
        return None
    if unknown := sorted(map(str, event.keys() - {"route"})):
        raise InvocationFailed(f"the event has keys that mean nothing here: {', '.join(unknown)[:200]}")
    route = event.get("route")
    if route is not None and not isinstance(route, str):
        raise InvocationFailed("the event's route is not a string")
    return route


def _must_be_well(outcome: Outcome) -> None:
    """Raises InvocationFailed, but not for what there was only no time for."""
    troubles = [
        f"{one.route}: {one.error or 'not up to date'}"
        for one in outcome.routes
        if not one.complete and (one.error or not outcome.stopped_early)
    ]
    if failed := outcome.totals["failed"]:
        troubles.append(f"{failed} messages were set aside: see mailsyncd failures list")
    if troubles:
        raise InvocationFailed("; ".join(troubles))


def _summary(outcome: Outcome, *, standby: bool = False) -> Summary:
    totals = outcome.totals
    return Summary(
        copied=totals["copied"],
        skipped=totals["skipped"],
        failed=totals["failed"],
        complete=outcome.complete and not standby,
        stopped_early=outcome.stopped_early,
        standby=standby,
        routes=[asdict(one) for one in outcome.routes],
    )
