"""A state store whose requests are refused, whose answers are lost after they were carried out, and
which is away for a while: at random, from a seed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable
from random import Random
from typing import Any

from mailsyncd.errors import StateUnavailable
from mailsyncd.ports import Clock, StateStore

AWAY = (2.0, 30.0)  # seconds: less than the grace time


class ShakyStore:
    """Stands before a StateStore. Of all requests, `share` are refused, as many lose their answers,
    and a tenth as many find the store gone for a while; `struck` counts them. The first request is
    answered: a daemon that starts without a store ends at once, as it should."""

    def __init__(
        self, store: StateStore, clock: Clock, rng: Random, share: float, struck: Counter[str]
    ) -> None:
        self._store = store
        self._clock = clock
        self._rng = rng
        self._share = share
        self._struck = struck
        self._back_at = 0.0
        self._begun = False

    def __getattr__(self, name: str) -> Callable[..., Awaitable[Any]]:
        ask = getattr(self._store, name)

        async def request(*given: Any, **named: Any) -> Any:
            drawn = self._rng.random() / self._share if self._begun else 1.0 / self._share
            if drawn < 0.1:
                self._back_at = self._clock.monotonic() + self._rng.uniform(*AWAY)
                self._fail("store_away")
            if self._clock.monotonic() < self._back_at:
                raise StateUnavailable("the soak's store is away")
            if drawn < 1.1:
                self._fail("store_refuses")
            answer = await ask(*given, **named)
            self._begun = True
            if drawn < 2.1:
                self._fail("store_loses_answer")
            return answer

        return ask if name == "close" else request

    def _fail(self, how: str) -> None:
        self._struck[how] += 1
        raise StateUnavailable(f"the soak's {how}")


def shake(assemble: Any, share: float, seed: int, struck: Counter[str]) -> None:
    """Every store that `assemble`, the module, makes from now on fails at random."""
    make = assemble.make_store

    def made(settings: Any, clock: Clock) -> ShakyStore:
        return ShakyStore(make(settings, clock), clock, Random(seed), share, struck)

    assemble.make_store = made
