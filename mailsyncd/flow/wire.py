"""A session with the destination, and how much may be on its way over it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from mailsyncd.flow.ready import ReadyQueue
from mailsyncd.flow.window import TurnedAway, Window
from mailsyncd.model import Appended, Lane, Message
from mailsyncd.ports import SinkSession
from mailsyncd.tasks import first_of


@dataclass(frozen=True, slots=True)
class Wire:
    session: SinkSession
    window: Window

    def admits(self, ready: ReadyQueue) -> bool:
        """Whether one more may be taken in hand."""
        return self.window.admits(Lane.OLD) or (ready.has_live and self.window.admits(Lane.LIVE))

    async def room(self, ready: ReadyQueue) -> None:
        """Wait until that may be so."""
        await first_of(self.window.room(Lane.OLD), self._live_mail(ready))

    async def _live_mail(self, ready: ReadyQueue) -> None:
        """New mail does not wait for old mail to be settled."""
        await ready.wait(live_only=True)
        await self.window.room(Lane.LIVE)

    async def append(self, message: Message, guard: Callable[[], object]) -> Appended:
        """APPEND when there is a place for it. Raises what session.append() raises, and TurnedAway
        where that was not even called: the message has no part in why the connection was lost."""
        ref = message.ref
        size = len(message.body)
        began = await self.window.enter(size, ref.lane)
        try:
            if self.session.lost:
                raise TurnedAway
            appended = await self.session.append(
                ref.route.folder,
                message.body,
                ref.listing.internaldate,
                seen=ref.route.mark_seen,
                guard=guard,
            )
            self.window.answered(began)
        finally:
            self.window.leave(size)
        return appended
