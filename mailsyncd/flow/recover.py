"""The ambiguous APPEND: an APPEND whose fate is unknown is looked for, never repeated blindly (I8).

A doubt is a PENDING record whose message may or may not be in the folder. look() reads the
folder's tail, from the UIDNEXT that the record holds, and gives each tail message to one
record at the most. What is found is DONE. What is not found may still be committed by the
server, so it is looked for again when the settle window has passed; only then is the message
cleared for another APPEND. Nothing is in flight while this looks, so every message in the
tail belongs to a finished record, to a doubt, or to a stranger.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from secrets import token_hex

import structlog

from mailsyncd.errors import MessageRejected, RouteBlocked
from mailsyncd.flow.gate import Gate
from mailsyncd.matching import match_tail
from mailsyncd.model import (
    Appended,
    Claimant,
    Lane,
    Listing,
    Mailbox,
    MessageRef,
    Record,
    Route,
    TailMessage,
    Trace,
    Via,
)
from mailsyncd.ports import Clock, SinkSession, StateStore
from mailsyncd.steps import Step, reached

log = structlog.get_logger()

LOOK_AGAIN = 1.0  # seconds between looks that were not prompted by a new doubt
BLOCKED_AGAIN = 60.0  # seconds between looks into a folder that can't be opened
Key = tuple[str, int, int]  # MessageRef.key


@dataclass(frozen=True, slots=True)
class Doubt:
    """A PENDING record to look for. Not found, it may be appended again from `settled_mono` on, or
    is set aside for its last `refusal`. One that was `appended` need not be looked for: it is only
    not known whether the state store has it as DONE. Of one that is not `claimed` it is not known
    whether the store has it as PENDING."""

    ref: MessageRef
    record: Record
    settled_mono: float
    refusal: MessageRejected | None = None
    appended: Appended | None = None
    claimed: bool = True


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a look made of a doubt: the copy's numbers, or None if it may be appended again; `record`:
    by this claim, or by a new one."""

    doubt: Doubt
    found: Appended | None
    record: Record | None


