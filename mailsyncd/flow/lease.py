"""Who may write to a destination: one daemon at a time, by a lease in the state store.

A waiter takes over when it has seen the same beat for a whole life by its own monotonic clock
(share.py), so no two clocks need agree; the holder stops trusting its lease well before that.
A lease can only be believed for too short a time, never for too long.
"""

from __future__ import annotations

import asyncio
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
STANDBY_POLL = 2.0  # seconds between a command's looks at another's lease


@dataclass(frozen=True, slots=True)
class Identity:
    """This process, and how to tell that another one, named in a lease, is certainly gone."""

    owner: str
    is_gone: Callable[[str], bool]

    def frees(self, lease: Lease) -> bool:
        """Whether it can be taken at once: it was given up, or its owner runs no more."""
        return not lease.owner or self.is_gone(lease.owner)


class Tenancy:
    """The lease of one destination, as this process sees it. Whether to take it, and whether to
    give it up for others, is decided in share.py."""

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
        self.destination = destination
        self.pool = ""
        self.retired = False
        self.other = ""  # the daemon that was seen to hold it, if it is not this one
        self.on_loss: Callable[[], None] = lambda: None
        self._identity = identity
        self._clock = clock
        self._life = life
        self._lease: Lease | None = None
        self._trusted_until = 0.0
        self._offer: Lease | None = None
        self._offered = asyncio.Event()
        self._unwanted = asyncio.Event()

    @property
    def epoch(self) -> int | None:
        return self._lease.epoch if self._lease else None

    @property
    def holder(self) -> str:
        """Who holds it, as far as is known."""
        return self._identity.owner if self._lease else self.other

    @property
    def held(self) -> bool:
        """Whether an APPEND may begin now."""
        left = self._trusted_until - self._clock.monotonic()
        return self._lease is not None and left > self._life * RESERVE

    def require(self) -> int:
        """The epoch, if an APPEND may begin now; raises LeaseLost if not."""
        if self._lease is None or not self.held:
            raise LeaseLost(f"the lease of {self.destination} could not be renewed in time")
        return self._lease.epoch

    # ------------------------------------------------------------ taking, by turns

    @property
    def in_hand(self) -> bool:
        """Whether it is ours, or on offer to us."""
        return self._lease is not None or self._offered.is_set()

    @property
    def unwanted(self) -> bool:
        """Whether it is ours, and being given up for another daemon."""
        return self._unwanted.is_set()

    def offer(self, current: Lease | None) -> None:
        """It may be taken by us: `current` is what was seen of it, and stands in nobody's way."""
        self._offer = current
        self._offered.set()

    async def turn(self) -> None:
        """Wait, for as long as it takes, until it may be taken."""
        await self._offered.wait()

    async def take(self) -> bool:
        """Take what is on offer, if nobody else was quicker."""
        current = self._offer
        wanted = Lease(
            self._identity.owner,
            (current.epoch if current else 0) + 1,
            1,
            self._life,
            self._clock.now(),
            self.pool,
        )
        asked = self._clock.monotonic()
        try:
            taken = await self._put(wanted, current)
        finally:
            self._offered.clear()
        if taken:
            self._hold(wanted, asked)
            reached(Step.LEASE_TAKEN)
            self._unwanted.clear()
            log.info("lease.taken", destination=self.destination, epoch=wanted.epoch)
        else:
            self.on_loss()  # somebody was quicker: what was on offer no longer is
        return taken

    async def try_take(self, seen: tuple[Lease, float] | None = None) -> tuple[Lease, float] | None:
        """Without turns, for commands. None when it was taken; else what stands in the way and since
        when (monotonic) it has been seen so: to be passed back at the next try. Raises LeaseLost."""
        asked = self._clock.monotonic()
        current = await self._gate.call(lambda: self._store.lease(self.destination))
        if current is not None and not self._identity.frees(current):
            if seen is None or beat_of(seen[0]) != beat_of(current):
                return (current, self._clock.monotonic())
            if asked - seen[1] < max(current.life, self._life):
                return seen
        self.offer(current)
        if not await self.take():
            raise LeaseLost(f"another mailsyncd was quicker to take {self.destination}")
        return None

    async def try_take_once(self) -> bool:
        """For a single cycle: False if another daemon holds it. One that by the wall clock was left behind
        is watched for its life, like any other: that clock only says whether to wait. Raises LeaseLost."""
        first = seen = await self.try_take()
        told = False
        while first is not None and seen is not None:
            held = seen[0]
            age = abs(self._clock.now() - held.renewed_at)
            if self.retired or age < max(held.life, self._life) or beat_of(held) != beat_of(first[0]):
                return False
            if not told:
                log.warning("lease.left_behind", destination=self.destination, holder=held.owner)
                told = True
            await self._clock.sleep(STANDBY_POLL)
            seen = await self.try_take(seen)
        return True

    def give_up(self) -> None:
        """Others hold too few: finish what is in flight, and release it."""
        log.info("lease.surplus", destination=self.destination)
        self._unwanted.set()

    async def surplus(self) -> None:
        """Wait until it is to be given up for others."""
        await self._unwanted.wait()

    # -------------------------------------------------------------------- holding

    async def keep(self) -> None:
        """Renew until that fails for too long, or someone else has taken over: LeaseLost."""
        pause = self._life / RENEWALS
        while True:
            await self._clock.sleep(pause)
            pause = self._life / RENEWALS
            lease = self._lease
            if lease is None:
                raise LeaseLost(f"the lease of {self.destination} was given up")
            asked = self._clock.monotonic()
            renewed = replace(lease, beat=lease.beat + 1, renewed_at=self._clock.now(), pool=self.pool)
            try:
                if not await self._store.put_lease(self.destination, renewed, expected=lease):
                    self._trusted_until = float("-inf")  # what is in flight is not to go on, either
                    raise LeaseLost(f"another daemon has taken over {self.destination}")
            except StateUnavailable as error:
                self.require()
                log.warning("lease.renewal_failed", destination=self.destination, error=str(error))
                pause = min(1.0, pause)
            else:
                self._hold(renewed, asked)

    async def release(self) -> None:
        """Give it up at once, so that a successor need not wait. Never raises."""
        lease, self._lease = self._lease, None
        self._unwanted.clear()
        if lease is None:
            return
        given_up = replace(lease, owner="", beat=lease.beat + 1, renewed_at=self._clock.now())
        try:
            await self._store.put_lease(self.destination, given_up, expected=lease)
        except StateUnavailable as error:
            log.warning("lease.release_failed", destination=self.destination, error=str(error))
        self.on_loss()

    async def _put(self, wanted: Lease, current: Lease | None) -> bool:
        return await self._gate.call(
            lambda: self._store.put_lease(self.destination, wanted, expected=current)
        )

    def _hold(self, lease: Lease, asked_mono: float) -> None:
        """Trust counts from before the request went out: the others' counts from after."""
        self._lease = lease
        self._trusted_until = asked_mono + self._life


def beat_of(lease: Lease) -> tuple[str, int, int]:
    """What no two states of a lease have in common."""
    return (lease.owner, lease.epoch, lease.beat)
