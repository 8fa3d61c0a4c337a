"""A message a day about the day, put into a folder of the destination over the writer's own connection.

It is no routed message and has no record. Its Message-ID and its Date follow from the day and the mailbox
alone: before it is appended it is looked for by either, so a crash, a lost answer or another daemon makes
no second one. It is written under the lease, with nothing in flight, and holds up no mail: what goes wrong
with it is tried again later the same day a few times, then not at all.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from hashlib import blake2b

import structlog

from mailsyncd.errors import DestinationFull, MessageRejected, RouteBlocked
from mailsyncd.flow.lease import Tenancy
from mailsyncd.flow.watch import Watch
from mailsyncd.policy import fingerprint, internaldate
from mailsyncd.ports import Clock, SinkSession
from mailsyncd.status import RouteState, RouteStatus

log = structlog.get_logger()

APART = 1800.0  # seconds between tries: longer than any settle window need be
TRIES = 3  # a day
NEWEST = 100  # messages of the folder among which it is looked for
MOST_ROUTES = 500
LONGEST = 240  # characters of a line: at most 960 bytes, of the 998 that every server takes


@dataclass(frozen=True, slots=True)
class Plan:
    """Where to, and from which hour of the day (UTC) on."""

    folder: str
    hour: int


class Digest:
    """Of one destination. `plan` may change at any time; None: there is to be none."""

    def __init__(
        self, email: str, tenancy: Tenancy, watches: Mapping[str, Watch], clock: Clock, plan: Plan | None
    ) -> None:
        self.plan = plan
        self._email = email
        self._tenancy = tenancy
        self._watches = watches
        self._clock = clock
        self._done: datetime | None = None
        self._tried: tuple[datetime | None, int] = (None, 0)
        self._again_mono = float("-inf")
        self._before: dict[str, RouteStatus] = {}

    def due(self) -> bool:
        if self.plan is None or self._clock.monotonic() < self._again_mono:
            return False
        return self._today(self.plan) != self._done

    async def write(self, session: SinkSession) -> None:
        """Once, unless it is there. Raises Transient and LeaseLost, which concern the connection."""
        plan = self.plan
        if plan is None:
            return
        today = self._today(plan)
        times = self._tried[1] + 1 if self._tried[0] == today else 1
        self._tried, self._again_mono = (today, times), self._clock.monotonic() + APART
        if times > TRIES:
            log.warning("digest.given_up", folder=plan.folder, tries=TRIES)
            self._done = today
            return
        try:
            await self._write(session, plan, today)
        except (MessageRejected, RouteBlocked, DestinationFull) as error:
            log.warning("digest.failed", folder=plan.folder, error=str(error))

    async def _write(self, session: SinkSession, plan: Plan, today: datetime) -> None:
        body = self._message(today)
        mark = fingerprint(body)
        await session.open(plan.folder, create=True)
        there = await session.tail(plan.folder, 1, newest=NEWEST)
        if not any(mark.message_id == one.message_id or mark.digest == one.digest for one in there):
            self._tenancy.require()
            when, guard = internaldate(self._clock.now()), self._tenancy.require
            await session.append(plan.folder, body, when, seen=False, guard=guard)
            log.info("digest.written", folder=plan.folder)
            self._before = {one.name: one for one in self._routes()}
        self._done = today

    def _today(self, plan: Plan) -> datetime:
        """The moment of the last digest that should be there: this day's hour, or that of the day before."""
        now = datetime.fromtimestamp(self._clock.now(), UTC)
        hour = now.replace(hour=plan.hour, minute=0, second=0, microsecond=0)
        return hour if now >= hour else hour - timedelta(days=1)

    # ---------------------------------------------------------------- the message

    def _routes(self) -> list[RouteStatus]:
        return [watch.status() for watch in self._watches.values()]

    def _message(self, today: datetime) -> bytes:
        """What may be different from one try to the next stands in the body alone."""
        mailbox = blake2b(self._email.casefold().encode(), digest_size=8).hexdigest()
        head = [
            f"From: mailsyncd <{self._email}>",
            f"To: <{self._email}>",
            f"Subject: mailsyncd, {today:%Y-%m-%d}",
            f"Date: {format_datetime(today)}",
            f"Message-ID: <digest.{today:%Y%m%d}.{mailbox}@mailsyncd.invalid>",
            "MIME-Version: 1.0",
            "Content-Type: text/plain; charset=utf-8",
            "Content-Transfer-Encoding: 8bit",
        ]
        return "\r\n".join([*head, "", *self._lines(), ""]).encode("utf-8", "replace")

    def _lines(self) -> list[str]:
        routes = self._routes()
        lines = [self._line(one) for one in routes[:MOST_ROUTES]]
        if len(routes) > MOST_ROUTES:
            lines.append(f"and {len(routes) - MOST_ROUTES} more routes")
        since = "the last digest" if self._before else "this daemon started"
        return [f"Since {since}:", "", *lines, "", "Set aside, and why: mailsyncd failures list"]

    def _line(self, one: RouteStatus) -> str:
        before = self._before.get(one.name)
        copied, skipped, failed = one.copied, one.skipped, one.failed
        if before is not None and before.copied <= copied:  # not begun anew since
            copied, skipped, failed = (
                copied - before.copied,
                skipped - before.skipped,
                failed - before.failed,
            )
        line = f"{one.name}: {copied} copied, {skipped} skipped, {failed} set aside, {one.unsettled} waiting"
        is_well = one.state is RouteState.WATCHING
        return (line if is_well else f"{line}; {one.state.value}: {one.detail}")[:LONGEST]
