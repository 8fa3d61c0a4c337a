"""DynamoDB when its answers are lost, late or refusals."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from pathlib import Path

import pytest
from engines import dynamo
from faulty_line import CORAL, DYNAMODB, FaultyLine, Refusal, cancelled
from test_state_stores import ROUTE, done, record

from mailsyncd.errors import FailureKind, StateUnavailable
from mailsyncd.model import Claimant, Failure, Lease, Record, Status, Watermark
from mailsyncd.observe.clock import SystemClock
from mailsyncd.ports import Refused
from mailsyncd.state import dynamo_client
from mailsyncd.state.dynamodb import DynamoStore
from mailsyncd.state.items import Item

pytestmark = pytest.mark.xdist_group("moto")
Line = tuple[FaultyLine, DynamoStore]
MINE = record(1)
ADOPTED = replace(MINE, claimed_by=Claimant(2, "z"))
FIRST, SECOND = Watermark(7, 0, 1.0), Watermark(7, 1, 2.0)
LEASE = Lease("one", 1, 1, 60.0, 1.0)


@pytest.fixture
async def line(moto_url: str, aws: None) -> AsyncIterator[Line]:
    faulty = FaultyLine(moto_url)
    async with faulty.running() as url:
        store = dynamo(url, request_timeout=1.0)
        await store.init_table(point_in_time_recovery=True, deletion_protection=False)
        faulty.asked.clear()
        yield faulty, store
        await store.close()


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """One repeat by the SDK instead of four: its pauses are real time."""
    monkeypatch.setattr(dynamo_client, "ATTEMPTS", 1)


# ------------------------------------------------------------------ answers lost


@pytest.mark.parametrize("lost", [1, 2])
@pytest.mark.parametrize("gm_msgid", [None, "42"])
async def test_a_claim_whose_answers_were_lost_is_still_ours(
    line: Line, gm_msgid: str | None, lost: int
) -> None:
    faulty, store = line
    mine = record(1, gm_msgid=gm_msgid)
    faulty.lose_answers = lost
    assert await store.claim(ROUTE, mine) is None
    assert faulty.lose_answers == 0
    assert await store.claim(ROUTE, record(1, attempt="b")) == Refused(mine)


@pytest.mark.real
@pytest.mark.xdist_group("dynamodb-local")
async def test_a_transaction_repeated_under_its_token_is_done_once(local_url: str, aws: None) -> None:
    faulty = FaultyLine(local_url)
    async with faulty.running() as url:
        store = dynamo(url)
        await store.init_table(point_in_time_recovery=False, deletion_protection=False)
        mine = record(1, gm_msgid="42")
        faulty.lose_answers = 1
        assert await store.claim(ROUTE, mine) is None
        sent = [about for operation, about in faulty.asked if operation == "TransactWriteItems"]
        assert len(sent) == 2
        assert sent[0]["ClientRequestToken"] == sent[1]["ClientRequestToken"]
        faulty.lose_answers = 1
        failure = Failure(7, 1, FailureKind.REJECTED, "no", 1, 1.0)
        await store.fail(ROUTE, failure, mine)
        assert [one.status for one in await store.records(ROUTE, 7)] == [Status.FAILED]
        assert await store.failures(ROUTE) == [failure]
        await store.close()


async def _claimed(store: DynamoStore) -> None:
    await store.claim(ROUTE, MINE)


async def _begun(store: DynamoStore) -> None:
    await store.advance(ROUTE, FIRST, expected=None)


async def _led(store: DynamoStore) -> None:
    await store.put_lease("me", LEASE, expected=None)


async def _nothing(store: DynamoStore) -> None:
    pass


@pytest.mark.parametrize("lost", [1, 2])
@pytest.mark.parametrize(
    ("before", "write"),
    [
        pytest.param(_claimed, lambda s: s.adopt(ROUTE, MINE, ADOPTED), id="adopt"),
        pytest.param(_claimed, lambda s: s.finish(ROUTE, done(MINE)), id="finish"),
        pytest.param(
            _nothing, lambda s: s.finish(ROUTE, replace(done(MINE), same_as=(6, 1))), id="finish a twin"
        ),
        pytest.param(_nothing, lambda s: s.advance(ROUTE, FIRST, expected=None), id="first watermark"),
        pytest.param(_begun, lambda s: s.advance(ROUTE, SECOND, expected=FIRST), id="advance"),
        pytest.param(_nothing, lambda s: s.put_lease("me", LEASE, expected=None), id="first lease"),
        pytest.param(
            _led, lambda s: s.put_lease("me", replace(LEASE, beat=2), expected=LEASE), id="renewed lease"
        ),
    ],
)
async def test_a_write_whose_answers_were_lost_is_still_ours(
    line: Line,
    before: Callable[[DynamoStore], Awaitable[None]],
    write: Callable[[DynamoStore], Awaitable[bool]],
    lost: int,
) -> None:
    faulty, store = line
    await before(store)
    faulty.lose_answers = lost
    assert await write(store)
    assert faulty.lose_answers == 0


async def test_a_claim_that_failed_before_is_claimed_again_although_answers_are_lost(line: Line) -> None:
    faulty, store = line
    first = record(1, gm_msgid="42")
    await store.claim(ROUTE, first)
    await store.fail(ROUTE, Failure(7, 1, FailureKind.REJECTED, "no", 1, 1.0), first)
    second = record(2, attempt="b", gm_msgid="42")
    faulty.lose_answers = 1
    assert await store.claim(ROUTE, second) is None
    assert await store.claim(ROUTE, record(3, attempt="c", gm_msgid="42")) == Refused(second)


async def test_a_failed_message_claimed_by_two_uids_at_once_is_one_claim(
    line: Line, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The failed UID is claimed again just after the other UID's claimant saw that it had failed."""
    _, store = line
    first = record(1, gm_msgid="42")
    await store.claim(ROUTE, first)
    await store.fail(ROUTE, Failure(7, 1, FailureKind.REJECTED, "no", 1, 1.0), first)
    again = replace(first, claimed_by=Claimant(1, "again"))
    look = store._behind

    async def look_and_lose(route: str, one: Record, pointer: Item) -> Record | None:
        seen = await look(route, one, pointer)
        if seen is None:
            assert await store.claim(ROUTE, again) is None
        return seen

    monkeypatch.setattr(store, "_behind", look_and_lose)
    assert await store.claim(ROUTE, record(2, attempt="b", gm_msgid="42")) == Refused(again)
    assert await store.records(ROUTE, 7) == [again]


