"""When a route is to be listed whether or not anything was heard: the sweep.

Routes are spread over the interval, so that no server sees them all at once.
"""

from __future__ import annotations

from random import Random

from mailsyncd.ports import Clock


class SweepTimer:
    """Of one route. All times in seconds."""

    def __init__(self, clock: Clock, interval: float, rng: Random) -> None:
        self._clock = clock
        self._interval = interval
        self._next = clock.monotonic() + interval * rng.uniform(0.5, 1.0)
        self._listed: float | None = None

    @property
    def deadline(self) -> float:
        """A route without a finished listing for this long is connected anew, whatever it claims
        to be doing."""
        return self._interval * 1.5

    def remaining(self) -> float:
        return max(0.0, self._next - self._clock.monotonic())

    def listed(self) -> None:
        """A full listing has been finished."""
        self._listed = self._clock.monotonic()
        self._next = self._listed + self._interval

    def age(self) -> float | None:
        """Since the last full listing; None before the first."""
        return None if self._listed is None else self._clock.monotonic() - self._listed
