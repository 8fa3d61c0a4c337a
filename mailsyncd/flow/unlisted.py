"""What a source has counted and no listing has shown. Most likely it was deleted; but Exchange counts a
message before it can be had by its UID (B20), so that it may yet turn up, and newer ones before it.
"""

from __future__ import annotations

from collections.abc import Collection

MOST = 200  # UIDs: of an old mailbox's thousands of gaps the last ones are enough
CONFIRMED = 60.0  # seconds after which a listing that shows nothing is taken for the truth


class Unlisted:
    """Of one route under one UIDVALIDITY, by UID. The watermark stays below all of them."""

    def __init__(self) -> None:
        self._since: dict[int, float] = {}

    def __len__(self) -> int:
        return len(self._since)

    def __contains__(self, uid: int) -> bool:
        return uid in self._since

    @property
    def lowest(self) -> int:
        return min(self._since)

    def listed(self, shown: Collection[int], asked_mono: float) -> None:
        """A listing that was asked for then shows these. Only one that begins later proves that a message
        was deleted: its answer may be slow."""
        self._since = {
            uid: since
            for uid, since in self._since.items()
            if uid not in shown and asked_mono - since < CONFIRMED
        }

    def note(self, above: int, up_to: int, shown: Collection[int], now_mono: float) -> None:
        """Of all that should be there, that listing showed only these."""
        for uid in range(max(above, up_to - MOST) + 1, up_to + 1):
            if uid not in shown:
                self._since[uid] = now_mono
        for uid in sorted(self._since)[:-MOST]:
            del self._since[uid]
