"""The gate of invariant I1: when the state store does not answer, copying stops at once.

Every call to the store from the path of a message goes through here. It is the store's one
retry loop: callers wait while it is closed, and get StateUnavailable when it stayed closed
for longer than the grace time.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from random import Random
from typing import TypeVar

import structlog

from mailsyncd.errors import StateUnavailable
from mailsyncd.policy import backoff
from mailsyncd.ports import Clock, StateStore

log = structlog.get_logger()
T = TypeVar("T")


class Gate:
    def __init__(self, store: StateStore, clock: Clock, rng: Random, *, grace: float) -> None:
        self._store = store
        self._clock = clock
        self._rng = rng
        self._grace = grace
        self._closed_since: float | None = None
        self._probing = asyncio.Lock()

    @property
    def closed(self) -> bool:
        return self._closed_since is not None

    async def call(self, ask: Callable[[], Awaitable[T]]) -> T:
        """What the store answers, however often it takes within the grace time."""
        while True:
            try:
                answer = await ask()
            except StateUnavailable as error:
                await self._reopen(error)
            else:
                self._closed_since = None
                return answer

    async def _reopen(self, error: StateUnavailable) -> None:
        """Wait until the store answers again. One prober at a time; the others wait for it."""
        started = self._clock.monotonic()
        if self._closed_since is None:
            self._closed_since = started
            log.error("state.unavailable", error=str(error), grace_seconds=self._grace)
        async with self._probing:
            if self._closed_since is None:
                return
            for delay in backoff(self._rng, 0.2, 5.0):
                if self._clock.monotonic() - self._closed_since >= self._grace:
                    raise error
                await self._clock.sleep(delay)
                try:
                    await self._store.open()
                except StateUnavailable as again:
                    error = again
                else:
                    log.info("state.available", away_seconds=round(self._clock.monotonic() - started, 1))
                    self._closed_since = None
                    return
