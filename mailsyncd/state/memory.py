"""The state store in memory: for tests, and for the rules to be seen at their plainest."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from mailsyncd.errors import StateUnavailable
from mailsyncd.model import (
    Counts,
    Event,
    Failure,
    Lease,
    Member,
    Record,
    Status,
    TokenNote,
    Trace,
    Traffic,
    Usage,
    Watermark,
)
from mailsyncd.ports import Refused
from mailsyncd.state import rules
from mailsyncd.state.items import Item


class DictTable:
    """A rules.Table in a dict."""

    def __init__(self) -> None:
        self.items: dict[tuple[str, str], Item] = {}

    def get(self, pk: str, sk: str) -> Item | None:
        return self.items.get((pk, sk))

    def put(self, pk: str, sk: str, item: Item) -> None:
        self.items[pk, sk] = item

    def query(self, pk: str, start: str, end: str) -> Iterable[Item]:
        keys = sorted(sk for one, sk in self.items if one == pk and start <= sk < end)
        return [self.items[pk, sk] for sk in keys]


class MemoryStore:
    """See ports.StateStore. `down` makes it unreachable."""

    def __init__(self) -> None:
        self._table = DictTable()
        self.down = False

    @property
    def table(self) -> DictTable:
        if self.down:
            raise StateUnavailable("the state store in memory is switched off")
        return self._table

    async def open(self) -> None:
        self.table.items.get(("", ""))

    async def close(self) -> None:
        """Nothing to close."""

    def usage(self) -> Usage:
        return Usage({})

    async def watermark(self, route: str) -> Watermark | None:
        return rules.watermark(self.table, route)

    async def advance(self, route: str, new: Watermark, *, expected: Watermark | None) -> bool:
        return rules.advance(self.table, route, new, expected)

    async def claim(self, route: str, record: Record) -> Refused | None:
        return rules.claim(self.table, route, record)

    async def adopt(self, route: str, record: Record, new: Record) -> bool:
        return rules.adopt(self.table, route, record, new)

    async def finish(self, route: str, record: Record, events: Sequence[Event] = ()) -> bool:
        return rules.finish(self.table, route, record)

    async def fail(self, route: str, failure: Failure, claimed: Record | None) -> None:
        rules.fail(self.table, route, failure, claimed)

    async def records(
        self, route: str, uidvalidity: int, after: int = 0, *, most: int | None = None
    ) -> list[Record]:
        return rules.records(self.table, route, uidvalidity, after, most)

    async def delivered(self, route: str, dest_uidvalidity: int | None, from_uid: int) -> list[Trace]:
        return rules.delivered(rules.record_items(self.table, route), dest_uidvalidity, from_uid)

    async def pending(self, route: str) -> list[Record]:
        return [one for one in rules.all_records(self.table, route) if one.status is Status.PENDING]

    async def failures(self, route: str) -> list[Failure]:
        return rules.failures(self.table, route)

    async def counts(self, route: str) -> Counts:
        states = Counter(record.status for record in rules.all_records(self.table, route))
        return rules.counts(states, rules.failures(self.table, route))

    async def lease(self, destination: str) -> Lease | None:
        return rules.lease(self.table, destination)

    async def put_lease(self, destination: str, new: Lease, *, expected: Lease | None) -> bool:
        return rules.put_lease(self.table, destination, new, expected)

    async def note_traffic(self, traffic: Traffic) -> None:
        rules.note_traffic(self.table, traffic)

    async def traffic(self, account: str, day: str) -> list[Traffic]:
        return rules.traffic(self.table, account, day)

    async def announce(self, member: Member) -> None:
        rules.announce(self.table, member)

    async def members(self) -> list[Member]:
        return rules.members(self.table)

    async def token_note(self, account: str, line: str) -> TokenNote | None:
        return rules.token_note(self.table, account, line)

    async def put_token_note(self, new: TokenNote, *, expected: TokenNote | None) -> bool:
        return rules.put_token_note(self.table, new, expected)
