"""Was a message copied before UIDVALIDITY changed? Asked where no X-GM-MSGID tells it, of the messages
that were there at the change: what came after it is new, whatever its bytes."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from mailsyncd.flow.gate import Gate
from mailsyncd.flow.progress import Progress
from mailsyncd.model import Record
from mailsyncd.policy import Twins
from mailsyncd.ports import StateStore


@asynccontextmanager
async def twin_of(
    route: str, record: Record, progress: Progress, store: StateStore, gate: Gate
) -> AsyncIterator[Record | None]:
    """The copy that stands for this message, and for no other unless the block fails."""
    mark = progress.stored
    if record.gm_msgid is not None or mark.rescan_of is None or record.uid >= mark.backlog_until:
        yield None
        return
    twins = progress.twins or await _load(route, progress, mark.rescan_of, store, gate)
    twin = twins.take(record)
    try:
        yield twin
    except BaseException:
        if twin is not None:
            twins.put_back(twin)
        raise


async def _load(route: str, progress: Progress, old: int, store: StateStore, gate: Gate) -> Twins:
    """Only now: they are many, and needed only until what was there at the change is settled."""
    before = await gate.call(lambda: store.records(route, old))
    after = await gate.call(lambda: store.records(route, progress.uidvalidity))
    if progress.twins is None:  # other messages may have asked meanwhile
        progress.twins = Twins(before, after)
    return progress.twins
