"""A route's readers: fetch bodies ahead of the writer, within the byte budget, some batches in flight at
once so that the source's round trip is not waited for.

A body that can't be had now goes back to the route; one that can't be had at all becomes a
setback, to be recorded as a failure. Neither holds up the writer.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace

from mailsyncd.errors import FailureKind, MessageRejected
from mailsyncd.flow.allowance import Allowance
from mailsyncd.flow.preflight import Preflight
from mailsyncd.flow.queue import RefQueue
from mailsyncd.flow.ready import Ready, ReadyQueue, Setback
from mailsyncd.model import Message, MessageRef
from mailsyncd.policy import QUICK_TRIES
from mailsyncd.ports import Clock, SourceSession
from mailsyncd.steps import Step, reached
from mailsyncd.tasks import first_of

READERS = 3  # batches in flight beside one that is kept for live mail
FIRST, LEAST, MOST = 50, 10, 100  # messages in a batch
TYPICAL = 42_000  # bytes of a message: a batch may hold so many times its number
SOON, LATE = 0.25, 1.0  # seconds until a batch is here
HEAVY = 512 * 1024  # bytes: hashed in a thread, for all else would wait 17 ms for 25 MB
OVERHEAD = 2048  # bytes of memory that a message takes beside its own


@dataclass(slots=True)
class Pace:
    """How many messages a batch may have: more where batches come soon, for each costs a round trip;
    fewer on a slow line, where new mail of the same mailbox waits behind them."""

    count: int = FIRST

    @property
    def octets(self) -> int:
        return self.count * TYPICAL

    def took(self, seconds: float, messages: int, octets: int) -> None:
        """A batch came, that fast. What was no full one says little of how fast more would come."""
        if seconds < SOON and (messages >= self.count or octets > self.octets // 2):
            self.count = min(self.count * 2, MOST)
        elif seconds > LATE:
            self.count = max(self.count // 2, LEAST)


@dataclass(slots=True)
class Reader:
    """Of one route, over one session. Nothing is handed on before `admit` has returned, and of new mail
    alone a batch is read by then."""

    session: SourceSession
    route: str
    queue: RefQueue
    ready: ReadyQueue
    preflight: Preflight
    allowance: Allowance
    clock: Clock
    admit: Callable[[], Awaitable[None]]
    pace: Pace = field(default_factory=Pace)
    _admitted: bool = False

    async def run(self) -> None:
        """Until the session ends. Returns when the queue closes."""
        await first_of(self._serve(live_only=True), *(self._serve(live_only=False) for _ in range(READERS)))

    async def _serve(self, *, live_only: bool) -> None:
        if not live_only:
            await self._admission()
        while refs := await self._take(live_only):
            outdated = [ref for ref in refs if self._outdated(ref)]
            left = {ref.uid: ref for ref in refs if not self._outdated(ref)}
            size = sum(ref.listing.size for ref in refs)
            self._expect(size)
            try:
                await self._give_up(outdated)  # first, for another message may have its UID now
                # A set that the server refused is asked for one by one, to find the culprit.
                suspects = [[uid] for uid, ref in left.items() if ref.attempts]
                for batch in [[uid for uid, ref in left.items() if not ref.attempts], *suspects]:
                    if batch:
                        await self._read(batch, left)
            finally:
                self.queue.put_back([*outdated, *left.values()])
                self._expect(-size)

    async def _admission(self) -> None:
        if not self._admitted:
            await self.admit()
            self._admitted = True

    def _expect(self, size: int) -> None:
        self.allowance.expected += size
        self.queue.hold_old(self.route, self.allowance.spent())

    async def _take(self, live_only: bool) -> list[MessageRef]:
        count, size = self.pace.count, self.pace.octets
        return await self.queue.take(self.route, count=count, size=size, live_only=live_only)

    def _outdated(self, ref: MessageRef) -> bool:
        return ref.uidvalidity != self.session.mailbox.uidvalidity

    async def _give_up(self, outdated: list[MessageRef]) -> None:
        if outdated:
            await self._admission()
        while outdated:
            setback = Setback(outdated.pop(0), FailureKind.VANISHED, "its UIDVALIDITY is no more")
            self.ready.put(Ready(setback))

    async def _read(self, batch: list[int], left: dict[int, MessageRef]) -> None:
        """Move what can be read, and what never can, from `left` to `ready`; the rest stays."""
        sizes = {uid: left[uid].listing.size + OVERHEAD for uid in batch}
        octets = sum(sizes.values())
        await self.ready.reserve(sizes.values(), left[batch[0]].lane)
        began, undelayed = self.clock.monotonic(), self._admitted
        try:
            async for uid, body in self.session.read(batch):
                self.allowance.count(len(body))
                if uid in sizes:
                    await self._admission()
                    reached(Step.FETCHED)
                    message = await self._message(left[uid], body)
                    del left[uid]
                    self.ready.put(Ready(message, sizes.pop(uid)))
            if undelayed:
                self.pace.took(self.clock.monotonic() - began, len(batch), octets)
            await self._admission()
            for uid in sizes:
                why = "gone from the source before it could be read"
                self.ready.put(Ready(Setback(left.pop(uid), FailureKind.VANISHED, why)))
        except MessageRejected as refusal:
            await self._admission()
            self._count_refusal(refusal, list(sizes), left)
        finally:
            for size in sizes.values():
                self.ready.release(size)

    async def _message(self, ref: MessageRef, body: bytes) -> Message | Setback:
        if len(body) < HEAVY:
            return self.preflight.message(ref, body)
        return await asyncio.to_thread(self.preflight.message, ref, body)

    def _count_refusal(self, refusal: MessageRejected, uids: list[int], left: dict[int, MessageRef]) -> None:
        """The source refused these: each is tried again, and the one that is refused alone for the
        last time is set aside (A34)."""
        for uid in uids:
            left[uid] = replace(left[uid], attempts=left[uid].attempts + 1)
        if len(uids) == 1 and left[uids[0]].attempts >= QUICK_TRIES:
            self.ready.put(Ready(Setback(left.pop(uids[0]), refusal.kind, str(refusal))))
