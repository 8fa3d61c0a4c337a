"""A connection cut at every byte, in either direction, on either side (R4, R5); and ended in every
other way at every command (R6)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial

from faults.cases import Case
from faults.world import Ground, World
from mailsyncd.sim import GMAIL, OUTLOOK, Act, Fault, ImapServer

SMALL = 2048
LARGE = 5 * 1024 * 1024
PATIENCE = 30.0  # seconds of the world for one message to get over
AT_ONCE = 40  # cuts in one case
CUTS_A_LIFE = 2
SYNCHRONISING = replace(OUTLOOK, literals_after_refusal=False)
EARLY = replace(OUTLOOK, literals_after_refusal=True)
SETTLES_SOON = 'settle_window = "10s"'


async def cut_at(world: World, side: str, direction: str, places: Sequence[int], size: int) -> None:
    """For each place: a new connection that is cut there, while a message is on its way. Now and then
    the daemon dies as well, and a fresh one has no reason to be slow to connect."""
    server: ImapServer = getattr(world, side)
    daemon = None
    for number, place in enumerate(places):
        if number % CUTS_A_LIFE == 0:
            if daemon is not None:
                await daemon.kill()
            daemon, said = await world.start(), len(world.gmail.transcript)
            await world.idle(since=said)
        server.clear_faults()
        server.cut_next(**{direction: place})
        server.drop_all()
        world.deliver(world.users[0], size=size)
        if not await world.until(lambda: world.copied >= world.delivered, PATIENCE):
            world.complaints.append(f"not there {PATIENCE:.0f} s after a cut at byte {place}")
            return


def _cases(row: str, side: str, direction: str, places: Sequence[int], size: int) -> Iterator[Case]:
    ways = {"sync": SYNCHRONISING, "early": EARLY} if side == "outlook" else {"": OUTLOOK}
    for way, outlook in ways.items():
        ground = Ground(outlook=outlook, daemon_keys=SETTLES_SOON)
        for at in range(0, len(places), AT_ONCE):
            some = places[at : at + AT_ONCE]
            play = partial(cut_at, side=side, direction=direction, places=some, size=size)
            yield Case(row, f"{direction}/{way}/{some[0]}-{some[-1]} of {size}", play, ground)


EVERY = SMALL + 700  # bytes: a sign-in, a few commands, and the message
FEW = 900  # bytes in the direction that the message does not take
PARTS = range(LARGE // 64, LARGE + 1, LARGE // 64)


def r4() -> Iterator[Case]:
    yield from _cases("R4", "outlook", "received", range(1, EVERY), SMALL)
    yield from _cases("R4", "outlook", "sent", range(1, FEW), SMALL)
    yield from _cases("R4", "outlook", "received", PARTS, LARGE)


def r5() -> Iterator[Case]:
    yield from _cases("R5", "gmail", "sent", range(1, EVERY + 800), SMALL)
    yield from _cases("R5", "gmail", "received", range(1, FEW), SMALL)
    yield from _cases("R5", "gmail", "sent", PARTS, LARGE)


COMMANDS = {
    "gmail": ("AUTHENTICATE", "ID", "EXAMINE", "UID SEARCH", "UID FETCH", "IDLE"),
    "outlook": ("AUTHENTICATE", "ID", "NAMESPACE", "STATUS", "CREATE", "APPEND", "UID FETCH"),
}
WAYS = {
    "reset": Fault("*", Act.DROP),
    "reset after": Fault("*", Act.DROP_AFTER),
    "fin": Fault("*", Act.ANSWER_AND_DROP),
    "bye": Fault("*", Act.BYE, "Server shutting down"),
    "silence": Fault("*", Act.SILENCE),
}


async def end_at(world: World, side: str, command: str, way: str, times: int) -> None:
    """Every connection is ended in this way at this command, so many times."""
    server: ImapServer = getattr(world, side)
    if command == "UID FETCH" and side == "outlook":
        world.outlook.script(Fault("APPEND", Act.DROP_AFTER))
    fault = WAYS[way]
    server.script(Fault(command, fault.act, fault.text, times=times))
    await world.start()
    world.deliver_all(3)
    await world.until(lambda: world.copied >= world.delivered, PATIENCE)
    server.script(Fault(command, fault.act, fault.text, times=times))
    world.deliver_all(2)
    await world.until(lambda: world.copied >= world.delivered, PATIENCE, why="the mail after the fault")


def r6() -> Iterator[Case]:
    for side, commands in COMMANDS.items():
        for command in commands:
            for way in WAYS:
                play = partial(end_at, side=side, command=command, way=way, times=2)
                yield Case("R6", f"{side}/{command}/{way}", play)


async def half_open(world: World, side: str) -> None:
    """The other end is gone without a word while the line is quiet: only deadlines tell."""
    server: ImapServer = getattr(world, side)
    await world.start()
    await world.idle()
    world.deliver_all(1)
    await world.until(lambda: world.copied >= 1)
    server.fall_silent(user=world.users[0] if side == "gmail" else "me@outlook.example")
    world.deliver_all(2)
    within = 330 / world.ground.speed + 5
    await world.until(lambda: world.copied >= 3, within, why="mail over a half-open connection, 330 s")


def r6_half_open() -> Iterator[Case]:
    for side in COMMANDS:
        yield Case("R6", f"{side}/half-open", partial(half_open, side=side), Ground(gmail=GMAIL))
