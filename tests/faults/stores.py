"""What the state store does to a daemon: throttles, dies, loses its answers, is locked (R14 - R17),
forgets (R19); and what a reload does (R38 - R40)."""

from __future__ import annotations

import asyncio
import shutil
import signal
import sqlite3
from collections.abc import Iterator
from functools import partial

from faults.cases import Case
from faults.world import Ground, World
from mailsyncd.sim.corpus import Mail

PATIENCE = 40.0
# DynamoDB's requests take real milliseconds: its daemon's seconds pass more slowly.
DYNAMO = Ground(dynamo=True, speed=6.0, routes=2, daemon_keys='settle_window = "6s"')


async def _arrived(world: World, seconds: float = PATIENCE) -> None:
    await world.until(lambda: world.copied >= world.delivered, seconds)


async def throttled(world: World, share: float, seconds: float) -> None:
    """So many requests are refused; with all of them, nothing is copied meanwhile."""
    assert world.line is not None
    await world.start()
    await world.idle()
    world.deliver_all(3)
    await _arrived(world)
    world.line.throttles = share
    await asyncio.sleep(0.5)
    before = world.copied
    world.deliver_all(4)
    await asyncio.sleep(seconds / world.ground.speed)
    if share == 1.0 and world.copied > before:
        world.complaints.append("copied without a state store")
    world.line.clear()
    await world.until(
        lambda: world.copied >= world.delivered, 20 / world.ground.speed + 10, why="the end of it"
    )


async def away(world: World, seconds: float, hangs: bool) -> None:
    """The store is gone for so long; past the grace time the daemon ends with 75."""
    assert world.line is not None
    daemon = await world.start()
    await world.idle()
    world.deliver_all(2)
    await _arrived(world)
    world.line.down, world.line.hangs = not hangs, hangs
    await asyncio.sleep(0.3)
    before = world.copied
    world.deliver_all(2)
    if seconds > 60:
        if not await world.death(daemon, 150 / world.ground.speed + 10) or daemon.status != 75:
            world.complaints.append(f"exit status {daemon.status}, not 75, when the store stayed away")
    else:
        await asyncio.sleep(seconds / world.ground.speed)
    if world.copied > before:
        world.complaints.append("copied without a state store")
    world.line.clear()


async def absent(world: World, hangs: bool) -> None:
    """Not there at the start: no connection to either side, one line, 75."""
    assert world.line is not None
    world.line.down, world.line.hangs = not hangs, hangs
    daemon = await world.start()
    if not await world.death(daemon, 60.0):
        world.complaints.append("did not end without a state store")
        await daemon.kill()
    elif daemon.status != 75 or len(daemon.log().strip().splitlines()) != 1:
        world.complaints.append(f"status {daemon.status}, said {daemon.log()[:200]!r}")
    if world.gmail.accepted or world.outlook.accepted:
        world.complaints.append("connected without a state store")
    world.line.clear()


async def answers_lost(world: World, share: float, at_once: int) -> None:
    """Writes are carried out, and nobody hears of it."""
    assert world.line is not None
    await world.start()
    await world.idle()
    world.line.loses, world.line.lose_writes = share, at_once
    world.deliver_all(5)
    await _arrived(world)
    world.line.lose_writes = at_once
    world.deliver_all(1)
    await _arrived(world)