class Recovery:
    """The doubts of one destination."""

    def __init__(self, store: StateStore, gate: Gate, clock: Clock, *, settle_window: float) -> None:
        self._store = store
        self._gate = gate
        self._clock = clock
        self.settle_window = settle_window
        self.trouble: dict[str, str] = {}  # why a folder could not be looked into at the last look
        self._doubts: list[Doubt] = []
        self._void: set[Claimant] = set()
        self._fresh = False
        self._looked_mono = float("-inf")
        self._routes: tuple[Route, ...] = ()

    def __len__(self) -> int:
        return len(self._doubts)

    def doubts_in(self, folder: str) -> list[Doubt]:
        return [one for one in self._doubts if one.ref.route.folder == folder]

    def serve(self, routes: Iterable[Route]) -> None:
        """The routes that write to this destination: a folder's tail may hold mail of any."""
        self._routes = tuple(routes)

    def doubt(
        self, ref: MessageRef, record: Record, *, settle: bool, refusal: MessageRejected | None = None
    ) -> None:
        """Add one whose connection was lost just now, or (`settle` False) whose APPEND the server
        answered with a refusal: for that one a single look is enough."""
        wait = self.settle_window if settle else 0.0
        self._doubts.append(Doubt(ref, record, self._clock.monotonic() + wait, refusal))
        self._fresh = True

    def unfinished(self, ref: MessageRef, record: Record, appended: Appended) -> None:
        """Add one whose DONE was cut short. Its copy must not be looked for, nor the message appended
        again: where DONE came through, the copy is taken for another's."""
        self._doubts.append(Doubt(ref, record, self._clock.monotonic(), appended=appended))
        self._fresh = True

    def unanswered(self, ref: MessageRef, record: Record) -> None:
        """Add one whose claim was cut short: nothing was sent, but it may be PENDING, in nobody's hands."""
        self._doubts.append(Doubt(ref, record, self._clock.monotonic(), claimed=False))
        self._fresh = True

    def holds(self, key: Key) -> bool:
        return any(one.ref.key == key for one in self._doubts)

    async def inherit(self, route: Route, epoch: int, elsewhere: Collection[Key]) -> None:
        """Take over what is PENDING and in nobody's hands. For an earlier epoch's the settle window
        counts from now: the end of its lease at the latest."""
        in_hands = {one.ref.key for one in self._doubts} | set(elsewhere)
        for record in await self._gate.call(lambda: self._store.pending(route.key)):
            listing = Listing(record.uid, record.size, record.internaldate, record.gm_msgid)
            ref = MessageRef(
                route, record.uidvalidity, listing, Lane.LIVE, Via.START, self._clock.monotonic()
            )
            adopted = replace(record, claimed_by=Claimant(epoch, token_hex(16)))
            if ref.key in in_hands:
                continue
            if record.claimed_by.epoch == epoch:
                self._void.add(record.claimed_by)
            if await self.adopt(route, record, adopted):
                self.doubt(ref, adopted, settle=record.claimed_by.epoch != epoch)

    async def adopt(self, route: Route, record: Record, adopted: Record) -> bool:
        """Take over what another claimed; not if that was under a later lease, which we slept through."""
        if record.claimed_by.epoch > adopted.claimed_by.epoch:
            return False
        return await self._gate.call(lambda: self._store.adopt(route.key, record, adopted))

    def void(self, ref: MessageRef) -> bool:
        """Whether its claim was taken over by ourselves: it lay about when its route was begun anew."""
        return ref.record is not None and ref.record.claimed_by in self._void

    def forget(self) -> None:
        """The lease is gone: the doubts are the next holder's."""
        self._doubts = []
        self._void.clear()

    def due(self) -> float | None:
        """Seconds until a look is needed; None if there is no doubt."""
        if not self._doubts:
            return None
        if self._fresh:
            return 0.0
        next_look = min(
            max(one.settled_mono, self._looked_mono + self._apart(one.ref.route.folder))
            for one in self._doubts
        )
        return max(0.0, next_look - self._clock.monotonic())

    def _apart(self, folder: str) -> float:
        """Seconds between looks into a folder."""
        return BLOCKED_AGAIN if self.trouble.get(folder) else LOOK_AGAIN

    async def look(self, session: SinkSession) -> list[Verdict]:
        """Inspect the tail of every folder that holds doubts. Nothing may be in flight."""
        if heard := [one for one in self._doubts if one.appended is not None]:
            self._doubts = [one for one in self._doubts if one.appended is None]
            return [Verdict(one, one.appended, one.record) for one in heard]  # the others come after these
        if not all(one.claimed for one in self._doubts):
            return await self._claim_again()
        verdicts: list[Verdict] = []
        self._fresh = False
        self._looked_mono = self._clock.monotonic()
        by_folder: defaultdict[str, list[Doubt]] = defaultdict(list)
        for one in self._doubts:
            by_folder[one.ref.route.folder].append(one)
        for folder, doubts in by_folder.items():
            try:
                verdicts += await self._look_in(session, folder, doubts)
                self.trouble[folder] = ""
            except RouteBlocked as error:
                self.trouble[folder] = str(error)
                log.warning("recovery.waiting", folder=folder, doubts=len(doubts), error=str(error))
        decided = {id(one.doubt) for one in verdicts}
        self._doubts = [one for one in self._doubts if id(one) not in decided]
        return verdicts

    async def _claim_again(self) -> list[Verdict]:
        """The same claims: what came through counts as success. What is refused starts from the queue."""
        verdicts, doubts = [], []
        for one in self._doubts:
            if one.claimed or await self._claim(one.ref.route, one.record):
                doubts.append(replace(one, claimed=True))
            else:
                verdicts.append(Verdict(one, None, None))
        self._doubts, self._fresh = doubts, True
        return verdicts

    async def _claim(self, route: Route, record: Record) -> bool:
        return await self._gate.call(lambda: self._store.claim(route.key, record)) is None

    async def _look_in(self, session: SinkSession, folder: str, doubts: Sequence[Doubt]) -> list[Verdict]:
        create = any(one.ref.route.create_folder for one in doubts)
        began = self._clock.monotonic()
        mailbox = await session.open(folder, create=create)
        tail = await session.tail(folder, _tail_start(doubts, mailbox))
        records = [_as_of(one.record, mailbox) for one in doubts]
        owned = await self._owned(folder, mailbox, records, tail)
        reached(Step.RECOVERING)
        verdicts = []
        for one, found in zip(doubts, match_tail(records, tail, owned), strict=True):
            with structlog.contextvars.bound_contextvars(route=one.ref.route.name):
                if found is not None:
                    log.info("recovery.found", uid=one.ref.uid, dest_uid=found)
                    verdicts.append(Verdict(one, Appended(mailbox.uidvalidity, found), one.record))
                elif began >= one.settled_mono:
                    log.info("recovery.cleared", uid=one.ref.uid)
                    verdicts.append(Verdict(one, None, one.record))
                else:
                    reached(Step.SETTLING)
                    wait = round(one.settled_mono - began, 1)
                    log.info("recovery.waiting", uid=one.ref.uid, look_again_seconds=wait)
        return verdicts

    async def _owned(
        self, folder: str, mailbox: Mailbox, records: Sequence[Record], tail: Sequence[TailMessage]
    ) -> Iterable[Trace]:
        """The finished records that tail messages may belong to: of every route into the folder.
        Asked for only when some tail message looks like one of ours."""
        if not any(found is not None for found in match_tail(records, tail, ())):
            return []
        first = min(seen.uid for seen in tail)
        # Where the folder was renumbered since a claim, the whole of it was looked at, and older copies
        # are in the tail under new numbers, from however many numberings ago.
        renumbered = any(one.dest_uidvalidity != mailbox.uidvalidity for one in records)
        place = (None, 0) if renumbered else (mailbox.uidvalidity, first)
        owned: list[Trace] = []
        for route in self._routes:
            if route.folder == folder:
                owned += await self._delivered(route.key, *place)
        return _owners_as_of(owned, mailbox)

    async def _delivered(self, route: str, uidvalidity: int | None, first: int) -> list[Trace]:
        return await self._gate.call(lambda: self._store.delivered(route, uidvalidity, first))


