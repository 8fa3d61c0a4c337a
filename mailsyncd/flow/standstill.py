"""Why a destination is not written to just now, until when, and what may be tried first then.

What the server asks for is kept to. What it leaves open grows from one refusal to the next, until
a message is taken. The destination is told of once when it comes to a standstill, and once when
it goes on.
"""

from __future__ import annotations

from collections.abc import Iterable

import structlog

from mailsyncd.errors import DestinationFull, DestinationSuspected, MessageRejected, Throttled, Transient
from mailsyncd.flow.ready import Ready, ReadyQueue
from mailsyncd.flow.stragglers import UNCLEAR_TRIES, Stragglers
from mailsyncd.flow.suspicion import Key, Suspicion
from mailsyncd.meter import Meter
from mailsyncd.model import Lane, Message
from mailsyncd.ports import Clock
from mailsyncd.status import WriterState

log = structlog.get_logger()

FULL_PAUSES = (60.0, 900.0)  # seconds: the first, and the longest
THROTTLED_PAUSES = (1.0, 300.0)  # for a server that names a trifle again and again
UNCLEAR_PAUSES = (2.0, 300.0)  # after a refusal that gives no reason (B57)
ONCE_ROUNDS = 5  # pauses without a success between, before run-once gives up
QUICK_PAUSE = 2.0  # seconds between probes with messages that were not refused before


