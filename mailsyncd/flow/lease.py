"""Who may write to a destination: one daemon at a time, by a lease in the state store.

A waiter takes over when it has seen the same beat for a whole life by its own monotonic
clock, so no two clocks need agree; the holder stops trusting its lease well before that. A
lease can only be believed for too short a time, never for too long.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import structlog

from mailsyncd.errors import LeaseLost, StateUnavailable
from mailsyncd.flow.gate import Gate
from mailsyncd.model import Lease
from mailsyncd.ports import Clock, StateStore
from mailsyncd.steps import Step, reached

log = structlog.get_logger()

RENEWALS = 3  # in a life
RESERVE = 0.25  # of a life: what must be left for an APPEND to begin
STANDBY_POLL = 2.0  # seconds between looks at another's lease


@dataclass(frozen=True, slots=True)
class Identity:
    """This process, and how to tell that another one, named in a lease, is certainly gone."""

    owner: str
    is_gone: Callable[[str], bool]


class Tenancy:
    """The lease of one destination, as this process sees it."""

    def __init__(
        self,
        store: StateStore,
        gate: Gate,
        destination: str,
        identity: Identity,
        clock: Clock,
        *,
        life: float,
    ) -> None:
        self._store = store
        self._gate = gate
        self._destination = destination
        self._identity = identity
        self._clock = clock
        self._life = life
        self._lease: Lease | None = None
        self._trusted_until = 0.0
        self.since_mono = 0.0

    @property
    def epoch(self) -> int | None:
        return self._lease.epoch if self._lease else None

    @property
    def held(self) -> bool:
        """Whether an APPEND may begin now."""
        left = self._trusted_until - self._clock.monotonic()
        return self._lease is not None and left > self._life * RESERVE

    def require(self) -> int:
        """The epoch, if an APPEND may begin now; raises LeaseLost if not."""
        if self._lease is None or not self.held:
            raise LeaseLost(f"the lease of {self._destination} could not be renewed in time")
        return self._lease.epoch

    async def try_acquire(self, seen: tuple[Lease, float] | None = None) -> tuple[Lease, float] | None:
        """Take the lease if it is free. None when it was taken; else what stands in the way and
        since when (monotonic) it has been seen so: to be passed back at the next try."""
        now = self._clock.monotonic()
        current = await self._gate.call(lambda: self._store.lease(self._destination))
        if current is not None and not self._is_free(current, seen, now):
            return seen if seen and _same(seen[0], current) else (current, now)
        wanted = Lease(
            self._identity.owner, (current.epoch if current else 0) + 1, 1, self._life, self._clock.now()
        )
        asked = self._clock.monotonic()
        if await self._put(wanted, current):
            self._hold(wanted, asked)
            reached(Step.LEASE_TAKEN)
            self.since_mono = self._clock.monotonic()
            log.info("lease.taken", destination=self._destination, epoch=wanted.epoch)
            return None
        return seen

    def _is_free(self, lease: Lease, seen: tuple[Lease, float] | None, now: float) -> bool:
        if not lease.owner or self._identity.is_gone(lease.owner):
            return True
        return seen is not None and _same(seen[0], lease) and now - seen[1] >= max(lease.life, self._life)

    async def acquire(self) -> None:
        """Wait, for as long as it takes, until the lease is ours."""
        seen = await self.try_acquire()
        if seen is not None:
            log.info("writer.standby", destination=self._destination, holder=seen[0].owner)
        while seen is not None:
            await self._clock.sleep(STANDBY_POLL)
            seen = await self.try_acquire(seen)

    async def keep(self) -> None:
        """Renew until that fails for too long, or someone else has taken over: LeaseLost."""
        pause = self._life / RENEWALS
        while True:
            await self._clock.sleep(pause)
            pause = self._life / RENEWALS
            lease = self._lease
            if lease is None:
                raise LeaseLost(f"the lease of {self._destination} was given up")
            asked = self._clock.monotonic()
            renewed = replace(lease, beat=lease.beat + 1, renewed_at=self._clock.now())
            try:
                if not await self._store.put_lease(self._destination, renewed, expected=lease):
                    self._trusted_until = float("-inf")  # what is in flight is not to go on, either
                    raise LeaseLost(f"another daemon has taken over {self._destination}")
            except StateUnavailable as error:
                self.require()
                log.warning("lease.renewal_failed", destination=self._destination, error=str(error))
                pause = min(1.0, pause)
            else:
                self._hold(renewed, asked)

    async def release(self) -> None:
        """Give it up at once, so that a successor need not wait. Never raises."""
        lease, self._lease = self._lease, None
        if lease is None:
            return
        given_up = replace(lease, owner="", beat=lease.beat + 1, renewed_at=self._clock.now())
        try:
            await self._store.put_lease(self._destination, given_up, expected=lease)
        except StateUnavailable as error:
            log.warning("lease.release_failed", destination=self._destination, error=str(error))

    async def _put(self, wanted: Lease, current: Lease | None) -> bool:
        return await self._gate.call(
            lambda: self._store.put_lease(self._destination, wanted, expected=current)
        )

    def _hold(self, lease: Lease, asked_mono: float) -> None:
        """Trust counts from before the request went out: the others' counts from after."""
        self._lease = lease
        self._trusted_until = asked_mono + self._life


def _same(one: Lease, other: Lease) -> bool:
    return (one.owner, one.epoch, one.beat) == (other.owner, other.epoch, other.beat)
