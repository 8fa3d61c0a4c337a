"""A state store that was emptied or restored to earlier is noticed before anything is copied again."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from copy import deepcopy
from dataclasses import replace

import pytest
from fakes import FakeMailbox, FakeOutlook, VirtualClock, breathe, mail
from harness import Bench, a_route

from mailsyncd.errors import RouteBlocked, StateForgot
from mailsyncd.model import START_ALL, START_NOW, Route, Status
from mailsyncd.policy import verdict
from mailsyncd.state.memory import MemoryStore
from mailsyncd.status import Health, WriterState

ROUTE = a_route()
BEA = a_route("bea@gmail.example")  # into the same folder
FOLDER = ROUTE.folder


def at(second: int) -> str:
    return f"17-Jul-2026 09:40:{second:02d} +0000"


class World:
    """Mailboxes that outlive daemons and state stores."""

    def __init__(self, *routes: Route) -> None:
        self.clock = VirtualClock()
        self.outlook = FakeOutlook(self.clock)
        self.boxes = {route: FakeMailbox(self.clock) for route in routes}
        self.store = MemoryStore()

    def bench(self) -> Bench:
        return Bench(self.clock, self.outlook, dict(self.boxes), store=self.store)

    @asynccontextmanager
    async def life(self, seconds: float = 3) -> AsyncIterator[Bench]:
        """A daemon's, with so much time gone by."""
        bench = self.bench()
        async with bench.running():
            await self.clock.advance(seconds)
            yield bench

    def backup(self) -> MemoryStore:
        return deepcopy(self.store)

    def copies(self) -> list[bytes]:
        return sorted(self.outlook.bodies(FOLDER))


async def settled_world(count: int, *routes: Route) -> World:
    """So many messages of each route, copied; the daemon has gone."""
    world = World(*routes or (ROUTE,))
    for n in range(count):
        for box in world.boxes.values():
            box.deliver(mail(n), when=at(n % 60))
    async with world.life():
        pass
    return world


def is_blocked(bench: Bench) -> bool:
    status = bench.destination.status()
    return status.state is WriterState.BLOCKED and "mailsyncd state rebuild" in status.detail


# ------------------------------------------------------------------ what it is for


@pytest.mark.parametrize("start", [START_ALL, START_NOW])
async def test_an_emptied_store_is_noticed_and_nothing_is_stored_or_copied(start: object) -> None:
    world = await settled_world(5, ROUTE)
    world.boxes[ROUTE].deliver(mail(5), when=at(5))
    route = a_route(start=start)
    world.boxes = {route: world.boxes[ROUTE]}
    world.store = MemoryStore()
    async with world.life() as bench:
        assert is_blocked(bench)
        assert verdict(False, [], [bench.destination.status()]) is Health.FAILING
    assert len(world.copies()) == 5
    assert await world.store.watermark(route.key) is None


async def test_a_store_restored_to_earlier_is_noticed_and_nothing_is_copied_again() -> None:
    world = await settled_world(3)
    yesterday = world.backup()
    for n in range(3, 10):
        world.boxes[ROUTE].deliver(mail(n), when=at(n))
    async with world.life():
        pass
    world.store = yesterday
    world.boxes[ROUTE].deliver(mail(10), when=at(10))
    before = await yesterday.watermark(ROUTE.key)
    async with world.life(600) as bench:
        assert is_blocked(bench)
    assert len(world.copies()) == 10
    assert await yesterday.watermark(ROUTE.key) == before


async def test_a_store_restored_under_a_running_daemon_is_noticed() -> None:
    world = await settled_world(3)
    yesterday = world.backup()
    async with world.life() as bench:
        for n in range(3, 6):
            world.boxes[ROUTE].deliver(mail(n), when=at(n))
        await world.clock.advance(3)
        assert len(world.copies()) == 6
        world.store.table.items.clear()
        world.store.table.items.update(yesterday.table.items)
        await world.clock.advance(100)
        assert is_blocked(bench)
    assert len(world.copies()) == 6


async def test_of_thousands_copied_since_the_backup_none_is_copied_again() -> None:
    world = await settled_world(1)
    yesterday = world.backup()
    for n in range(1, 3000):
        world.boxes[ROUTE].deliver(mail(n), when=at(n % 60))
    async with world.life(60):
        pass
    world.store = yesterday
    async with world.life(60) as bench:
        assert is_blocked(bench)
    assert len(world.copies()) == 3000


async def test_a_message_that_comes_back_to_the_inbox_later_is_not_copied_again() -> None:
    world = await settled_world(1)
    yesterday = world.backup()
    world.boxes[ROUTE].deliver(mail(1), when=at(1), gm_msgid="77")
    async with world.life():
        pass
    world.store = yesterday
    del world.boxes[ROUTE].messages[2]
    async with world.life() as bench:
        assert not is_blocked(bench)
        world.boxes[ROUTE].deliver(mail(1), when=at(1), gm_msgid="77")
        await world.clock.advance(3)
        assert is_blocked(bench)
    assert len(world.copies()) == 2
    assert (await yesterday.counts(ROUTE.key)).pending == 0


