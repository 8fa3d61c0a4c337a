"""Claims and finishes that share a request: each still has its own condition and its own verdict."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
from engines import dynamo
from faulty_line import FaultyLine, cancelled
from test_state_stores import ROUTE, done, record

from mailsyncd.errors import StateUnavailable
from mailsyncd.model import Claimant, Record, Status
from mailsyncd.ports import Refused
from mailsyncd.state import dynamo_client
from mailsyncd.state.dynamodb import DynamoStore

Line = tuple[FaultyLine, DynamoStore]
ONES = [record(uid, attempt=f"a{uid}", gm_msgid=f"{uid}" if uid % 2 else None) for uid in range(1, 13)]


@pytest.fixture(
    params=[
        pytest.param("dynamodb-local", marks=[pytest.mark.real, pytest.mark.xdist_group("dynamodb-local")]),
        pytest.param("moto", marks=pytest.mark.xdist_group("moto")),
    ]
)
async def line(request: pytest.FixtureRequest, aws: None) -> AsyncIterator[Line]:
    upstream = request.getfixturevalue("local_url" if request.param == "dynamodb-local" else "moto_url")
    faulty = FaultyLine(upstream)
    async with faulty.running() as url:
        store = dynamo(url)
        await store.init_table(point_in_time_recovery=False, deletion_protection=False)
        faulty.asked.clear()
        store.requests.clear()
        yield faulty, store
        await store.close()


async def _claim(store: DynamoStore, *ones: Record) -> list[Refused | None]:
    return await asyncio.gather(*(store.claim(ROUTE, one) for one in ones))


async def _finish(store: DynamoStore, *ones: Record) -> list[bool]:
    return await asyncio.gather(*(store.finish(ROUTE, done(one)) for one in ones))


async def _statuses(store: DynamoStore) -> Counter[Status]:
    return Counter(one.status for one in await store.records(ROUTE, 7))


async def test_many_claims_are_one_request_and_so_are_many_finishes(line: Line) -> None:
    _, store = line
    assert await _claim(store, *ONES) == [None] * 12
    assert await store.records(ROUTE, 7) == ONES
    assert await _finish(store, *ONES) == [True] * 12
    assert await store.records(ROUTE, 7) == [done(one) for one in ONES]
    assert store.requests == {"TransactWriteItems": 2, "Query": 2}


async def test_claims_and_finishes_of_different_messages_share_a_request(line: Line) -> None:
    _, store = line
    await _claim(store, *ONES[:6])
    finished, claimed = await asyncio.gather(_finish(store, *ONES[:6]), _claim(store, *ONES[6:]))
    assert finished == [True] * 6
    assert claimed == [None] * 6
    assert store.requests["TransactWriteItems"] == 2
    assert await _statuses(store) == {Status.DONE: 6, Status.PENDING: 6}


@pytest.mark.parametrize("lost", [1, 2])
async def test_answers_lost_are_still_ours_each_and_all(line: Line, lost: int) -> None:
    faulty, store = line
    faulty.lose_answers = lost
    assert await _claim(store, *ONES) == [None] * 12
    assert await store.records(ROUTE, 7) == ONES
    faulty.lose_answers = lost
    assert await _finish(store, *ONES) == [True] * 12
    assert await _statuses(store) == {Status.DONE: 12}


async def test_each_is_refused_by_what_is_in_its_own_way(line: Line) -> None:
    _, store = line
    same_uid, same_id = ONES[3], record(99, attempt="theirs", gm_msgid=ONES[6].gm_msgid)
    theirs = replace(same_uid, claimed_by=Claimant(2, "theirs"))
    await _claim(store, theirs, same_id)
    answers = await _claim(store, *ONES)
    assert answers[3] == Refused(theirs)
    assert answers[6] == Refused(same_id)
    assert answers.count(None) == 10
    granted = [one for one, answer in zip(ONES, answers, strict=True) if answer is None]
    assert await store.records(ROUTE, 7) == sorted([*granted, theirs, same_id], key=lambda one: one.uid)


async def test_a_fenced_finish_among_others_is_fenced_and_the_others_are_not(line: Line) -> None:
    _, store = line
    await _claim(store, *ONES)
    adopted = replace(ONES[5], claimed_by=Claimant(2, "successor"))
    assert await store.adopt(ROUTE, ONES[5], adopted)
    assert await _finish(store, *ONES) == [True] * 5 + [False] + [True] * 6
    assert await store.pending(ROUTE) == [adopted]


async def test_one_that_dynamodb_cannot_take_fails_alone(line: Line) -> None:
    _, store = line
    huge = replace(ONES[0], message_id="x" * 500_000)
    answers = await asyncio.gather(
        *(store.claim(ROUTE, one) for one in (huge, *ONES[1:])), return_exceptions=True
    )
    assert isinstance(answers[0], StateUnavailable)
    assert answers[1:] == [None] * 11
    assert await store.records(ROUTE, 7) == ONES[1:]


async def test_a_conflict_that_does_not_end_is_left_to_the_one_whom_it_meets(
    line: Line, monkeypatch: pytest.MonkeyPatch
) -> None:
    faulty, store = line
    monkeypatch.setattr(dynamo_client, "FIRST_PAUSE", 0.0)
    faulty.refuse = [cancelled(*["TransactionConflict"] * 18)] * dynamo_client.CONFLICTS
    assert await _claim(store, *ONES) == [None] * 12
    assert Counter(operation for operation, _ in faulty.asked)["PutItem"] == 6
    assert await store.records(ROUTE, 7) == ONES


async def test_a_group_refused_without_a_word_for_each_is_asked_one_by_one(line: Line) -> None:
    faulty, store = line
    faulty.refuse = [cancelled("ConditionalCheckFailed")]
    assert await _claim(store, *ONES) == [None] * 12
    assert await store.records(ROUTE, 7) == ONES
