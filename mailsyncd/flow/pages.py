"""The records of a route, a page at a time: there may be tens of thousands, of 1 kB each."""

from __future__ import annotations

from collections.abc import AsyncIterator
from functools import partial

from mailsyncd.flow.gate import Gate
from mailsyncd.model import Record
from mailsyncd.ports import StateStore

PAGE = 500


async def all_records(
    store: StateStore, gate: Gate, route: str, uidvalidity: int, after: int = 0
) -> AsyncIterator[Record]:
    """Those of that UIDVALIDITY above UID `after`, by UID."""
    more = True
    while more:
        page = await gate.call(partial(store.records, route, uidvalidity, after, most=PAGE))
        for record in page:
            yield record
            after = record.uid
        more = len(page) == PAGE
