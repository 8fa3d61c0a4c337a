"""Connections to a host are begun a few at once, then so many a second."""

from __future__ import annotations

import asyncio

from fakes import VirtualClock

from mailsyncd.imap.pace import AT_ONCE, PER_SECOND, Pace


async def begun(clock: VirtualClock, pace: Pace, count: int, host: str = "a") -> list[float]:
    """When each of so many turns came, in seconds from now."""
    now, when = clock.monotonic(), list[float]()

    async def one() -> None:
        await pace.turn(host)
        when.append(clock.monotonic() - now)

    tasks = [asyncio.create_task(one()) for _ in range(count)]
    await clock.advance(count / PER_SECOND + 1)
    await asyncio.gather(*tasks)
    return when


async def test_many_routes_that_start_together_come_one_after_the_other() -> None:
    clock = VirtualClock()
    await clock.advance(60)
    when = await begun(clock, Pace(clock), 100)
    assert sum(at == 0 for at in when) == AT_ONCE + 1
    assert when == sorted(when)
    assert round(when[-1], 2) == round((99 - AT_ONCE) / PER_SECOND, 2)


async def test_after_a_pause_some_may_come_at_once_and_hosts_have_turns_of_their_own() -> None:
    clock = VirtualClock()
    pace = Pace(clock)
    await begun(clock, pace, 1)
    await clock.advance(60)
    assert sum(at == 0 for at in await begun(clock, pace, 3 * AT_ONCE)) == AT_ONCE + 1
    assert await begun(clock, pace, 1, host="b") == [0]
