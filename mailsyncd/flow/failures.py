"""Messages that were set aside: when they are tried again, and what becomes of their FAIL records.

A retry goes the way of any other message, in the lane for old mail, and never touches the
watermark, which has passed it long ago. Whatever cuts a retry short leaves its FAIL record due,
so that it is found again; and one that was copied meanwhile is refused by its record.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import structlog

from mailsyncd.errors import MessageRejected
from mailsyncd.flow.ready import Setback
from mailsyncd.flow.repairs import advice
from mailsyncd.model import Failure, Lane, Listing, MessageRef, Record, Via
from mailsyncd.policy import QUICK_TRIES, next_attempt
from mailsyncd.ports import SourceSession
from mailsyncd.steps import Step, reached

if TYPE_CHECKING:
    from mailsyncd.flow.belt import Belt
    from mailsyncd.flow.pull import Puller
    from mailsyncd.flow.watch import Watch

log = structlog.get_logger()

PAGE = 500  # messages described by one request


@dataclass(slots=True)
class OpenFailures:
    """Of one route under one UIDVALIDITY. `known`: those not resolved, by UID; `under_way`: those on
    their way to the writer again. `earlier`: those of other UIDVALIDITIES, by X-GM-MSGID. `stirred`
    asks for a look at what is due, `moved` tells that one is over, or a message settled."""

    known: dict[int, Failure] = field(default_factory=dict)
    earlier: dict[str, Failure] = field(default_factory=dict)
    under_way: set[int] = field(default_factory=set)
    stirred: asyncio.Event = field(default_factory=asyncio.Event)
    moved: asyncio.Event = field(default_factory=asyncio.Event)
    looking: bool = False

    @property
    def busy(self) -> bool:
        return self.looking or self.stirred.is_set() or bool(self.under_way)

    @property
    def count(self) -> int:
        """How many are not dealt with."""
        return len(self.known) + len(self.earlier)

    def take(self, failures: Iterable[Failure], uidvalidity: int) -> None:
        """What the state store has: UIDs of another UIDVALIDITY mean nothing any more."""
        left = [one for one in failures if not one.resolved]
        self.known = {one.uid: one for one in left if one.uidvalidity == uidvalidity}
        self.earlier = {one.gm_msgid: one for one in left if one.uidvalidity != uidvalidity and one.gm_msgid}

    def due(self, now: float) -> list[Failure]:
        return [
            one
            for one in self.known.values()
            if one.next_attempt_at is not None and one.next_attempt_at <= now
        ]


def failed(setback: Setback, now: float, before: Failure | None, claimed: Record | None) -> Failure:
    """The FAIL record of a message that failed: for the first time, or again."""
    ref, kind = setback.ref, setback.kind
    retries = 0 if before is None else before.retry_count + 1
    known = claimed or before
    return Failure(
        ref.uidvalidity,
        ref.uid,
        kind,
        setback.error,
        retries,
        now,
        next_attempt(kind, retries, now),
        size=ref.listing.size or (before.size if before else 0),
        dest_uidvalidity=known.dest_uidvalidity if known else None,
        dest_uidnext=known.dest_uidnext if known else None,
        gm_msgid=ref.listing.gm_msgid or (before.gm_msgid if before else None),
    )


def advised(refusal: MessageRejected | None, body: bytes) -> MessageRejected | None:
    """The same refusal, with the rule named that might help, if one is known."""
    help_ = advice(body, refusal.kind) if refusal else ""
    return MessageRejected(f"{refusal}; {help_}", refusal.kind) if refusal and help_ else refusal


def resolved(failure: Failure, now: float, record_ttl: float, why: str | None = None) -> Failure:
    """It is dealt with: its record may expire (I7)."""
    return replace(
        failure,
        error=failure.error if why is None else why,
        resolved=True,
        updated_at=now,
        next_attempt_at=None,
        expires_at=int(now + record_ttl),
    )


def wanted_now(failure: Failure, now: float) -> Failure:
    """A person wants it tried again, whatever its kind, and by its whole schedule."""
    return replace(failure, next_attempt_at=now, retry_count=0, updated_at=now)


class Ledger:
    """The FAIL records as the writer needs them."""

    def __init__(self, belt: Belt, watches: Mapping[str, Watch], record_ttl: float) -> None:
        self._belt = belt
        self._watches = watches
        self._record_ttl = record_ttl

    def before(self, ref: MessageRef) -> Failure | None:
        """The open FAIL record of a message that is tried again."""
        return self._known(ref).get(ref.uid)

    def _known(self, ref: MessageRef) -> dict[int, Failure]:
        """Those of the message's route, by UID; of none, if its UID means nothing any more."""
        watch = self._watches.get(ref.route.key)
        if watch is None or watch.progress is None or watch.progress.uidvalidity != ref.uidvalidity:
            return {}
        return watch.progress.failures.known

    async def set_aside(self, setback: Setback, claimed: Record | None) -> None:
        ref, now = setback.ref, self._belt.clock.now()
        failure = failed(setback, now, self.before(ref), claimed)
        reached(Step.FAILURE_SEEN)
        await self._belt.gate.call(lambda: self._belt.store.fail(ref.route.key, failure, claimed))
        self._known(ref)[ref.uid] = failure
        reached(Step.FAILURE_WRITTEN)
        log.error(
            "message.failed",
            uid=ref.uid,
            kind=failure.kind.value,
            error=failure.error,
            size=failure.size,
            retry_seconds=None if failure.next_attempt_at is None else round(failure.next_attempt_at - now),
        )
        if watch := self._watches.get(ref.route.key):
            watch.tally.failed += 1
        self._belt.meter.failed(ref, failure)
        await self._supersede(ref)

    async def close(self, setback: Setback, claimed: Record | None) -> None:
        """No failure of the message's: its number means nothing any more, and it is listed anew. Its
        claim has to end, or it would be in the way of the new one."""
        if claimed is not None:
            now = self._belt.clock.now()
            done = resolved(failed(setback, now, None, claimed), now, self._record_ttl)
            await self._belt.gate.call(lambda: self._belt.store.fail(setback.ref.route.key, done, claimed))
        log.info("message.listed_anew", uid=setback.ref.uid)

    async def resolve(self, ref: MessageRef) -> None:
        """What had failed is copied, or was copied before: its record is dealt with."""
        if (failure := self.before(ref)) is not None:
            done = resolved(failure, self._belt.clock.now(), self._record_ttl)
            await self._belt.gate.call(lambda: self._belt.store.fail(ref.route.key, done, None))
            self._known(ref).pop(ref.uid, None)
        await self._supersede(ref)

    async def _supersede(self, ref: MessageRef) -> None:
        """What the message's failure was under an earlier number is told by what became of it now."""
        watch, gm_msgid = self._watches.get(ref.route.key), ref.listing.gm_msgid
        if watch is None or watch.progress is None or gm_msgid is None:
            return
        failures = watch.progress.failures
        if (failure := failures.earlier.get(gm_msgid)) is None or failure.uidvalidity == ref.uidvalidity:
            return
        done = resolved(failure, self._belt.clock.now(), self._record_ttl)
        await self._belt.gate.call(lambda: self._belt.store.fail(ref.route.key, done, None))
        failures.earlier.pop(gm_msgid, None)


