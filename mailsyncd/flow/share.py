"""How the daemons that run share out the destinations: evenly, and again when one comes or goes.

Each daemon looks at the leases, which tell who writes where, and at what those without a lease
announce; works out its own share; takes what is free below it, gives up what is above it, and
never takes what another still holds. The views of two daemons may differ for a while: the worst
of it is that a destination changes hands once more.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import sha256

import structlog

from mailsyncd.errors import StateUnavailable
from mailsyncd.flow.gate import Gate
from mailsyncd.flow.lease import RENEWALS, Identity, Tenancy, beat_of
from mailsyncd.model import Lease, Member
from mailsyncd.policy import fair_share
from mailsyncd.ports import Clock, StateStore
from mailsyncd.status import Sharing
from mailsyncd.tasks import all_of, first_of

log = structlog.get_logger()

LOOK = 0.5  # seconds between looks at who comes and goes, while we would take what is free
LEASE_LOOK = 2.0  # seconds between looks at a lease whose owner is alive and stays
SATED_LOOK = 10.0  # seconds between looks while we hold everything, and may have to give of it
SOLE_LOOK = 60.0  # the same with one destination, of which there is nothing to give: for `check` only
LEAVE_TIMEOUT = 5.0  # seconds that telling the others may take
NOTE_LIFE = 3600.0  # seconds until the store may delete what a daemon told of itself


@dataclass(frozen=True, slots=True)
class _Sighting:
    """What was seen, since when it has been seen so, and when it was last looked at.

    `alive`: it was seen to come or to change, so its owner was alive at `since`. What had been
    there when we began to look may be a dead daemon's, and gives nobody a share.
    """

    what: Lease | Member
    since: float
    read: float
    alive: bool

    def silent(self, life: float, now: float) -> bool:
        return now - self.since >= max(self.what.life, life)


class Share:
    """This daemon's part of the destinations. run() keeps to it; leave() tells that it ends."""

    def __init__(
        self, store: StateStore, gate: Gate, identity: Identity, clock: Clock, *, life: float
    ) -> None:
        self._store = store
        self._gate = gate
        self._identity = identity
        self._clock = clock
        self._life = life
        self._tenancies: dict[str, Tenancy] = {}
        self._leases: dict[str, _Sighting] = {}
        self._notes: dict[str, _Sighting] = {}
        self._holders: dict[str, str] = {}
        self._free: dict[str, Lease | None] = {}
        self._has_looked = False
        self._leaving = False
        self._announcing = asyncio.Lock()
        self._announced = float("-inf")
        self._beat = 0
        self._nudge = asyncio.Event()
        self._status: Sharing | None = None

    def join(self, tenancy: Tenancy) -> None:
        """One more destination that this daemon serves."""
        self._tenancies[tenancy.destination] = tenancy
        tenancy.on_loss = self._nudge.set
        self._nudge.set()

    # --------------------------------------------------------------------- life

    async def run(self) -> None:
        """Look and act, until cancelled. Raises StateUnavailable when the store stayed away."""
        while True:
            self._nudge.clear()
            if not self._leaving:
                await self._look()
                await self._announce()
            await first_of(self._clock.sleep(self._pause()), self._nudged())

    def _pause(self) -> float:
        if not all(one.in_hand for one in self._tenancies.values()):
            return LOOK
        return SATED_LOOK if len(self._tenancies) > 1 else SOLE_LOOK

    async def _nudged(self) -> None:
        """What was just released is seen to be free, or in other hands, at the next look."""
        await self._nudge.wait()
        await self._clock.sleep(LOOK)

    async def leave(self) -> None:
        """Take nothing more, and tell the others, so that they watch for what is released."""
        self._leaving = True
        try:
            async with asyncio.timeout(LEAVE_TIMEOUT), self._announcing:
                await self._store.announce(self._note(leaving=True))
        except (StateUnavailable, TimeoutError) as error:
            log.warning("share.leave_failed", error=str(error) or "no answer")

    async def _announce(self) -> None:
        """As often as a lease is renewed, and only while there is no lease of ours to be seen."""
        now = self._clock.monotonic()
        if any(one.in_hand for one in self._tenancies.values()):
            return
        if now - self._announced < self._life / RENEWALS:
            return
        async with self._announcing:
            if not self._leaving:
                self._beat += 1
                await self._gate.call(lambda: self._store.announce(self._note(leaving=False)))
                self._announced = now

    def _note(self, *, leaving: bool) -> Member:
        now = self._clock.now()
        ttl = int(now + NOTE_LIFE)
        return Member(self._identity.owner, self._pool(), self._beat, self._life, now, ttl, leaving)

    def _pool(self) -> str:
        """Only daemons that serve the same destinations share: nobody else would take what is given up."""
        return sha256("\n".join(sorted(self._tenancies)).encode()).hexdigest()[:16]

    # ------------------------------------------------------------------- looking

    async def _look(self) -> None:
        self._tenancies = {name: one for name, one in self._tenancies.items() if not one.retired}
        if not self._tenancies:
            return
        asked = self._clock.monotonic()
        notes = await self._gate.call(self._store.members)
        for note in notes:
            self._notes[note.owner] = self._seen(self._notes.get(note.owner), note, self._has_looked)
        known = {note.owner for note in notes}
        self._notes = {owner: one for owner, one in self._notes.items() if owner in known}
        self._free = {}
        await all_of(*(self._look_at(name, asked) for name in self._worth_a_look(asked)))
        self._has_looked = True
        self._decide(asked)

    def _worth_a_look(self, now: float) -> list[str]:
        """The leases of others: those that may be free by now, and from time to time each of them."""
        leaving = self._leavers()
        worth = []
        for name, tenancy in self._tenancies.items():
            seen = self._leases.get(name)
            if tenancy.in_hand:
                self._leases.pop(name, None)
            elif (
                seen is None
                or now - seen.read >= LEASE_LOOK
                or seen.silent(self._life, now)
                or seen.what.owner in leaving
                or (isinstance(seen.what, Lease) and self._identity.frees(seen.what))
            ):
                worth.append(name)
        return worth

    async def _look_at(self, name: str, asked: float) -> None:
        """Read a lease. It is free if it was given up, or is as it was a whole life before we asked."""
        lease = await self._gate.call(lambda: self._store.lease(name))
        if lease is None:
            self._free[name] = None
            return
        before = self._leases.get(name)
        seen = self._leases[name] = self._seen(before, lease, False)
        if self._identity.frees(lease) or seen.silent(self._life, asked):
            self._free[name] = lease

    def _seen(self, before: _Sighting | None, what: Lease | Member, alive_if_new: bool) -> _Sighting:
        """Since when: counted from after the answer, so that no silence is taken for too long."""
        now = self._clock.monotonic()
        if before is None:
            return _Sighting(what, now, now, alive_if_new)
        if _stamp(before.what) == _stamp(what):
            return _Sighting(what, before.since, now, before.alive)
        return _Sighting(what, now, now, True)

    def _leavers(self) -> set[str]:
        return {
            owner for owner, one in self._notes.items() if isinstance(one.what, Member) and one.what.leaving
        }

    def _members(self, now: float) -> dict[str, int]:
        """Who shares with us, ourselves among them, and how many each has in hand."""
        me, pool, leaving = self._identity.owner, self._pool(), self._leavers()
        held = {me: sum(one.in_hand for one in self._tenancies.values())}
        for seen in (*self._leases.values(), *self._notes.values()):
            owner = seen.what.owner
            lives = owner and seen.alive and not seen.silent(self._life, now)
            stays = owner not in leaving and not self._identity.is_gone(owner)
            if lives and stays and seen.what.pool == pool:
                held.setdefault(owner, 0)
        for seen in self._leases.values():
            if seen.what.owner in held and seen.what.owner != me:
                held[seen.what.owner] += 1
        return held

    # ------------------------------------------------------------------- deciding

    def _decide(self, now: float) -> None:
        members = self._members(now)
        mine = [one for one in self._tenancies.values() if one.in_hand and not one.unwanted]
        share = fair_share(self._identity.owner, members, len(self._tenancies))
        self._tell(Sharing(len(members), len(self._tenancies), share, members[self._identity.owner]))
        pool = self._pool()
        for one in self._tenancies.values():
            one.pool = pool
        for name in self._in_my_order(self._free)[: max(0, share - len(mine))]:
            self._tenancies[name].offer(self._free[name])
        for one in sorted(mine, key=lambda one: one.destination)[share:]:
            one.give_up()
        for name, seen in self._leases.items():
            if not self._tenancies[name].in_hand and self._holders.get(name) != seen.what.owner:
                self._holders[name] = self._tenancies[name].other = seen.what.owner
                if seen.what.owner:
                    log.info("writer.standby", destination=name, holder=seen.what.owner)

    def _in_my_order(self, names: Iterable[str]) -> list[str]:
        """Daemons that reach out at once reach out for different ones."""
        return sorted(names, key=lambda name: sha256(f"{self._identity.owner}\n{name}".encode()).digest())

    def _tell(self, new: Sharing) -> None:
        old, self._status = self._status, new
        if old is None or (old.daemons, old.share) != (new.daemons, new.share):
            log.info("share.changed", daemons=new.daemons, destinations=new.destinations, share=new.share)

    def status(self) -> Sharing:
        """As `mailsyncd check` shows it."""
        destinations = len(self._tenancies)
        held = sum(one.epoch is not None for one in self._tenancies.values())
        if self._status is None:
            return Sharing(1, destinations, destinations, held)
        return Sharing(self._status.daemons, destinations, self._status.share, held)


def _stamp(what: Lease | Member) -> tuple[object, ...]:
    """See beat_of()."""
    if isinstance(what, Lease):
        return beat_of(what)
    return (what.owner, what.beat, what.leaving, what.pool)