def _tail_start(doubts: Sequence[Doubt], mailbox: Mailbox) -> int:
    """The lowest UIDNEXT of the records; the whole folder if it is not the one that it was."""
    return min(_as_of(one.record, mailbox).dest_uidnext or 1 for one in doubts)


def _owners_as_of(owned: Sequence[Trace], mailbox: Mailbox) -> Iterator[Trace]:
    """The numbers of a copy mean nothing under another UIDVALIDITY, nor does its UID in a folder that was
    made anew under the same one."""
    here = [one.dest_uid or 0 for one in owned if one.dest_uidvalidity == mailbox.uidvalidity]
    anew = 0 < mailbox.uidnext <= max(here, default=0)
    for one in owned:
        if one.dest_uidvalidity != mailbox.uidvalidity:
            yield replace(one, dest_uid=None, dest_uidnext=None)
        else:
            yield replace(one, dest_uid=None) if anew else one


def _as_of(record: Record, mailbox: Mailbox) -> Record:
    """A UIDNEXT means nothing under another UIDVALIDITY, nor in a folder that was made anew under the
    same one, as is seen by its having given out fewer UIDs."""
    shrunk = record.dest_uidnext and 0 < mailbox.uidnext < record.dest_uidnext
    if record.dest_uidvalidity == mailbox.uidvalidity and not shrunk:
        return record
    return replace(record, dest_uidnext=None)
