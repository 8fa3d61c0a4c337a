"""A rebuilt state store lets the daemon go on: nothing is copied twice, nothing is left out."""

from __future__ import annotations

from collections import Counter
from copy import deepcopy
from dataclasses import replace
from random import Random

import pytest
from fakes import FakeMailbox, FakeOutlook, VirtualClock, mail
from harness import Bench, a_route

from mailsyncd.errors import LeaseLost, RouteBlocked, StateUnavailable, Transient
from mailsyncd.flow.rebuild import TAIL_PAGE, Rebuild, Report, read_folder
from mailsyncd.model import START_ALL, START_NOW, Record, Route, Start, StartKind, Status
from mailsyncd.policy import instant
from mailsyncd.ports import Refused
from mailsyncd.state.memory import MemoryStore
from mailsyncd.status import WriterState

ANN, BEA = a_route(), a_route("bea@gmail.example")  # into the same folder
FOLDER = ANN.folder


def at(second: int) -> str:
    return f"14-Nov-2023 22:{second // 60 % 60:02d}:{second % 60:02d} +0000"


class World:
    """Mailboxes that outlive daemons and state stores."""

    def __init__(self, *routes: Route) -> None:
        self.clock = VirtualClock()
        self.outlook = FakeOutlook(self.clock)
        self.boxes = {route: FakeMailbox(self.clock) for route in routes}
        self.store = MemoryStore()

    def bench(self) -> Bench:
        return Bench(self.clock, self.outlook, dict(self.boxes), store=self.store)

    async def live(self, seconds: float = 5) -> Bench:
        bench = self.bench()
        async with bench.running():
            await self.clock.advance(seconds)
            assert bench.destination.status().state is WriterState.WRITING, bench.destination.status()
        return bench

    async def rebuild(
        self, *only: Route, epoch: int | None = 9, skip_missing: bool = False
    ) -> dict[Route, Report]:
        plans = [plan for plan in self.bench().plans() if not only or plan.route in only]
        others = [route for route in self.boxes if only and route not in only]
        async with self.outlook.session() as session:
            folder = await read_folder(session, FOLDER)
        require = None if epoch is None else lambda: epoch
        task = Rebuild(self.store, self.clock, require, skip_missing)
        reports = await task.rebuild(folder, plans, others)
        return {plan.route: report for plan, report in zip(plans, reports, strict=True)}

    def forget(self) -> None:
        self.store = MemoryStore()

    def is_exact(self) -> bool:
        sent = Counter(body for box in self.boxes.values() for body, _, _ in box.messages.values())
        return Counter(self.outlook.bodies(FOLDER)) == sent


