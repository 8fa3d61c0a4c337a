"""The queue of references: each is in it once, the capacity holds, and the lanes take turns."""

from __future__ import annotations

import asyncio

from harness import a_route

from mailsyncd.flow.queue import RESERVED, RefQueue
from mailsyncd.model import Lane, Listing, MessageRef, Via

ROUTE = a_route()


def ref(uid: int, lane: Lane = Lane.OLD) -> MessageRef:
    return MessageRef(ROUTE, 7, Listing(uid, 100, "", None), lane, Via.SWEEP, 0.0)


async def taken(queue: RefQueue) -> list[int]:
    uids: list[int] = []
    while len(queue):
        uids += [one.listing.uid for one in await queue.take(ROUTE.key, count=1, size=1)]
    return uids


async def test_what_is_queued_already_is_not_queued_again() -> None:
    queue = RefQueue(10)
    assert [await queue.put(ref(uid)) for uid in (1, 2, 1)] == [True, True, False]
    assert await queue.put(ref(2, Lane.LIVE)) is False
    queue.put_back([ref(1)])
    assert len(queue) == 2
    assert await taken(queue) == [1, 2]
    assert await queue.put(ref(1)) is True


async def test_beyond_the_capacity_a_lane_has_its_reserved_places_and_no_more() -> None:
    queue = RefQueue(1)
    for uid in range(RESERVED):
        await queue.put(ref(uid))
    waits = asyncio.ensure_future(queue.put(ref(99)))
    assert await asyncio.wait_for(queue.put(ref(100, Lane.LIVE)), 1)
    await asyncio.sleep(0)
    assert not waits.done()
    for _ in Lane:
        await queue.take(ROUTE.key, count=RESERVED, size=100 * RESERVED)
    assert await asyncio.wait_for(waits, 1)


async def test_new_mail_and_old_take_turns_and_what_comes_back_is_first() -> None:
    queue = RefQueue(100)
    for uid in (1, 2, 3):
        await queue.put(ref(uid))
    for uid in (11, 12):
        await queue.put(ref(uid, Lane.LIVE))
    first = await queue.take(ROUTE.key, count=1, size=1)
    queue.put_back(first)
    assert sorted(await taken(queue)) == [1, 2, 3, 11, 12]
    assert [one.listing.uid for one in first] == [11]


async def test_a_closed_queue_keeps_nobody_waiting() -> None:
    queue = RefQueue(10)
    waits = asyncio.ensure_future(queue.take(ROUTE.key, count=1, size=1))
    await asyncio.sleep(0)
    queue.close()
    assert await asyncio.wait_for(waits, 1) == []
    assert await queue.put(ref(1)) is False
