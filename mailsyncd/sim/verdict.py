"""Did everything arrive, once, unchanged, and was the source left alone? From both stores, by bytes."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass

from mailsyncd.sim.mailstore import StoredMessage
from mailsyncd.sim.server import Line

_READING = frozenset(
    (
        *("CAPABILITY", "ID", "NAMESPACE", "ENABLE", "AUTHENTICATE", "LOGIN"),
        *("EXAMINE", "STATUS", "LIST", "IDLE", "NOOP", "LOGOUT"),
    )
)


@dataclass(frozen=True, slots=True)
class Verdict:
    """One route's account. `delays` are seconds, of the messages that came over unchanged."""

    delivered: int
    copied: int
    lost: int
    duplicated: int
    altered: int
    delays: tuple[float, ...]

    @property
    def is_clean(self) -> bool:
        return self.copied == self.delivered and not (self.lost or self.duplicated or self.altered)


def compare(sent: Sequence[StoredMessage], copies: Sequence[StoredMessage], since: float) -> Verdict:
    """Pair messages one to one: the same bytes and date are a copy, one of the two is an altered one.

    What is left over on the right is a duplicate or a stranger, on the left it is lost. Delays
    count only messages that were delivered after `since` (monotonic seconds).
    """
    exact, sent_left, copies_left = _pairs(sent, copies, lambda m: (_sha256(m), m.internaldate))
    redated, sent_left, copies_left = _pairs(sent_left, copies_left, _sha256)
    known = {_sha256(message) for message in sent}
    repeats = [message for message in copies_left if _sha256(message) in known]
    changed = min(len(copies_left) - len(repeats), len(sent_left))
    return Verdict(
        delivered=len(sent),
        copied=len(exact),
        lost=len(sent_left) - changed,
        duplicated=len(copies_left) - changed,
        altered=len(redated) + changed,
        delays=tuple(
            copy.stored_mono - original.stored_mono
            for original, copy in exact
            if original.stored_mono >= since
        ),
    )


def foreign_commands(transcript: Iterable[Line]) -> list[str]:
    """What a client said to the source that could have changed it (I4)."""
    return [line.text for line in transcript if line.side == "C" and not _is_reading(line.text)]


def _is_reading(text: str) -> bool:
    words = text.upper().split(" ", 3)
    if len(words) == 1:  # DONE, an empty answer to a challenge, a token
        return words[0] in ("", "DONE", "***")
    if words[1] == "UID" and words[2] == "FETCH":
        return "BODY[" not in words[3] and "RFC822 " not in words[3] and not words[3].endswith("RFC822")
    if words[1] == "UID":
        return words[2] == "SEARCH"
    return words[1] in _READING


def _pairs(
    left: Sequence[StoredMessage], right: Sequence[StoredMessage], key: Callable[[StoredMessage], Hashable]
) -> tuple[list[tuple[StoredMessage, StoredMessage]], list[StoredMessage], list[StoredMessage]]:
    """One-to-one pairs by `key`, in order, and what is left over on either side."""
    waiting: dict[Hashable, list[StoredMessage]] = defaultdict(list)
    for message in reversed(right):
        waiting[key(message)].append(message)
    pairs: list[tuple[StoredMessage, StoredMessage]] = []
    alone: list[StoredMessage] = []
    for message in left:
        if waiting[key(message)]:
            pairs.append((message, waiting[key(message)].pop()))
        else:
            alone.append(message)
    return pairs, alone, [message for rest in waiting.values() for message in rest]


def _sha256(message: StoredMessage) -> bytes:
    return hashlib.sha256(message.raw).digest()
