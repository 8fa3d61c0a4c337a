"""How things are written down: nothing is lost, nothing is None, and keys sort as their UIDs do."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from mailsyncd.errors import FailureKind
from mailsyncd.model import Claimant, Failure, Lease, Record, Status, Traffic, Watermark
from mailsyncd.state import items
from mailsyncd.state.attributes import attributes, plain
from mailsyncd.state.items import Item

UIDS = st.integers(1, 2**32 - 1)
TIMES = st.floats(0, 4e9, allow_subnormal=False)
TEXTS = st.text(max_size=40)
RECORDS = st.builds(
    Record,
    uidvalidity=UIDS,
    uid=UIDS,
    status=st.sampled_from(Status),
    claimed_by=st.builds(Claimant, st.integers(1, 10**9), TEXTS),
    claimed_at=TIMES,
    sha256=TEXTS,
    size=st.integers(0, 2**40),
    internaldate=TEXTS,
    digest=TEXTS,
    message_id=st.none() | TEXTS,
    gm_msgid=st.none() | st.integers(0, 2**64 - 1).map(str),
    dest_uidvalidity=st.none() | UIDS,
    dest_uidnext=st.none() | UIDS,
    dest_uid=st.none() | UIDS,
    copied_at=st.none() | TIMES,
    expires_at=st.none() | st.integers(0, 2**40),
    same_as=st.none() | st.tuples(UIDS, UIDS),
    repairs=st.lists(st.from_regex(r"[a-z_]+", fullmatch=True), max_size=3).map(tuple),
)
FAILURES = st.builds(
    Failure,
    uidvalidity=UIDS,
    uid=UIDS,
    kind=st.sampled_from(FailureKind),
    error=TEXTS,
    retry_count=st.integers(0, 99),
    updated_at=TIMES,
    next_attempt_at=st.none() | TIMES,
    size=st.integers(0, 2**40),
    resolved=st.booleans(),
    expires_at=st.none() | st.integers(0, 2**40),
    dest_uidvalidity=st.none() | UIDS,
    dest_uidnext=st.none() | UIDS,
)
WATERMARKS = st.builds(
    Watermark,
    UIDS,
    st.integers(0, 2**32 - 1),
    TIMES,
    backlog_until=st.integers(0, 2**32),
    since=st.none() | TIMES,
    rescan_of=st.lists(UIDS, max_size=8).map(tuple),
    dest_uidvalidity=st.none() | UIDS,
    dest_uidnext=st.none() | UIDS,
)
TRAFFIC = st.builds(Traffic, TEXTS, TEXTS, TEXTS, st.integers(0, 2**50), st.integers(0, 2**40))
LEASES = st.builds(Lease, TEXTS, st.integers(1, 10**9), st.integers(1, 10**9), TIMES, TIMES)


def through_both(item: Item) -> list[dict[str, Any]]:
    """As SQLite keeps it, and as DynamoDB does."""
    assert None not in item.values()
    return [json.loads(json.dumps(item)), plain(json.loads(json.dumps(attributes(item))))]


@given(RECORDS)
def test_a_record_comes_back_as_it_was(record: Record) -> None:
    for kept in through_both(items.record_item(record)):
        assert items.record_of(kept) == record


@given(FAILURES)
def test_a_failure_comes_back_as_it_was(failure: Failure) -> None:
    for kept in through_both(items.failure_item(failure)):
        assert items.failure_of(kept) == failure


@given(WATERMARKS)
def test_a_watermark_comes_back_as_it_was(watermark: Watermark) -> None:
    for kept in through_both(items.watermark_item(watermark)):
        assert items.watermark_of(kept) == watermark


def test_a_watermark_from_before_the_target_folder_was_noted_still_loads() -> None:
    old = {"uidvalidity": 7, "last_uid": 5, "updated_at": 1.0, "backlog_until": 0}
    assert items.watermark_of(old) == Watermark(7, 5, 1.0)


@given(TRAFFIC)
def test_a_note_of_traffic_comes_back_as_it_was(traffic: Traffic) -> None:
    for kept in through_both(items.traffic_item(traffic)):
        assert items.traffic_of(kept) == traffic


@given(LEASES)
def test_a_lease_comes_back_as_it_was(lease: Lease) -> None:
    for kept in through_both(items.lease_item(lease)):
        assert items.lease_of(kept) == lease


@given(RECORDS, FAILURES)
def test_what_was_written_before_there_were_repairs_still_loads(record: Record, failure: Failure) -> None:
    old = {key: value for key, value in items.record_item(record).items() if key != "repairs"}
    assert items.record_of(old) == replace(record, repairs=())
    old = {key: value for key, value in items.failure_item(failure).items() if not key.startswith("dest_")}
    assert items.failure_of(old) == replace(failure, dest_uidvalidity=None, dest_uidnext=None)


@given(RECORDS, FAILURES, WATERMARKS, LEASES, TRAFFIC)
def test_what_a_later_version_has_added_is_left_aside(
    record: Record, failure: Failure, watermark: Watermark, lease: Lease, traffic: Traffic
) -> None:
    added = {"of_tomorrow": "x", "and_a_number": 1}
    assert items.record_of(items.record_item(record) | added) == record
    assert items.failure_of(items.failure_item(failure) | added) == failure
    assert items.watermark_of(items.watermark_item(watermark) | added) == watermark
    assert items.lease_of(items.lease_item(lease) | added) == lease
    assert items.traffic_of(items.traffic_item(traffic) | added) == traffic


@given(st.tuples(UIDS, UIDS), st.tuples(UIDS, UIDS))
def test_keys_sort_as_their_numbers_do(one: tuple[int, int], other: tuple[int, int]) -> None:
    for key in (items.uid_key, items.failure_key):
        assert (key(*one) < key(*other)) == (one < other)


@given(RECORDS)
def test_a_record_lies_between_the_ends_of_its_uidvalidity(record: Record) -> None:
    key, prefix = items.uid_key(record.uidvalidity, record.uid), items.uid_prefix(record.uidvalidity)
    assert prefix < key < prefix + "~"
    assert "UID#" < key < "UID#~"


def test_keys_are_those_of_the_table() -> None:
    assert items.uid_key(7, 42) == "UID#0000000007#0000000042"
    assert items.failure_key(7, 42) == "FAIL#0000000007#0000000042"
    assert items.message_key("1592225494819146101") == "MSG#1592225494819146101"
    assert items.destination_key("me@outlook.example") == "DEST#me@outlook.example"


@given(RECORDS)
def test_only_settled_things_carry_a_ttl(record: Record) -> None:
    assert items.record_item(record).get("ttl") == record.expires_at
    assert "ttl" not in items.pointer_item(record)


def test_a_number_that_the_engine_wrote_anew_is_still_the_same_number() -> None:
    assert plain({"a": {"N": "60"}, "b": {"N": "-0.5"}, "c": {"N": "1E-7"}}) == {
        "a": 60,
        "b": -0.5,
        "c": 1e-7,
    }


def test_a_lease_of_a_version_before_has_no_pool() -> None:
    item = items.lease_item(Lease("one", 1, 1, 60.0, 1.0, "pool"))
    del item["pool"]
    assert items.lease_of(item) == Lease("one", 1, 1, 60.0, 1.0)
