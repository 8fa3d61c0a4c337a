"""Messages that the destination does not take now, while it takes others: a large one when there is
little room left, one that is refused without a word why, or one that no connection outlives (B38,
B40). Each waits for its own turn, longer each time, so that it neither holds up the others nor is
fetched over and over again.

Pure: no await, no clock.
"""

from __future__ import annotations

from dataclasses import dataclass

from mailsyncd.flow.suspicion import Key

PAUSES = (60.0, 21_600.0)  # seconds that a straggler waits: at first, and at the longest
LOST_PAUSES = (5.0, 60.0)  # the same, as long as only connections were lost, and no other has passed
CHANCE = 2  # lost connections that are not counted: the message after a refused one is innocent (B39)
UNCLEAR_TRIES = 8  # refusals without a reason, over about four hours, before it is set aside
REMEMBERED = 1000


@dataclass(slots=True)
class _Straggler:
    """`passed`: how many messages the destination had taken when it refused this one first; `times`:
    how often it has refused it since it took another. Others need not pass each time: in a quiet
    mailbox there are none, and the tries are to come to an end all the same. `losses`: how many
    connections ended with it in flight."""

    passed: int
    times: int = 0
    losses: int = 0


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

    def lost(self, key: Key) -> int:
        """The connection ended with this one in flight: how often so, while others passed."""
        times = self.refused(key)
        self._known[key].losses += 1
        return times

    def wait(self, key: Key) -> float:
        """Seconds before it is tried again; none as long as it shares its fate with others. A lost
        connection or two are chance; after more, others go first: to see whether they share it."""
        one = self._known.get(key)
        if one is None:
            return 0.0
        if (counted := one.times - min(one.losses, CHANCE)) > 0:
            return _grown(PAUSES, counted)
        return _grown(LOST_PAUSES, one.losses - CHANCE)


def _grown(pauses: tuple[float, float], times: int) -> float:
    first, longest = pauses
    return min(first * 2.0 ** min(times - 1, 20), longest) if times > 0 else 0.0
