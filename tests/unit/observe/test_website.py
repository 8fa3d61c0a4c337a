"""The page is where it is wanted, is made when somebody looks, and mail goes on whatever it meets."""

from __future__ import annotations

import asyncio
import itertools
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest
from fakes import breathe
from statuses import Shown
from structlog.testing import capture_logs

import mailsyncd.observe.web.server as server
import mailsyncd.observe.website as website
from mailsyncd.observe.website import TRY_AGAIN, Place, Website
from mailsyncd.tasks import begun


@asynccontextmanager
async def running(site: Website) -> AsyncIterator[asyncio.Task[None]]:
    async with begun(site.run()) as task:
        await breathe()
        yield task


async def until(true: Callable[[], bool]) -> None:
    """What is loaded is loaded in a thread, which has a time of its own."""
    async with asyncio.timeout(20):
        for _ in itertools.takewhile(lambda _: not true(), itertools.count()):
            await asyncio.sleep(0)


class Stage:
    """Stands in for sockets and server: notes where they were asked to be, and refuses while `taken`."""

    sockets = ()

    def __init__(self) -> None:
        self.begun: list[tuple[str, int]] = []
        self.ended = 0
        self.answering = 0
        self.taken: Exception | None = None
        self.broken: Exception | None = None
        self.call = asyncio.Event()

    @asynccontextmanager
    async def listening(self, host: str, port: int) -> AsyncIterator[Stage]:
        if self.taken is not None:
            raise self.taken
        self.begun.append((host, port))
        try:
            yield self
        finally:
            self.ended += 1

    async def called(self) -> None:
        await self.call.wait()

    @asynccontextmanager
    async def serving(self, *_: object) -> AsyncIterator[None]:
        if self.broken is not None:
            raise self.broken
        self.answering += 1
        try:
            yield
        finally:
            self.answering -= 1


@pytest.fixture
def stage(monkeypatch: pytest.MonkeyPatch) -> Stage:
    made = Stage()
    monkeypatch.setattr(website, "listening", made.listening)
    monkeypatch.setattr(server, "serving", made.serving)
    return made


HERE, THERE = Place("127.0.0.1", 8143), Place("::1", 8144)


async def test_it_is_nowhere_until_it_is_wanted(stage: Stage) -> None:
    site = Website(Shown().sight(), None)
    async with running(site):
        assert stage.begun == []
        site.move(HERE)
        await breathe()
        assert stage.begun == [("127.0.0.1", 8143)]
        site.move(None)
        await breathe()
        assert stage.ended == 1


async def test_the_same_place_again_moves_nothing(stage: Stage) -> None:
    site = Website(Shown().sight(), HERE)
    async with running(site):
        site.move(Place("127.0.0.1", 8143))
        await breathe()
        site.move(THERE)
        await breathe()
        assert stage.begun == [("127.0.0.1", 8143), ("::1", 8144)]
        assert stage.ended == 1


async def test_there_is_nobody_to_answer_until_somebody_calls(stage: Stage) -> None:
    site = Website(Shown().sight(), HERE)
    async with running(site):
        await breathe()
        assert stage.answering == 0
        stage.call.set()
        await until(lambda: stage.answering == 1)
        assert stage.ended == 0
        site.move(THERE)
        await until(lambda: stage.begun == [("127.0.0.1", 8143), ("::1", 8144)])
        assert stage.ended == 1
    assert (stage.answering, stage.ended) == (0, 2)


async def test_the_end_may_come_while_it_is_loaded(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    begun = asyncio.Event()

    async def for_ever(_: object) -> None:
        begun.set()
        await asyncio.get_running_loop().create_future()

    monkeypatch.setattr(asyncio, "to_thread", for_ever)
    stage.call.set()
    async with running(Website(Shown().sight(), HERE)) as task:
        await begun.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert (stage.answering, stage.ended) == (0, 1)


async def test_a_page_that_can_not_be_made_leaves_the_place_and_is_tried_again(stage: Stage) -> None:
    on = Shown()
    stage.broken = ImportError("half an installation")
    stage.call.set()
    with capture_logs() as logs:
        async with running(Website(on.sight(), HERE)):
            await until(lambda: stage.ended == 1)
            await until(lambda: any(one["event"] == "http.unavailable" for one in logs))
            stage.broken = None
            await on.clock.advance(TRY_AGAIN)
            await until(lambda: stage.answering == 1)
    (told,) = [one for one in logs if one["event"] == "http.unavailable"]
    assert "half an installation" in told["error"]


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
            assert told["log_level"] == "warning"
            assert "127.0.0.1:8143" in told["error"]
            assert "\n" not in told["error"]
            stage.taken = None
            await on.clock.advance(TRY_AGAIN)
            assert stage.begun == [("127.0.0.1", 8143)]
    assert [one["event"] for one in logs] == ["http.unavailable", "http.listening"]


async def test_another_reason_is_told_anew(stage: Stage) -> None:
    on = Shown()
    with capture_logs() as logs:
        stage.taken = OSError(98, "Address already in use")
        async with running(Website(on.sight(), HERE)):
            stage.taken = OSError(13, "Permission denied")
            for _ in range(3):
                await on.clock.advance(TRY_AGAIN)
    assert len(logs) == 2
    assert "Permission denied" in logs[-1]["error"]


async def test_a_place_that_can_not_be_had_may_be_left_at_once(stage: Stage) -> None:
    stage.taken = OSError(98, "Address already in use")
    site = Website(Shown().sight(), HERE)
    async with running(site):
        stage.taken = None
        site.move(THERE)
        await breathe()
        assert stage.begun == [("::1", 8144)]


def test_a_token_is_not_in_what_is_told_of_a_place() -> None:
    assert str(THERE) == "[::1]:8144"
