"""Faults on order: what goes wrong, at which command, how often; or at random from a seed."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import Enum, auto
from random import Random


class Act(Enum):
    """What happens to a command instead of, or after, its being carried out."""

    REFUSE = auto()  # answered with `text`, not carried out
    BYE = auto()  # an untagged BYE with `text`, then the connection ends; not carried out
    DROP = auto()  # the connection ends without a word; not carried out
    SILENCE = auto()  # never answered, and nothing more is read
    DROP_AFTER = auto()  # carried out, then the connection ends without an answer
    REFUSE_AFTER = auto()  # carried out, then answered with `text`
    ANSWER_AND_DROP = auto()  # carried out and answered, then the connection ends
    PRETEND = auto()  # answered OK, not carried out
    LATE = auto()  # the connection ends; carried out `delay` seconds later (APPEND only)
    ANNOTATE = auto()  # carried out; `text` is appended to the OK (A26)


@dataclass(slots=True)
class Fault:
    """From the `nth` matching command on, `times` times. `command` is as "UID FETCH", or "*".

    `text` is a whole answer without its tag: "NO [OVERQUOTA] full", for example.
    """

    command: str
    act: Act
    text: str = ""
    nth: int = 1
    times: int = 1
    user: str | None = None
    delay: float = 0.0
    _seen: int = field(default=0, repr=False)

    def strikes(self, command: str, user: str | None) -> bool:
        """Whether this very command is hit; counts it."""
        if self.command not in ("*", command) or (self.user is not None and self.user != user):
            return False
        self._seen += 1
        return self.nth <= self._seen < self.nth + self.times

    @property
    def spent(self) -> bool:
        return self._seen >= self.nth + self.times - 1


def throttle(command: str, milliseconds: int, *, nth: int = 1, times: int = 1) -> Fault:
    """The answer of Microsoft's servers to haste (B50)."""
    text = f"NO Request is throttled. Suggested Backoff Time: {milliseconds} milliseconds"
    return Fault(command, Act.REFUSE, text, nth, times)


class Script:
    """The faults that are yet to strike, in the order they were given."""

    def __init__(self) -> None:
        self._faults: list[Fault] = []
        self._weather: tuple[Random, float, tuple[Fault, ...]] | None = None

    def add(self, faults: Iterable[Fault]) -> None:
        self._faults.extend(faults)

    def clear(self) -> None:
        self._faults.clear()
        self._weather = None

    def weather(self, rng: Random, rate: float, faults: Iterable[Fault]) -> None:
        """From now on each command is hit with probability `rate` by one of `faults` that match it."""
        self._weather = (rng, rate, tuple(faults))

    def strike(self, command: str, user: str | None) -> Fault | None:
        """The fault for this command, if any; every scripted fault counts every command it matches."""
        hits = [fault for fault in self._faults if fault.strikes(command, user)]
        self._faults = [fault for fault in self._faults if not fault.spent]
        if hits:
            return hits[0]
        if self._weather is None:
            return None
        rng, rate, faults = self._weather
        matching = [fault for fault in faults if fault.command in ("*", command)]
        return rng.choice(matching) if matching and rng.random() < rate else None
