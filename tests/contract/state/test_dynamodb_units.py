"""What a message costs on DynamoDB: requests, and write units as AWS counts them.

A write of an item up to 1 KB is one unit, one in a transaction two. The engines' own figures are only
looked at for single writes: DynamoDB Local counts transactions too low at times, moto not at all.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from engines import dynamo
from faulty_line import FaultyLine
from test_state_stores import LEASE, MEMBER, TRAFFIC, done, record

from mailsyncd.model import Record, Watermark
from mailsyncd.state import items
from mailsyncd.state.attributes import Attributes, attributes
from mailsyncd.state.dynamodb import DynamoStore

pytestmark = pytest.mark.xdist_group("moto")
KB = 1024
# Longer than most: 64 letters for a name, two addresses of 40, an id of 120.
ROUTE = "ROUTE#{0}@gmail.example#DEST#{0}@outlook.example#FOLDER#{1}".format("a" * 26, "f" * 64)
BACKLOG = 24
ALONE = {True: (4, 1), False: (1, 1)}  # claim and finish, with X-GM-MSGID and without
TOGETHER = {True: (4, 2), False: (2, 2)}
MONTH = 30 * 24 * 60  # minutes
WRITE_PRICE, READ_PRICE = 0.625e-6, 0.125e-6


def one(uid: int, *, gm_msgid: bool) -> Record:
    """A record as the writer makes them, of a mailbox with large numbers."""
    return record(
        4_000_000_000 + uid,
        attempt=f"{uid:032x}",
        uidvalidity=1_700_000_000,
        message_id="<" + "m" * 118 + ">",
        gm_msgid=str(1_592_225_494_819_146_000 + uid) if gm_msgid else None,
        repairs=("wrap_long_lines", "fix_bare_lf", "disarm_read_receipts"),
        dest_uidvalidity=1_700_000_000,
        dest_uidnext=4_000_000_000,
    )


# ---------------------------------------------------------------- as AWS counts


def _bytes(value: Mapping[str, Any]) -> int:
    """Text as it is; a number a byte for two significant digits, and one more; a truth value one."""
    ((kind, told),) = value.items()
    if kind == "S":
        return len(told.encode())
    return 1 if kind == "BOOL" else 1 + math.ceil(len(told.replace(".", "").strip("0")) / 2)


def size_of(item: Mapping[str, Mapping[str, Any]]) -> int:
    return sum(len(name.encode()) + _bytes(value) for name, value in item.items())


def _stored(one: Record) -> Attributes:
    return attributes({"PK": ROUTE, "SK": items.uid_key(one.uidvalidity, one.uid), **items.record_item(one)})


def _puts(arguments: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    if "TransactItems" in arguments:
        return [write["Put"]["Item"] for write in arguments["TransactItems"]]
    return [arguments["Item"]]


@dataclass(frozen=True)
class Bill:
    requests: int
    units: int


class Meter:
    """What has gone over the line since the last look."""

    def __init__(self, line: FaultyLine) -> None:
        self._line = line

    def bill(self) -> Bill:
        asked, self._line.asked[:] = list(self._line.asked), []
        writes = [(name, about) for name, about in asked if name in ("PutItem", "TransactWriteItems")]
        assert len(writes) == len(asked), "something else was asked, too"
        units = 0
        for name, about in writes:
            each = 2 if name == "TransactWriteItems" else 1
            units += sum(each * math.ceil(size_of(item) / KB) for item in _puts(about))
        return Bill(len(writes), units)


@pytest.fixture
async def store(moto_url: str, aws: None) -> AsyncIterator[tuple[DynamoStore, Meter]]:
    line = FaultyLine(moto_url)
    async with line.running() as url:
        made = dynamo(url)
        await made.init_table(point_in_time_recovery=False, deletion_protection=False)
        line.asked.clear()
        yield made, Meter(line)
        await made.close()


# ------------------------------------------------------------------- a message


@pytest.mark.parametrize("gm_msgid", [True, False])
async def test_a_message_alone(store: tuple[DynamoStore, Meter], gm_msgid: bool) -> None:
    made, meter = store
    claim, finish = ALONE[gm_msgid]
    mine = one(1, gm_msgid=gm_msgid)
    assert await made.claim(ROUTE, mine) is None
    assert meter.bill() == Bill(1, claim)
    assert await made.finish(ROUTE, done(mine, 4_000_000_000))
    assert meter.bill() == Bill(1, finish)


@pytest.mark.parametrize("gm_msgid", [True, False])
async def test_messages_of_a_backlog(store: tuple[DynamoStore, Meter], gm_msgid: bool) -> None:
    made, meter = store
    claim, finish = TOGETHER[gm_msgid]
    ones = [one(uid, gm_msgid=gm_msgid) for uid in range(BACKLOG)]
    assert await asyncio.gather(*(made.claim(ROUTE, mine) for mine in ones)) == [None] * BACKLOG
    assert meter.bill() == Bill(1, claim * BACKLOG)
    assert all(await asyncio.gather(*(made.finish(ROUTE, done(mine)) for mine in ones)))
    assert meter.bill() == Bill(1, finish * BACKLOG)


async def test_everything_else_that_is_written_again_and_again_is_a_unit(
    store: tuple[DynamoStore, Meter],
) -> None:
    made, meter = store
    mark = Watermark(1_700_000_000, 4_000_000_000, 1_700_000_000.123456, 4_000_000_001, 1_700_000_000.0)
    mark = replace(mark, rescan_of=(1, 2), dest_uidvalidity=1_700_000_000, dest_uidnext=4_000_000_000)
    await made.advance(ROUTE, mark, expected=None)
    await made.put_lease("me@outlook.example", LEASE, expected=None)
    await made.announce(MEMBER)
    await made.note_traffic(TRAFFIC)
    assert meter.bill() == Bill(4, 4)


def test_a_record_has_room_to_spare_in_its_unit() -> None:
    assert KB - 50 > size_of(_stored(done(one(1, gm_msgid=True), 4_000_000_000))) > KB / 2


@pytest.mark.real
@pytest.mark.xdist_group("dynamodb-local")
@pytest.mark.parametrize("length", [1, 200, 300, 400, 450, 500, 550, 600, 900])
async def test_the_engine_counts_a_record_as_we_do(local_url: str, aws: None, length: int) -> None:
    made = dynamo(local_url)
    await made.init_table(point_in_time_recovery=False, deletion_protection=False)
    mine = replace(done(one(1, gm_msgid=True)), message_id="m" * length)
    client = made._client
    item = _stored(mine)
    answer = await client.ask("put_item", TableName=client.table, Item=item, ReturnConsumedCapacity="TOTAL")
    assert answer["ConsumedCapacity"]["CapacityUnits"] == math.ceil(size_of(item) / KB)
    await made.close()


# ------------------------------------------------------------------------ docs


def _price(messages: int, *, gmail: bool) -> float:
    """Of a month with that many messages: one daemon, one route, one destination, nothing saved."""
    notes = min(messages, MONTH) if gmail else 0
    a_message = max(sum(ALONE[gmail]) + 1, sum(TOGETHER[gmail]))
    writes = 3 * MONTH + notes + messages * a_message
    reads = MONTH + MONTH // 5 + notes
    return writes * WRITE_PRICE + reads * READ_PRICE


def test_the_guide_tells_these_units_and_what_they_cost_in_a_month() -> None:
    text = (Path(__file__).parents[3] / "docs" / "operations.md").read_text()
    for requests, name, units in (
        ("1", "claim of a message that comes alone", [ALONE[True][0], ALONE[False][0]]),
        ("1", "its finish", [ALONE[True][1], ALONE[False][1]]),
        ("shared", "claim, in a backlog", [TOGETHER[True][0], TOGETHER[False][0]]),
        ("shared", "finish, in a backlog", [TOGETHER[True][1], TOGETHER[False][1]]),
        ("**3**", "**a message that comes alone**", [f"**{sum(ALONE[one]) + 1}**" for one in (True, False)]),
        (
            "**0.1 to 0.3**",
            "**a message of a backlog**",
            [f"**{sum(TOGETHER[one])}**" for one in (True, False)],
        ),
    ):
        assert f"| {name} | {requests} | {units[0]} | {units[1]} |" in text
    for count, name in ((0, "none"), (1_000, "1,000"), (100_000, "100,000"), (10_000_000, "10,000,000")):
        assert f"| {name} | ${_price(count, gmail=True):.2f} | ${_price(count, gmail=False):.2f} |" in text