async def test_a_destination_that_rewrote_the_dates_is_recognised_all_the_same() -> None:
    world = await settled_world(1)
    yesterday = world.backup()
    world.boxes[ROUTE].deliver(mail(1), when=at(1))
    async with world.life():
        pass
    for copy in world.outlook.folders[FOLDER]:
        copy.when = "18-Jul-2026 00:00:00 +0000"
    world.store = yesterday
    async with world.life() as bench:
        assert is_blocked(bench)
    assert len(world.copies()) == 2


async def test_a_store_that_forgot_and_a_folder_that_was_renumbered_is_noticed() -> None:
    world = await settled_world(2)
    yesterday = world.backup()
    world.boxes[ROUTE].deliver(mail(2), when=at(2))
    async with world.life():
        pass
    world.store, world.outlook.uidvalidity = yesterday, 4
    async with world.life() as bench:
        assert is_blocked(bench)
    assert len(world.copies()) == 3


async def test_without_appenduid_a_forgetful_store_is_noticed_and_a_good_one_is_not_suspected() -> None:
    world = World(ROUTE)
    world.outlook.has_uidplus = False
    yesterday = world.backup()
    for lives in range(3):
        world.boxes[ROUTE].deliver(mail(lives), when=at(lives))
        world.boxes[ROUTE].deliver(mail(lives), when=at(lives))  # twins are told apart by counting
        async with world.life() as bench:
            assert not is_blocked(bench)
        if lives == 1:
            yesterday = world.backup()
    assert len(world.copies()) == 6
    world.store = yesterday
    async with world.life() as bench:
        assert is_blocked(bench)
    assert len(world.copies()) == 6


async def test_records_without_a_watermark_are_a_rebuild_that_was_cut_short() -> None:
    world = await settled_world(2)
    del world.store.table.items[ROUTE.key, "WATERMARK"]
    world.outlook.folders.clear()
    async with world.life() as bench:
        assert is_blocked(bench)
    assert world.copies() == []


async def test_while_one_route_has_not_been_compared_no_other_vouches_for_the_folder() -> None:
    """Else a restart would find the folder's numbers noted, and what the one had copied unsuspicious."""
    world = await settled_world(3, BEA)
    world.boxes[ROUTE] = FakeMailbox(world.clock)
    world.store = MemoryStore()
    world.boxes[ROUTE].deliver(mail(99))
    world.boxes[BEA].fail_connect = [RouteBlocked("consent revoked")] * 9
    async with world.life():
        assert mail(99) in world.copies()
    world.boxes[BEA].fail_connect = []
    async with world.life() as bench:
        assert is_blocked(bench)
    assert len(world.copies()) == 4


# -------------------------------------------------------------- what comes after


async def test_the_lease_is_given_up_and_another_look_taken_when_asked_or_in_time() -> None:
    world = await settled_world(3)
    good, world.store = world.store, MemoryStore()
    async with world.life() as bench:
        lease = await world.store.lease("me@outlook.example")
        assert lease is not None
        assert lease.owner == ""
        world.store.table.items.update(good.table.items)
        bench.destination.look_again()
        await world.clock.advance(3)
        assert bench.destination.status().state is WriterState.WRITING
    world.store = MemoryStore()
    async with world.life() as bench:
        assert is_blocked(bench)
        world.store.table.items.update(good.table.items)
        await world.clock.advance(200)
        assert is_blocked(bench)
        await world.clock.advance(110)
        assert bench.destination.status().state is WriterState.WRITING
    assert len(world.copies()) == 3


async def test_a_rebuild_that_has_held_the_lease_meanwhile_is_gone_on_from_at_once() -> None:
    world = await settled_world(3)
    good, world.store = world.store, MemoryStore()
    async with world.life() as bench:
        assert is_blocked(bench)
        await world.clock.advance(10)
        given_up = await world.store.lease("me@outlook.example")
        assert given_up is not None
        held = replace(given_up, owner="rebuild", epoch=given_up.epoch + 1, beat=1)
        assert await world.store.put_lease("me@outlook.example", held, expected=given_up)
        world.store.table.items.update(
            {key: item for key, item in good.table.items.items() if key[0] == ROUTE.key}
        )
        after = replace(held, owner="", beat=2)
        assert await world.store.put_lease("me@outlook.example", after, expected=held)
        bench.destination.look_again()
        await world.clock.advance(5)
        assert bench.destination.status().state is WriterState.WRITING
    assert len(world.copies()) == 3


async def test_a_blocked_destination_stops_when_told_to() -> None:
    world = await settled_world(3)
    world.store = MemoryStore()
    bench = world.bench()
    async with bench.running() as task:
        await world.clock.advance(3)
        assert is_blocked(bench)
        bench.destination.stop()
        await breathe()
        assert task.done()
        task.result()


async def test_run_once_says_what_is_wrong() -> None:
    world = await settled_world(3)
    world.store = MemoryStore()
    with pytest.raises(StateForgot, match=r"Gmail/ann.*mailsyncd state rebuild"):
        await world.bench().destination.run_once()
    assert len(world.copies()) == 3


