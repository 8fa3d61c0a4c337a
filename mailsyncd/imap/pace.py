"""How fast connections are begun: no server is to see a storm of them when many routes start, or come
back after an outage."""

from __future__ import annotations

from mailsyncd.ports import Clock

AT_ONCE = 10  # connections to a host
PER_SECOND = 25.0


class Pace:
    """Of all connections of a process, by host."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._next: dict[str, float] = {}

    async def turn(self, host: str) -> None:
        """Wait until a connection to that host may be begun."""
        now = self._clock.monotonic()
        turn = max(self._next.get(host, 0.0), now - AT_ONCE / PER_SECOND)
        self._next[host] = turn + 1 / PER_SECOND
        if turn > now:
            await self._clock.sleep(turn - now)