# ------------------------------------------------------------------ answers late


async def test_a_late_answer_is_not_waited_for(line: Line) -> None:
    faulty, store = line
    faulty.slow_answers = 1
    assert await store.claim(ROUTE, MINE) is None
    assert [operation for operation, _ in faulty.asked] == ["PutItem", "PutItem"]


async def test_answers_that_never_come_are_one_clear_sentence(line: Line, impatient: None) -> None:
    faulty, _ = line
    hasty = dynamo(faulty.url, request_timeout=0.2)
    faulty.slow_answers = 10
    with pytest.raises(StateUnavailable, match="no answer to GetItem within the time allowed"):
        await hasty.watermark(ROUTE)
    await hasty.close()


# --------------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    "refusal",
    [
        Refusal(DYNAMODB + "ProvisionedThroughputExceededException"),
        Refusal("com.amazon.coral.availability#ThrottlingException"),
        Refusal(DYNAMODB + "InternalServerError", 500),
        Refusal(DYNAMODB + "TransactionInProgressException"),
        cancelled("TransactionConflict", "None"),
        cancelled("None", "ThrottlingError"),
        cancelled("ProvisionedThroughputExceeded", "None"),
        cancelled("ConditionalCheckFailed", "TransactionConflict"),
    ],
    ids=lambda one: "+".join(r["Code"] for r in one.more["CancellationReasons"]) if one.more else one.kind,
)
async def test_a_passing_refusal_is_tried_again(line: Line, refusal: Refusal) -> None:
    faulty, store = line
    faulty.refuse = [refusal]
    assert await store.claim(ROUTE, record(1, gm_msgid="42")) is None


async def test_a_single_write_that_met_a_transaction_is_tried_again(line: Line) -> None:
    faulty, store = line
    faulty.refuse = [Refusal(DYNAMODB + "TransactionConflictException")] * 3
    assert await store.claim(ROUTE, MINE) is None


async def test_writes_that_never_stop_meeting_others_are_given_up(
    line: Line, monkeypatch: pytest.MonkeyPatch
) -> None:
    faulty, store = line
    monkeypatch.setattr(dynamo_client, "FIRST_PAUSE", 0.0)
    for refusal in (cancelled("TransactionConflict"), Refusal(DYNAMODB + "TransactionConflictException")):
        faulty.refuse = [refusal] * 99
        with pytest.raises(StateUnavailable, match="keep getting in the way"):
            await store.claim(ROUTE, record(1, gm_msgid="42" if refusal.more else None))
        assert len(faulty.refuse) == 99 - dynamo_client.CONFLICTS
    faulty.refuse = []
    assert await store.records(ROUTE, 7) == []


