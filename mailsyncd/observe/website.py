"""Keeps the status page where it is wanted, or nowhere. An address that can't be had is told once, in one
line, and tried again: no mail waits for it."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

import structlog

from mailsyncd.account import Secret
from mailsyncd.observe.sight import Sight
from mailsyncd.ports import Clock

TRY_AGAIN = 30.0  # seconds

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Place:
    """Where to listen, what token has to be shown, and the names by which it may be asked."""

    host: str
    port: int
    token: Secret | None = None
    hosts: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class Website:
    """`move()` says where it is to be; run() has it there."""

    def __init__(self, sight: Sight, place: Place | None) -> None:
        self._sight = sight
        self._place = place
        self._moved = asyncio.Event()
        self._told = ""

    def move(self, place: Place | None) -> None:
        """To another place, with another token, or to none."""
        if place != self._place:
            self._place = place
            self._moved.set()

    async def run(self) -> None:
        """Until cancelled. Raises nothing: whatever it meets, mail goes on."""
        while True:
            self._moved.clear()
            if self._place is None:
                await self._moved.wait()
            else:
                await self._at(self._place)

    async def _at(self, place: Place) -> None:
        """Until it is to be moved, or has to be tried again."""
        try:
            await self._serve(place)
        except Exception as error:  # noqa: BLE001 - whatever a page meets, mail goes on
            why = getattr(error, "strerror", None) or str(error) or type(error).__name__
            self._tell(f"{place} can't be listened on: {why}; mail is copied all the same")
            await _either(self._moved, self._sight.clock)

    async def _serve(self, place: Place) -> None:
        """Until it is to be moved. Raises OSError if the address can't be had."""
        # Here, because these take time and memory that whoever has no page has no use for.
        from mailsyncd.observe.web.guard import Guard
        from mailsyncd.observe.web.server import serving

        guard = Guard(place.token, frozenset(name.lower().rstrip(".") for name in place.hosts))
        async with serving(place.host, place.port, guard, self._sight):
            self._told = ""
            log.info("http.listening", url=f"http://{place}/", token_needed=place.token is not None)
            await self._moved.wait()

    def _tell(self, line: str) -> None:
        if line != self._told:
            self._told = line
            log.error("http.unavailable", error=line, retry_seconds=TRY_AGAIN)


async def _either(moved: asyncio.Event, clock: Clock) -> None:
    """Until there is a reason to try again."""
    waits = [asyncio.ensure_future(moved.wait()), asyncio.ensure_future(clock.sleep(TRY_AGAIN))]
    try:
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for one in waits:
            one.cancel()
        await asyncio.gather(*waits, return_exceptions=True)