# ------------------------------------------------------------ what must not trip it


async def test_a_first_start_into_an_empty_or_a_strange_folder_is_none_of_it() -> None:
    world = World(ROUTE)
    for n in range(3):
        world.boxes[ROUTE].deliver(mail(n), when=at(n))
        world.outlook.store(FOLDER, mail(n + 50), at(n))
    async with world.life() as bench:
        assert not is_blocked(bench)
    assert len(world.copies()) == 6


async def test_mail_that_a_user_dragged_in_is_none_of_it() -> None:
    world = await settled_world(3)
    for n in range(5):
        world.outlook.store(FOLDER, mail(n + 50), at(n))
    for n in range(3, 6):
        world.boxes[ROUTE].deliver(mail(n), when=at(n))
    async with world.life() as bench:
        assert not is_blocked(bench)
    assert len(world.copies()) == 11


async def test_a_second_account_with_the_same_mail_is_none_of_it() -> None:
    """Its INTERNALDATEs are its own; where they agree, the other's records explain the copies."""
    world = await settled_world(5)
    box = world.boxes[BEA] = FakeMailbox(world.clock)
    for n in range(5):
        box.deliver(mail(n), when=at(n + 30 if n % 2 else n))
    async with world.life() as bench:
        assert not is_blocked(bench)
    assert len(world.copies()) == 10


async def test_a_second_account_is_not_suspected_where_the_first_ones_records_are_gone() -> None:
    """An expired record's copy lies below the UIDNEXT that the first account's watermark notes."""
    world = await settled_world(3)
    for key in [key for key in world.store.table.items if key[1].startswith("UID#")]:
        del world.store.table.items[key]
    box = world.boxes[BEA] = FakeMailbox(world.clock)
    box.deliver(mail(1), when=at(1))
    async with world.life() as bench:
        assert not is_blocked(bench)
    assert len(world.copies()) == 4


async def test_a_crash_between_finish_and_watermark_is_none_of_it() -> None:
    world = World(ROUTE)
    for n in range(3):
        world.boxes[ROUTE].deliver(mail(n), when=at(n))
    bench = world.bench()
    async with bench.running() as task:
        while len(world.copies()) < 3:
            await breathe(1)
        await breathe()
        await bench.die(task)
    watermark = await world.store.watermark(ROUTE.key)
    assert watermark is not None
    assert watermark.last_uid == 0
    bench = replace(world.bench(), gone=frozenset({"one"}))
    async with bench.running():
        await world.clock.advance(3)
        assert not is_blocked(bench)
    assert len(world.copies()) == 3


async def test_a_crash_in_the_middle_of_an_append_is_recoverys() -> None:
    world = World(ROUTE)
    world.boxes[ROUTE].deliver(mail(0), when=at(0))
    bench = world.bench()
    world.store.finish = None  # type: ignore[assignment, method-assign]
    async with bench.running() as task:
        while len(world.copies()) < 1:
            await breathe(1)
        await bench.die(task)
    del world.store.finish
    assert [one.status for one in await world.store.pending(ROUTE.key)] == [Status.PENDING]
    bench = replace(world.bench(), gone=frozenset({"one"}))
    async with bench.running():
        await world.clock.advance(3)
        assert not is_blocked(bench)
    assert len(world.copies()) == 1
    assert (await world.store.counts(ROUTE.key)).done == 1


async def test_a_folder_made_anew_and_one_that_was_deleted_are_none_of_it() -> None:
    world = await settled_world(3)
    world.outlook.folders, world.outlook.uidnext, world.outlook.uidvalidity = {}, {}, 9
    world.boxes[ROUTE].deliver(mail(3), when=at(3))
    async with world.life() as bench:
        assert not is_blocked(bench)
    assert world.copies() == [mail(3)]


async def test_both_sides_renumbered_at_once_are_none_of_it() -> None:
    world = World(ROUTE)
    when = "14-Nov-2023 22:13:00 +0000"
    for n in range(3):
        world.boxes[ROUTE].deliver(mail(n), when=when)
    async with world.life():
        pass
    world.outlook.uidvalidity, world.boxes[ROUTE].uidvalidity = 9, 8
    async with world.life() as bench:
        assert not is_blocked(bench)
    assert len(world.copies()) == 3


async def test_a_store_of_before_folders_were_noted_is_believed() -> None:
    world = await settled_world(3)
    for item in world.store.table.items.values():
        if "last_uid" in item:
            del item["dest_uidvalidity"], item["dest_uidnext"]
    world.boxes[ROUTE].deliver(mail(3), when=at(3))
    async with world.life() as bench:
        assert not is_blocked(bench)
    assert len(world.copies()) == 4


async def test_in_ordinary_life_a_restart_does_not_read_the_folder() -> None:
    world = await settled_world(3)
    world.boxes[ROUTE].deliver(mail(3), when=at(3))
    async with world.life():
        pass
    assert len(world.copies()) == 4
    assert world.outlook.tails == 0
