"""One copy from before a change of UIDVALIDITY stands for one message after it."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from random import Random

import pytest
from fakes import VirtualClock

from mailsyncd.flow.gate import Gate
from mailsyncd.flow.progress import Progress
from mailsyncd.flow.twins import twin_of
from mailsyncd.model import Claimant, Record, Status, Watermark
from mailsyncd.state.memory import MemoryStore

ROUTE = "route"
WHEN = "01-Jan-2026 00:00:00 +0000"
OLD = Record(7, 1, Status.DONE, Claimant(1, "a"), 0.0, "sha", 10, WHEN, "digest", "<id@example.org>")
FIRST = replace(OLD, uidvalidity=8, uid=100, status=Status.PENDING)
SECOND = replace(FIRST, uid=101)


@pytest.fixture
async def store() -> MemoryStore:
    made = MemoryStore()
    await made.open()
    assert await made.claim(ROUTE, replace(OLD, status=Status.PENDING)) is None
    assert await made.finish(ROUTE, OLD)
    return made


def progress(settled_to: int = 99) -> Progress:
    return Progress.load(Watermark(8, settled_to, 0.0, backlog_until=102, rescan_of=7), [], [])


async def asked(store: MemoryStore, record: Record, of: Progress) -> Record | None:
    gate = Gate(store, VirtualClock(), Random(1), grace=60.0)
    async with twin_of(ROUTE, record, of, store, gate) as twin:
        return twin


async def test_it_stands_for_the_first_that_asks_and_for_no_other(store: MemoryStore) -> None:
    of = progress()
    found = await asyncio.gather(asked(store, FIRST, of), asked(store, SECOND, of))
    assert [one and one.uid for one in found] == [1, None]


async def test_what_it_stood_for_before_a_restart_is_not_forgotten(store: MemoryStore) -> None:
    assert await store.finish(ROUTE, replace(FIRST, status=Status.DONE, same_as=(7, 1)))
    assert await asked(store, SECOND, progress(settled_to=100)) is None


async def test_what_could_not_be_written_down_may_be_asked_again(store: MemoryStore) -> None:
    of, gate = progress(), Gate(store, VirtualClock(), Random(1), grace=60.0)
    with pytest.raises(asyncio.CancelledError):
        async with twin_of(ROUTE, FIRST, of, store, gate):
            raise asyncio.CancelledError
    assert await asked(store, FIRST, of) is not None


async def test_a_failure_that_is_tried_again_after_the_window_still_finds_it(store: MemoryStore) -> None:
    of = progress()
    of.keep(replace(of.stored, last_uid=101))
    assert of.twins is None
    assert await asked(store, FIRST, of) is not None


@pytest.mark.parametrize("new", [replace(FIRST, uid=102), replace(FIRST, gm_msgid="1")])
async def test_what_came_after_the_change_or_has_an_id_has_none(store: MemoryStore, new: Record) -> None:
    of = progress()
    assert await asked(store, new, of) is None
    assert of.twins is None
