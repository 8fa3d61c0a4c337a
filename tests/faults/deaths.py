"""kill -9 at every named step, twice, and at random (R1, R2, R3); SIGTERM at every step (R43)."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import replace
from functools import partial
from random import Random

from faults.cases import Case
from faults.nursery import Daemon
from faults.world import Ground, World
from mailsyncd.sim import OUTLOOK, Act, Fault
from mailsyncd.steps import Step

MESSAGES = 5  # to each route
POSITIONS = {"first": 1, "middle": 3, "last": 5}
CHUNKED = 200_000  # bytes: so large that half of it is a moment of its own
TOO_LARGE = 'max_message_size = 400000\nsweep_interval = "30s"'
DEATHS = 20.0  # seconds of the world to wait for a death that must come


async def _one_by_one(world: World, daemon: Daemon, count: int, size: int = 0) -> None:
    """Each route gets the next message when the last has arrived, or the daemon is dead."""
    for _ in range(count):
        world.deliver_all(1, size=size)
        await world.until(lambda: daemon.ended.is_set() or world.copied >= world.delivered, DEATHS)


async def _plain(world: World, daemon: Daemon, left: int) -> None:
    await _one_by_one(world, daemon, left)


async def _chunked(world: World, daemon: Daemon, left: int) -> None:
    await _one_by_one(world, daemon, left, CHUNKED)


async def _too_large(world: World, daemon: Daemon, left: int) -> None:
    world.deliver(world.users[0], size=500_000)
    world.expected_failures = 1
    await _one_by_one(world, daemon, left - 1)
    for user in world.users[1:]:
        world.deliver(user)


async def _in_doubt(world: World, daemon: Daemon, left: int) -> None:
    """The server stores it and hangs up without an answer."""
    world.outlook.script(Fault("APPEND", Act.DROP_AFTER))
    await _one_by_one(world, daemon, left)


async def _late(world: World, daemon: Daemon, left: int) -> None:
    """The server hangs up, and stores it a minute later."""
    world.outlook.script(Fault("APPEND", Act.LATE, delay=60 / world.ground.speed))
    world.deliver_all(left)
    await world.death(daemon)


async def _reloaded(world: World, daemon: Daemon, left: int) -> None:
    world.deliver_all(left)
    daemon.signal(signal.SIGHUP)
    await world.death(daemon)


async def _drained(world: World, daemon: Daemon, left: int) -> None:
    """Told to stop while an APPEND is under way."""
    world.outlook.script(Fault("APPEND", Act.SILENCE))
    world.deliver_all(left)
    await world.until(lambda: any(" APPEND " in line.text for line in world.outlook.transcript[-40:]), DEATHS)
    daemon.signal(signal.SIGTERM)
    await world.death(daemon)


async def _backlog(world: World, daemon: Daemon, left: int) -> None:
    """More than counts as live mail."""
    world.deliver_all(230)
    await world.until(daemon.ended.is_set, DEATHS)


Trigger = Callable[[World, Daemon, int], Awaitable[None]]
TRIGGERS: dict[Step, Trigger] = {
    Step.FETCH_HALF: _chunked,
    Step.LITERAL_HALF: _chunked,
    Step.FAILURE_SEEN: _too_large,
    Step.FAILURE_WRITTEN: _too_large,
    Step.RECOVERING: _in_doubt,
    Step.SETTLING: _late,
    Step.RELOADING: _reloaded,
    Step.DRAINING: _drained,
    Step.BACKLOG_PAGE: _backlog,
}
# A life passes these for the first time with the probe of early literals, not with a message.
OF_THE_PROBE = frozenset(
    {Step.APPEND_LINE, Step.LITERAL_BEGUN, Step.LITERAL_HALF, Step.LITERAL_BUT_LAST, Step.APPEND_SENT}
)


async def die_at(world: World, step: Step, position: int) -> None:
    """Copy the messages before this one, then die at the step, on the way of this one."""
    daemon = await world.start()
    await world.idle()
    await _one_by_one(world, daemon, position - 1)
    await daemon.kill()
    world.look_at_state()
    trigger = TRIGGERS.get(step, _plain)
    if trigger is _backlog:
        world.deliver_all(230)
    daemon = await world.start(step.name, 2 if step in OF_THE_PROBE else 1)
    idle = len(world.gmail.transcript)
    await world.until(
        lambda: (
            daemon.ended.is_set()
            or any(" IDLE" in line.text for line in world.gmail.transcript[idle:] if line.side == "C")
        ),
        DEATHS,
    )
    await trigger(world, daemon, MESSAGES + 1 - position)
    if not await world.death(daemon, DEATHS):
        world.complaints.append(f"never came to {step.name}")


def r1() -> Iterator[Case]:
    for step in Step:
        for name, position in POSITIONS.items():
            for routes in (1, 3):
                ground = Ground(routes=routes)
                if step in (Step.FAILURE_SEEN, Step.FAILURE_WRITTEN):
                    ground = replace(ground, daemon_keys=TOO_LARGE)
                play = partial(die_at, step=step, position=position)
                yield Case("R1", f"{step.name}/{name}/{routes}", play, ground)


async def die_twice(world: World, first: Step, second: Step) -> None:
    daemon = await world.start(first.name)
    world.deliver_all(1)
    await world.death(daemon, 3.0)
    await daemon.kill()
    world.look_at_state()
    daemon = await world.start(second.name)
    await world.death(daemon, 1.0)
    await daemon.kill()
    world.look_at_state()


def r2(count: int, seed: int) -> Iterator[Case]:
    """Random ordered pairs; steps that a plain copy never comes to are left out."""
    rng = Random(seed)
    steps = [step for step in Step if step not in TRIGGERS or TRIGGERS[step] is _chunked]
    for _ in range(count):
        first, second = rng.choice(steps), rng.choice(steps)
        play = partial(die_twice, first=first, second=second)
        yield Case("R2", f"{first.name}/{second.name}", play)


async def die_at_random(world: World, kills: int, messages: int) -> None:
    """Mail keeps coming, and every so often the daemon is killed, whatever it is doing."""
    rng = world.rng
    for kill in range(kills):
        daemon = await world.start()
        for _ in range(messages // kills):
            world.deliver(rng.choice(world.users), size=rng.choice((0, 0, 0, 100_000)))
        # Sometimes early in its life, sometimes with something under way.
        if rng.random() < 0.5:
            await asyncio.sleep(rng.random() * 0.15)
        else:
            left = world.copied
            await world.until(lambda left=left: world.copied > left, 1.0)  # type: ignore[misc]
            await asyncio.sleep(rng.random() * 0.02)
        await daemon.kill()
        if kill % 10 == 0:
            world.look_at_state()


def r3(worlds: int, kills: int) -> Iterator[Case]:
    for number in range(worlds):
        play = partial(die_at_random, kills=kills, messages=kills * 5)
        literals = OUTLOOK if number % 2 else replace(OUTLOOK, literals_after_refusal=True)
        yield Case("R3", f"{kills} kills/{number}", play, Ground(routes=2, outlook=literals))


async def stop_at(world: World, step: Step) -> None:
    """SIGTERM at a step: it must end by itself, in time, with 0."""
    world.deliver_all(1)
    daemon = await world.start(f"stop:{step.name}")
    await world.until(lambda: daemon.ended.is_set() or world.copied >= 1, DEATHS)
    world.deliver_all(2)
    if not await world.death(daemon, 30.0):
        await daemon.kill()
        if step not in TRIGGERS:
            world.complaints.append(f"did not end within 30 s of SIGTERM at {step.name}")
    elif daemon.status != 0:
        world.complaints.append(f"exit status {daemon.status} after SIGTERM at {step.name}")


def r43() -> Iterator[Case]:
    for step in Step:
        if step not in TRIGGERS:
            yield Case("R43", step.name, partial(stop_at, step=step))


async def freeze(world: World, seconds: float) -> None:
    """SIGSTOP in the middle of a copy, until its lease is long over and another has it; SIGCONT."""
    frozen = await world.start()
    world.deliver_all(6, size=CHUNKED)
    await world.until(lambda: world.copied >= 1, DEATHS)
    await asyncio.sleep(world.rng.random() * 0.01)
    frozen.signal(signal.SIGSTOP)
    heir = await world.start(second=True)
    took_over = await world.until(lambda: heir.said("lease.taken") > 0, seconds)
    if not took_over:
        world.complaints.append("nobody took over from the frozen one")
    await world.until(lambda: world.copied >= 3, 1.0)
    frozen.signal(signal.SIGCONT)
    world.deliver_all(2)


def r41(count: int) -> Iterator[Case]:
    """With DynamoDB: whoever is frozen in a transaction keeps an SQLite file locked."""
    ground = Ground(dynamo=True, speed=6.0, state_keys='lease = "12s"', daemon_keys='settle_window = "6s"')
    for number in range(count):
        yield Case("R41", f"frozen/{number}", partial(freeze, seconds=15.0), ground)