async def world_of(count: int, *routes: Route) -> World:
    """So many messages of each route, all alike in pairs, copied."""
    world = World(*routes or (ANN,))
    for n in range(count):
        for box in world.boxes.values():
            box.deliver(mail(n // 2), when=at(n // 2))
    await world.live()
    assert world.is_exact()
    return world


@pytest.mark.parametrize("start", [START_ALL, START_NOW, Start(StartKind.DATE)])
async def test_after_an_emptied_store_nothing_is_doubled_and_nothing_lost(start: Start) -> None:
    world = await world_of(8)
    route = a_route(start=start)
    box = world.boxes.pop(ANN)
    world.boxes = {route: box}
    world.forget()
    for n in range(50, 53):
        box.deliver(mail(n), when=at(n))
    report = (await world.rebuild())[route]
    assert (report.source, report.known, report.found, report.written, report.left, report.extra) == (
        *(11, 0, 8, 8, 3),
        0,
    )
    await world.live()
    assert world.is_exact()
    assert (await world.store.counts(route.key)).done == 11


async def test_a_route_that_started_with_the_next_message_starts_at_its_first_copy() -> None:
    route = a_route(start=START_NOW)
    world = World(route)
    box = world.boxes[route]
    for n in range(5):
        box.deliver(mail(n), when=at(n))
    await world.live()
    for n in range(5, 8):
        box.deliver(mail(n), when=at(n))
    await world.live()
    world.forget()
    box.deliver(mail(8), when=at(8))
    report = (await world.rebuild())[route]
    assert (report.found, report.left) == (3, 1)
    await world.live()
    assert world.outlook.bodies(FOLDER) == [mail(n) for n in range(5, 9)]


async def test_after_a_store_restored_to_earlier_nothing_is_doubled_and_nothing_lost() -> None:
    world = await world_of(4)
    box = world.boxes[ANN]
    yesterday = deepcopy(world.store)
    for n in range(50, 55):
        box.deliver(mail(n), when=at(n))
    await world.live()
    world.store = yesterday
    box.deliver(mail(60), when=at(60))
    report = (await world.rebuild())[ANN]
    assert (report.source, report.known, report.found, report.left) == (6, 0, 5, 1)
    await world.live()
    assert world.is_exact()


async def test_what_the_watermark_has_passed_stays_settled() -> None:
    """Copies that a user has thrown away meanwhile don't come back."""
    world = await world_of(4)
    del world.outlook.folders[FOLDER][0]
    yesterday = deepcopy(world.store)
    world.boxes[ANN].deliver(mail(50), when=at(50))
    await world.live()
    world.store = yesterday
    await world.rebuild()
    await world.live()
    assert world.outlook.bodies(FOLDER) == [mail(0), mail(1), mail(1), mail(50)]


async def test_missing_copies_are_left_to_copy_or_skipped_as_asked() -> None:
    world = await world_of(6)
    del world.outlook.folders[FOLDER][2:4]
    world.forget()
    report = (await world.rebuild(skip_missing=True))[ANN]
    assert (report.found, report.left, report.skipped) == (4, 0, 2)
    await world.live()
    assert len(world.outlook.bodies(FOLDER)) == 4
    world.forget()
    report = (await world.rebuild())[ANN]
    assert (report.found, report.left, report.skipped) == (4, 2, 0)
    mark = await world.store.watermark(ANN.key)
    assert mark is not None
    assert mark.last_uid == 2
    await world.live()
    assert world.is_exact()


async def test_two_routes_with_the_same_mail_are_paired_by_their_own_dates() -> None:
    world = World(ANN, BEA)
    for n in range(6):
        world.boxes[ANN].deliver(mail(n), when=at(n))
        world.boxes[BEA].deliver(mail(n), when=at(n + 30))
    await world.live()
    copies = world.outlook.folders[FOLDER]
    del copies[next(n for n, copy in enumerate(copies) if copy.when == at(33))]
    world.forget()
    reports = await world.rebuild()
    assert (reports[ANN].left, reports[BEA].left) == (0, 1)
    await world.live()
    assert world.is_exact()


async def test_a_route_alone_is_rebuilt_and_the_others_stay_suspect() -> None:
    world = await world_of(4, ANN, BEA)
    world.forget()
    await world.rebuild(ANN)
    mark = await world.store.watermark(ANN.key)
    assert mark is not None
    assert mark.dest_uidnext is None
    bench = world.bench()
    async with bench.running():
        await world.clock.advance(5)
        assert bench.destination.status().state is WriterState.BLOCKED
    assert (await world.rebuild(BEA))[BEA].found == 4
    await world.live()
    assert world.is_exact()


async def test_a_route_whose_source_cannot_be_had_says_so_and_stays_suspect() -> None:
    world = await world_of(4, ANN, BEA)
    world.forget()
    world.boxes[BEA].fail_connect = [RouteBlocked("consent revoked")]
    reports = await world.rebuild()
    assert (reports[ANN].written, reports[BEA].error) == (4, "consent revoked")
    bench = world.bench()
    async with bench.running():
        await world.clock.advance(5)
        assert bench.destination.status().state is WriterState.BLOCKED
    await world.rebuild()
    await world.live()
    assert world.is_exact()


@pytest.mark.parametrize("seed", range(6))
async def test_cut_short_anywhere_and_repeated_it_comes_to_the_same(seed: int) -> None:
    world = await world_of(10, ANN, BEA)
    world.forget()
    for box in world.boxes.values():
        box.deliver(mail(99), when=at(99))
    rng = Random(seed)
    for _ in range(3):
        good = world.store
        world.store = Dying(good, rng.randrange(1, 45))
        with pytest.raises(StateUnavailable):
            await world.rebuild()
        world.store = good
        bench = world.bench()
        async with bench.running():
            await world.clock.advance(5)
            assert bench.destination.status().state is WriterState.BLOCKED
        assert len(world.outlook.bodies(FOLDER)) == 20
    await world.rebuild()
    await world.live()
    assert world.is_exact()


class Dying(MemoryStore):
    """A store that takes so many writes and then no more."""

    def __init__(self, good: MemoryStore, writes: int) -> None:
        super().__init__()
        self._table = good.table
        self._left = writes

    def _count(self) -> None:
        self._left -= 1
        if self._left < 0:
            raise StateUnavailable("gone")

    async def claim(self, route: str, record: Record) -> Refused | None:
        self._count()
        return await super().claim(route, record)

    async def finish(self, route: str, record: Record, events: object = ()) -> bool:
        self._count()
        return await super().finish(route, record)

    async def advance(self, route: str, new: object, *, expected: object) -> bool:
        raise StateUnavailable("gone")


async def test_what_stood_pending_is_done_when_its_copy_is_there_and_recoverys_when_not() -> None:
    world = await world_of(2)
    box = world.boxes[ANN]
    box.deliver(mail(7), when=at(7))
    await world.live()
    there = (await world.store.records(ANN.key, 7, 2))[0]
    uid = box.deliver(mail(8), when=at(8))
    lost = replace(there, uid=uid, status=Status.PENDING, message_id="<8@example.net>", internaldate=at(8))
    world.store.table.items.pop((ANN.key, f"UID#{7:010d}#{3:010d}"))
    mark = await world.store.watermark(ANN.key)
    assert mark is not None
    await world.store.advance(ANN.key, replace(mark, last_uid=2), expected=mark)
    pending = replace(there, status=Status.PENDING, dest_uid=None, expires_at=None)
    for one in (pending, lost):
        assert await world.store.claim(ANN.key, one) is None
    report = (await world.rebuild(skip_missing=True))[ANN]
    assert (report.found, report.written, report.left) == (1, 1, 1)
    assert [one.uid for one in await world.store.pending(ANN.key)] == [uid]
    mark = await world.store.watermark(ANN.key)
    assert mark is not None
    assert mark.last_uid == 3
    await world.live(200)
    assert world.is_exact()


async def test_a_message_that_was_set_aside_is_settled() -> None:
    world = await world_of(2)
    uid = world.boxes[ANN].deliver(mail(5, size=20_000), when=at(5))  # too large
    await world.live()
    assert len(await world.store.failures(ANN.key)) == 1
    del world.store.table.items[ANN.key, "WATERMARK"]
    report = (await world.rebuild())[ANN]
    assert (report.source, report.known, report.left) == (3, 3, 0)
    mark = await world.store.watermark(ANN.key)
    assert mark is not None
    assert mark.last_uid == uid


async def test_copies_that_are_there_twice_are_counted_and_strangers_are_not() -> None:
    world = await world_of(4)
    world.outlook.store(FOLDER, mail(0), at(0))
    world.outlook.store(FOLDER, mail(70), at(70))
    world.forget()
    assert (await world.rebuild())[ANN].extra == 1


async def test_a_dry_run_counts_the_same_and_writes_nothing() -> None:
    world = await world_of(6)
    del world.outlook.folders[FOLDER][0]
    world.forget()
    report = (await world.rebuild(epoch=None))[ANN]
    assert (report.found, report.written, report.left) == (5, 5, 1)
    assert world.store.table.items == {}


async def test_done_twice_the_second_finds_nothing_to_do() -> None:
    world = await world_of(6)
    world.forget()
    await world.rebuild()
    before = deepcopy(world.store.table.items)
    report = (await world.rebuild())[ANN]
    assert (report.source, report.written, report.left) == (0, 0, 0)
    assert before.keys() == world.store.table.items.keys()


async def test_a_message_with_gmails_id_that_comes_back_later_is_not_copied_again() -> None:
    world = World(ANN)
    world.boxes[ANN].deliver(mail(1), when=at(1), gm_msgid="77")
    await world.live()
    world.forget()
    await world.rebuild()
    world.boxes[ANN].messages.clear()
    world.boxes[ANN].deliver(mail(1), when=at(1), gm_msgid="77")
    await world.live()
    assert len(world.outlook.bodies(FOLDER)) == 1


async def test_a_rebuilt_record_still_tells_a_twin_after_the_source_is_renumbered() -> None:
    world = await world_of(4)
    world.forget()
    await world.rebuild()
    box = world.boxes[ANN]
    old = dict(box.messages)
    box.uidvalidity, box.messages, box.uidnext = 8, {}, 100
    for body, when, _ in old.values():
        box.deliver(body, when=when)
    box.deliver(mail(9), when=at(9))
    await world.live()
    assert world.is_exact()


async def test_a_source_renumbered_since_the_backup_is_searched_by_its_window() -> None:
    world = await world_of(2)
    box = world.boxes[ANN]
    yesterday = deepcopy(world.store)
    box.deliver(mail(50), when=at(50))
    await world.live()
    box.uidvalidity, box.messages, box.uidnext = 8, {}, 100
    for body, when in ((mail(0), at(0)), (mail(0), at(0)), (mail(50), at(50)), (mail(51), at(51))):
        box.deliver(body, when=when)
    box.deliver(mail(60), when="14-Nov-2021 00:00:00 +0000")  # before the window: not wanted
    world.store = yesterday
    report = (await world.rebuild())[ANN]
    assert (report.found, report.left) == (1, 3)  # two of the three are then skipped as twins
    await world.live()
    assert Counter(world.outlook.bodies(FOLDER)) == Counter([mail(0), mail(0), mail(50), mail(51)])


async def test_without_appenduid_too() -> None:
    world = World(ANN)
    world.outlook.has_uidplus = False
    for n in range(8):
        world.boxes[ANN].deliver(mail(n // 2), when=at(n // 2))
    await world.live()
    yesterday = deepcopy(world.store)
    for n in range(20, 24):
        world.boxes[ANN].deliver(mail(n // 2), when=at(n // 2))
    await world.live()
    world.store = yesterday
    assert (await world.rebuild())[ANN].found == 4
    await world.live()
    assert world.is_exact()


async def test_a_folder_with_wide_gaps_is_read_in_pages() -> None:
    world = World(ANN)
    wanted = []
    for uid in (1, TAIL_PAGE, TAIL_PAGE + 1, 5 * TAIL_PAGE):
        world.outlook.uidnext[FOLDER] = uid
        wanted.append(world.outlook.store(FOLDER, mail(uid), at(1)))
    async with world.outlook.session() as session:
        folder = await read_folder(session, FOLDER)
    assert [seen.uid for seen in folder.tail] == wanted
    assert folder.tail[0].received_at == instant(at(1))


async def test_another_daemon_in_between_ends_it() -> None:
    world = await world_of(2)
    world.forget()

    def lost() -> int:
        raise LeaseLost("gone")

    async with world.outlook.session() as session:
        folder = await read_folder(session, FOLDER)
    with pytest.raises(LeaseLost):
        await Rebuild(world.store, world.clock, lost).rebuild(folder, world.bench().plans(), [])
    assert world.store.table.items == {}


async def test_a_connection_lost_half_way_is_told_and_leaves_the_route_suspect() -> None:
    world = await world_of(2)
    world.forget()
    connections = iter([None, Transient("reset by peer")])
    box = world.boxes[ANN]
    session = box.session

    def flaky() -> object:
        if error := next(connections):
            box.fail_connect = [error]
        return session()

    box.session = flaky  # type: ignore[method-assign, assignment]
    assert (await world.rebuild())[ANN].error == "reset by peer"
    assert await world.store.watermark(ANN.key) is None
