"""The page is where it is wanted, and mail goes on whatever it meets."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from fakes import breathe
from statuses import Shown
from structlog.testing import capture_logs

import mailsyncd.observe.web.server as server
from mailsyncd.observe.website import TRY_AGAIN, Place, Website


@asynccontextmanager
async def running(site: Website) -> AsyncIterator[asyncio.Task[None]]:
    task = asyncio.create_task(site.run())
    try:
        await breathe()
        yield task
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


class Stage:
    """Stands in for the listening server: notes where it was asked to be, and refuses while `taken`."""

    def __init__(self) -> None:
        self.begun: list[tuple[str, int]] = []
        self.ended = 0
        self.taken: Exception | None = None

    @asynccontextmanager
    async def serving(self, host: str, port: int, *_: object) -> AsyncIterator[None]:
        if self.taken is not None:
            raise self.taken
        self.begun.append((host, port))
        try:
            yield
        finally:
            self.ended += 1


@pytest.fixture
def stage(monkeypatch: pytest.MonkeyPatch) -> Stage:
    made = Stage()
    monkeypatch.setattr(server, "serving", made.serving)
    return made


HERE, THERE = Place("127.0.0.1", 8025), Place("::1", 8026)


async def test_it_is_nowhere_until_it_is_wanted(stage: Stage) -> None:
    site = Website(Shown().sight(), None)
    async with running(site):
        assert stage.begun == []
        site.move(HERE)
        await breathe()
        assert stage.begun == [("127.0.0.1", 8025)]
        site.move(None)
        await breathe()
        assert stage.ended == 1


async def test_the_same_place_again_moves_nothing(stage: Stage) -> None:
    site = Website(Shown().sight(), HERE)
    async with running(site):
        site.move(Place("127.0.0.1", 8025))
        await breathe()
        site.move(THERE)
        await breathe()
        assert stage.begun == [("127.0.0.1", 8025), ("::1", 8026)]
        assert stage.ended == 1


@pytest.mark.parametrize(
    "trouble", [OSError(98, "Address already in use"), ValueError("odd"), socket.gaierror(-2, "who?")]
)
async def test_a_place_that_can_not_be_had_is_told_once_and_tried_again(
    stage: Stage, trouble: Exception
) -> None:
    on = Shown()
    stage.taken = trouble
    with capture_logs() as logs:
        async with running(Website(on.sight(), HERE)) as task:
            for _ in range(3):
                await on.clock.advance(TRY_AGAIN)
            assert not task.done()
            (told,) = [one for one in logs if one["event"] == "http.unavailable"]
            assert "127.0.0.1:8025" in told["error"]
            assert "\n" not in told["error"]
            stage.taken = None
            await on.clock.advance(TRY_AGAIN)
            assert stage.begun == [("127.0.0.1", 8025)]
    assert [one["event"] for one in logs] == ["http.unavailable", "http.listening"]


async def test_a_place_that_can_not_be_had_may_be_left_at_once(stage: Stage) -> None:
    stage.taken = OSError(98, "Address already in use")
    site = Website(Shown().sight(), HERE)
    async with running(site):
        stage.taken = None
        site.move(THERE)
        await breathe()
        assert stage.begun == [("::1", 8026)]


def test_a_token_is_not_in_what_is_told_of_a_place() -> None:
    assert str(THERE) == "[::1]:8026"
