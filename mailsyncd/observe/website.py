"""Keeps the status page where it is wanted, or nowhere. Until somebody looks it is a socket that listens; an
address that can't be had is told once, in one line, and tried again: no mail waits for it."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Any

import structlog

from mailsyncd.account import Secret
from mailsyncd.observe.listening import Listener, listening
from mailsyncd.observe.sight import Sight

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
            what = '[http] listen says where else, or "off"; mail is copied all the same'
            self._tell(f"no page at {place}: {why}; {what}")
            await _either(self._moved.wait(), self._sight.clock.sleep(TRY_AGAIN))

    async def _serve(self, place: Place) -> None:
        """Until it is to be moved. Raises OSError if the address can't be had."""
        async with listening(place.host, place.port) as listener:
            self._told = ""
            log.info("http.listening", url=f"http://{place}/", token_needed=place.token is not None)
            await _either(self._moved.wait(), listener.called())
            if not self._moved.is_set():
                await self._answer(place, listener)

    async def _answer(self, place: Place, listener: Listener) -> None:
        """From the first call on, until it is to be moved."""
        await asyncio.to_thread(_load)
        from mailsyncd.observe.web.guard import Guard
        from mailsyncd.observe.web.server import serving

        guard = Guard(place.token, frozenset(name.lower().rstrip(".") for name in place.hosts))
        async with serving(listener.sockets, guard, self._sight):
            await self._moved.wait()

    def _tell(self, line: str) -> None:
        if line != self._told:
            self._told = line
            log.warning("http.unavailable", error=line, retry_seconds=TRY_AGAIN)


def _load() -> None:
    """Not before somebody looks, for it takes 15 MiB; and in a thread, for it takes a while, for which no
    mail is to wait."""
    import mailsyncd.observe.web.server  # noqa: F401


async def _either(*reasons: Coroutine[Any, Any, object]) -> None:
    """Until there is one of the reasons to go on. Raises what one of them has raised."""
    waits = [asyncio.ensure_future(one) for one in reasons]
    try:
        done, _ = await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        for one in done:
            one.result()
    finally:
        for one in waits:
            one.cancel()
        await asyncio.gather(*waits, return_exceptions=True)
