"""Writes that share requests: what comes while others are under way goes out together.

A write that comes alone goes at once, as it is. Several go as one transaction, which is refused as
a whole if one of them is: those have their verdict then, and the others go again. What can't be
taken together goes one by one. A request costs the SDK as much as forty writes in it, so while
two are under way a further one is begun for many callers only.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

from mailsyncd.errors import StateUnavailable
from mailsyncd.state.dynamo_client import DynamoClient, Unfit, Verdict, Write

LANES = 4  # requests under way; one more write waits, and goes with all that wait
OPEN_LANES = 2  # of them, for however few writes
MANY = 16  # callers that wait: worth a further one
MOST_ITEMS = 100  # in one transaction (D4)

Keys = frozenset[tuple[str, str]]


@dataclass(frozen=True, slots=True, eq=False)
class _Unit:
    """Writes of which all are to be done or none, and where their caller waits for the verdict."""

    writes: tuple[Write, ...]
    keys: Keys
    verdict: asyncio.Future[Verdict]

    def answer(self, verdict: Verdict) -> None:
        if not self.verdict.done():
            self.verdict.set_result(verdict)

    def fail(self, error: Exception) -> None:
        if not self.verdict.done():
            self.verdict.set_exception(error)


class DynamoGroup:
    """Of one client. Requests of one group never meet each other at an item."""

    def __init__(self, client: DynamoClient) -> None:
        self._client = client
        self._waiting: list[_Unit] = []
        self._under_way: set[tuple[str, str]] = set()
        self._lanes: set[asyncio.Task[None]] = set()

    async def write(self, *writes: Write) -> Verdict:
        """All of them or none; see DynamoClient.transact()."""
        keys = frozenset((write.pk, write.sk) for write in writes)
        unit = _Unit(writes, keys, asyncio.get_running_loop().create_future())
        self._waiting.append(unit)
        if len(self._lanes) < self._wanted():
            self._lanes.add(asyncio.create_task(self._lane()))
        return await unit.verdict

    async def close(self) -> None:
        """What is under way may yet be done, as after any lost answer."""
        lanes = list(self._lanes)
        for lane in lanes:
            lane.cancel()
        await asyncio.gather(*lanes, return_exceptions=True)
        self._lanes.difference_update(lanes)  # those too that had not begun
        waiting, self._waiting = self._waiting, []
        for unit in waiting:
            unit.fail(self._closed())

    # ------------------------------------------------------------------- sending

    def _wanted(self) -> int:
        """How many requests may be under way, for what waits."""
        return LANES if len(self._waiting) >= MANY else OPEN_LANES

    async def _lane(self) -> None:
        """One request after the other, until nothing waits, or so little that other lanes will take it."""
        try:
            while len(self._lanes) <= self._wanted() and (units := self._next()):
                await self._request(units)
        finally:  # in the same turn of the loop: what comes in the next is not to wait for this lane
            self._lanes.discard(cast("asyncio.Task[None]", asyncio.current_task()))

    async def _request(self, units: Sequence[_Unit]) -> None:
        try:
            await self._send(units)
        except asyncio.CancelledError:
            for unit in units:
                unit.fail(self._closed())
            raise
        finally:
            self._under_way.difference_update(*(unit.keys for unit in units))

    def _next(self) -> list[_Unit]:
        """What goes into the next request: a transaction takes an item once, and conflicts with
        another one's. Whoever no longer waits for an answer need not be served."""
        taken, left, size = [], [], 0
        for unit in self._waiting:
            if unit.verdict.done():
                continue
            if size + len(unit.writes) > MOST_ITEMS or not unit.keys.isdisjoint(self._under_way):
                left.append(unit)
                continue
            taken.append(unit)
            size += len(unit.writes)
            self._under_way |= unit.keys
        self._waiting = left
        return taken

    async def _send(self, units: Sequence[_Unit]) -> None:
        """Each gets its verdict or its error, or is to go again."""
        try:
            if len(units) == 1:
                units[0].answer(await self._alone(units[0].writes))
            else:
                self._judge(
                    units, await self._client.transact([one for unit in units for one in unit.writes])
                )
        except Exception as error:  # noqa: BLE001 - each caller is told, none is left waiting
            if isinstance(error, Unfit) and len(units) > 1:
                await asyncio.gather(*(self._send([unit]) for unit in units))
                return
            for unit in units:
                unit.fail(error)

    async def _alone(self, writes: Sequence[Write]) -> Verdict:
        if len(writes) > 1:
            return await self._client.transact(writes)
        there = await self._client.put(writes[0])
        return None if there is None else [there]

    def _judge(self, units: Sequence[_Unit], refused: Verdict) -> None:
        again, first = [], 0
        for unit in units:
            last = first + len(unit.writes)
            own, first = refused and refused[first:last], last
            if refused is None or any(there is not None for there in own or ()):
                unit.answer(own)
            else:  # it would have been done, but for the others
                again.append(unit)
        self._waiting = again + self._waiting

    def _closed(self) -> StateUnavailable:
        return StateUnavailable(f"{self._client.where}: the state has been closed")
