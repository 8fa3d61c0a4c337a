"""A selected mailbox as one session sees it: its message numbers, and what it must yet be told.

Message numbers may only change when the client can expect it (RFC 3501 7.4.1), so a session keeps
its own list of UIDs and catches up between commands.
"""

from __future__ import annotations

import bisect
from asyncio import Event
from collections.abc import Iterator

from mailsyncd.sim.mailstore import StoredMailbox, StoredMessage
from mailsyncd.sim.wire import NumberSet


class MailboxView:
    """Message numbers of one session. `changed` is set whenever there may be news."""

    def __init__(self, mailbox: StoredMailbox, *, read_only: bool) -> None:
        self.mailbox = mailbox
        self.read_only = read_only
        self.changed = Event()
        self._uids = [message.uid for message in mailbox]
        self._flags = {message.uid: message.flags for message in mailbox}
        mailbox.watchers.add(self.changed)

    def close(self) -> None:
        self.mailbox.watchers.discard(self.changed)

    def __len__(self) -> int:
        return len(self._uids)

    @property
    def top_uid(self) -> int:
        """What `*` means where UIDs are meant (RFC 3501 6.4.8); 0 if the mailbox is empty."""
        return self._uids[-1] if self._uids else 0

    def news(self, *, expunges: bool = True) -> list[str]:
        """The untagged lines that bring this session up to date, and it is then."""
        self.changed.clear()
        present = {message.uid: message for message in self.mailbox}
        lines: list[str] = []
        if expunges:
            lines += self._expunged(present)
        known = len(self._uids)
        last = self._uids[-1] if self._uids else 0
        self._uids += [uid for uid in present if uid > last]
        if len(self._uids) > known:
            lines.append(f"* {len(self._uids)} EXISTS")
        lines += self._reflagged(present)
        return lines

    def noticed(self, message: StoredMessage) -> None:
        """The session is being told of this message's flags anyway."""
        self._flags[message.uid] = message.flags

    def chosen(self, numbers: NumberSet, *, by_uid: bool) -> Iterator[tuple[int, StoredMessage]]:
        """Message number and message of each that `numbers` names and that is still there."""
        top = self.top_uid if by_uid else len(self._uids)
        wanted: set[int] = set()
        for low, high in numbers.within(top):
            start = bisect.bisect_left(self._uids, low) if by_uid else low - 1
            end = bisect.bisect_right(self._uids, high) if by_uid else high
            wanted.update(range(max(start, 0), min(end, len(self._uids))))
        for index in sorted(wanted):
            message = self.mailbox.find(self._uids[index])
            if message is not None:
                yield index + 1, message

    def everything(self) -> Iterator[tuple[int, StoredMessage]]:
        for index, uid in enumerate(self._uids):
            message = self.mailbox.find(uid)
            if message is not None:
                yield index + 1, message

    def _expunged(self, present: dict[int, StoredMessage]) -> list[str]:
        """From the top down, so that no number shifts under another."""
        lines = []
        for index in range(len(self._uids) - 1, -1, -1):
            if self._uids[index] not in present:
                lines.append(f"* {index + 1} EXPUNGE")
                self._flags.pop(self._uids.pop(index), None)
        return lines

    def _reflagged(self, present: dict[int, StoredMessage]) -> list[str]:
        lines = []
        for index, uid in enumerate(self._uids):
            message = present.get(uid)
            if message is None or self._flags.get(uid, message.flags) == message.flags:
                continue
            lines.append(f"* {index + 1} FETCH (UID {uid} FLAGS ({' '.join(sorted(message.flags))}))")
        self._flags = {uid: present[uid].flags for uid in self._uids if uid in present}
        return lines
