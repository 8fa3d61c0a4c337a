"""A folder or a source of thousands is renumbered: all records of a route are looked through, and next to
nothing of each is held."""

from __future__ import annotations

import hashlib
import tracemalloc
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

from fakes import FakeSinkSession, breathe, mail
from harness import Bench, a_route, bench_of

from mailsyncd.flow.recover import Recovery
from mailsyncd.flow.vouch import Vouch
from mailsyncd.model import Claimant, Listing, Mailbox, MessageRef, Record, Status, TailMessage, Watermark
from mailsyncd.policy import instant

ROUTE = a_route()
COUNT = 4_000
PENDING = COUNT + 1
HEIGHT = 50  # so much higher are the copies' UIDs in the folder as it is numbered now


def digest(number: int) -> str:
    return hashlib.sha256(str(number).encode()).hexdigest()


def message_id(number: int) -> str:
    return f"<CA+{digest(-number)[:40]}.{number}@mail.example.net>"


def received(number: int) -> str:
    return f"{1 + number // 1440:02d}-Jul-2026 {number // 60 % 24:02d}:{number % 60:02d}:08 +0000"


def record(uid: int) -> Record:
    return Record(
        7,
        uid,
        Status.PENDING,
        Claimant(1, digest(uid)[:32]),
        1e9,
        digest(uid),
        4_000 + uid,
        received(uid),
        digest(-uid)[:32],
        message_id(uid),
        dest_uidvalidity=2,  # the fake's is 3: the folder was renumbered
        dest_uidnext=uid,
    )


class LongFolder(FakeSinkSession):
    """With a copy of every record, the PENDING one included."""

    async def open(self, folder: str, *, create: bool) -> Mailbox:
        return Mailbox(3, PENDING + HEIGHT + 1, PENDING)

    async def tail(
        self, folder: str, from_uid: int, *, before: int | None = None, newest: int | None = None
    ) -> list[TailMessage]:
        numbers = range(1, PENDING + 1)[-(newest or PENDING) :]
        return [
            TailMessage(n + HEIGHT, message_id(n), instant(received(n)) or 0, digest(-n)[:32])
            for n in numbers
        ]


async def filled() -> Bench:
    bench = bench_of(ROUTE)
    for uid in range(1, PENDING + 1):
        await bench.store.claim(ROUTE.key, record(uid))
        if uid < PENDING:
            done = replace(record(uid), status=Status.DONE, dest_uid=uid, copied_at=1e9, expires_at=2**31)
            assert await bench.store.finish(ROUTE.key, done)
    mark = Watermark(7, COUNT, 1e9, dest_uidvalidity=2, dest_uidnext=PENDING)
    assert await bench.store.advance(ROUTE.key, mark, expected=None)
    return bench


@asynccontextmanager
async def at_most(octets: int) -> AsyncIterator[None]:
    """For each message."""
    await breathe(3)
    tracemalloc.start()
    try:
        yield
        assert tracemalloc.get_traced_memory()[1] < octets * COUNT
    finally:
        tracemalloc.stop()


async def test_a_copy_is_looked_for_in_a_folder_that_was_renumbered() -> None:
    bench = await filled()
    recovery = Recovery(bench.store, bench.gate, bench.clock, settle_window=90.0)
    recovery.serve([ROUTE])
    ref = MessageRef(ROUTE, 7, Listing(PENDING, 1, received(PENDING)))
    recovery.doubt(ref, record(PENDING), settle=True)
    async with at_most(1_000):
        (verdict,) = await recovery.look(LongFolder(bench.outlook))
    assert verdict.found is not None
    assert verdict.found.uid == PENDING + HEIGHT


async def test_a_folder_that_was_renumbered_is_vouched_for() -> None:
    bench = await filled()
    vouch = Vouch(bench.store, bench.gate)
    vouch.serve([ROUTE])
    async with at_most(500):
        await vouch.look(LongFolder(bench.outlook))
    vouch.check(ROUTE, record(PENDING))  # or else its own copy were a stranger's


async def test_a_source_that_was_renumbered_is_compared_with_what_was_copied() -> None:
    bench = await filled()
    box = bench.boxes[ROUTE]
    box.uidvalidity = 8
    for number in range(20):
        box.deliver(mail(number))
    async with at_most(450), bench.running():
        await bench.clock.advance(5)
    mark = await bench.store.watermark(ROUTE.key)
    assert mark is not None
    assert (mark.uidvalidity, mark.last_uid, mark.rescan_of) == (8, 20, (7,))
    assert bench.outlook.bodies(ROUTE.folder) == [mail(number) for number in range(20)]
