"""What may be on the wire at once, who goes first, and what is done beside the wire."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest
from fakes import LIMITS, FakeOutlook, VirtualClock, breathe, mail
from harness import a_route, bench_of

from mailsyncd.flow.window import TurnedAway, Window
from mailsyncd.model import Lane, Status

ROUTE = a_route()


class Wire:
    """Messages that want a place, each held until it is let go."""

    def __init__(self, window: Window) -> None:
        self.window = window
        self.there: list[str] = []
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._answers: dict[str, asyncio.Event] = {}

    async def want(self, name: str, *, size: int = 1, lane: Lane = Lane.OLD) -> asyncio.Task[None]:
        self._answers[name] = asyncio.Event()
        self._tasks[name] = asyncio.create_task(self._hold(name, size, lane))
        await breathe()
        return self._tasks[name]

    async def _hold(self, name: str, size: int, lane: Lane) -> None:
        claimed = self.window._clock.monotonic()
        began = await self.window.enter(size, lane)
        self.there.append(name)
        try:
            await self._answers[name].wait()
            self.window.answered(began)
        finally:
            self.there.remove(name)
            self.window.leave(size)
        self.window.went_well(claimed, 0.0)

    async def answer(self, *names: str) -> None:
        for name in names:
            self._answers[name].set()
        await breathe()


async def test_new_mail_takes_the_next_place_before_old_mail_that_waits_longer() -> None:
    wire = Wire(Window(LIMITS, VirtualClock()))
    wire.window.went_badly()
    for name in ("one", "two", "three"):
        await wire.want(name)
    await wire.want("new", lane=Lane.LIVE)
    assert wire.there == ["one"]
    wire.window.went_badly()
    await wire.answer("one")
    assert wire.there[0] == "new"


async def test_a_message_larger_than_the_window_goes_alone() -> None:
    wire = Wire(Window(LIMITS, VirtualClock()))
    await wire.want("small")
    await wire.want("huge", size=LIMITS.window_bytes + 1)
    await wire.want("next")
    assert wire.there == ["small"]
    await wire.answer("small")
    assert wire.there == ["huge"]
    await wire.answer("huge")
    assert wire.there == ["next"]


async def test_whoever_gives_up_waiting_or_being_there_leaves_a_place_to_the_next() -> None:
    wire = Wire(Window(LIMITS, VirtualClock()))
    wire.window.went_badly()
    first, second = await wire.want("first"), await wire.want("second")
    await wire.want("third")
    second.cancel()
    first.cancel()
    await breathe()
    assert wire.there == ["third"]
    assert wire.window.on_wire == 1


async def test_a_pause_turns_away_what_waits_and_not_what_is_there() -> None:
    wire = Wire(Window(LIMITS, VirtualClock()))
    wire.window.went_badly()
    there, waiting = await wire.want("there"), await wire.want("waiting")
    wire.window.turn_away()
    with pytest.raises(TurnedAway):
        await waiting
    assert not there.done()
    await wire.answer("there")
    assert wire.window.on_wire == 0


async def test_late_answers_make_the_window_smaller_once_for_all_that_was_there_together() -> None:
    clock = VirtualClock()
    window = Window(replace(LIMITS, window=1000), clock)
    assert window.most_on_wire == 250, "a quarter"
    window.most_on_wire = 4
    wire = Wire(window)

    async def round_of(took: float) -> int:
        names = [str(n) for n in range(window.most_on_wire)]
        for name in names:
            await wire.want(name)
        await clock.advance(took)
        await wire.answer(*names)
        return window.most_on_wire

    sizes = [await round_of(0.01) for _ in range(5)]
    assert sizes == [8, 16, 32, 64, 128]
    assert await round_of(0.5) == 111
    assert await round_of(0.01) == 222, "once is no proof: the first bodies all come at once"
    assert await round_of(0.5) == 194
    assert await round_of(0.5) == 169
    assert await round_of(0.01) == 191
    for _ in range(40):
        await round_of(0.5)
    assert window.most_on_wire == 4


async def test_the_window_is_smaller_while_there_is_new_mail() -> None:
    clock = VirtualClock()
    window = Window(replace(LIMITS, window=1000), clock)
    window.most_on_wire = 4
    wire = Wire(window)

    async def round_of(took: float, lane: Lane = Lane.OLD) -> int:
        names = [str(n) for n in range(window.most_on_wire)]
        for name in names:
            await wire.want(name, lane=lane)
        await clock.advance(took)
        await wire.answer(*names)
        return window.most_on_wire

    assert [await round_of(0.001), await round_of(0.01)] == [8, 16], "10 ms are no harm to old mail"
    assert [await round_of(0.001, Lane.LIVE), await round_of(0.01)] == [32, 27]
    await clock.advance(60)
    assert await round_of(0.01) == 54


async def test_claims_go_on_while_the_wire_is_full() -> None:
    bench = bench_of(ROUTE, outlook=FakeOutlook(clock := VirtualClock()), clock=clock)
    bench.outlook.hold = asyncio.Event()
    for n in range(40):
        bench.boxes[ROUTE].deliver(mail(n))
    async with bench.running():
        await clock.advance(1)
        claimed = await bench.store.pending(ROUTE.key)
        assert bench.outlook.in_flight == 4
        assert 4 < len(claimed) < 16
        bench.outlook.hold.set()
        await clock.advance(1)
        assert len(bench.outlook.bodies("Gmail/ann")) == 40


async def test_what_was_claimed_beforehand_was_not_sent_when_the_connection_is_lost() -> None:
    bench = bench_of(ROUTE)
    bench.outlook.hold = asyncio.Event()
    for n in range(20):
        bench.boxes[ROUTE].deliver(mail(n))
    async with bench.running():
        await bench.clock.advance(1)
        assert bench.outlook.current
        bench.outlook.current.cut()
        bench.outlook.hold.set()
        await bench.clock.advance(10)
        # The four that were on the wire are looked for; all others were simply sent.
        assert len(bench.destination._recovery) == 0
        assert bench.outlook.appends == 20
        done = await bench.store.records(ROUTE.key, bench.boxes[ROUTE].uidvalidity)
        assert [one.status for one in done] == [Status.DONE] * 20


async def test_answers_that_are_finished_in_another_order_do_not_mean_another_folder() -> None:
    bench = bench_of(ROUTE)
    finish, held = bench.store.finish, asyncio.Event()

    async def out_of_order(route: str, record: object, events: object = ()) -> bool:
        if record.dest_uid == 2:  # type: ignore[attr-defined]
            await held.wait()
        return await finish(route, record)  # type: ignore[arg-type]

    bench.store.finish = out_of_order  # type: ignore[method-assign]
    for n in range(12):
        bench.boxes[ROUTE].deliver(mail(n))
    async with bench.running():
        await bench.clock.advance(2)
        opens = bench.outlook.opens
        held.set()
        await bench.clock.advance(2)
        bench.boxes[ROUTE].deliver(mail(99))
        await bench.clock.advance(2)
    assert len(bench.outlook.bodies("Gmail/ann")) == 13
    assert bench.outlook.opens == opens
