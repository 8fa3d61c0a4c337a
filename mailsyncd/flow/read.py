"""A route's reader: fetches bodies ahead of the writer, within the byte budget.

A body that can't be had now goes back to the route; one that can't be had at all becomes a
setback, to be recorded as a failure. Neither holds up the writer.
"""

from __future__ import annotations

from dataclasses import replace

from mailsyncd.errors import FailureKind, MessageRejected
from mailsyncd.flow.allowance import Allowance
from mailsyncd.flow.preflight import Preflight
from mailsyncd.flow.queue import RefQueue
from mailsyncd.flow.ready import Ready, ReadyQueue, Setback
from mailsyncd.model import MessageRef
from mailsyncd.policy import QUICK_TRIES
from mailsyncd.ports import SourceSession
from mailsyncd.steps import Step, reached

BATCH_COUNT = 50
BATCH_BYTES = 2 * 1024 * 1024
OVERHEAD = 2048  # bytes of memory that a message takes beside its own


async def read_ahead(
    session: SourceSession,
    route: str,
    queue: RefQueue,
    ready: ReadyQueue,
    preflight: Preflight,
    allowance: Allowance,
) -> None:
    """Serve one route over its session until the session ends. Returns when the queue closes."""
    while refs := await queue.take(route, count=BATCH_COUNT, size=BATCH_BYTES):
        left = {ref.uid: ref for ref in refs}
        try:
            for uid in [uid for uid, ref in left.items() if ref.uidvalidity != session.mailbox.uidvalidity]:
                ready.put(Ready(Setback(left.pop(uid), FailureKind.VANISHED, "its UIDVALIDITY is no more")))
            # A set that the server refused is asked for one by one, to find the culprit.
            suspects = [[uid] for uid, ref in left.items() if ref.attempts]
            for batch in [[uid for uid, ref in left.items() if not ref.attempts], *suspects]:
                if batch:
                    await _read(session, batch, left, ready, preflight, allowance)
        finally:
            queue.put_back(left.values())
            queue.hold_old(route, allowance.spent())


async def _read(
    session: SourceSession,
    batch: list[int],
    left: dict[int, MessageRef],
    ready: ReadyQueue,
    preflight: Preflight,
    allowance: Allowance,
) -> None:
    """Move what can be read, and what never can, from `left` to `ready`; the rest stays."""
    sizes = {uid: left[uid].listing.size + OVERHEAD for uid in batch}
    await ready.reserve(sum(sizes.values()), left[batch[0]].lane)
    try:
        async for uid, body in session.read(batch):
            allowance.count(len(body))
            if uid in sizes:
                reached(Step.FETCHED)
                ready.put(Ready(preflight.message(left.pop(uid), body), sizes.pop(uid)))
        for uid in sizes:
            gone = Setback(
                left.pop(uid), FailureKind.VANISHED, "gone from the source before it could be read"
            )
            ready.put(Ready(gone))
    except MessageRejected as refusal:
        _count_refusal(refusal, list(sizes), left, ready)
    finally:
        for size in sizes.values():
            ready.release(size)


def _count_refusal(
    refusal: MessageRejected, uids: list[int], left: dict[int, MessageRef], ready: ReadyQueue
) -> None:
    """The source refused these: each is tried again, and the one that is refused alone for the
    last time is set aside (A34)."""
    for uid in uids:
        left[uid] = replace(left[uid], attempts=left[uid].attempts + 1)
    if len(uids) == 1 and left[uids[0]].attempts >= QUICK_TRIES:
        ready.put(Ready(Setback(left.pop(uids[0]), refusal.kind, str(refusal))))
