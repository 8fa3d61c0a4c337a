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
        self.quickest = float("inf")  # seconds until an answer

    @property
    def closed(self) -> bool:
        return self._closed_since is not None

    async def call(self, ask: Callable[[], Awaitable[T]]) -> T:
        """What the store answers, however often it takes within the grace time."""
        try:
            return await self._ask(ask)
        except StateUnavailable as error:
            return await self._insist(ask, error)

    async def _ask(self, ask: Callable[[], Awaitable[T]]) -> T:
        began = self._clock.monotonic()
        answer = await ask()
        self.quickest = min(self.quickest, self._clock.monotonic() - began)
        if self._closed_since is not None:
            self._reopen(self._closed_since)
        return answer

    async def _insist(self, ask: Callable[[], Awaitable[T]], error: StateUnavailable) -> T:
        failing_since = self._close(error)
        for delay in backoff(self._rng, 0.2, 5.0):
            # A store that answers probes and refuses this very request is no better than none.
            if self._clock.monotonic() - failing_since >= self._grace:
                raise error
            await self._clock.sleep(delay)
            await self._until_it_answers(error)
            try:
                return await self._ask(ask)
            except StateUnavailable as again:
                error = again
        raise AssertionError("the backoff never ends")

    def _close(self, error: StateUnavailable) -> float:
        """Note that the store is away; returns since when."""
        now = self._clock.monotonic()
        if self._closed_since is None:
            self._closed_since = now
            log.error("state.unavailable", error=str(error), grace_seconds=self._grace)
        return now

    def _reopen(self, closed_since: float) -> None:
        log.info("state.available", away_seconds=round(self._clock.monotonic() - closed_since, 1))
        self._closed_since = None

    async def _until_it_answers(self, error: StateUnavailable) -> None:
        """One prober at a time; raises when the store stayed away for the grace time."""
        started = self._clock.monotonic()
        async with self._probing:
            for delay in backoff(self._rng, 0.2, 5.0):
                try:
                    await self._store.open()
                except StateUnavailable as again:
                    error = again
                else:
                    return
                since = started if self._closed_since is None else self._closed_since
                if self._clock.monotonic() - since >= self._grace:
                    raise error
                await self._clock.sleep(delay)
