"""A route is begun anew, by a reload or by a change of UIDVALIDITY, while its messages are under way: they
are settled all the same, and the watermark follows."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from fakes import breathe, mail
from harness import Bench, a_route, bench_of
from turmoil.destination import Reply
from turmoil.world import ANN, World

from mailsyncd.errors import ConnectionLost, Sent
from mailsyncd.flow.preflight import Preflight
from mailsyncd.flow.queue import RefQueue
from mailsyncd.flow.read import Reader
from mailsyncd.flow.ready import ReadyQueue, Setback
from mailsyncd.model import Failure, Lane, Listing, Message, MessageRef, Via
from mailsyncd.tasks import first_of

ROUTE = a_route()


async def last_uid(bench: Bench) -> int | None:
    mark = await bench.store.watermark(ROUTE.key)
    return mark.last_uid if mark else None


async def test_a_route_that_is_removed_and_back_in_one_breath_goes_on() -> None:
    bench = bench_of(ROUTE)
    bench.outlook.hold = asyncio.Event()
    bench.boxes[ROUTE].deliver(mail(1))
    async with bench.running():
        await bench.clock.advance(1)
        bench.routes.reconcile([])
        bench.routes.reconcile(bench.plans())
        bench.outlook.hold.set()
        await bench.clock.advance(5)
        bench.boxes[ROUTE].deliver(mail(2))
        await bench.clock.advance(5)
        assert await last_uid(bench) == 2
    assert bench.outlook.bodies(ROUTE.folder) == [mail(1), mail(2)]


async def test_what_is_settled_while_a_restarted_route_reads_its_records_is_settled() -> None:
    bench = bench_of(ROUTE)
    bench.outlook.hold = asyncio.Event()
    bench.boxes[ROUTE].deliver(mail(1))
    failures, answer = bench.store.failures, asyncio.Event()

    async def slow_failures(route: str) -> list[Failure]:
        await answer.wait()
        return await failures(route)

    async with bench.running():
        await bench.clock.advance(1)
        assert bench.outlook.in_flight == 1
        bench.store.failures = slow_failures  # type: ignore[method-assign]
        bench.routes.reconcile([replace(one, identity="new") for one in bench.plans()])
        await bench.clock.advance(1)  # it has the record as PENDING
        bench.outlook.hold.set()
        await bench.clock.advance(1)
        answer.set()
        await bench.clock.advance(5)
        assert await last_uid(bench) == 1
    assert bench.outlook.bodies(ROUTE.folder) == [mail(1)]


async def test_one_number_of_two_numberings_is_two_messages() -> None:
    """What is PENDING from before the change, and the message that has its number now."""
    bench = bench_of(ROUTE)
    box = bench.boxes[ROUTE]
    uid = box.deliver(mail(1))
    refs = [
        MessageRef(ROUTE, uidvalidity, Listing(uid, 80, ""), Lane.LIVE, Via.START, 0.0)
        for uidvalidity in (box.uidvalidity, box.uidvalidity - 1)
    ]
    queue, ready = RefQueue(10), ReadyQueue(10_000)
    queue.put_back(refs)
    async with box.session() as session:
        allowance = bench.allowance(ROUTE.gmail)
        reader = Reader(session, ROUTE.key, queue, ready, Preflight(), allowance, bench.clock, breathe)
        await first_of(reader.run(), breathe())
    items = [ready.get().item for _ in range(len(ready))]
    assert {(type(one), one.ref.uidvalidity) for one in items} == {(Setback, 6), (Message, 7)}


def test_what_was_in_doubt_when_its_route_was_removed_is_copied_once_when_it_is_back() -> None:
    world = World(ANN)
    try:
        daemon = world.start()
        world.run(asyncio.sleep(1))
        world.destination.replies.append(Reply(stored=False, silent=True))
        world.deliver(ANN, mail(1))
        world.run(asyncio.sleep(70))  # it is in doubt
        world.reload(daemon, without=ANN)
        world.run(asyncio.sleep(120))  # recovery has found that it may be appended again
        world.reload(daemon)
        world.run(asyncio.sleep(10))
        assert world.destination.ever.total() == 1
        assert daemon.bench.destination.status().epoch == 1
        world.settle()
    finally:
        world.close()


async def test_what_came_back_unsent_after_its_route_was_removed_is_copied_once_when_it_is_back() -> None:
    bench = bench_of(ROUTE)
    outlook, losses = bench.outlook, [ConnectionLost("cut", Sent.NOTHING)]
    outlook.before = lambda body: losses.pop() if losses else None
    outlook.hold = asyncio.Event()
    bench.boxes[ROUTE].deliver(mail(1))
    async with bench.running():
        await bench.clock.advance(1)
        bench.routes.reconcile([])
        await bench.clock.advance(0.1)
        outlook.fail_connect = [ConnectionLost("not now")]
        outlook.hold.set()
        await bench.clock.advance(0.1)
        bench.routes.reconcile(bench.plans())
        await bench.clock.advance(30)
        assert outlook.appends == 2
        assert bench.destination.status().epoch == 1
    assert outlook.bodies(ROUTE.folder) == [mail(1)]
