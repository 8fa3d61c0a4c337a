"""How long to wait before connecting again: little after a mishap, more and more after each
failure in a row, and never so little that a server which keeps hanging up sees a login storm.

Pure: no await, no clock.
"""

from __future__ import annotations

from random import Random

from mailsyncd.policy import backoff

STEADY = 60.0  # seconds a connection must live to count as sound
QUICK_DEATHS = 10  # connections in a row that lived for less, before logins become rare
RARE = 30.0  # seconds between logins from then on, at the least


class Reconnects:
    """Of one connection that is to be there always."""

    def __init__(self, rng: Random) -> None:
        self._rng = rng
        self._delays = backoff(rng)
        self._quick_deaths = 0

    @property
    def rare(self) -> bool:
        """Whether logins have to be few by now."""
        return self._quick_deaths >= QUICK_DEATHS

    def after(self, lived: float, *, planned: bool = False, fruitful: bool = False) -> float:
        """The wait after a connection that lived so long, both in seconds.

        `planned`: it ended at a time of our own choice. `fruitful`: it was of use, as one that
        copied something before the server had enough of it (B39).
        """
        steady = lived >= STEADY
        self._quick_deaths = 0 if steady else self._quick_deaths + 1
        if steady or fruitful:
            self._delays = backoff(self._rng)
        if steady and planned:
            return 0.0
        delay = next(self._delays)
        return max(delay, RARE) if self.rare else delay
