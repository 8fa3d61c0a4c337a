"""With a full window in flight a cut leaves as many messages in doubt: one look settles them all."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from fakes import LIMITS, mail
from harness import a_route, bench_of

from mailsyncd.errors import ConnectionLost, Sent
from mailsyncd.model import Status

ROUTE, FOLDER, MANY = a_route(), "Gmail/ann", 32


async def test_all_that_were_in_flight_are_settled_by_one_look_and_copied_once() -> None:
    bench = bench_of(ROUTE)
    outlook, box = bench.outlook, bench.boxes[ROUTE]
    outlook.limits = replace(LIMITS, window=MANY)
    first = [mail(n) for n in range(100)]
    doubtful = [mail(n) for n in range(100, 100 + MANY)]
    stored, lost = set(doubtful[::2]), set(doubtful[1::2])
    for body in first:
        box.deliver(body)
    async with bench.running():
        await bench.clock.advance(5)
        outlook.hold = asyncio.Event()
        for body in doubtful:
            box.deliver(body)
        await bench.clock.advance(2)
        assert outlook.in_flight == MANY
        cut = ConnectionLost("cut", Sent.EVERYTHING)
        outlook.before = lambda body: cut if body in lost else None
        outlook.after = lambda body: cut if body in stored else None
        outlook.hold.set()
        await bench.clock.advance(0.1)
        outlook.before = outlook.after = lambda body: None
        await bench.clock.advance(30)
        assert (outlook.tails, outlook.appends) == (1, 100 + MANY)
        known = await bench.store.records(ROUTE.key, 7)
        assert {one.uid for one in known if one.status is Status.PENDING} == set(range(102, 102 + MANY, 2))
        await bench.clock.advance(90)
    assert (outlook.tails, outlook.appends) == (2, 100 + MANY + len(lost))
    assert sorted(outlook.bodies(FOLDER)) == sorted(first + doubtful)
