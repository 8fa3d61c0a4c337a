"""Messages that the destination does not take now, while it takes others: a large one when there is
little room left, or one that is refused without a word why. Each waits for its own turn, longer
each time, so that it neither holds up the others nor is fetched over and over again.

Pure: no await, no clock.
"""

from __future__ import annotations

from dataclasses import dataclass

from mailsyncd.flow.suspicion import Key

PAUSES = (60.0, 21_600.0)  # seconds that a straggler waits: at first, and at the longest
UNCLEAR_TRIES = 8  # refusals without a reason, over about four hours, before it is set aside
REMEMBERED = 1000


@dataclass(slots=True)
class _Straggler:
    """`passed`: how many messages the destination had taken when it refused this one first; `times`:
    how often it has refused it since it took another. Others need not pass each time: in a quiet
    mailbox there are none, and the tries are to come to an end all the same."""

    passed: int
    times: int = 0


class Stragglers:
    """Of one destination."""

    def __init__(self) -> None:
        self._passed = 0
        self._known: dict[Key, _Straggler] = {}

    def accepted(self, key: Key) -> None:
        self._passed += 1
        self._known.pop(key, None)

    def refused(self, key: Key) -> int:
        """How often this one has been refused while others passed."""
        one = self._known.setdefault(key, _Straggler(self._passed))
        one.times += one.passed != self._passed
        if len(self._known) > REMEMBERED:
            del self._known[next(iter(self._known))]
        return one.times

    def wait(self, key: Key) -> float:
        """Seconds before it is tried again; none as long as it shares its fate with others."""
        one = self._known.get(key)
        if one is None or one.times == 0:
            return 0.0
        first, longest = PAUSES
        return min(first * 2.0 ** min(one.times - 1, 20), longest)
