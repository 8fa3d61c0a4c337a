"""The writer of one destination: claim, append, finish, advance. The law is _copy(), below.

    1. claim    the state store acknowledges a PENDING record, under a live lease
    2. append   the very bytes go out; a doubtful end is recovery's, never a second try
    3. finish   PENDING becomes DONE, with the copy's UID
    4. advance  the route's watermark may follow

Nothing else calls these four. One message's trouble never holds up the next.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from secrets import token_hex

import structlog

from mailsyncd.errors import (
    ConnectionLost,
    FailureKind,
    LeaseLost,
    MessageRejected,
    RouteBlocked,
    Sent,
    Throttled,
    Transient,
)
from mailsyncd.flow.belt import Belt
from mailsyncd.flow.duplicates import Duplicates, UnderWay
from mailsyncd.flow.failures import Ledger, advised
from mailsyncd.flow.folders import Folders
from mailsyncd.flow.later import Later
from mailsyncd.flow.lease import Tenancy
from mailsyncd.flow.outcome import Outcomes
from mailsyncd.flow.ready import Ready, Setback
from mailsyncd.flow.recover import Recovery, Verdict
from mailsyncd.flow.renumbered import Renumbered, Undecided
from mailsyncd.flow.standstill import Standstill
from mailsyncd.flow.watch import Watch
from mailsyncd.flow.watermarks import Watermarks
from mailsyncd.flow.window import TurnedAway
from mailsyncd.flow.wire import Wire
from mailsyncd.model import Appended, Claimant, Mailbox, Message, MessageRef, Record, Status
from mailsyncd.policy import QUICK_TRIES
from mailsyncd.ports import SinkSession
from mailsyncd.steps import Step, reached

log = structlog.get_logger()

FOLDER_RETRY = 60.0  # seconds between tries of a folder that can't be opened
TWIN_RETRY = 5.0  # seconds until a message that is under way under another UID is tried again


class _InOtherHands(Exception):
    """Not settled, and taken care of: by recovery, or by a later try."""


class _Unsent(Exception):
    """Its last byte never went out, or not even its first: nothing was stored."""

    def __init__(self, record: Record | None) -> None:
        self.record = record


class Writer:
    """Settles one ready item per call of deliver(); calls may overlap."""

    def __init__(
        self,
        belt: Belt,
        watches: Mapping[str, Watch],
        tenancy: Tenancy,
        recovery: Recovery,
        standstill: Standstill,
        *,
        record_ttl: float,
    ) -> None:
        self._belt = belt
        self._watches = watches
        self._tenancy = tenancy
        self._recovery = recovery
        self._standstill = standstill
        self._record_ttl = record_ttl
        self._ledger = Ledger(belt, watches, record_ttl)
        self.folders = Folders(belt, watches)
        self.watermarks = Watermarks(belt, watches, tenancy, self.folders)
        self._outcomes = Outcomes(watches, belt)
        self.duplicates = Duplicates(recovery)
        self.later = Later(belt)
        self.in_flight: set[tuple[str, int, int]] = set()
        self._renumbered = Renumbered(belt, watches, self.in_flight, record_ttl)

    def connected(self) -> None:
        """A new connection: what was known of the folders may be true no more."""
        self.folders.forget_all()
        self.duplicates.connected()

    async def deliver(self, wire: Wire, ready: Ready) -> Ready | None:
        """Settle one item, or see it in good hands. Returns what is to be written again over
        the next connection, with its bytes and their room.

        Raises StateUnavailable and LeaseLost, which end the writer; Throttled, DestinationFull and
        Transient, which ask it to pause; and MessageRejected when that has been taken care of.
        """
        item = ready.item
        if self._recovery.void(item.ref):
            return None
        self.in_flight.add(item.ref.key)
        try:
            if isinstance(item, Setback):
                await self._set_aside(item, item.ref.record)
            else:
                await self._copy(wire, item)
        except _InOtherHands:
            return None
        except asyncio.CancelledError:
            if isinstance(item, Setback):
                self._belt.ready.put(Ready(item))
            raise
        except _Unsent as unsent:
            assert isinstance(item, Message)  # noqa: S101 - a setback sends nothing
            return replace(ready, item=replace(item, ref=replace(item.ref, record=unsent.record)))
        finally:
            self.in_flight.discard(item.ref.key)
        return None

    # ------------------------------------------------------------------ the law

    async def _copy(self, wire: Wire, message: Message) -> None:
        record: Record | None = None
        appended: Appended | None = None
        try:
            record = await self._claim(wire.session, message)
            claimed = self._belt.clock.monotonic()
            if record is not None and (there := self._there(message, record)) is not None:
                await self._finish(message.ref, record, there, sent=False)
            elif record is not None:
                with self.duplicates.sending(message):
                    appended = await self._append(wire, message, record)
                    self._standstill.accepted(message.ref.key)
                    await self._finish(message.ref, record, appended)
                wire.window.went_well(claimed, self._belt.gate.quickest)
            record = None
            await self._ledger.resolve(message.ref)
        except asyncio.CancelledError:
            self._cut_short(message.ref, record, appended)
            raise
        self._advance(message.ref)

    def _cut_short(self, ref: MessageRef, record: Record | None, appended: Appended | None) -> None:
        """The connection is left while this was under way; the lease may well be kept."""
        if record is not None and appended is not None:
            self._recovery.unfinished(ref, record, appended)
        elif record is not None:
            self._recovery.doubt(ref, record, settle=True)
        elif not self._recovery.holds(ref.key):  # finished, or not yet claimed: a claim will tell
            self._belt.queue.put_back([replace(ref, record=None)])

    async def _claim(self, session: SinkSession, message: Message) -> Record | None:
        """An acknowledged PENDING record of ours; None if the message was copied before."""
        ref, store = message.ref, self._belt.store
        epoch = self._tenancy.require()
        if ref.record is not None and ref.record.claimed_by.epoch == epoch:
            return replace(ref.record, repairs=message.repairs)
        folder = await self._folder(session, ref)
        before = self._ledger.before(ref)
        again = before is not None and before.dest_uidnext is not None
        record = Record(
            ref.uidvalidity,
            ref.uid,
            Status.PENDING,
            claimed_by=Claimant(epoch, token_hex(16)),
            claimed_at=self._belt.clock.now(),
            sha256=message.sha256,
            size=message.size,
            internaldate=ref.listing.internaldate,
            digest=message.digest,
            message_id=message.message_id,
            gm_msgid=ref.listing.gm_msgid,
            dest_uidvalidity=before.dest_uidvalidity if before and again else folder.uidvalidity,
            dest_uidnext=before.dest_uidnext if before and again else folder.uidnext,
            repairs=message.repairs,
        )
        if await self._is_twin(ref, record):
            return None
        if before is None:
            self._belt.vouch.check(ref.route, record)
        reached(Step.CLAIM_ASKED)
        try:
            refused = await self._belt.gate.call(lambda: store.claim(ref.route.key, record))
        except asyncio.CancelledError:
            self._recovery.unanswered(ref, record)
            raise
        if refused is None:
            reached(Step.CLAIMED)
            if again:
                # Refused before, and some servers store what they refuse, perhaps late: look first.
                self._recovery.doubt(ref, record, settle=False)
                raise _InOtherHands
            return record
        await self._refused(ref, record, refused.by)
        return None

    async def _append(self, wire: Wire, message: Message, record: Record) -> Appended:
        ref = message.ref
        self._tenancy.require()
        try:
            return await wire.append(message, self._tenancy.require)
        except TurnedAway as away:
            raise _Unsent(record) from away
        except ConnectionLost as lost:
            await self._lost(message, record, lost)
            raise _InOtherHands from lost
        except MessageRejected as refusal:
            self._rejected(message, record, refusal)
            raise
        except RouteBlocked as blocked:
            # The folder is gone: open() will make it anew, or say that it may not.
            self.folders.forget(ref.route.folder)
            self._recovery.doubt(ref, record, settle=False)
            raise Transient(str(blocked)) from blocked
        except Transient as error:
            if isinstance(error, Throttled) and error.sent is Sent.NOTHING:
                raise _Unsent(record) from error
            # Refused for now. Some servers say so after they stored it, so look before repeating.
            last, blame = self._standstill.blame(ref.key, error)
            self._recovery.doubt(ref, record, settle=False, refusal=advised(last, message.body))
            if blame is None:
                log.warning("message.refused", uid=ref.uid, attempts=ref.attempts, error=str(error))
                raise _InOtherHands from error
            raise blame from None

    async def _finish(
        self, ref: MessageRef, record: Record, appended: Appended, *, sent: bool = True
    ) -> None:
        reached(Step.APPENDED)
        now, store = self._belt.clock.now(), self._belt.store
        done = replace(
            record,
            status=Status.DONE,
            dest_uid=appended.uid,
            dest_uidvalidity=appended.uidvalidity or record.dest_uidvalidity,
            copied_at=now,
            expires_at=int(now + self._record_ttl),
        )
        reached(Step.FINISH_ASKED)
        if not await self._belt.gate.call(lambda: store.finish(ref.route.key, done)):
            raise LeaseLost(f"another daemon took over {ref.route.name} while a message was under way")
        reached(Step.FINISHED)
        if not sent:
            self._outcomes.skipped(ref, "the folder holds it already")
            return
        self.folders.note(ref.route.folder, appended, record)
        self.duplicates.note(ref.route.folder, done)
        self._outcomes.copied(ref, done)

    def _advance(self, ref: MessageRef) -> None:
        watch = self._watches.get(ref.route.key)
        if watch is not None:
            watch.settle(ref.uidvalidity, ref.uid)

    async def _folder(self, session: SinkSession, ref: MessageRef) -> Mailbox:
        try:
            return await self.folders.open(session, ref.route)
        except RouteBlocked as blocked:
            self.later.put(ref, FOLDER_RETRY)
            raise _InOtherHands from blocked
        except ConnectionLost as lost:
            raise _Unsent(ref.record) from lost
        except Transient:
            self.later.put(ref, TWIN_RETRY)
            raise

    # ------------------------------------------------- claims that are not granted

    def _there(self, message: Message, record: Record) -> Appended | None:
        """The copy that its folder holds already, where the route asks for one a folder."""
        try:
            return self.duplicates.copy_of(message)
        except UnderWay:
            self.later.put(replace(message.ref, record=record), TWIN_RETRY)
            raise _InOtherHands from None

    async def _is_twin(self, ref: MessageRef, record: Record) -> bool:
        """After a change of UIDVALIDITY: was this one copied before it? What was read before it ends
        here: it is listed anew, and claimed under its new number."""
        try:
            found = await self._renumbered.finish(ref, record)
        except Undecided:
            self.later.put(ref, TWIN_RETRY)
            raise _InOtherHands from None
        if self._renumbered.outdated(ref):
            raise _InOtherHands
        if found:
            self._outcomes.skipped(ref, "copied before UIDVALIDITY changed")
        return found

    async def _refused(self, ref: MessageRef, record: Record, by: Record) -> None:
        """Someone was here before: returns if the message is settled, else leaves it in other hands."""
        if by.status is not Status.PENDING:
            self._outcomes.skipped(ref, "copied before")
            return
        if (by.uidvalidity, by.uid) == (ref.uidvalidity, ref.uid):
            adopted = replace(by, claimed_by=record.claimed_by)
            if not await self._recovery.adopt(ref.route, by, adopted):
                raise LeaseLost(f"another daemon writes for {ref.route.name}")
            self._recovery.doubt(ref, adopted, settle=True)
        else:
            self.later.put(ref, TWIN_RETRY)
        raise _InOtherHands

    # ------------------------------------------------------------------ setbacks

    def _rejected(self, message: Message, record: Record, refusal: MessageRejected) -> None:
        """Look whether it was stored all the same, then try again, or set it aside. Raises
        DestinationSuspected where it is not the message that is to blame."""
        change, suspected = self._standstill.refused(message.ref.key, refusal)
        ref = replace(message.ref, attempts=max(0, message.ref.attempts + change))
        if suspected is not None:
            self._recovery.doubt(ref, record, settle=False)
            raise suspected from refusal
        last = refusal.kind is not FailureKind.REJECTED or ref.attempts >= QUICK_TRIES
        if last:
            self._recovery.doubt(ref, record, settle=False, refusal=advised(refusal, message.body))
        else:
            log.warning("message.refused", uid=ref.uid, attempts=ref.attempts, error=str(refusal))
            self._recovery.doubt(ref, record, settle=False)

    async def _lost(self, message: Message, record: Record, lost: ConnectionLost) -> None:
        """The connection ended in this APPEND, by chance or because of it (B38, B40). _Unsent: send again."""
        ref = message.ref
        final = advised(self._standstill.lost(ref.key, lost), message.body)
        if lost.sent is not Sent.NOTHING:
            log.warning("message.in_doubt", uid=ref.uid, error=str(lost))
            self._recovery.doubt(ref, record, settle=True, refusal=final)
        elif final is not None:
            await self._set_aside(Setback(ref, final.kind, str(final)), record)
        elif wait := self._standstill.wait(ref.key):
            self.later.put(replace(ref, record=record), wait)
        else:
            raise _Unsent(record) from lost

    async def _set_aside(self, setback: Setback, claimed: Record | None) -> None:
        self._tenancy.require()
        write = self._ledger.close if self._renumbered.listed_anew(setback.ref) else self._ledger.set_aside
        await write(setback, claimed)
        self._advance(setback.ref)

    # ------------------------------------------------------------------- recovery

    async def judge(self, session: SinkSession) -> None:
        """Let recovery look, and act on its verdicts. Nothing may be in flight."""
        verdicts = await self._recovery.look(session)
        for folder, error in self._recovery.trouble.items():
            self.folders.trouble(folder, error)
        for verdict in verdicts:
            await self._act_on(verdict)

    async def _act_on(self, verdict: Verdict) -> None:
        ref, record = verdict.doubt.ref, verdict.record
        if verdict.found is not None and record is not None:
            self._standstill.accepted(ref.key)
            await self._finish(ref, record, verdict.found)
            await self._ledger.resolve(ref)
            self._advance(ref)
        elif (refusal := verdict.doubt.refusal) is not None and not self._standstill.holds(ref.key):
            await self._set_aside(Setback(ref, refusal.kind, str(refusal)), record)
        elif wait := self._standstill.wait(ref.key):
            self.later.put(replace(ref, record=record), wait)
        else:
            self._belt.queue.put_back([replace(ref, record=record)])

    def forget(self) -> None:
        """The lease is gone: what was to be tried again will be listed again."""
        self.later.forget()
        self.duplicates.forget()

    @property
    def in_hands(self) -> set[tuple[str, int, int]]:
        """What is in flight, or waits for another try."""
        return self.in_flight | self.later.keys
