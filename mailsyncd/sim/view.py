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
        self._touched: set[int] = set()
        mailbox.watchers.add(self._touch)

    def close(self) -> None:
        self.mailbox.watchers.discard(self._touch)

    def __len__(self) -> int:
        return len(self._uids)

    @property
    def top_uid(self) -> int:
        """What `*` means where UIDs are meant (RFC 3501 6.4.8); 0 if the mailbox is empty."""
        return self._uids[-1] if self._uids else 0

    def news(self, *, expunges: bool = True) -> list[str]:
        """The untagged lines that bring this session up to date. Expunges may have to wait."""
        touched, self._touched = sorted(self._touched), set()
        self.changed.clear()
        present = [message for uid in touched if (message := self.mailbox.find(uid))]
        gone = [uid for uid in touched if uid in self._flags and self.mailbox.find(uid) is None]
        if gone and not expunges:
            self._touched.update(gone)
            self.changed.set()
        lines = self._expunged(gone) if expunges else []
        new = [message for message in present if message.uid not in self._flags]
        lines += [line for message in present if (line := self._reflagged(message))]
        if new:
            self._uids += [message.uid for message in new]
            self._flags.update((message.uid, message.flags) for message in new)
            lines.append(f"* {len(self._uids)} EXISTS")
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

    def _touch(self, uid: int) -> None:
        self._touched.add(uid)
        self.changed.set()

    def _expunged(self, gone: list[int]) -> list[str]:
        """From the top down, so that no number shifts under another."""
        lines = []
        for uid in reversed(gone):
            index = bisect.bisect_left(self._uids, uid)
            del self._uids[index], self._flags[uid]
            lines.append(f"* {index + 1} EXPUNGE")
        return lines

    def _reflagged(self, message: StoredMessage) -> str | None:
        """The line about flags that this session has not been told of."""
        if self._flags.get(message.uid, message.flags) == message.flags:
            return None
        self._flags[message.uid] = message.flags
        number = bisect.bisect_left(self._uids, message.uid) + 1
        return f"* {number} FETCH (UID {message.uid} FLAGS ({' '.join(sorted(message.flags))}))"
