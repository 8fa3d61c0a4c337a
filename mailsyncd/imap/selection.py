"""Which folder of the destination is selected, where that saves the server work.

Many a server opens a folder anew for each APPEND, unless it is the selected one: for Dovecot that is
half of what an APPEND costs. So a folder that gets many in a row is selected meanwhile. SELECT and
not EXAMINE, for a server may refuse to write to what was opened to be read only (RFC 3501, 6.3.2).
"""

from __future__ import annotations

from aioimaplib.aioimaplib import AUTH, SELECTED, quoted

from mailsyncd.imap.commands import Command
from mailsyncd.imap.session import Session

MANY = 16  # APPENDs in a row to one folder


class Selection:
    """Of one session. Folders are in the server's own form."""

    def __init__(self, session: Session, *, wanted: bool) -> None:
        self._session = session
        # CLOSE would expunge what somebody has marked \Deleted; only UNSELECT leaves all as it is.
        self._wanted = wanted and session.has("UNSELECT")
        self._selected = self._last = ""
        self._in_a_row = 0

    def __bool__(self) -> bool:
        return bool(self._selected)

    async def before_append(self, folder: str) -> Command | None:
        """Put a SELECT on the wire if it is worth it now; its answer is for confirm()."""
        self._in_a_row = self._in_a_row + 1 if folder == self._last else 1
        self._last = folder
        if not self._wanted or self._in_a_row < MANY or folder == self._selected:
            return None
        self._selected = folder
        return await self._session.connection.begin("SELECT", quoted(folder))

    async def confirm(self, command: Command) -> None:
        """A server that refuses is not asked again."""
        reply = await self._session.connection.finish(command)
        if reply.status.kind == "OK":
            self._session.connection.state = SELECTED
        else:
            self._selected, self._wanted = "", False

    def replaced(self) -> None:
        """Another command has selected, and will unselect."""
        self._selected, self._in_a_row = "", 0

    async def leave(self) -> None:
        """The server tells of a folder as it is, by STATUS, if it is not selected."""
        if self._selected:
            self.replaced()
            await self._session.connection.execute("UNSELECT")  # a BAD says that none was selected
            self._session.connection.state = AUTH