class Retries:
    """Brings what is due of one route to the queue again."""

    def __init__(self, key: str, puller: Puller, belt: Belt) -> None:
        self._key = key
        self._puller = puller
        self._belt = belt

    async def feed(self, session: SourceSession, failures: OpenFailures) -> None:
        """Look whenever stirred. Never ends. Cut short, what was not yet queued is found by the next
        look, and every session begins with one."""
        while True:
            await failures.stirred.wait()
            failures.looking = True
            failures.stirred.clear()
            try:
                due = await self._due(session, failures)
                for first in range(0, len(due), PAGE):
                    await self._refer(session, failures, due[first : first + PAGE])
            finally:
                failures.looking = False
                failures.moved.set()

    async def _due(self, session: SourceSession, failures: OpenFailures) -> list[Failure]:
        """Due, and in nobody's hands: neither under way nor, being PENDING, recovery's."""
        belt, key, uidvalidity = self._belt, self._key, session.mailbox.uidvalidity
        in_hands = set(failures.under_way)  # from before the look: what it shows may have been settled since
        failures.take(await belt.gate.call(lambda: belt.store.failures(key)), uidvalidity)
        due = [one for one in failures.due(belt.clock.now()) if one.uid not in in_hands]
        if due:
            pending = await belt.gate.call(lambda: belt.store.pending(key))
            in_hands = {one.uid for one in pending if one.uidvalidity == uidvalidity}
        return [one for one in due if one.uid not in in_hands]

    async def _refer(self, session: SourceSession, failures: OpenFailures, page: Sequence[Failure]) -> None:
        found = {one.uid: one for one in await session.describe([one.uid for one in page])}
        log.info("failures.retried", count=len(page))
        for one in page:
            listing = found.get(one.uid) or Listing(one.uid, one.size, "")
            ref = MessageRef(
                self._puller.route,
                one.uidvalidity,
                listing,
                Lane.OLD,
                Via.SWEEP,
                self._belt.clock.monotonic(),
                attempts=QUICK_TRIES - 1,
            )
            await self._puller.refer(ref, present=one.uid in found)
            failures.under_way.add(one.uid)
