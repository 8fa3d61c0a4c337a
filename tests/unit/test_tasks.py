"""Work that goes on beside other work is awaited in any case."""

from __future__ import annotations

import asyncio

import pytest

from mailsyncd.tasks import begun


async def _answer(asked: list[str], pauses: int) -> str:
    try:
        for _ in range(pauses):
            await asyncio.sleep(0)
    finally:
        asked.append("ended")
    return "answer"


async def test_what_was_begun_goes_on_meanwhile() -> None:
    asked: list[str] = []
    async with begun(_answer(asked, 3)) as answer:
        for _ in range(5):
            await asyncio.sleep(0)
        assert asked == ["ended"]
        assert await answer == "answer"


async def test_what_was_begun_ends_with_what_goes_wrong_beside_it() -> None:
    asked: list[str] = []

    async def fails() -> None:
        async with begun(_answer(asked, 1_000_000)):
            await asyncio.sleep(0)
            raise OSError("beside")

    with pytest.raises(OSError, match="beside"):
        await fails()
    assert asked == ["ended"]


async def test_what_goes_wrong_in_it_is_raised_where_it_is_asked_for() -> None:
    async def fails() -> str:
        raise OSError("in it")

    async with begun(fails()) as answer:
        await asyncio.sleep(0)
        with pytest.raises(OSError, match="in it"):
            await answer
