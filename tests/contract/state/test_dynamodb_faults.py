"""DynamoDB when its answers are lost, late or refusals; and the permissions that all of it needs."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from aiohttp import ClientSession, web
from conftest import dynamo  # type: ignore[attr-defined]
from test_state_stores import ROUTE, done, record

from mailsyncd.errors import FailureKind, StateUnavailable
from mailsyncd.model import Claimant, Failure, Lease, Watermark
from mailsyncd.ports import Refused
from mailsyncd.state.dynamodb import DynamoStore

pytestmark = pytest.mark.xdist_group("moto")
ERROR = "com.amazonaws.dynamodb.v20120810#"


@dataclass
class FaultyLine:
    """Between the store and the engine: loses answers after they were given, or answers by itself."""

    upstream: str
    lose_answers: int = 0
    refuse: list[tuple[int, dict[str, object]]] = field(default_factory=list)
    seen: list[str] = field(default_factory=list)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[str]:
        app = web.Application(client_max_size=1 << 22)
        app.router.add_route("*", "/{path:.*}", self._handle)
        runner = web.AppRunner(app)
        async with ClientSession(auto_decompress=False) as self._http:
            await runner.setup()
            site = web.TCPSite(runner, "127.0.0.1", 0)
            await site.start()
            yield f"http://127.0.0.1:{runner.addresses[0][1]}"
            await runner.cleanup()

    async def _handle(self, request: web.Request) -> web.Response:
        operation = request.headers.get("X-Amz-Target", "").rpartition(".")[2]
        self.seen.append(operation)
        if self.refuse and operation not in ("DescribeTable",):
            status, body = self.refuse.pop(0)
            return web.json_response(body, status=status, content_type="application/x-amz-json-1.0")
        headers = {k: v for k, v in request.headers.items() if k.lower() not in ("content-length", "transfer-encoding")}
        async with self._http.request(
            request.method, self.upstream + request.path_qs, data=await request.read(), headers=headers
        ) as answer:
            body = await answer.read()
            if self.lose_answers:
                self.lose_answers -= 1
                assert request.transport
                request.transport.abort()
            return web.Response(status=answer.status, body=body, content_type="application/x-amz-json-1.0")


@pytest.fixture
async def line(moto_url: str, aws: None) -> AsyncIterator[tuple[FaultyLine, DynamoStore]]:
    faulty = FaultyLine(moto_url)
    async with faulty.running() as url:
        store = dynamo(url)
        await store.init_table(point_in_time_recovery=True, deletion_protection=False)
        await store.open()
        yield faulty, store
        await store.close()


Line = tuple[FaultyLine, DynamoStore]


@pytest.mark.parametrize("gm_msgid", [None, "42"])
async def test_a_claim_whose_answer_was_lost_is_still_ours(line: Line, gm_msgid: str | None) -> None:
    faulty, store = line
    mine = record(1, gm_msgid=gm_msgid)
    faulty.lose_answers = 2
    assert await store.claim(ROUTE, mine) is None
    assert faulty.lose_answers == 0
    assert await store.claim(ROUTE, record(1, attempt="b")) == Refused(mine)


async def test_every_other_write_whose_answer_was_lost_is_still_ours(line: Line) -> None:
    faulty, store = line
    mine = record(1)
    await store.claim(ROUTE, mine)
    adopted = replace(mine, claimed_by=Claimant(2, "z"))
    first, second = Watermark(7, 0, 1.0), Watermark(7, 1, 2.0)
    lease = Lease("one", 1, 1, 60.0, 1.0)
    for write in (
        lambda: store.adopt(ROUTE, mine, adopted),
        lambda: store.finish(ROUTE, done(adopted)),
        lambda: store.advance(ROUTE, first, expected=None),
        lambda: store.advance(ROUTE, second, expected=first),
        lambda: store.put_lease("me", lease, expected=None),
        lambda: store.put_lease("me", replace(lease, beat=2), expected=lease),
    ):
        faulty.lose_answers = 1
        assert await write()
        assert faulty.lose_answers == 0


@pytest.mark.parametrize(
    "body",
    [
        {"__type": ERROR + "ProvisionedThroughputExceededException"},
        {"__type": "com.amazon.coral.availability#ThrottlingException"},
        {"__type": ERROR + "TransactionInProgressException"},
        {
            "__type": ERROR + "TransactionCanceledException",
            "CancellationReasons": [{"Code": "TransactionConflict"}, {"Code": "None"}],
        },
    ],
)
async def test_a_passing_refusal_is_tried_again(line: Line, body: dict[str, object]) -> None:
    faulty, store = line
    faulty.refuse = [(400, body)]
    assert await store.claim(ROUTE, record(1, gm_msgid="42")) is None


@pytest.mark.parametrize(
    ("status", "kind", "said"),
    [
        (400, "ResourceNotFoundException", "run `mailsyncd state init`"),
        (400, "AccessDeniedException", "denies dynamodb:GetItem: see deploy/iam-policy.json"),
        (400, "com.amazon.coral.service#ExpiredTokenException", "credentials have expired"),
        (400, "com.amazon.coral.service#UnrecognizedClientException", "does not know these credentials"),
        (500, "InternalServerError", "internal error"),
        (400, "ProvisionedThroughputExceededException", "throttles"),
    ],
)
async def test_a_lasting_refusal_is_one_clear_sentence(line: Line, status: int, kind: str, said: str) -> None:
    faulty, store = line
    faulty.refuse = [(status, {"__type": kind if "#" in kind else ERROR + kind, "message": "secret-ish"})] * 10
    with pytest.raises(StateUnavailable) as caught:
        await store.watermark(ROUTE)
    assert said in str(caught.value)
    assert "secret-ish" not in str(caught.value)
    assert "\n" not in str(caught.value)


async def test_a_table_that_is_not_there_or_not_ours_closes_the_gate(moto_url: str, aws: None) -> None:
    store = dynamo(moto_url)
    with pytest.raises(StateUnavailable, match="run `mailsyncd state init`"):
        await store.open()
    await store.close()


async def test_an_unreachable_engine_is_one_clear_sentence(aws: None) -> None:
    store = dynamo("http://127.0.0.1:9")
    with pytest.raises(StateUnavailable, match="can't be reached"):
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


async def test_making_the_table_is_safe_to_repeat(line: Line) -> None:
    _, store = line
    done_now = await store.init_table(point_in_time_recovery=True, deletion_protection=True)
    assert done_now[0].endswith("was there")
    assert done_now[1:] == [
        "expiry by ttl was on",
        "point-in-time recovery is on",
        "deletion protection is on",
    ]


async def test_the_policy_allows_what_the_daemon_asks_for_and_nothing_else(line: Line) -> None:
    faulty, store = line
    faulty.seen.clear()
    one, other = record(1), record(2, gm_msgid="42")
    await store.open()
    await store.claim(ROUTE, one)
    await store.claim(ROUTE, other)
    await store.claim(ROUTE, record(3, attempt="c", gm_msgid="42"))
    await store.adopt(ROUTE, one, replace(one, claimed_by=Claimant(2, "b")))
    await store.finish(ROUTE, done(other))
    await store.fail(ROUTE, Failure(7, 3, FailureKind.REJECTED, "no", 1, 1.0), None)
    await store.advance(ROUTE, Watermark(7, 1, 1.0), expected=None)
    await store.put_lease("me", Lease("one", 1, 1, 60.0, 1.0), expected=None)
    await store.lease("me")
    await store.watermark(ROUTE)
    await store.records(ROUTE, 7)
    await store.pending(ROUTE)
    await store.delivered(ROUTE, 3, 1)
    await store.counts(ROUTE)
    policy = json.loads((Path(__file__).parents[3] / "deploy" / "iam-policy.json").read_text())
    allowed = {action.removeprefix("dynamodb:") for one in policy["Statement"] for action in one["Action"]}
    # A transaction needs no permission of its own, but those of the writes in it.
    asked = {"PutItem" if name == "TransactWriteItems" else name for name in faulty.seen}
    assert asked == allowed
    assert all("*" not in one["Resource"] for one in policy["Statement"])
