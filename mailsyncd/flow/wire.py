"""A session with the destination, and how much may be on its way over it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from mailsyncd.flow.window import TurnedAway, Window
from mailsyncd.model import Appended, Message
from mailsyncd.ports import SinkSession


@dataclass(frozen=True, slots=True)
class Wire:
    session: SinkSession
    window: Window

    async def append(self, message: Message, guard: Callable[[], object]) -> Appended:
        """APPEND when there is a place for it. Raises what session.append() raises, and TurnedAway
        where that was not even called: the message has no part in why the connection was lost."""
        ref = message.ref
        async with self.window.place(len(message.body), ref.lane):
            if self.session.lost:
                raise TurnedAway
            return await self.session.append(
                ref.route.folder,
                message.body,
                ref.listing.internaldate,
                seen=ref.route.mark_seen,
                guard=guard,
            )
