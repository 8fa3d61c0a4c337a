"""What the routes of one destination share."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from random import Random

from mailsyncd.flow.gate import Gate
from mailsyncd.flow.queue import RefQueue
from mailsyncd.flow.ready import ReadyQueue
from mailsyncd.flow.vouch import Vouch
from mailsyncd.meter import Meter
from mailsyncd.ports import Clock, StateStore


@dataclass(frozen=True, slots=True)
class Belt:
    """`wanted` is set once some route has, or may have, something for the destination."""

    queue: RefQueue
    ready: ReadyQueue
    store: StateStore
    gate: Gate
    clock: Clock
    rng: Random
    vouch: Vouch
    wanted: asyncio.Event = field(default_factory=asyncio.Event)
    meter: Meter = field(default_factory=Meter)
