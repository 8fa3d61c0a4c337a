"""Whose fault is a refusal that gives no reason: the message's, or the destination's?

A full mailbox may answer as it does to a message that it can't take (B37). So a message is blamed
only as long as others pass: when several different ones have been refused without a success
between, none of them is counted, and the destination is suspected until it takes a message.
Which one it takes decides. One that it had refused: the destination was at fault, and all is
forgotten. Another one: the refused ones are to blame, and are counted from then on.

Pure: no await, no clock.
"""

from __future__ import annotations

Key = tuple[str, int, int]  # MessageRef.key

DIFFERENT = 4  # messages refused in a row that point to the destination
QUICK_PROBES = 10  # messages not yet refused that may be tried in the midst of a long pause
LONG_PAUSES = (60.0, 900.0)  # seconds before a refused one is tried again: the first, the longest
REMEMBERED = 1000  # suspects: older ones count as not yet refused


class Suspicion:
    """Of one destination. `active`: nothing is to be written but one probe at a time."""

    def __init__(self) -> None:
        self.active = False
        self._suspects: dict[Key, int] = {}  # refused since the last success; how often that counted
        self._blamed: set[Key] = set()
        self._quick_left = QUICK_PROBES
        self._pauses = 0

    def __len__(self) -> int:
        """How many different messages have been refused without a success between."""
        return len(self._suspects)

    def was_refused(self, key: Key) -> bool:
        """Whether it was, as far as that is remembered."""
        return key in self._suspects or key in self._blamed

    def refused(self, key: Key, *, counts: bool = True) -> int:
        """By how much that changes the attempts counted against the message: what was counted in vain
        is taken back. `counts` False: the answer blames no message, and can only raise suspicion."""
        if not self.active and key in self._blamed:
            return int(counts)
        if self.may_probe_soon(key):
            self._quick_left -= 1
        self._suspects.setdefault(key, 0)
        if len(self._suspects) > REMEMBERED:
            del self._suspects[next(iter(self._suspects))]
        if not self.active and len(self._suspects) >= DIFFERENT:
            self.active, self._quick_left, self._pauses = True, QUICK_PROBES, 0
        if self.active:
            taken_back, self._suspects[key] = self._suspects[key], 0
            return -taken_back
        self._suspects[key] += counts
        return int(counts)

    def accepted(self, key: Key) -> bool:
        """The destination took a message. True if it was under suspicion until now."""
        was_active, self.active = self.active, False
        if key in self._suspects or key in self._blamed:
            self._blamed.clear()
        elif was_active:
            self._blamed = set(self._suspects)
        self._suspects.clear()
        return was_active

    def holds(self, key: Key) -> bool:
        """Whether a verdict on this message has to wait for the one on the destination."""
        return self.active and key in self._suspects

    def may_probe_soon(self, key: Key) -> bool:
        """Whether this message tells something new, and need not wait for a long pause."""
        return self.active and self._quick_left > 0 and key not in self._suspects

    def long_pause(self) -> float:
        """Seconds to wait after a refusal under suspicion."""
        first, longest = LONG_PAUSES
        pause = min(first * 2.0 ** min(self._pauses, 10), longest)
        self._pauses += 1
        self._quick_left = min(self._quick_left + 1, QUICK_PROBES)
        return pause