async def test_a_transaction_refused_for_another_reason_claims_nothing(line: Line) -> None:
    faulty, store = line
    faulty.refuse = [cancelled("ItemCollectionSizeLimitExceeded", "None")]
    with pytest.raises(StateUnavailable, match="refused TransactWriteItems"):
        await store.claim(ROUTE, record(1, gm_msgid="42"))


async def test_a_claim_refused_without_the_item_in_its_way_is_not_taken_for_granted(line: Line) -> None:
    faulty, store = line
    faulty.refuse = [Refusal(DYNAMODB + "ConditionalCheckFailedException")]
    with pytest.raises(StateUnavailable, match="without a word"):
        await store.claim(ROUTE, MINE)
    for codes in (("ConditionalCheckFailed", "None"), ("None", "ConditionalCheckFailed")):
        faulty.refuse = [cancelled(*codes)]
        with pytest.raises(StateUnavailable, match="without a word"):
            await store.claim(ROUTE, record(1, gm_msgid="42"))


async def test_what_answers_but_is_not_dynamodb_grants_nothing(line: Line) -> None:
    faulty, store = line
    faulty.refuse = [Refusal("sign in, please", 200, content_type="text/html")]
    with pytest.raises(StateUnavailable, match="is not DynamoDB"):
        await store.claim(ROUTE, MINE)


@pytest.mark.parametrize(
    ("refusal", "said"),
    [
        (Refusal(DYNAMODB + "ResourceNotFoundException"), "run `mailsyncd state init`"),
        (Refusal(DYNAMODB + "AccessDeniedException"), "denies dynamodb:GetItem: see deploy/iam-policy.json"),
        (Refusal(CORAL + "ExpiredTokenException"), "credentials have expired"),
        (Refusal(CORAL + "UnrecognizedClientException"), "does not know these credentials"),
        (Refusal(CORAL + "InvalidSignatureException"), "check the secret key and this machine's clock"),
        (Refusal(DYNAMODB + "InternalServerError", 500), "internal error"),
        (Refusal(DYNAMODB + "ProvisionedThroughputExceededException"), "throttles"),
        (Refusal(DYNAMODB + "LimitExceededException"), "refused GetItem (LimitExceededException)"),
    ],
    ids=lambda one: one.kind.partition("#")[2] if isinstance(one, Refusal) else "",
)
async def test_a_lasting_refusal_is_one_clear_sentence(
    line: Line, impatient: None, refusal: Refusal, said: str
) -> None:
    faulty, _ = line
    hasty = dynamo(faulty.url)
    faulty.refuse = [refusal] * 10
    with pytest.raises(StateUnavailable) as caught:
        await hasty.watermark(ROUTE)
    assert said in str(caught.value)
    assert "secret-ish" not in str(caught.value)
    assert "\n" not in str(caught.value)
    await hasty.close()


# ------------------------------------------------------------------ no engine


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("http://127.0.0.1:9", "can't be reached"),
        ("http://no-such-host.invalid", "can't be resolved"),
        ("nonsense", "is not an address"),
    ],
)
async def test_an_engine_that_cannot_be_had_is_one_clear_sentence(
    aws: None, impatient: None, url: str, said: str
) -> None:
    store = dynamo(url)
    with pytest.raises(StateUnavailable, match=said):
        await store.open()
    await store.close()


async def test_without_credentials_that_is_what_is_said(
    monkeypatch: pytest.MonkeyPatch, moto_url: str, tmp_path: Path
) -> None:
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("HOME", str(tmp_path))
    store = dynamo(moto_url)
    with pytest.raises(StateUnavailable, match="no AWS credentials"):
        await store.open()
    await store.close()


async def test_without_a_region_that_is_what_is_said(aws: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nowhere")
    store = DynamoStore("table", region=None, endpoint_url=None, clock=SystemClock())
    with pytest.raises(StateUnavailable, match="no region is set"):
        await store.open()
    await store.close()


async def test_a_closed_store_may_be_opened_again(line: Line) -> None:
    _, store = line
    await store.close()
    await store.close()
    await store.open()
    assert await store.claim(ROUTE, MINE) is None
