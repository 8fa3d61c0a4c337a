"""The stores give the same answers to any sequence of operations, where claimants and ids meet."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from engines import dynamo
from fakes import VirtualClock
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from test_state_stores import ROUTE, done, record

from mailsyncd.errors import FailureKind
from mailsyncd.model import Failure, Lease, Record, Traffic, Watermark
from mailsyncd.ports import StateStore
from mailsyncd.state.memory import MemoryStore
from mailsyncd.state.sqlite import SqliteStore

Operation = Callable[[StateStore], Awaitable[object]]


@st.composite
def records(draw: st.DrawFn) -> Record:
    """Two places, two claimants, one message id: they meet all the time."""
    return record(
        draw(st.integers(1, 2)),
        attempt=draw(st.sampled_from("ab")),
        gm_msgid=draw(st.sampled_from([None, "42"])),
    )


finished = st.builds(
    lambda one, dest_uid, same: replace(done(one, dest_uid), same_as=same),
    records(),
    st.sampled_from([None, 99, 100]),
    st.sampled_from([None, (6, 1)]),
)
watermarks = st.builds(Watermark, st.sampled_from([7, 8]), st.integers(0, 1), st.sampled_from([1.5, 2.0]))
leases = st.builds(
    Lease,
    st.sampled_from(["", "one", "two"]),
    st.integers(1, 2),
    st.integers(1, 2),
    st.just(60.0),
    st.just(1.0),
)
traffic = st.builds(
    Traffic,
    st.just("ann@gmail.example"),
    st.sampled_from(["2026-07-17", "2026-07-18"]),
    st.sampled_from(["one", "two"]),
    st.integers(0, 3),
    st.just(4_000_000_000),
)
failures = st.builds(
    Failure,
    st.just(7),
    st.integers(1, 2),
    st.just(FailureKind.REJECTED),
    st.just("no"),
    st.integers(0, 2),
    st.just(1.0),
    resolved=st.booleans(),
)


def claim(one: Record) -> Operation:
    return lambda store: store.claim(ROUTE, one)


def adopt(old: Record, new: Record) -> Operation:
    moved = replace(new, uidvalidity=old.uidvalidity, uid=old.uid, gm_msgid=old.gm_msgid)
    return lambda store: store.adopt(ROUTE, old, moved)


def finish(one: Record) -> Operation:
    return lambda store: store.finish(ROUTE, one)


def fail(failure: Failure, claimed: Record | None) -> Operation:
    same = claimed and replace(claimed, uidvalidity=failure.uidvalidity, uid=failure.uid)
    return lambda store: store.fail(ROUTE, failure, same)


def advance(new: Watermark, expected: Watermark | None) -> Operation:
    return lambda store: store.advance(ROUTE, new, expected=expected)


def put_lease(new: Lease, expected: Lease | None) -> Operation:
    return lambda store: store.put_lease("me@outlook.example", new, expected=expected)


def note_traffic(one: Traffic) -> Operation:
    return lambda store: store.note_traffic(one)


operations = st.one_of(
    st.builds(claim, records()),
    st.builds(adopt, records(), records()),
    st.builds(finish, finished),
    st.builds(fail, failures, st.none() | records()),
    st.builds(advance, watermarks, st.none() | watermarks),
    st.builds(put_lease, leases, st.none() | leases),
    st.builds(note_traffic, traffic),
)

sequences = st.lists(operations, min_size=15, max_size=40)


async def everything(store: StateStore) -> list[object]:
    """All that can be asked, in an order that does not depend on the store's."""

    def in_order(found: list[Record]) -> list[Record]:
        return sorted(found, key=lambda one: (one.uidvalidity, one.uid))

    return [
        await store.watermark(ROUTE),
        await store.records(ROUTE, 7),
        await store.records(ROUTE, 7, 1),
        await store.records(ROUTE, 7, 1, most=2),
        in_order(await store.pending(ROUTE)),
        sorted(map(repr, await store.delivered(ROUTE, 3, 100))),
        await store.failures(ROUTE),
        await store.counts(ROUTE),
        await store.lease("me@outlook.example"),
        await store.traffic("ann@gmail.example", "2026-07-17"),
    ]


async def answers(store: StateStore, steps: list[Operation]) -> list[object]:
    """To each of them, with the records as they were then; and to all that can be asked at the end."""
    await store.open()
    try:
        given: list[object] = [(await step(store), await store.records(ROUTE, 7)) for step in steps]
        return given + await everything(store)
    finally:
        await store.close()


async def answers_at_once(store: StateStore, steps: list[Operation]) -> list[object]:
    """To all of them together, and to all that can be asked then."""
    await store.open()
    try:
        return [*await asyncio.gather(*(step(store) for step in steps)), *await everything(store)]
    finally:
        await store.close()


@settings(max_examples=100, deadline=None)
@given(sequences)
def test_sqlite_answers_as_memory_does_whatever_is_asked(steps: list[Operation]) -> None:
    with TemporaryDirectory() as directory:
        store = SqliteStore(Path(directory) / "state.db", clock=VirtualClock())
        assert asyncio.run(answers(store, steps)) == asyncio.run(answers(MemoryStore(), steps))


@settings(max_examples=100, deadline=None)
@given(sequences)
def test_sqlite_answers_what_shares_a_transaction_as_memory_does_one_after_the_other(
    steps: list[Operation],
) -> None:
    with TemporaryDirectory() as directory:
        store = SqliteStore(Path(directory) / "state.db", clock=VirtualClock())
        assert asyncio.run(answers_at_once(store, steps)) == asyncio.run(
            answers_at_once(MemoryStore(), steps)
        )


@pytest.mark.real
@pytest.mark.xdist_group("dynamodb-local")
@settings(
    max_examples=30,
    deadline=None,
    phases=[Phase.generate],  # to shrink a failure takes minutes on a real engine
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(sequences)
def test_dynamodb_answers_as_memory_does_whatever_is_asked(
    local_url: str, aws: None, steps: list[Operation]
) -> None:
    async def of_the_engine() -> list[object]:
        store = dynamo(local_url)
        await store.init_table(point_in_time_recovery=False, deletion_protection=False)
        return await answers(store, steps)

    assert asyncio.run(of_the_engine()) == asyncio.run(answers(MemoryStore(), steps))