class Standstill:
    """Of one destination; it outlives connections."""

    def __init__(self, destination: str, clock: Clock, suspicion: Suspicion, meter: Meter) -> None:
        self._meter = meter
        self._destination = destination
        self._clock = clock
        self._suspicion = suspicion
        self._stragglers = Stragglers()
        self._silent_until = self._until = self._soon = clock.monotonic()
        self.patient = True  # False in run-once, which can't wait for hours
        self.answers = 0  # that were about a message and nothing else
        self._rounds = 0  # pauses since a message was taken
        self._state: WriterState | None = None
        self._why = ""

    # ---------------------------------------------------------- what was answered

    def blame(self, key: Key, error: Transient) -> tuple[MessageRejected | None, Transient | None]:
        """A message was refused by an answer that does not blame it. Returns why it is to be set
        aside, if that has come to an end, and what asks for a pause, unless others pass."""
        if isinstance(error, Throttled):
            return None, error
        times = self._stragglers.refused(key)
        if not isinstance(error, DestinationFull):
            if times >= UNCLEAR_TRIES:
                return MessageRejected(str(error)), None
            if (suspected := self.refused(key, error)[1]) is not None:
                return None, suspected
        return None, None if times and self.patient else error

    def lost(self, key: Key, error: Transient) -> MessageRejected | None:
        """The connection ended with this message in flight. Returns why it is to be set aside, if
        that has come to an end: others pass, and this one ends every connection."""
        if self._stragglers.lost(key) < UNCLEAR_TRIES:
            return None
        return MessageRejected(f"no connection outlives it, while others pass; the last time: {error}")

    def wait(self, key: Key) -> float:
        """Seconds for which a message waits while others pass."""
        return self._stragglers.wait(key) if self.patient and not self._suspicion.active else 0.0

    def refused(
        self, key: Key, refusal: MessageRejected | Transient
    ) -> tuple[int, DestinationSuspected | None]:
        """A message was refused: how that changes its attempts, and whether it is a sign that the
        destination is at fault."""
        self.answers += isinstance(refusal, MessageRejected)
        if isinstance(refusal, MessageRejected) and not refusal.vague:
            return 1, None
        change = self._suspicion.refused(key, counts=isinstance(refusal, MessageRejected))
        if not self._suspicion.active:
            return change, None
        why = (
            f"{len(self._suspicion)} different messages were refused in a row, so that the mailbox may be "
            f"full: none is counted as failed, and one is tried now and then; the last answer: {refusal}"
        )
        return change, DestinationSuspected(why)

    def accepted(self, key: Key) -> None:
        """A message was taken."""
        self._suspicion.accepted(key)
        self._stragglers.accepted(key)
        self.answers += 1
        self._rounds = 0
        if self._state is WriterState.FULL:
            log.info("writer.resumed", destination=self._destination)
            self._state = None
            self._until = self._soon = self._clock.monotonic()

    def lift(self) -> None:
        """A person has changed something at the destination: try again at once, but for silence that the
        server asked for."""
        self._until = self._soon = self._clock.monotonic()

    def holds(self, key: Key) -> bool:
        """Whether a message must not be set aside now, since the destination may be to blame."""
        return self._suspicion.holds(key)

    # ------------------------------------------------------------------- the pause

    @property
    def state(self) -> tuple[WriterState, str]:
        """What a connection that is there may be called, and why."""
        if self._state is not None and (self._state is WriterState.FULL or self._left(self._until)):
            return self._state, self._why
        return WriterState.WRITING, ""

    def begin(self, error: Transient) -> float:
        """The destination refused something: returns for how many seconds nothing may be sent. What
        else was in flight, and is refused as well, makes that no longer."""
        state, now = _state(error), self._clock.monotonic()
        new = state is not self._state or not self._left(self._until)
        loud = state is WriterState.FULL and self._state is not state
        self._rounds += new
        pause = self._pause(error) if new else self._left(self._until)
        self._state, self._why = state, str(error)
        self._until = max(self._until, now + pause)
        if isinstance(error, Throttled):  # not to be cut short, whatever is accepted meanwhile
            until = max(self._silent_until, now + pause)
            self._meter.throttle("destination", self._destination, until - max(self._silent_until, now))
            self._silent_until = until
        suspected = isinstance(error, DestinationSuspected)
        self._soon = max(self._soon, now + (QUICK_PAUSE if suspected else pause))
        if new:
            event = "writer.suspected" if suspected else f"writer.{state.value}"
            shown = {"destination": self._destination, "pause_seconds": round(pause, 1)}
            log.log(40 if loud else 30, event, error=str(error), **shown)
        return pause

    def _pause(self, error: Transient) -> float:
        if isinstance(error, DestinationSuspected):
            return self._suspicion.long_pause()
        if isinstance(error, Throttled):
            return max(error.pause, self._grown(*THROTTLED_PAUSES))
        return self._grown(*(FULL_PAUSES if isinstance(error, DestinationFull) else UNCLEAR_PAUSES))

    def _grown(self, first: float, longest: float) -> float:
        return min(first * 2.0 ** min(self._rounds - 1, 20), longest)

    def left(self, waiting: Iterable[Ready] = ()) -> float:
        """Seconds for which nothing may be sent. A message that was not yet refused tells more than
        one that was, and may be tried sooner."""
        suspicion = self._suspicion
        soon = suspicion.active and any(suspicion.may_probe_soon(one.ref.key) for one in waiting)
        return self._left(max(self._soon if soon else self._until, self._silent_until))

    def keeps(self, ready: Ready) -> bool:
        """Whether it has to wait: not if there is nothing to send of it. What next() gives is not kept
        while left() of all that waits is nothing, or the writer would go round and round."""
        return isinstance(ready.item, Message) and self.left([ready]) > 0

    def silence(self) -> float:
        """Seconds for which the server wants to hear nothing, not even a login."""
        return self._left(self._silent_until)

    def _left(self, until: float) -> float:
        return max(0.0, until - self._clock.monotonic())

    def hopeless(self, waiting: Iterable[Ready]) -> bool:
        """Whether it would take more patience than run-once has: no room, or no end of refusals."""
        if self._state is WriterState.FULL:
            return self.left(waiting) > QUICK_PAUSE
        return self._state is WriterState.RETRYING and self._rounds >= ONCE_ROUNDS

    # ------------------------------------------------------------------ the probe

    @property
    def probing(self) -> bool:
        """Whether the next message is a probe: one at a time, and the best of those that wait."""
        return self._state is WriterState.FULL

    def next(self, ready: ReadyQueue, *, live_only: bool) -> Ready:
        """What is to be sent next. What was refused goes last: some servers hang up after a few
        refusals (B38), and then it would be what comes behind them that is never taken."""
        if self.probing or self._suspicion.active:
            return ready.get_best(self.rank)
        in_turn = ready.get(live_only=live_only)
        if live_only or not len(ready) or not self._suspicion.was_refused(in_turn.ref.key):
            return in_turn
        better = ready.get_best(self._turn)
        ready.put(in_turn)
        return better

    def _turn(self, ready: Ready) -> tuple[int, int]:
        return int(self._suspicion.was_refused(ready.ref.key)), int(ready.ref.lane is Lane.OLD)

    def rank(self, ready: Ready) -> tuple[int, int]:
        """What is best tried first: what needs no sending, then what was not yet refused, then the
        smallest, for its bytes may have to be fetched again."""
        if not isinstance(ready.item, Message):
            return (0, 0)
        return (1 if self._suspicion.may_probe_soon(ready.ref.key) else 2, len(ready.item.body))


def _state(error: Transient) -> WriterState:
    if isinstance(error, Throttled):
        return WriterState.THROTTLED
    return WriterState.FULL if isinstance(error, DestinationFull) else WriterState.RETRYING
