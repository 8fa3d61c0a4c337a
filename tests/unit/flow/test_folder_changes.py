"""The destination's folder is deleted, renamed or made anew while messages go into it: none is lost,
none doubled."""

from __future__ import annotations

import pytest
from fakes import Copy, breathe, mail
from harness import Bench, a_route, bench_of

from mailsyncd.errors import ConnectionLost, MailsyncError, RouteBlocked, Sent
from mailsyncd.model import Status
from mailsyncd.status import RouteState, WriterState

FOLDER = "Gmail/ann"


class Gone:
    """The folder of a bench's destination, taken away; `removed` is what was in it."""

    def __init__(self, bench: Bench) -> None:
        self.bench, self.outlook = bench, bench.outlook
        self.missing = False
        self.removed: list[Copy] = []

    def delete(self) -> None:
        self.removed += self.outlook.folders.pop(FOLDER, [])
        self.missing = True

    def remake(self, *, same_uidvalidity: bool = False) -> None:
        self.missing = False
        self.outlook.uidvalidity += not same_uidvalidity
        self.outlook.uidnext[FOLDER] = 1
        self.outlook.folders[FOLDER] = []

    def refuse(self, body: bytes) -> MailsyncError | None:
        return RouteBlocked("NO [TRYCREATE] no such mailbox") if self.missing else None

    def bodies(self) -> list[bytes]:
        return sorted([copy.body for copy in self.removed] + self.outlook.bodies(FOLDER))


def bench_with(create: bool) -> tuple[Bench, Gone]:
    bench = bench_of(a_route(create_folder=create))
    gone = Gone(bench)
    bench.outlook.before = gone.refuse
    bench.outlook.on_open = lambda name, may_create: opened(gone, may_create)
    return bench, gone


def opened(gone: Gone, may_create: bool) -> MailsyncError | None:
    if gone.missing and not may_create:
        return RouteBlocked("the folder 'Gmail/ann' can't be opened and create_folder is off")
    if gone.missing:
        gone.remake()
    return None


def deliver(bench: Bench, *numbers: int) -> list[bytes]:
    (box,) = bench.boxes.values()
    bodies = [mail(n) for n in numbers]
    for body in bodies:
        box.deliver(body)
    return bodies


async def statuses(bench: Bench) -> set[Status]:
    (route,) = bench.boxes
    return {record.status for record in await bench.store.records(route.key, 7)}


async def test_a_deleted_folder_is_made_again_and_only_new_mail_goes_into_it() -> None:
    bench, gone = bench_with(create=True)
    first = deliver(bench, *range(5))
    async with bench.running():
        await bench.clock.advance(5)
        gone.delete()
        second = deliver(bench, *range(5, 12))
        await bench.clock.advance(30)
    assert sorted(bench.outlook.bodies(FOLDER)) == sorted(second)
    assert gone.bodies() == sorted(first + second)
    assert await statuses(bench) == {Status.DONE}


async def test_without_leave_to_make_it_the_route_stops_and_says_so_until_the_folder_is_back() -> None:
    bench, gone = bench_with(create=False)
    (route,) = bench.boxes
    first = deliver(bench, *range(5))
    async with bench.running():
        await bench.clock.advance(5)
        gone.delete()
        second = deliver(bench, *range(5, 12))
        await bench.clock.advance(600)
        status = bench.watch(route).status()
        assert status.state is RouteState.BLOCKED
        assert "create_folder is off" in status.detail
        assert bench.destination.status().state is WriterState.WRITING
        assert bench.outlook.opens < 60
        gone.remake()
        await bench.clock.advance(130)
        assert bench.watch(route).status().state is RouteState.WATCHING
    assert gone.bodies() == sorted(first + second)
    assert await bench.store.failures(route.key) == []


@pytest.mark.parametrize("kept", [True, False])
@pytest.mark.parametrize("same_uidvalidity", [True, False])
@pytest.mark.parametrize("uidplus", [True, False])
async def test_a_doubt_about_a_folder_that_was_made_anew_is_looked_for_in_the_whole_of_it(
    same_uidvalidity: bool, kept: bool, uidplus: bool
) -> None:
    bench, gone = bench_with(create=True)
    bench.outlook.has_uidplus = uidplus
    first = deliver(bench, *range(9))
    cut = [mail(9)]

    def lose(body: bytes) -> MailsyncError | None:
        return ConnectionLost("cut", Sent.EVERYTHING) if cut and body == cut[0] and cut.pop() else None

    async with bench.running():
        await bench.clock.advance(5)
        gone.delete()
        gone.remake(same_uidvalidity=same_uidvalidity)
        if kept:
            bench.outlook.after = lose
        else:
            bench.outlook.before = lose
        second = deliver(bench, 9)
        await bench.clock.advance(200)
    assert bench.outlook.bodies(FOLDER) == second
    assert gone.bodies() == sorted(first + second)
    assert await statuses(bench) == {Status.DONE}


async def test_a_folder_made_anew_under_the_same_number_does_not_hide_a_copy_from_a_later_look() -> None:
    bench, gone = bench_with(create=True)
    first = deliver(bench, *range(3))
    cuts: list[bytes] = []

    def lose(body: bytes) -> MailsyncError | None:
        if body not in cuts:
            return None
        cuts.remove(body)
        return ConnectionLost("cut", Sent.EVERYTHING)

    bench.outlook.after = lose
    async with bench.running():
        await bench.clock.advance(5)
        gone.delete()
        gone.remake(same_uidvalidity=True)
        second = deliver(bench, *range(3, 6))
        await bench.clock.advance(5)
        cuts += [mail(7)]
        third = deliver(bench, *range(6, 9))
        await bench.clock.advance(200)
    assert gone.bodies() == sorted(first + second + third)


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("create", [True, False])
async def test_a_folder_that_comes_and_goes_amid_a_pipeline_loses_and_doubles_nothing(
    when: str, create: bool
) -> None:
    bench, gone = bench_with(create=create)
    seen: list[bytes] = []

    def change(body: bytes) -> MailsyncError | None:
        seen.append(body)
        if len(seen) in (4, 11, 17):
            gone.delete()
            if not create:
                gone.remake()
        return gone.refuse(body) if when == "before" else None

    setattr(bench.outlook, when, change)
    bodies = deliver(bench, *range(30))
    async with bench.running():
        await bench.clock.advance(300)
        await breathe(2000)
    assert gone.bodies() == sorted(bodies)
    (route,) = bench.boxes
    assert await bench.store.failures(route.key) == []


async def test_one_route_without_its_folder_leaves_the_others_their_pace() -> None:
    lost, well = a_route(create_folder=False), a_route("bob@gmail.example", "Gmail/bob")
    bench = bench_of(lost, well)

    def blocked(name: str, may_create: bool) -> MailsyncError | None:
        return RouteBlocked("the folder can't be opened") if name == FOLDER else None

    async with bench.running():
        bench.boxes[lost].deliver(mail(1))
        await bench.clock.advance(5)
        bench.outlook.on_open = blocked
        bench.outlook.before = lambda body: (
            RouteBlocked("NO [TRYCREATE]") if body in map(mail, range(2, 10)) else None
        )
        for n in range(2, 10):
            bench.boxes[lost].deliver(mail(n))
        await bench.clock.advance(60)
        for n in range(100, 120):
            bench.boxes[well].deliver(mail(n))
            await bench.clock.advance(3)
            assert mail(n) in bench.outlook.bodies("Gmail/bob")
