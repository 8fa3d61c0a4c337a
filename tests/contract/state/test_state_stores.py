"""What every state store must do, one sentence of the port after the other."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace

import pytest

from mailsyncd.errors import FailureKind, StateUnavailable
from mailsyncd.matching import trace_of
from mailsyncd.model import Claimant, Failure, Lease, Member, Record, Status, TokenNote, Traffic, Watermark
from mailsyncd.ports import Refused, StateStore
from mailsyncd.state import items
from mailsyncd.state.attributes import attributes
from mailsyncd.state.dynamodb import DynamoStore
from mailsyncd.state.memory import MemoryStore
from mailsyncd.state.sqlite import SqliteStore

ROUTE = "ROUTE#ann@gmail.example#DEST#me@outlook.example#FOLDER#Gmail/ann"
OTHER = "ROUTE#bob@gmail.example#DEST#me@outlook.example#FOLDER#Gmail/bob"


def record(uid: int, *, attempt: str = "a", epoch: int = 1, **fields: object) -> Record:
    made = Record(
        uidvalidity=7,
        uid=uid,
        status=Status.PENDING,
        claimed_by=Claimant(epoch, attempt),
        claimed_at=1_700_000_000.25,
        sha256="ab" * 32,
        size=12345,
        internaldate="17-Jul-2019 09:40:08 +0000",
        digest="cd" * 16,
        message_id="<é@example.net>",
        dest_uidvalidity=3,
        dest_uidnext=100,
    )
    return replace(made, **fields)  # type: ignore[arg-type]


def done(one: Record, dest_uid: int | None = 100) -> Record:
    return replace(
        one, status=Status.DONE, dest_uid=dest_uid, copied_at=1_700_000_001.5, expires_at=4_000_000_000
    )


FAILURE = Failure(7, 1, FailureKind.REJECTED, "no", 1, 1.0)
LEASE = Lease("one", 1, 1, 60.0, 1.0, "pool")
MEMBER = Member("host/boot/1", "pool", 1, 60.0, 1.5, 4_000_000_000)
NOTE = TokenNote("ann@gmail.example", "line", 1, 1.5, 2.25, 2_000_000_000, "c2VhbGVk")
TRAFFIC = Traffic("ann@gmail.example", "2026-07-17", "host/boot/1", 2_000_000_000, 4_000_000_000)
METHODS: dict[str, Callable[[StateStore], Awaitable[object]]] = {
    "open": lambda store: store.open(),
    "watermark": lambda store: store.watermark(ROUTE),
    "advance": lambda store: store.advance(ROUTE, Watermark(7, 1, 1.0), expected=None),
    "claim": lambda store: store.claim(ROUTE, record(1)),
    "claim by id": lambda store: store.claim(ROUTE, record(1, gm_msgid="42")),
    "adopt": lambda store: store.adopt(ROUTE, record(1), record(1, attempt="b")),
    "finish": lambda store: store.finish(ROUTE, done(record(1))),
    "fail": lambda store: store.fail(ROUTE, FAILURE, None),
    "fail with record": lambda store: store.fail(ROUTE, FAILURE, record(1)),
    "records": lambda store: store.records(ROUTE, 7),
    "delivered": lambda store: store.delivered(ROUTE, 3, 1),
    "pending": lambda store: store.pending(ROUTE),
    "failures": lambda store: store.failures(ROUTE),
    "counts": lambda store: store.counts(ROUTE),
    "lease": lambda store: store.lease("me@outlook.example"),
    "put_lease": lambda store: store.put_lease("me@outlook.example", LEASE, expected=None),
    "announce": lambda store: store.announce(MEMBER),
    "members": lambda store: store.members(),
    "note_traffic": lambda store: store.note_traffic(TRAFFIC),
    "traffic": lambda store: store.traffic("ann@gmail.example", "2026-07-17"),
    "token_note": lambda store: store.token_note("ann@gmail.example", "line"),
    "put_token_note": lambda store: store.put_token_note(NOTE, expected=None),
}


async def test_a_watermark_is_replaced_only_by_who_knows_the_last(store: StateStore) -> None:
    first = Watermark(7, 0, 1.5, 9, since=2.25, rescan_of=(5, 6), dest_uidvalidity=3, dest_uidnext=12)
    second = replace(first, last_uid=5, updated_at=2.5)
    assert await store.watermark(ROUTE) is None
    assert not await store.advance(ROUTE, second, expected=first)
    assert await store.advance(ROUTE, first, expected=None)
    assert not await store.advance(ROUTE, second, expected=None)
    assert await store.advance(ROUTE, second, expected=first)
    assert await store.watermark(ROUTE) == second
    assert await store.watermark(OTHER) is None


async def test_ones_own_watermark_written_twice_is_success(store: StateStore) -> None:
    first, second = Watermark(7, 0, 1.0), Watermark(7, 5, 2.0)
    await store.advance(ROUTE, first, expected=None)
    assert await store.advance(ROUTE, second, expected=first)
    assert await store.advance(ROUTE, second, expected=first)


async def test_a_claim_is_granted_once(store: StateStore) -> None:
    mine = record(1)
    assert await store.claim(ROUTE, mine) is None
    assert await store.records(ROUTE, 7) == [mine]
    assert await store.claim(ROUTE, record(1, attempt="b")) == Refused(mine)
    assert await store.claim(OTHER, record(1, attempt="b")) is None


@pytest.mark.parametrize("gm_msgid", [None, "1592225494819146101"])
async def test_ones_own_claim_made_twice_is_success(store: StateStore, gm_msgid: str | None) -> None:
    mine = record(1, gm_msgid=gm_msgid)
    assert await store.claim(ROUTE, mine) is None
    assert await store.claim(ROUTE, mine) is None


async def test_a_message_under_another_uid_is_refused_by_its_id(store: StateStore) -> None:
    mine = record(1, gm_msgid="42")
    await store.claim(ROUTE, mine)
    again = record(2, attempt="b", gm_msgid="42")
    assert await store.claim(ROUTE, again) == Refused(mine)
    await store.finish(ROUTE, done(mine))
    assert await store.claim(ROUTE, again) == Refused(done(mine))
    assert await store.claim(OTHER, again) is None
    assert [one.uid for one in await store.records(ROUTE, 7)] == [1]


async def test_a_message_that_failed_under_another_uid_may_be_claimed(store: StateStore) -> None:
    mine = record(1, gm_msgid="42")
    await store.claim(ROUTE, mine)
    await store.fail(ROUTE, Failure(7, 1, FailureKind.VANISHED, "gone", 1, 5.0), mine)
    again = record(2, attempt="b", gm_msgid="42")
    assert await store.claim(ROUTE, again) is None
    assert await store.claim(ROUTE, record(3, attempt="c", gm_msgid="42")) == Refused(again)


async def test_a_record_that_failed_is_replaced_by_a_new_claim(store: StateStore) -> None:
    for gm_msgid in (None, "42"):
        mine = record(1 if gm_msgid else 2, gm_msgid=gm_msgid)
        await store.claim(ROUTE, mine)
        await store.fail(ROUTE, Failure(7, mine.uid, FailureKind.REJECTED, "no", 3, 5.0), mine)
        assert await store.claim(ROUTE, replace(mine, claimed_by=Claimant(1, "b"))) is None


async def test_a_claim_that_failed_is_made_again_by_its_own_claimant(store: StateStore) -> None:
    mine = record(1)
    await store.claim(ROUTE, mine)
    await store.fail(ROUTE, Failure(7, 1, FailureKind.REJECTED, "no", 3, 5.0), mine)
    assert await store.claim(ROUTE, mine) is None
    assert await store.pending(ROUTE) == [mine]


async def test_a_message_whose_record_is_gone_still_counts_as_copied(store: StateStore) -> None:
    """As after expiry: the pointer is left, and there is no record where it points."""
    mine = record(1, gm_msgid="42")
    await store.claim(ROUTE, mine)
    await _forget(store, mine)
    assert await store.records(ROUTE, 7) == []
    refused = await store.claim(ROUTE, record(2, attempt="b", gm_msgid="42"))
    assert refused is not None
    assert (refused.by.uidvalidity, refused.by.uid, refused.by.status) == (7, 1, Status.DONE)
    assert await store.records(ROUTE, 7) == []
    assert await store.claim(ROUTE, record(1, attempt="c", gm_msgid="42")) is None


async def _forget(store: StateStore, gone: Record) -> None:
    key = items.uid_key(gone.uidvalidity, gone.uid)
    if isinstance(store, MemoryStore):
        del store.table.items[ROUTE, key]
    elif isinstance(store, SqliteStore):
        await store._do(
            lambda table: table._connection.execute("DELETE FROM items WHERE sk = ?", (key,)).rowcount
        )
    else:
        assert isinstance(store, DynamoStore)
        client = store._client
        await client.ask("delete_item", TableName=client.table, Key=attributes({"PK": ROUTE, "SK": key}))


async def test_of_two_uids_of_a_failed_message_one_is_claimed(store: StateStore) -> None:
    """The failed one again, and its other UIDs, all at once: the pointer follows one of them."""
    first = record(1, gm_msgid="42")
    await store.claim(ROUTE, first)
    await store.fail(ROUTE, Failure(7, 1, FailureKind.REJECTED, "no", 3, 5.0), first)
    claims = [record(uid, attempt=f"again {uid}", gm_msgid="42") for uid in (1, 2, 3)]
    answers = await asyncio.gather(*(store.claim(ROUTE, one) for one in claims))
    assert answers.count(None) == 1
    winner = claims[answers.index(None)]
    assert await store.pending(ROUTE) == [winner]
    assert {answer.by for answer in answers if answer} == {winner}


async def test_of_many_claims_at_once_one_is_granted(store: StateStore) -> None:
    claims = [record(1, attempt=str(n), gm_msgid="42") for n in range(8)]
    answers = await asyncio.gather(*(store.claim(ROUTE, one) for one in claims))
    assert answers.count(None) == 1
    winner = claims[answers.index(None)]
    assert {answer.by for answer in answers if answer} == {winner}


async def test_a_record_is_finished_by_who_claimed_it(store: StateStore) -> None:
    mine = record(1)
    await store.claim(ROUTE, mine)
    assert not await store.finish(ROUTE, done(record(1, attempt="b")))
    assert await store.finish(ROUTE, done(mine))
    assert await store.finish(ROUTE, done(mine))
    assert await store.records(ROUTE, 7) == [done(mine)]
    assert not await store.finish(ROUTE, done(record(9)))


async def test_a_record_that_stands_for_another_is_made_by_finish(store: StateStore) -> None:
    same = replace(done(record(5), None), same_as=(6, 1))
    assert await store.finish(ROUTE, same)
    assert await store.finish(ROUTE, same)
    assert await store.records(ROUTE, 7) == [same]


async def test_a_failed_record_is_not_finished(store: StateStore) -> None:
    mine = record(1)
    await store.claim(ROUTE, mine)
    await store.fail(ROUTE, Failure(7, 1, FailureKind.REJECTED, "no", 3, 5.0), mine)
    assert not await store.finish(ROUTE, done(mine))
    assert [one.status for one in await store.records(ROUTE, 7)] == [Status.FAILED]


async def test_a_record_that_stands_for_another_replaces_a_failed_one_only(store: StateStore) -> None:
    mine, same = record(5), replace(done(record(5, attempt="b"), None), same_as=(6, 1))
    await store.claim(ROUTE, mine)
    assert not await store.finish(ROUTE, same)
    await store.fail(ROUTE, Failure(7, 5, FailureKind.REJECTED, "no", 3, 5.0), mine)
    assert await store.finish(ROUTE, same)
    assert await store.records(ROUTE, 7) == [same]


async def test_an_adopted_record_does_not_fail_by_its_former_claimant(store: StateStore) -> None:
    old = record(1)
    new = replace(old, claimed_by=Claimant(2, "b"))
    await store.claim(ROUTE, old)
    await store.adopt(ROUTE, old, new)
    failure = Failure(7, 1, FailureKind.REJECTED, "no", 3, 5.0)
    await store.fail(ROUTE, failure, old)
    assert await store.pending(ROUTE) == [new]
    assert await store.failures(ROUTE) == [failure]


async def test_a_done_record_does_not_fail_afterwards(store: StateStore) -> None:
    mine = record(1)
    await store.claim(ROUTE, mine)
    await store.finish(ROUTE, done(mine))
    await store.fail(ROUTE, Failure(7, 1, FailureKind.REJECTED, "no", 3, 5.0), mine)
    assert await store.records(ROUTE, 7) == [done(mine)]


async def test_an_adopted_record_is_lost_to_its_former_claimant(store: StateStore) -> None:
    old = record(1)
    new = replace(old, claimed_by=Claimant(2, "b"), dest_uidnext=200)
    await store.claim(ROUTE, old)
    assert not await store.adopt(ROUTE, record(1, attempt="x"), new)
    assert await store.adopt(ROUTE, old, new)
    assert await store.adopt(ROUTE, old, new)
    assert not await store.finish(ROUTE, done(old))
    assert await store.finish(ROUTE, done(new))
    assert not await store.adopt(ROUTE, new, replace(new, claimed_by=Claimant(3, "c")))


async def test_records_come_by_uid_above_one_and_under_one_uidvalidity(store: StateStore) -> None:
    for uid in (9, 10, 2, 4_294_967_295):
        await store.claim(ROUTE, record(uid))
    await store.claim(ROUTE, record(1, uidvalidity=8))
    assert [one.uid for one in await store.records(ROUTE, 7)] == [2, 9, 10, 4_294_967_295]
    assert [one.uid for one in await store.records(ROUTE, 7, 9)] == [10, 4_294_967_295]
    assert [one.uid for one in await store.records(ROUTE, 7, 2, most=2)] == [9, 10]
    assert [one.uid for one in await store.records(ROUTE, 7, 9, most=5)] == [10, 4_294_967_295]
    assert [one.uid for one in await store.records(ROUTE, 8)] == [1]


async def test_an_expired_record_that_is_still_there_counts(store: StateStore) -> None:
    mine = record(1)
    await store.claim(ROUTE, mine)
    long_ago = replace(done(mine), expires_at=1_000)
    await store.finish(ROUTE, long_ago)
    assert await store.claim(ROUTE, record(1, attempt="b")) == Refused(long_ago)


async def test_pending_records_are_found_whatever_their_uidvalidity(store: StateStore) -> None:
    ones = [record(1), record(2, uidvalidity=8), record(3)]
    for one in ones:
        await store.claim(ROUTE, one)
    await store.finish(ROUTE, done(ones[0]))
    assert {(one.uidvalidity, one.uid) for one in await store.pending(ROUTE)} == {(8, 2), (7, 3)}


async def test_delivered_records_are_found_by_their_copies(store: StateStore) -> None:
    for uid, dest_uid, dest_uidvalidity in [(1, 99, 3), (2, 100, 3), (3, None, 3), (4, 101, 4), (5, 150, 3)]:
        one = record(uid, dest_uidvalidity=dest_uidvalidity)
        await store.claim(ROUTE, one)
        await store.finish(ROUTE, done(one, dest_uid))
    await store.claim(ROUTE, record(6))
    await store.finish(ROUTE, replace(done(record(7), None), same_as=(6, 1)))  # has no copy of its own
    assert {one.dest_uid for one in await store.delivered(ROUTE, 3, 100)} == {100, None, 150}
    found = await store.delivered(ROUTE, None, 100)
    assert {(one.dest_uidvalidity, one.dest_uid) for one in found} == {
        (3, 100),
        (3, None),
        (4, 101),
        (3, 150),
    }
    assert len(found) == 4
    (trace,) = (one for one in found if one.dest_uid == 150)
    assert trace == trace_of(done(record(5), 150))


async def test_a_failure_is_written_with_its_record_or_alone(store: StateStore) -> None:
    mine = record(2)
    await store.claim(ROUTE, mine)
    claimed = Failure(7, 2, FailureKind.REJECTED, "the server said no", 3, 5.5, size=9, next_attempt_at=7.25)
    alone = Failure(7, 1, FailureKind.OVERSIZE, "too large", 0, 6.5, gm_msgid="42")
    await store.fail(ROUTE, claimed, mine)
    await store.fail(ROUTE, alone, None)
    assert await store.failures(ROUTE) == [alone, claimed]
    assert [one.status for one in await store.records(ROUTE, 7)] == [Status.FAILED]


async def test_counts_tell_what_is_where(store: StateStore) -> None:
    for uid in (1, 2, 3):
        await store.claim(ROUTE, record(uid))
    await store.finish(ROUTE, done(record(1)))
    await store.fail(ROUTE, Failure(7, 3, FailureKind.REJECTED, "no", 1, 1.0), record(3))
    await store.fail(ROUTE, Failure(7, 4, FailureKind.OVERSIZE, "big", 1, 1.0), None)
    resolved = Failure(7, 5, FailureKind.OVERSIZE, "big", 1, 1.0, resolved=True, expires_at=4_000_000_000)
    await store.fail(ROUTE, resolved, None)
    assert (await store.failures(ROUTE))[-1] == resolved
    counts = await store.counts(ROUTE)
    assert (counts.done, counts.pending, counts.failed) == (1, 1, 2)


async def test_a_lease_changes_hands_only_from_what_was_seen(store: StateStore) -> None:
    mine = Lease("one", 1, 1, 60.0, 1_700_000_000.5)
    beat = replace(mine, beat=2)
    theirs = Lease("two", 2, 1, 60.0, 1_700_000_100.0)
    assert await store.lease("me@outlook.example") is None
    assert await store.put_lease("me@outlook.example", mine, expected=None)
    assert not await store.put_lease("me@outlook.example", theirs, expected=None)
    assert await store.put_lease("me@outlook.example", beat, expected=mine)
    assert await store.put_lease("me@outlook.example", beat, expected=mine)
    assert not await store.put_lease("me@outlook.example", theirs, expected=mine)
    assert await store.put_lease("me@outlook.example", theirs, expected=beat)
    assert await store.lease("me@outlook.example") == theirs
    assert await store.lease("another") is None


async def test_many_records_come_back_whole(store: StateStore) -> None:
    count = 120
    long = "<" + "x" * 800 + "@example.net>"
    ones = [record(uid, message_id=long) for uid in range(1, count + 1)]
    await asyncio.gather(*(store.claim(ROUTE, one) for one in ones))
    assert await store.records(ROUTE, 7) == ones


async def test_failures_come_by_uidvalidity_and_uid(store: StateStore) -> None:
    keys = [(8, 1), (7, 10), (7, 9), (7, 4_294_967_295), (10, 2)]
    for uidvalidity, uid in keys:
        await store.fail(ROUTE, Failure(uidvalidity, uid, FailureKind.VANISHED, "gone", 0, 1.0), None)
    assert [(one.uidvalidity, one.uid) for one in await store.failures(ROUTE)] == sorted(keys)
    assert await store.failures(OTHER) == []


async def test_a_failure_written_again_is_one_failure(store: StateStore) -> None:
    first = Failure(7, 1, FailureKind.REJECTED, "no", 1, 1.0, next_attempt_at=2.0)
    again = replace(first, retry_count=2, updated_at=3.0, next_attempt_at=None)
    await store.fail(ROUTE, first, None)
    await store.fail(ROUTE, again, None)
    assert await store.failures(ROUTE) == [again]


async def test_of_many_takers_at_once_one_has_the_lease(store: StateStore) -> None:
    old = Lease("", 3, 9, 60.0, 1.0)
    assert await store.put_lease("me@outlook.example", old, expected=None)
    takers = [Lease(f"taker {n}", 4, 1, 60.0, 2.0) for n in range(6)]
    answers = await asyncio.gather(
        *(store.put_lease("me@outlook.example", one, expected=old) for one in takers)
    )
    assert answers.count(True) == 1
    assert await store.lease("me@outlook.example") == takers[answers.index(True)]


async def test_daemons_make_themselves_known_each_in_its_own_place(store: StateStore) -> None:
    assert await store.members() == []
    other = replace(MEMBER, owner="Host/boot/2", pool="other")
    for one in (MEMBER, other, replace(MEMBER, beat=2, leaving=True)):
        await store.announce(one)
    assert await store.members() == [other, replace(MEMBER, beat=2, leaving=True)]


async def test_a_token_note_is_replaced_only_by_who_knows_the_last(store: StateStore) -> None:
    second = replace(NOTE, revision=2, sealed=None, used_at=3.25)
    assert await store.token_note(NOTE.account, NOTE.line) is None
    assert not await store.put_token_note(second, expected=NOTE)
    assert await store.put_token_note(NOTE, expected=None)
    assert await store.put_token_note(NOTE, expected=None)  # our own, repeated by the SDK
    assert not await store.put_token_note(replace(NOTE, sealed="theirs"), expected=None)
    assert await store.token_note(NOTE.account, NOTE.line) == NOTE
    assert await store.put_token_note(second, expected=NOTE)
    assert not await store.put_token_note(replace(second, revision=3), expected=NOTE)
    assert await store.token_note(NOTE.account, NOTE.line) == second
    assert await store.token_note(NOTE.account, "other") is None
    assert await store.token_note("bob@gmail.example", NOTE.line) is None


async def test_traffic_is_noted_by_account_day_and_daemon(store: StateStore) -> None:
    assert await store.traffic(TRAFFIC.account, TRAFFIC.day) == []
    other = replace(TRAFFIC, owner="host/boot/2", size=0)
    notes = [
        TRAFFIC,
        other,
        replace(TRAFFIC, size=2**40),
        replace(TRAFFIC, day="2026-07-18"),
        replace(TRAFFIC, account="bob@gmail.example"),
    ]
    for one in notes:
        await store.note_traffic(one)
    assert await store.traffic(TRAFFIC.account, TRAFFIC.day) == [replace(TRAFFIC, size=2**40), other]
    assert await store.traffic("bob@gmail.example", TRAFFIC.day) == [notes[-1]]
    assert await store.traffic(TRAFFIC.account, "2026-07-1") == []


async def test_of_many_who_advance_at_once_one_does(store: StateStore) -> None:
    first = Watermark(7, 0, 1.0)
    await store.advance(ROUTE, first, expected=None)
    marks = [Watermark(7, n, 2.0) for n in range(1, 7)]
    answers = await asyncio.gather(*(store.advance(ROUTE, one, expected=first) for one in marks))
    assert answers.count(True) == 1
    assert await store.watermark(ROUTE) == marks[answers.index(True)]


async def test_what_is_left_out_stays_left_out(store: StateStore) -> None:
    bare = record(1, message_id=None, dest_uidvalidity=None, dest_uidnext=None)
    await store.claim(ROUTE, bare)
    assert await store.records(ROUTE, 7) == [bare]


async def test_an_open_store_may_be_opened_again_to_see_whether_it_answers(store: StateStore) -> None:
    await store.claim(ROUTE, record(1))
    await store.open()
    assert len(await store.records(ROUTE, 7)) == 1


@pytest.mark.parametrize("method", METHODS)
async def test_every_method_says_so_when_the_store_is_away(away: StateStore, method: str) -> None:
    with pytest.raises(StateUnavailable) as caught:
        await METHODS[method](away)
    assert "\n" not in str(caught.value)


async def test_what_was_asked_is_counted(store: StateStore, request: pytest.FixtureRequest) -> None:
    before = store.usage()
    await store.claim(ROUTE, record(1))
    await store.records(ROUTE, record(1).uidvalidity)
    after = store.usage()
    if isinstance(store, MemoryStore):
        assert after.requests == {}
        return
    assert sum(after.requests.values()) > sum(before.requests.values())
    if request.node.callspec.id in ("dynamodb-local", "moto"):  # those that tell what AWS would charge
        assert after.units["write"] > before.units.get("write", 0.0)
        assert after.units["read"] > before.units.get("read", 0.0)
