"""UID sets to ask for, and what FETCH responses tell, gathered by UID."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import TypeGuard

from mailsyncd.imap.responses import Response, Value

LONGEST_NUMBER = 20  # digits: 64 bits
LONGEST_SET = 4_000  # characters of a UID set; command lines stay below 8 kB (B34)


def uid_sets(uids: Sequence[int], *, most: int) -> Iterator[str]:
    """Ascending UIDs as sets like 1:3,7, of at most `most` UIDs and short enough for a line."""
    for start in range(0, len(uids), most):
        text = ""
        for one in _ranges(uids[start : start + most]):
            if len(text) + len(one) >= LONGEST_SET:
                yield text
                text = ""
            text = f"{text},{one}" if text else one
        yield text


def _ranges(uids: Sequence[int]) -> Iterator[str]:
    first = last = uids[0]
    for uid in uids[1:]:
        if uid != last + 1:
            yield str(first) if first == last else f"{first}:{last}"
            first = uid
        last = uid
    yield str(first) if first == last else f"{first}:{last}"


def _is_number(value: Value) -> TypeGuard[bytes]:
    """One that IMAP knows."""
    return isinstance(value, bytes) and value.isdigit() and len(value) <= LONGEST_NUMBER


def digits(value: Value) -> str | None:
    """A number as its text; None for what is not one."""
    return value.decode("ascii") if _is_number(value) else None


def number(value: Value) -> int:
    return int(value) if _is_number(value) else 0


def text(value: Value) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else ""


class Gathered:
    """Of each message the wanted items, in whatever order and in however many responses they come.

    What was not asked for is dropped at once: a flag that changed elsewhere (A31), or bodies that
    are on their way to another command.
    """

    def __init__(self, wanted: Collection[bytes]) -> None:
        self._wanted = wanted
        self.by_uid: dict[int, dict[bytes, Value]] = {}

    def take(self, response: Response) -> None:
        items = response.items
        kept = {name: value for name, value in items.items() if name.partition(b" ")[0] in self._wanted}
        if kept and (uid := number(items.get(b"UID"))):
            self.by_uid.setdefault(uid, {}).update(kept)
