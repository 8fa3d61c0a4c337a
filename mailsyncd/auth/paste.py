"""Lines that a person pastes, read without a thread that nothing could interrupt."""

from __future__ import annotations

import asyncio
import os

LONGEST_LINE = 16 * 1024


class Pasted:
    """The lines of a file descriptor: a terminal, a pipe, or a file."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._kept = b""
        self._ended = False

    async def line(self) -> str | None:
        """The next line that is not empty; None when there is none any more."""
        while True:
            line, newline, rest = self._kept.partition(b"\n")
            if not newline and not self._ended and len(self._kept) < LONGEST_LINE:
                await self._more()
                continue
            self._kept = rest
            if text := line.decode("utf-8", "replace").strip():
                return text
            if not newline and self._ended:
                return None

    async def _more(self) -> None:
        """Read once something is there. The descriptor's own mode is left alone: the shell has it too."""
        loop, ready = asyncio.get_running_loop(), asyncio.Event()
        try:
            loop.add_reader(self._fd, ready.set)
        except PermissionError:  # a regular file never keeps anybody waiting
            pass
        else:
            try:
                await ready.wait()
            finally:
                loop.remove_reader(self._fd)
        octets = os.read(self._fd, LONGEST_LINE)
        self._kept += octets
        self._ended = not octets
