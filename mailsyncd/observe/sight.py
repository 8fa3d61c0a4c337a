"""What there is to be seen of a running daemon: each part of it is asked for when somebody looks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from mailsyncd.meter import Meter
from mailsyncd.model import Usage
from mailsyncd.ports import Clock
from mailsyncd.status import DaemonStatus


@dataclass(frozen=True, slots=True)
class Sight:
    """`addresses`: the user's own, which may be shown."""

    status: Callable[[], DaemonStatus]
    meter: Meter
    usage: Callable[[], Usage]
    addresses: Callable[[], frozenset[str]]
    clock: Clock
