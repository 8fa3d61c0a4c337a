"""The numbers of the target folders, as they are known over one connection."""

from __future__ import annotations

from dataclasses import replace

from mailsyncd.flow.vouch import Vouch
from mailsyncd.model import Appended, Mailbox, Watermark


class Folders:
    """`known` by name. The UIDNEXT is a lower bound for every APPEND from now on."""

    def __init__(self, vouch: Vouch) -> None:
        self.known: dict[str, Mailbox] = {}
        self._vouch = vouch

    def note(self, name: str, appended: Appended) -> None:
        """A finished copy, with its UID where that is known."""
        folder = self.known.get(name)
        if folder is None or appended.uid is None or appended.uidvalidity is None:
            return
        if folder.uidvalidity != appended.uidvalidity:
            self.known.pop(name)
        elif appended.uid >= folder.uidnext:
            self.known[name] = replace(folder, uidnext=appended.uid + 1)

    def noted(self, name: str, mark: Watermark) -> Watermark:
        """A watermark with the folder's numbers, from which a later start sees whether the state store
        remembers all."""
        folder = self.known.get(name)
        if folder is None or folder.uidnext == 0 or not self._vouch.complete(name):
            return mark
        return replace(mark, dest_uidvalidity=folder.uidvalidity, dest_uidnext=folder.uidnext)
