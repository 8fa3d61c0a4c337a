"""The seconds that a destination goes by, which a reload may change while it runs."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class DestinationSettings:
    settle_window: float
    record_ttl: float
    drain_timeout: float
