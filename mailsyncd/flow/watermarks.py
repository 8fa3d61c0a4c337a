"""Watermarks on their way to the state store: what the fourth law has let advance, at most once a second."""

from __future__ import annotations

from collections.abc import Mapping

from mailsyncd.errors import LeaseLost
from mailsyncd.flow.belt import Belt
from mailsyncd.flow.folders import Folders
from mailsyncd.flow.lease import Tenancy
from mailsyncd.flow.watch import Watch
from mailsyncd.model import Watermark
from mailsyncd.steps import Step, reached


class Watermarks:
    """Of all routes into one destination."""

    def __init__(self, belt: Belt, watches: Mapping[str, Watch], tenancy: Tenancy, folders: Folders) -> None:
        self._belt = belt
        self._watches = watches
        self._tenancy = tenancy
        self._folders = folders

    async def store(self) -> None:
        """Write what has advanced. Called at most once a second, and when the writer ends."""
        for key, watch in list(self._watches.items()):
            progress = watch.progress
            if progress is None or (moved := progress.watermark(self._belt.clock.now())) is None:
                continue
            new = self._folders.noted(watch.route.folder, moved)
            reached(Step.WATERMARK_ASKED)
            if not await self._put(key, new, progress.stored):
                raise LeaseLost(f"another daemon moved the watermark of {watch.route.name}")
            reached(Step.WATERMARK_STORED)
            progress.keep(new)

    async def _put(self, route: str, new: Watermark, stored: Watermark) -> bool:
        async def advance() -> bool:
            self._tenancy.require()  # a daemon that was frozen must not get in its successor's way
            return await self._belt.store.advance(route, new, expected=stored)

        return await self._belt.gate.call(advance)
