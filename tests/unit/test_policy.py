"""The pure decisions."""

from __future__ import annotations

from dataclasses import replace
from itertools import islice
from random import Random
from time import perf_counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailsyncd.model import Claimant, Record, Status, TailMessage
from mailsyncd.policy import Marks, TailIndex, backoff, fingerprint, header_fields, instant, match_tail, pair

WHEN = "17-Jul-2019 09:40:08 +0000"


def record(uid: int = 1, *, mid: str | None = "<a@b>", digest: str = "d", when: str = WHEN) -> Record:
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
        dest_uidnext=10,
    )


def seen(uid: int, *, mid: str | None = "<a@b>", digest: str = "d", at: float = 1563356408.0) -> TailMessage:
    return TailMessage(uid, mid, at, digest)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        (WHEN, 1563356408.0),
        (" 7-Jul-2019 09:40:08 -0330", 1562505008.0),
        ("17-Jul-2019 09:40:08", None),
        ("32-Jul-2019 09:40:08 +0000", None),
        ("17-Foo-2019 09:40:08 +0000", None),
        ("17-Jul-2019 09:40:08 +9999", None),
        ("", None),
    ],
)
def test_an_internaldate_is_an_instant_or_nothing(text: str, seconds: float | None) -> None:
    assert instant(text) == seconds


def test_headers_are_read_unfolded_and_only_up_to_the_body() -> None:
    raw = b"MESSAGE-ID:\r\n <a@b>\r\nSubject: x\r\n\ty\r\nbroken\r\nSubject: second\r\n\r\nFrom: body\r\n"
    assert header_fields(raw, (b"message-id", b"subject", b"from")) == {
        b"message-id": [b"<a@b>"],
        b"subject": [b"x y", b"second"],
        b"from": [],
    }


def test_a_fingerprint_does_not_depend_on_the_order_of_the_fields() -> None:
    fields = [b"Subject: a", b"Message-ID: <1@b>", b"From: c@d", b"Subject: e", b"Date: now"]
    assert fingerprint(b"\r\n".join(fields)) == fingerprint(b"\r\n".join(reversed(fields)))


@given(st.binary(max_size=400))
def test_a_fingerprint_can_be_had_of_anything_and_of_its_header_alone(raw: bytes) -> None:
    header = raw.partition(b"\r\n\r\n")[0] + b"\r\n\r\n"
    assert fingerprint(raw) == fingerprint(raw)
    if b"\n\n" not in header and b"\n\r\n" not in header[:-4]:
        assert fingerprint(header) == fingerprint(header + b"body")


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
    done = replace(record(5), status=Status.DONE, dest_uid=10)
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


def test_delays_grow_with_jitter_up_to_their_cap() -> None:
    delays = list(islice(backoff(Random(1), 1.0, 60.0), 200))
    assert all(0.5 <= delay <= 60 for delay in delays)
    assert max(delays) > 30
    assert delays != list(islice(backoff(Random(2), 1.0, 60.0), 200))
