"""How often the state store is asked: for a message, in a backlog, and while nothing happens."""

from __future__ import annotations

from collections import Counter
from typing import Any

from fakes import mail
from harness import Bench, a_route, bench_of

from mailsyncd.ports import StateStore
from mailsyncd.state.memory import MemoryStore

MINUTES = 10
SWEEPS = {"failures": 2 * MINUTES // 5}  # a look at each route's failures, every five minutes
STARTED = 130.0  # seconds: past the start, and not at a beat of the lease


CALLS = {name for name in vars(StateStore) if not name.startswith("_")}


class CountingStore(MemoryStore):
    """Counts what it is asked, by the port's names."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: Counter[str] = Counter()

    def __getattribute__(self, name: str) -> Any:
        if name in CALLS:
            self.asked[name] += 1
        return super().__getattribute__(name)


def a_bench(store: CountingStore, **fields: object) -> Bench:
    return bench_of(a_route(), a_route("bob@gmail.example", "Gmail/bob"), store=store, **fields)


async def test_an_idle_daemon_writes_its_lease_three_times_a_minute_and_nothing_else() -> None:
    store = CountingStore()
    bench = a_bench(store, download_budget=1_000_000)
    for number, box in enumerate(bench.boxes.values()):
        box.deliver(mail(number))
    async with bench.running():
        await bench.clock.advance(STARTED)
        assert store.asked["finish"] == 2
        store.asked.clear()
        await bench.clock.advance(MINUTES * 60)
        assert store.asked == {"put_lease": 3 * MINUTES, "members": MINUTES, **SWEEPS}


async def test_a_daemon_that_stands_by_announces_itself_three_times_a_minute() -> None:
    store = CountingStore()
    holder = a_bench(store)
    other = Bench(holder.clock, holder.outlook, holder.boxes, store=store, owner="two")
    async with holder.running(), other.running():
        await holder.clock.advance(STARTED)
        store.asked.clear()
        await holder.clock.advance(MINUTES * 60)
        assert store.asked["put_lease"] == 3 * MINUTES
        assert 0 < store.asked["announce"] <= 3 * MINUTES
        assert set(store.asked) == {"put_lease", "announce", "members", "lease", *SWEEPS}


async def test_a_message_alone_is_claimed_finished_and_passed_by_the_watermark_once() -> None:
    store = CountingStore()
    bench = a_bench(store, download_budget=1_000_000)
    async with bench.running():
        await bench.clock.advance(STARTED)
        store.asked.clear()
        next(iter(bench.boxes.values())).deliver(mail(1))
        await bench.clock.advance(STARTED)
    for name in ("put_lease", "members"):
        del store.asked[name]
    assert store.asked == {"claim": 1, "finish": 1, "advance": 1, "note_traffic": 1, "traffic": 1}


async def test_a_backlog_moves_the_watermark_of_a_route_once_a_second_at_the_most() -> None:
    store, count = CountingStore(), 300
    bench = a_bench(store)
    box = next(iter(bench.boxes.values()))
    async with bench.running():
        await bench.clock.advance(STARTED)
        store.asked.clear()
        for number in range(count):
            box.deliver(mail(number))
        seconds = 0
        while store.asked["finish"] < count:
            await bench.clock.advance(1.0)
            seconds += 1
            assert store.asked["advance"] <= seconds
            assert seconds < 300
        await bench.clock.advance(STARTED)
    assert (store.asked["claim"], store.asked["finish"]) == (count, count)
    assert store.asked["advance"] <= seconds + 1
