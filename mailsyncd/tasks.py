"""Structured concurrency in few functions: side by side until the first ends, until all have, or as long as
a block lasts."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection, Coroutine
from contextlib import asynccontextmanager
from typing import Any, TypeVar

T = TypeVar("T")


async def first_of(*work: Coroutine[Any, Any, None]) -> None:
    """Run all; when one ends, cancel and await the others, then raise what it raised.

    Unlike a TaskGroup it raises the error itself, so that callers can decide by its type.
    """
    tasks = [asyncio.create_task(one) for one in work]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    for task in tasks:
        if task in done:
            task.result()


async def all_of(*work: Coroutine[Any, Any, None]) -> None:
    """Run all to their end; if one fails, cancel and await the others, then raise its error."""
    tasks = [asyncio.create_task(one) for one in work]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@asynccontextmanager
async def begun(work: Coroutine[Any, Any, T]) -> AsyncIterator[asyncio.Task[T]]:
    """Work that goes on beside a block. At its end it is cancelled and awaited; how it ended learns only who
    awaits it."""
    task = asyncio.create_task(work)
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def wind_up(tasks: Collection[asyncio.Task[None]], timeout: float) -> None:
    """Wait for them for so many seconds, then cancel and await those that are late."""
    if not tasks:
        return
    _, late = await asyncio.wait(tasks, timeout=timeout)
    for task in late:
        task.cancel()
    await asyncio.gather(*late, return_exceptions=True)


async def until(event: asyncio.Event) -> None:
    """An event, to be waited for side by side with other things."""
    await event.wait()


async def next_time(event: asyncio.Event) -> None:
    """The same for an event that means one time only."""
    await event.wait()
    event.clear()
