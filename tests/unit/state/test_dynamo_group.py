"""Which writes go out together, and what each of them is told."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest
from fakes import breathe

from mailsyncd.errors import StateUnavailable
from mailsyncd.state.dynamo_client import Unfit, Verdict, Write
from mailsyncd.state.dynamo_group import LANES, MANY, MOST_ITEMS, OPEN_LANES, DynamoGroup
from mailsyncd.state.items import Item


class FakeTable:
    """What the group needs of a DynamoClient: writes to free keys are granted, once `open` says so.
    `requests` holds the keys of each, `at_once` the most that were under way."""

    where = "the fake table"

    def __init__(self) -> None:
        self.items: dict[str, Item] = {}
        self.requests: list[list[str]] = []
        self.open = asyncio.Event()
        self.unfit: set[str] = set()
        self.error: StateUnavailable | None = None
        self.under_way = self.at_once = 0

    async def put(self, write: Write) -> Item | None:
        refused = await self.transact([write])
        return refused[0] if refused else None

    async def transact(self, writes: Sequence[Write]) -> Verdict:
        keys = [write.sk for write in writes]
        assert len(set(keys)) == len(keys), "DynamoDB refuses two writes of one item"
        self.requests.append(keys)
        self.under_way += 1
        self.at_once = max(self.at_once, self.under_way)
        await self.open.wait()
        self.under_way -= 1
        if self.error:
            raise self.error
        if len(keys) > 1 and self.unfit.intersection(keys):
            raise Unfit("one of them is too large")
        if self.unfit.intersection(keys):
            raise StateUnavailable("it is too large")
        if not self.items.keys().isdisjoint(keys):
            return [self.items.get(key) for key in keys]
        self.items |= {write.sk: write.item for write in writes}
        return None


def write(key: str) -> Write:
    return Write("pk", key, {"by": key})


@pytest.fixture
def table() -> FakeTable:
    return FakeTable()


@pytest.fixture
def group(table: FakeTable) -> DynamoGroup:
    return DynamoGroup(table)  # type: ignore[arg-type]


def asked(group: DynamoGroup, *keys: str) -> asyncio.Task[Verdict]:
    return asyncio.create_task(group.write(*map(write, keys)))


async def _busy(group: DynamoGroup) -> list[asyncio.Task[Verdict]]:
    """Requests under way in as many lanes as a few writes may have."""
    busy = []
    for number in range(OPEN_LANES):
        busy.append(asked(group, f"busy {number}"))
        await breathe()
    return busy


async def test_one_alone_goes_at_once(table: FakeTable, group: DynamoGroup) -> None:
    table.open.set()
    assert await group.write(write("a")) is None
    assert await group.write(write("a")) == [{"by": "a"}]
    assert await group.write(write("a"), write("b")) == [{"by": "a"}, None]
    assert table.requests == [["a"], ["a"], ["a", "b"]]


async def test_what_comes_while_others_are_under_way_goes_out_together(
    table: FakeTable, group: DynamoGroup
) -> None:
    busy = await _busy(group)
    later = [asked(group, f"uid {n}", f"msg {n}") for n in range(5)] + [asked(group, "finish")]
    await breathe()
    assert len(table.requests) == OPEN_LANES
    table.open.set()
    assert await asyncio.gather(*busy, *later) == [None] * (OPEN_LANES + 6)
    assert [len(keys) for keys in table.requests] == [1] * OPEN_LANES + [11]
    assert table.at_once == OPEN_LANES


async def test_where_many_wait_a_further_request_is_begun(table: FakeTable, group: DynamoGroup) -> None:
    waiting = await _busy(group)
    for lanes in range(OPEN_LANES, LANES + 1):
        waiting += [asked(group, f"{lanes}, {n}") for n in range(MANY - 1)]
        await breathe()
        assert table.under_way == lanes
        waiting.append(asked(group, f"{lanes}, the last"))
        await breathe()
    table.open.set()
    assert await asyncio.gather(*waiting) == [None] * len(waiting)
    assert [len(keys) for keys in table.requests] == [1] * OPEN_LANES + [MANY] * (LANES - OPEN_LANES + 1)


class OneByOne(FakeTable):
    """Each request waits for its own end, in `ends`."""

    def __init__(self) -> None:
        super().__init__()
        self.open.set()
        self.ends: list[asyncio.Event] = []

    async def transact(self, writes: Sequence[Write]) -> Verdict:
        self.ends.append(asyncio.Event())
        await self.ends[-1].wait()
        return await super().transact(writes)


async def test_few_that_are_left_wait_for_a_lane_that_goes_on() -> None:
    table = OneByOne()
    group = DynamoGroup(table)  # type: ignore[arg-type]
    waiting = await _busy(group)
    for lane in range(OPEN_LANES, LANES):
        waiting += [asked(group, f"{lane}, {n}") for n in range(MANY)]
        await breathe()
    waiting += [asked(group, "few", f"{n}") for n in range(3)]
    begun = []
    for number in range(LANES):
        await breathe()
        table.ends[number].set()
        await breathe()
        begun.append(len(table.ends))
    assert begun == [LANES, LANES, LANES + 1, LANES + 1]  # the few want one item: one after the other
    while not all(one.done() for one in waiting):
        table.ends[-1].set()
        await breathe()
    assert [one.result() for one in waiting[-3:]] == [None, [{"by": "few"}, None], [{"by": "few"}, None]]


async def test_what_comes_in_the_turn_in_which_all_requests_end_goes_out(
    table: FakeTable, group: DynamoGroup
) -> None:
    busy = await _busy(group)
    table.open.set()
    later = asked(group, "later")
    async with asyncio.timeout(5):
        assert await asyncio.gather(*busy, later) == [None] * (OPEN_LANES + 1)


async def test_what_comes_in_one_turn_of_the_loop_goes_out_together(
    table: FakeTable, group: DynamoGroup
) -> None:
    table.open.set()
    await asyncio.gather(*(group.write(write(str(n))) for n in range(7)))
    assert [len(keys) for keys in table.requests] == [7]


async def test_who_is_refused_stands_in_nobodys_way(table: FakeTable, group: DynamoGroup) -> None:
    table.open.set()
    table.items = {"msg 1": {"by": "another"}, "uid 3": {}}
    answers = await asyncio.gather(*(group.write(write(f"uid {n}"), write(f"msg {n}")) for n in range(5)))
    assert answers == [None, [None, {"by": "another"}], None, [{}, None], None]
    assert "uid 1" not in table.items
    assert [len(keys) for keys in table.requests] == [10, 6]


async def test_what_cannot_be_taken_together_goes_one_by_one(table: FakeTable, group: DynamoGroup) -> None:
    table.open.set()
    table.unfit = {"1"}
    answers = await asyncio.gather(*(group.write(write(str(n))) for n in range(3)), return_exceptions=True)
    assert [answers[0], answers[2]] == [None, None]
    assert isinstance(answers[1], StateUnavailable)
    assert sorted(table.requests) == [["0"], ["0", "1", "2"], ["1"], ["2"]]


async def test_a_store_that_is_away_is_away_for_all_and_not_asked_again_for_each(
    table: FakeTable, group: DynamoGroup
) -> None:
    table.open.set()
    table.error = StateUnavailable("gone")
    answers = await asyncio.gather(*(group.write(write(str(n))) for n in range(4)), return_exceptions=True)
    assert answers == [table.error] * 4
    assert len(table.requests) == 1


async def test_two_that_want_one_item_go_one_after_the_other(table: FakeTable, group: DynamoGroup) -> None:
    table.open.set()
    answers = await asyncio.gather(*(group.write(write(f"uid {n}"), write("msg")) for n in range(3)))
    assert answers == [None, [None, {"by": "msg"}], [None, {"by": "msg"}]]
    assert table.at_once == 1
    assert await group.write(write("uid 1")) is None  # nothing is left of what was refused


async def test_no_request_is_larger_than_a_transaction_may_be(table: FakeTable, group: DynamoGroup) -> None:
    table.open.set()
    writes = MOST_ITEMS + 20
    await asyncio.gather(*(group.write(write(f"uid {n}"), write(f"msg {n}")) for n in range(writes)))
    assert max(map(len, table.requests)) == MOST_ITEMS
    assert len(table.items) == 2 * writes


async def test_who_no_longer_waits_is_not_served(table: FakeTable, group: DynamoGroup) -> None:
    busy = await _busy(group)
    gone, stays = asked(group, "gone"), asked(group, "stays")
    await breathe()
    gone.cancel()
    await asyncio.gather(gone, return_exceptions=True)
    table.open.set()
    assert await asyncio.gather(*busy, stays) == [None] * (OPEN_LANES + 1)
    assert "gone" not in table.items


async def test_who_leaves_in_the_middle_of_a_request_takes_nobody_along(
    table: FakeTable, group: DynamoGroup
) -> None:
    ones = [asked(group, str(n)) for n in range(3)]
    await breathe()
    ones[1].cancel()
    table.open.set()
    answers = await asyncio.gather(*ones, return_exceptions=True)
    assert [answers[0], answers[2]] == [None, None]
    assert isinstance(answers[1], asyncio.CancelledError)
    assert len(table.items) == 3


async def test_the_end_is_told_to_all_who_wait(table: FakeTable, group: DynamoGroup) -> None:
    waiting = [*await _busy(group), asked(group, "later")]
    await breathe()
    await group.close()
    for answer in await asyncio.gather(*waiting, return_exceptions=True):
        assert isinstance(answer, StateUnavailable)
    table.open.set()
    assert await group.write(write("afterwards")) is None


async def test_an_end_before_anything_was_begun_is_told_too(table: FakeTable, group: DynamoGroup) -> None:
    waiting = [asked(group, str(n)) for n in range(OPEN_LANES + 1)]
    await asyncio.sleep(0)  # lanes are made, and have not run yet
    await group.close()
    for answer in await asyncio.gather(*waiting, return_exceptions=True):
        assert isinstance(answer, StateUnavailable)
    table.open.set()
    async with asyncio.timeout(5):
        assert await group.write(write("afterwards")) is None
