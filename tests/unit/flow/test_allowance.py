"""An initial copy stays under the daily download budget; live mail never waits for it."""

from __future__ import annotations

import asyncio
from random import Random

import pytest
from fakes import FakeMailbox, VirtualClock, mail
from harness import Bench, a_route, bench_of

from mailsyncd.errors import StateUnavailable, Throttled
from mailsyncd.flow import destination
from mailsyncd.flow.allowance import Allowance
from mailsyncd.flow.gate import Gate
from mailsyncd.flow.pull import AT_ONCE
from mailsyncd.model import Traffic
from mailsyncd.state.memory import MemoryStore
from mailsyncd.status import RouteState

ROUTE = a_route()
HOUR, DAY = 3600.0, 86_400.0
SIZE = 1_000
OLD = AT_ONCE + 100  # messages: a backlog
TO_MIDNIGHT = DAY - VirtualClock().now() % DAY
BATCH = 50 * SIZE  # that may be on its way when the budget is spent


@pytest.fixture(autouse=True)
def slow_tick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hours go by here: let the writer look at its watermarks less often than every second."""
    monkeypatch.setattr(destination, "TICK", 30.0)


def a_bench(*routes: object, budget: int, **fields: object) -> Bench:
    return bench_of(*(routes or (ROUTE,)), download_budget=budget, life=600.0, **fields)  # type: ignore[arg-type]


def backlog(box: FakeMailbox, first: int = 0, count: int = OLD) -> list[bytes]:
    bodies = [mail(n, size=SIZE) for n in range(first, first + count)]
    for body in bodies:
        box.deliver(body, when="01-Nov-2023 09:40:08 +0000")
    return bodies


def reborn(bench: Bench, owner: str = "one") -> Bench:
    """The next daemon, on the same state and mailboxes."""
    return Bench(
        bench.clock,
        bench.outlook,
        bench.boxes,
        store=bench.store,
        owner=owner,
        download_budget=bench.download_budget,
        life=600.0,
        gone=frozenset({"one", "two", "three"}),
    )


def downloaded(bench: Bench) -> int:
    return sum(len(box.reads) for box in bench.boxes.values()) * SIZE


async def test_a_backlog_waits_for_the_next_day_while_live_mail_passes(
    capsys: pytest.CaptureFixture[str],
) -> None:
    bench = a_bench(budget=120 * SIZE)
    box = bench.boxes[ROUTE]
    old = backlog(box)
    async with bench.running():
        await bench.clock.advance(HOUR)
        assert 120 * SIZE <= downloaded(bench) < 120 * SIZE + BATCH
        status = bench.watch(ROUTE).status()
        assert status.state is RouteState.WATCHING
        assert "old messages wait until 0:00 UTC" in status.detail
        live = mail(9999, size=SIZE)
        box.deliver(live)
        await bench.clock.advance(5)
        assert live in bench.outlook.bodies(ROUTE.folder)
        await bench.clock.advance(TO_MIDNIGHT - HOUR + 300)
        assert bench.watch(ROUTE).status().detail == ""
    assert sorted(bench.outlook.bodies(ROUTE.folder)) == sorted([*old, live])
    said = capsys.readouterr().out
    assert said.count("account.budget_spent") == 2
    assert said.count("account.budget_renewed") == 1


@pytest.mark.parametrize("owner", ["one", "two"])
@pytest.mark.parametrize("stopped", [True, False])
async def test_a_restart_does_not_forget_what_was_downloaded(owner: str, stopped: bool) -> None:
    bench = a_bench(budget=120 * SIZE)
    backlog(bench.boxes[ROUTE])
    async with bench.running() as task:
        await bench.clock.advance(5 if stopped else 90)
        if stopped:
            bench.destination.stop()
            await bench.clock.advance(5)
            assert task.done()
    before = downloaded(bench)
    assert before >= 120 * SIZE
    for name in (owner, "three"):
        again = reborn(bench, name)
        async with again.running():
            await bench.clock.advance(300)
        assert downloaded(bench) == before


async def test_routes_and_daemons_of_one_account_share_a_budget_and_others_have_their_own() -> None:
    second = a_route(folder="Else")
    other = a_route("bob@gmail.example", "Gmail/bob")
    bench = a_bench(ROUTE, second, other, budget=150 * SIZE)
    for box in bench.boxes.values():
        backlog(box)
    async with bench.running():
        await bench.clock.advance(600)
    of_ann = (len(bench.boxes[ROUTE].reads) + len(bench.boxes[second].reads)) * SIZE
    assert 150 * SIZE <= of_ann < 150 * SIZE + 2 * BATCH
    assert 150 * SIZE <= len(bench.boxes[other].reads) * SIZE < 150 * SIZE + BATCH
    notes = await bench.store.traffic("ann@gmail.example", "2023-11-14")
    assert [one.size for one in notes] == [of_ann]


async def test_what_another_daemon_downloads_counts_as_well() -> None:
    store, clock = MemoryStore(), VirtualClock()
    gate = Gate(store, clock, Random(1), grace=60.0)
    one, two = (Allowance("ann", 1000, store, gate, clock, name) for name in ("one", "two"))
    for allowance, size in ((one, 400), (two, 500)):
        await allowance.refresh()
        allowance.count(size)
        await clock.advance(61)
        await allowance.refresh()
    assert (one.used, two.used) == (400, 900)
    one.count(1)
    await clock.advance(61)
    await one.refresh()
    assert one.used == 901
    one.count(99)
    assert one.spent()
    assert not two.spent()


async def test_a_new_day_begins_at_nothing_and_the_old_ones_last_bytes_are_noted() -> None:
    store, clock = MemoryStore(), VirtualClock()
    allowance = Allowance("ann", 1000, store, Gate(store, clock, Random(1), grace=60.0), clock, "one")
    await allowance.refresh()
    allowance.count(1200)
    assert allowance.spent()
    assert allowance.renewal() == pytest.approx(TO_MIDNIGHT)
    await clock.advance(TO_MIDNIGHT + 1)
    await allowance.refresh()
    assert allowance.used == 0
    assert [one.size for one in await store.traffic("ann", "2023-11-14")] == [1200]


async def test_the_state_store_is_asked_only_while_something_changes() -> None:
    store, clock = MemoryStore(), VirtualClock()
    allowance = Allowance("ann", 10**9, store, Gate(store, clock, Random(1), grace=60.0), clock, "one")
    writes: list[Traffic] = []
    note = store.note_traffic

    async def counted(traffic: Traffic) -> None:
        writes.append(traffic)
        await note(traffic)

    store.note_traffic = counted  # type: ignore[method-assign]
    for second in range(600):
        if second < 300:
            allowance.count(1)
        await allowance.refresh()
        await clock.advance(1)
    assert 5 <= len(writes) <= 7
    assert writes[-1].size == 300


async def test_bytes_are_not_forgotten_when_the_state_store_is_away_for_a_while() -> None:
    store, clock = MemoryStore(), VirtualClock()
    allowance = Allowance("ann", 1000, store, Gate(store, clock, Random(1), grace=0.0), clock, "one")
    await allowance.refresh()
    allowance.count(700)
    store.down = True
    with pytest.raises(StateUnavailable):
        await allowance.note()
    assert allowance.used == 700
    store.down = False
    await allowance.note()
    assert [one.size for one in await store.traffic("ann", "2023-11-14")] == [700]


async def test_without_a_budget_nothing_waits_and_nothing_is_noted() -> None:
    bench = a_bench(budget=0)
    backlog(bench.boxes[ROUTE])
    async with bench.running():
        await bench.clock.advance(120)
    assert len(bench.outlook.bodies(ROUTE.folder)) == OLD
    assert await bench.store.traffic("ann@gmail.example", "2023-11-14") == []


async def test_run_once_copies_what_the_day_allows_and_says_what_waits() -> None:
    bench = a_bench(budget=120 * SIZE)
    backlog(bench.boxes[ROUTE])
    bench.boxes[ROUTE].sessions = 0
    run = asyncio.create_task(bench.destination.run_once())
    while not run.done():
        await bench.clock.advance(1)
    assert await run
    watch = bench.watch(ROUTE)
    assert not watch.complete
    assert "old messages wait until 0:00 UTC" in watch.detail
    assert 120 <= len(bench.outlook.bodies(ROUTE.folder)) < 170
    assert bench.boxes[ROUTE].sessions == 1


async def test_an_account_over_its_bandwidth_is_left_alone_for_hours_by_all_its_routes() -> None:
    second = a_route(folder="Else")
    bench = a_bench(ROUTE, second, budget=0)
    limit = "NO [OVERQUOTA] Account exceeded command or bandwidth limits."
    for box in bench.boxes.values():
        box.fail_connect = [Throttled(limit, HOUR) for _ in range(50)]
    async with bench.running():
        await bench.clock.advance(DAY)
        tried = sum(50 - len(box.fail_connect) for box in bench.boxes.values())
        assert 4 <= tried <= 14
        for box in bench.boxes.values():
            box.fail_connect.clear()
            box.deliver(mail(1))
        await bench.clock.advance(7 * HOUR)
    assert bench.outlook.bodies("Gmail/ann") == bench.outlook.bodies("Else") == [mail(1)]


def test_rests_grow_until_a_message_comes_through() -> None:
    store, clock = MemoryStore(), VirtualClock()
    allowance = Allowance("ann", 0, store, Gate(store, clock, Random(1), grace=60.0), clock, "one")
    limit = Throttled("NO [OVERQUOTA]", HOUR)
    unsaid = Throttled("NO [THROTTLED]", 600.0)
    ann = Allowance("ann", 0, store, Gate(store, clock, Random(1), grace=60.0), clock, "one")
    assert [ann.rest(unsaid) / HOUR for _ in range(7)][3:] == [4 / 3, 8 / 3, 16 / 3, 6]
    assert [allowance.rest(limit) / HOUR for _ in range(5)] == [1, 2, 4, 6, 6]
    allowance.count(1)
    other = Allowance("bob", 0, store, Gate(store, clock, Random(1), grace=60.0), clock, "one")
    assert [other.rest(Throttled("NO too many connections", 120.0)) for _ in range(3)] == [120.0] * 3
