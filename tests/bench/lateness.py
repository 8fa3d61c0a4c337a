"""How late this process's event loop is, which it adds to whatever is measured through it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

NAP = 0.005  # seconds


@asynccontextmanager
async def lateness() -> AsyncIterator[list[float]]:
    """By how many seconds each of many short sleeps was too long, while the block lasts."""
    late: list[float] = []
    task = asyncio.create_task(_nap(late))
    try:
        yield late
    finally:
        task.cancel()
        await asyncio.wait([task])


async def _nap(late: list[float]) -> None:
    while True:
        due = time.monotonic() + NAP
        await asyncio.sleep(NAP)
        late.append(time.monotonic() - due)
