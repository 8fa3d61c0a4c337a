"""References of one destination that are to be tried again after a while, and not before."""

from __future__ import annotations

from mailsyncd.flow.belt import Belt
from mailsyncd.model import MessageRef


class Later:
    def __init__(self, belt: Belt) -> None:
        self._belt = belt
        self._waiting: list[tuple[float, MessageRef]] = []

    def put(self, ref: MessageRef, seconds: float) -> None:
        self._waiting.append((self._belt.clock.monotonic() + seconds, ref))

    @property
    def keys(self) -> set[tuple[str, int, int]]:
        return {ref.key for _, ref in self._waiting}

    def requeue_due(self) -> None:
        """Put back on the queue what was to be tried again by now."""
        now = self._belt.clock.monotonic()
        self._belt.queue.put_back([ref for when, ref in self._waiting if when <= now])
        self._waiting = [(when, ref) for when, ref in self._waiting if when > now]

    def forget(self) -> None:
        """The lease is gone: what was to be tried again will be listed again."""
        self._waiting.clear()