async def locked(world: World, seconds: float) -> None:
    """Another process keeps the SQLite file locked for a while."""
    await world.start()
    await world.idle()
    world.deliver_all(2)
    await _arrived(world)
    other = sqlite3.connect(world.directory / "state.db", timeout=10, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    try:
        before = world.copied
        world.deliver_all(3)
        await asyncio.sleep(seconds / world.ground.speed)
        if world.copied > before:
            world.complaints.append("copied while the state could not be written")
    finally:
        other.execute("ROLLBACK")
        other.close()
    await _arrived(world)


async def killed_at_random(world: World, kills: int) -> None:
    """kill -9 with DynamoDB as the store, and answers lost all the while."""
    assert world.line is not None
    for _ in range(kills):
        world.line.loses = 0.05
        daemon = await world.start()
        world.deliver_all(2)
        await asyncio.sleep(0.3 + world.rng.random() * 0.7)
        await daemon.kill()


def states() -> Iterator[Case]:
    for share, seconds in ((0.01, 10), (0.3, 10), (1.0, 30)):
        yield Case("R14", f"{share:.0%}", partial(throttled, share=share, seconds=seconds), DYNAMO)
    for hangs in (False, True):
        how = "hangs" if hangs else "refuses"
        yield Case("R15", how, partial(absent, hangs=hangs), DYNAMO)
        for seconds in (1, 30, 1200):
            yield Case("R16", f"{how}, {seconds} s", partial(away, seconds=seconds, hangs=hangs), DYNAMO)
    for seconds in (1, 60):
        yield Case("R16", f"SQLite locked, {seconds} s", partial(locked, seconds=seconds))
    for at_once in (1, 2, 3, 5):
        yield Case("R17", f"{at_once} in a row", partial(answers_lost, share=0.0, at_once=at_once), DYNAMO)
    yield Case("R17", "one in five", partial(answers_lost, share=0.2, at_once=0), DYNAMO)
    for number in range(3):
        yield Case("R17", f"with kill -9/{number}", partial(killed_at_random, kills=5), DYNAMO)


# --------------------------------------------------------------------- reloads

BROKEN = {
    "syntax": "[[[",
    "unknown key": "[daemon]\nsweeps = 3\n",
    "no routes": '[outlook]\nemail = "me@outlook.example"\n',
    "binary": "\x00\x01\x02",
    "empty": "",
    "wrong type": '[daemon]\nsweep_interval = "soon"\n',
}


async def broken_reload(world: World, text: str) -> None:
    """SIGHUP with a configuration that is no good: the old one goes on, with the same connections."""
    daemon = await world.start()
    await world.idle()
    world.deliver_all(1)
    await _arrived(world)
    good, path = world.configure().read_text(), world.directory / "config.toml"
    accepted = world.gmail.accepted
    path.write_text(text)
    daemon.signal(signal.SIGHUP)
    await world.until(lambda: daemon.said("config.reload_failed") > 0, why="config.reload_failed")
    world.deliver_all(2)
    await _arrived(world)
    if daemon.ended.is_set() or world.gmail.accepted != accepted:
        world.complaints.append("a bad reload touched what was running")
    path.write_text(good)


async def reload_storm(world: World) -> None:
    """A hundred SIGHUPs in a second, with mail on its way."""
    daemon = await world.start()
    await world.idle()
    accepted = world.gmail.accepted
    for number in range(100):
        daemon.signal(signal.SIGHUP)
        if number % 20 == 0:
            world.deliver_all(1)
        await asyncio.sleep(0.01)
    await _arrived(world)
    if daemon.ended.is_set() or world.gmail.accepted != accepted:
        world.complaints.append("a reload that changed nothing touched what was running")


def reloads() -> Iterator[Case]:
    for name, text in BROKEN.items():
        yield Case("R38", name, partial(broken_reload, text=text), Ground(routes=2))
    yield Case("R39", "100 in a second", reload_storm, Ground(routes=2))


# --------------------------------------------------- a store that forgot, and limits


async def forgotten(world: World, how: str) -> None:
    """The store is emptied, or restored from before: nothing is copied until it is rebuilt."""
    state, kept = world.directory / "state.db", world.directory / "kept.db"
    daemon = await world.start()
    world.deliver_all(3)
    await _arrived(world)
    await daemon.stop()
    shutil.copy(state, kept)
    daemon = await world.start()
    world.deliver_all(3)
    await _arrived(world)
    await daemon.stop()
    world.forget_state()
    for path in world.directory.glob("state.db*"):
        path.unlink()
    if how == "restored":
        shutil.copy(kept, state)
    before = world.copied
    daemon = await world.start()
    world.deliver_all(2)
    if not await world.until(lambda: "state rebuild" in daemon.log(), PATIENCE):
        world.complaints.append("did not say that the store has forgotten")
    await asyncio.sleep(0.5)
    if world.copied > before:
        world.complaints.append("copied with a store that has forgotten")
    await daemon.stop()
    rebuild = await world.start(command="state rebuild")
    if not await world.death(rebuild, PATIENCE) or rebuild.status != 0:
        world.complaints.append(f"the rebuild ended with {rebuild.status}: {rebuild.log()[-200:]}")
    if world.copied > before:
        world.complaints.append("the rebuild copied something")


async def sizes(world: World, limit: int) -> None:
    """Just below the limit, at it, just above, and far above: the last two are never fetched."""
    await world.start()
    await world.idle()
    when = world.mail().internaldate
    text = b"Subject: a size\r\n\r\n" + b"and a line\r\n" * (2 * limit)
    for size in (limit - 1, limit, limit + 1, 20 * limit):
        world.deliver(world.users[0], Mail(text[:size], when))
    world.expected_failures = 2
    world.deliver_all(1)
    await world.until(lambda: world.copied >= 3, PATIENCE, why="what is within the limit")
    if any("FETCH 3" in line.text and "BODY" in line.text for line in world.gmail.transcript):
        world.complaints.append("fetched what is over the limit")


async def edited(world: World) -> None:
    """A route is changed, one is taken away and added again: the others keep their connections."""
    daemon = await world.start()
    await world.idle()
    world.deliver_all(1)
    await _arrived(world)
    path = world.directory / "config.toml"
    whole = path.read_text()
    without = whole.rpartition("[[routes]]")[0]
    changed = whole.replace("start =", "mark_seen = true\nstart =", 1)
    for number, text in enumerate((without, whole, changed, whole)):
        accepted = world.gmail.accepted
        path.write_text(text)
        daemon.signal(signal.SIGHUP)
        await world.until(lambda: daemon.said("config.reloaded") > number, why="the reload")  # noqa: B023
        await world.until(lambda: world.gmail.connections >= 2, 5)
        await asyncio.sleep(0.2)
        if world.gmail.accepted - accepted > 1:
            world.complaints.append("a reload touched routes that had not changed")
        world.deliver_all(1)
        await asyncio.sleep(0.1)
    await _arrived(world)


def others() -> Iterator[Case]:
    for how in ("emptied", "restored"):
        yield Case("R19", how, partial(forgotten, how=how), Ground(routes=2))
    limit = 50_000
    keys = f"max_message_size = {limit}"
    yield Case("R32", "around the limit", partial(sizes, limit=limit), Ground(daemon_keys=keys))
    yield Case("R40", "removed, added, changed", edited, Ground(routes=3))
