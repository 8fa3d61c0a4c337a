"""A case of the campaign: one fault of the list, at one point, from one seed."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from faults.world import Ground, World

Play = Callable[[World], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Case:
    """`play` brings the fault about; the world is then run to quiet and judged."""

    row: str
    name: str
    play: Play
    ground: Ground = field(default_factory=Ground)

    @property
    def id(self) -> str:
        return f"{self.row}:{self.name}"
