"""Which message of a folder is whose copy, and which earlier record stands for a message."""

from __future__ import annotations

from dataclasses import replace
from time import perf_counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailsyncd.matching import Marks, TailIndex, concerned, marks_of, match_tail, pair, trace_of
from mailsyncd.model import Claimant, Record, Status, TailMessage, Trace

WHEN = "17-Jul-2019 09:40:08 +0000"


def record(
    uid: int = 1, *, mid: str | None = "<a@b>", digest: str = "d", when: str = WHEN, uidnext: int = 10
) -> Record:
    return Record(
        7,
        uid,
        Status.PENDING,
        Claimant(1, "a"),
        0.0,
        "s",
        1,
        when,
        digest,
        mid,
        dest_uidvalidity=3,
        dest_uidnext=uidnext,
    )


def seen(uid: int, *, mid: str | None = "<a@b>", digest: str = "d", at: float = 1563356408.0) -> TailMessage:
    return TailMessage(uid, mid, at, digest)


def test_a_tail_message_is_found_by_two_marks_of_three() -> None:
    assert match_tail([record()], [seen(10)], ()) == [10]
    assert match_tail([record()], [seen(10, mid="<rewritten>")], ()) == [10]
    assert match_tail([record()], [seen(10, digest="rewritten")], ()) == [10]
    assert match_tail([record()], [seen(10, at=0.0)], ()) == [10]
    assert match_tail([record()], [seen(10, digest="x", at=0.0)], ()) == [None]
    assert match_tail([record(mid=None)], [seen(10, mid=None, digest="x")], ()) == [None]


def test_what_was_there_before_is_not_ours() -> None:
    assert match_tail([record()], [seen(9)], ()) == [None]


def test_each_tail_message_stands_for_one_record() -> None:
    twins = [record(1), record(2), record(3)]
    assert match_tail(twins, [seen(10), seen(11)], ()) == [10, 11, None]


def test_a_tail_message_that_belongs_to_another_is_left_to_it() -> None:
    done = replace(trace_of(record(5)), dest_uid=10)
    assert match_tail([record(6)], [seen(10)], [done]) == [None]
    unknown = replace(done, dest_uid=None)
    assert match_tail([record(6)], [seen(10)], [unknown]) == [None]
    assert match_tail([record(6)], [seen(10), seen(11)], [unknown]) == [11]


def test_the_best_agreement_is_taken_first() -> None:
    first, second = record(1, mid="<1@x>"), record(2, mid="<2@x>")
    assert match_tail([first, second], [seen(10, mid="<2@x>")], ()) == [None, 10]


MIDS, SECONDS = st.sampled_from(["<1>", "<2>", None]), st.integers(0, 4)
CLAIMS = st.builds(Marks, MIDS, st.none() | SECONDS, st.sampled_from("ab"), st.integers(0, 4))
SEEN = st.tuples(MIDS, SECONDS, st.sampled_from("ab"))


@given(st.lists(CLAIMS, max_size=6), st.lists(SEEN, max_size=6))
def test_pairing_by_index_is_taking_the_best_agreements_one_by_one(
    claims: list[Marks], shown: list[tuple[str | None, int, str]]
) -> None:
    tail = [TailMessage(uid, mid, float(at), digest) for uid, (mid, at, digest) in enumerate(shown)]
    found: dict[int, int] = {}
    for agreeing in (3, 2):
        for n, claim in enumerate(claims):
            for one in tail:
                marks = (claim.message_id is not None and claim.message_id == one.message_id) + (
                    claim.received is not None and abs(claim.received - one.received_at) <= 1
                )
                agree = marks + (claim.digest == one.digest) >= agreeing and one.uid >= claim.from_uid
                if n not in found and one.uid not in found.values() and agree:
                    found[n] = one.uid
    assert pair(claims, tail) == [found.get(n) for n in range(len(claims))]


def test_twenty_thousand_messages_are_paired_at_once() -> None:
    tail = [seen(uid, mid=f"<{uid}>", at=float(uid)) for uid in range(20_000)]
    alike = [seen(uid) for uid in range(20_000, 40_000)]
    claims = [Marks(one.message_id, one.received_at, one.digest) for one in tail + alike]
    began = perf_counter()
    assert pair(claims, tail + alike) == list(range(40_000))
    assert perf_counter() - began < 10


def test_the_very_copy_is_told_from_the_same_mail_by_another_account() -> None:
    index = TailIndex([seen(10), seen(11, mid=None, digest="e")])
    assert index.knows(Marks("<a@b>", 1563356409.0, "x").sure())
    assert index.knows(Marks(None, 1563356408.0, "e").sure())
    assert not index.knows(Marks("<a@b>", 1563356411.0, "d").sure())
    assert not index.knows(Marks("<b@b>", 1563356408.0, "d").sure())
    assert not index.knows(Marks(None, None, "e").sure())


NAMES, DIGESTS = st.sampled_from(["<1>", "<2>", "<3>", None]), st.sampled_from("abc")
OWNERS = st.builds(Trace, NAMES, st.none() | SECONDS, DIGESTS, st.just(3), st.none() | st.integers(0, 8))
PENDING = st.builds(
    lambda mid, second, digest: record(
        mid=mid, digest=digest, when=f"17-Jul-2019 09:40:0{second} +0000", uidnext=0
    ),
    NAMES,
    SECONDS,
    DIGESTS,
)
SHOWN = st.tuples(NAMES, SECONDS, DIGESTS)


def at(second: float) -> float:
    return 1563356400.0 + second


@given(st.lists(PENDING, max_size=3), st.lists(OWNERS, max_size=6), st.lists(SHOWN, max_size=8))
def test_what_has_nothing_to_do_with_it_may_be_left_out(
    pending: list[Record], owners: list[Trace], shown: list[tuple[str | None, int, str]]
) -> None:
    tail = [TailMessage(uid, mid, at(second), digest) for uid, (mid, second, digest) in enumerate(shown)]
    owners = [
        one if one.received_at is None else replace(one, received_at=at(one.received_at)) for one in owners
    ]
    taken = {one.dest_uid for one in owners if one.dest_uid is not None}
    claims = [marks_of(one) for one in owners if one.dest_uid is None]
    found = pair([*claims, *map(marks_of, pending)], [seen for seen in tail if seen.uid not in taken])
    assert match_tail(pending, tail, owners) == found[len(claims) :]
    some = concerned(owners, tail)
    assert match_tail(pending, tail, some) == found[len(claims) :]


@pytest.mark.parametrize("length", [1, 2, 3, 10])
def test_a_copy_is_left_by_who_can_have_another_however_far_that_leads(length: int) -> None:
    """Each owner could have either of two copies, and takes the one that nobody else wants."""
    links = range(length, 0, -1)
    chain = [seen(99 - link, mid=f"<{link - 1}>", digest=f"d{link}") for link in (length + 1, *links)]
    owners = [trace_of(record(mid=f"<{link}>", digest=f"d{link}", uidnext=0)) for link in links]
    ours = record(mid="<ours>", digest="d1", uidnext=0)
    assert match_tail([ours], chain, owners) == [98]
    assert match_tail([ours], chain[1:], owners) == [None]
