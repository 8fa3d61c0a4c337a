"""RefreshingTokens: when it asks, what it keeps, what it says when it can't."""

from __future__ import annotations

import asyncio
from itertools import pairwise

import httpx
import pytest
from structlog.testing import capture_logs
from token_endpoint import (
    CONFIGURED,
    Endpoint,
    SharedHome,
    StandingClock,
    account,
    granted,
    refused,
    tokens,
)

from mailsyncd.account import Secret
from mailsyncd.errors import ConfigError, RouteBlocked, Throttled, Transient


async def test_the_request_is_the_refresh_grant_and_nothing_more() -> None:
    endpoint = Endpoint([granted("one")])
    await tokens(endpoint, StandingClock()).token()
    assert endpoint.asked == [
        {"grant_type": "refresh_token", "client_id": "client", "refresh_token": CONFIGURED.reveal()}
    ]


async def test_client_secret_and_scope_are_sent_where_they_are_configured() -> None:
    endpoint = Endpoint([granted("one")])
    of = account(client_secret=Secret("hush"), scope="a b")
    await tokens(endpoint, StandingClock(), of=of).token()
    assert endpoint.asked[0]["client_secret"] == "hush"
    assert endpoint.asked[0]["scope"] == "a b"


async def test_a_token_is_used_again_until_seven_tenths_of_its_life_and_renewed_by_eight() -> None:
    clock, endpoint = StandingClock(), Endpoint([granted("one"), granted("two")])
    source = tokens(endpoint, clock)
    assert await source.token() == "one"
    clock.at += 3600 * 0.7 - 1
    assert await source.token() == "one"
    clock.at += 3600 * 0.1 + 1
    assert await source.token() == "two"
    assert len(endpoint.asked) == 2


@pytest.mark.parametrize("life", [20, 300, 3600, 86400])
async def test_what_is_handed_out_always_has_a_fifth_of_its_life_left(life: int) -> None:
    clock, endpoint = StandingClock(), Endpoint([granted("t", expires_in=life)])
    source = tokens(endpoint, clock)
    for _ in range(40):
        await source.token()
        left = source.lifetime()
        assert left is not None
        assert left >= life * 0.2 - 1e-6
        clock.at += life / 13


async def test_lifetime_counts_down_and_is_zero_without_a_token() -> None:
    clock = StandingClock()
    source = tokens(Endpoint([granted("one")]), clock)
    assert source.lifetime() == 0.0
    token = await source.token()
    clock.at += 600
    assert source.lifetime() == 3000.0
    source.reject(token)
    assert source.lifetime() == 0.0


async def test_a_rejected_token_is_replaced_at_once() -> None:
    endpoint = Endpoint([granted("one"), granted("two")])
    source = tokens(endpoint, StandingClock())
    source.reject(await source.token())
    assert await source.token() == "two"


async def test_rejecting_a_token_of_the_past_changes_nothing() -> None:
    endpoint = Endpoint([granted("one"), granted("two"), granted("three")])
    source = tokens(endpoint, StandingClock())
    source.reject(await source.token())
    assert await source.token() == "two"
    source.reject("one")
    assert await source.token() == "two"


async def test_a_server_that_rejects_every_token_costs_one_refresh_a_minute() -> None:
    clock, endpoint = StandingClock(), Endpoint([granted(f"t{n}") for n in range(1000)])
    source = tokens(endpoint, clock)
    pauses: list[float] = []
    for _ in range(600):
        try:
            source.reject(await source.token())
        except Throttled as throttled:
            pauses.append(throttled.pause)
        clock.at += 1
    assert 0 < min(pauses) <= max(pauses) <= 60
    assert len(endpoint.asked) <= 12


async def test_a_rotated_refresh_token_is_kept_before_its_access_token_is_handed_out() -> None:
    home = SharedHome()
    home.go_on.clear()
    source = tokens(Endpoint([granted("one", refresh_token="rotated")]), StandingClock(), home=home)
    async with asyncio.TaskGroup() as group:
        waiting = group.create_task(source.token())
        await home.written.wait()
        assert not waiting.done()
        assert source.lifetime() == 0.0
        home.go_on.set()
    assert waiting.result() == "one"
    assert home.token == Secret("rotated")


async def test_a_rotated_refresh_token_is_the_one_used_next() -> None:
    clock = StandingClock()
    endpoint = Endpoint([granted("one", refresh_token="rotated"), granted("two")])
    source = tokens(endpoint, clock)
    await source.token()
    clock.at += 3000
    await source.token()
    assert endpoint.asked[1]["refresh_token"] == "rotated"


async def test_a_cancelled_save_is_made_good_by_the_next_caller() -> None:
    home = SharedHome()
    home.go_on.clear()
    endpoint = Endpoint([granted("one", refresh_token="rotated"), granted("two")])
    source = tokens(endpoint, StandingClock(), home=home)
    cut = asyncio.create_task(source.token())
    await home.written.wait()
    cut.cancel()
    with pytest.raises(asyncio.CancelledError):
        await cut
    home.go_on.set()
    await source.token()
    assert home.token == Secret("rotated")
    assert endpoint.asked[1]["refresh_token"] == "rotated"


async def test_a_failed_renewal_is_no_failure_while_the_old_token_is_good() -> None:
    clock = StandingClock()
    source = tokens(Endpoint([granted("one"), httpx.Response(500)]), clock)
    await source.token()
    clock.at += 3600 * 0.85
    with capture_logs() as lines:
        assert await source.token() == "one"
    assert [line["event"] for line in lines] == ["token.renewal_failed"]
    clock.at += 3600 * 0.10
    with pytest.raises(Transient):
        await source.token()


async def test_a_dead_grant_is_not_covered_up_by_a_token_that_still_lives() -> None:
    clock = StandingClock()
    source = tokens(Endpoint([granted("one"), refused("invalid_grant")]), clock)
    await source.token()
    clock.at += 3600 * 0.85
    with pytest.raises(RouteBlocked):
        await source.token()


async def test_twenty_callers_of_a_failing_endpoint_cost_one_request() -> None:
    endpoint = Endpoint([httpx.Response(503)])
    source = tokens(endpoint, StandingClock())
    outcomes = await asyncio.gather(*(source.token() for _ in range(20)), return_exceptions=True)
    assert {type(outcome) for outcome in outcomes} == {Transient}
    assert len(endpoint.asked) == 1


async def test_a_failing_endpoint_is_left_alone_longer_and_longer_up_to_a_minute() -> None:
    clock, endpoint = StandingClock(), Endpoint([httpx.ConnectError("refused")])
    source = tokens(endpoint, clock)
    times: list[float] = []
    for _ in range(1200):
        before = len(endpoint.asked)
        with pytest.raises(Transient):
            await source.token()
        if len(endpoint.asked) > before:
            times.append(clock.at)
        clock.at += 1
    gaps = [b - a for a, b in pairwise(times)]
    assert min(gaps) >= 2
    assert max(gaps) <= 61
    assert 20 <= len(times) <= 80


async def test_the_pause_that_the_endpoint_asks_for_is_kept() -> None:
    clock = StandingClock()
    endpoint = Endpoint([httpx.Response(429, headers={"Retry-After": "90"}), granted("one")])
    source = tokens(endpoint, clock)
    with pytest.raises(Throttled) as first:
        await source.token()
    assert first.value.pause == 90
    clock.at += 89
    with pytest.raises(Throttled) as second:
        await source.token()
    assert second.value.pause == 1
    clock.at += 1
    assert await source.token() == "one"
    assert len(endpoint.asked) == 2


async def test_a_blocked_account_works_again_once_its_grant_does() -> None:
    clock = StandingClock()
    endpoint = Endpoint([refused("invalid_grant"), granted("one")])
    source = tokens(endpoint, clock)
    for _ in range(3):
        with pytest.raises(RouteBlocked):
            await source.token()
    assert len(endpoint.asked) == 1
    clock.at += 300
    assert await source.token() == "one"


@pytest.mark.parametrize(
    "url", ["http://tokens.example.org/", "ftp://x/", "", "https://", "http://127.0.0.1.evil.org/"]
)
def test_a_refresh_token_is_sent_over_tls_or_to_loopback_only(url: str) -> None:
    with pytest.raises(ConfigError, match=r"token_url of me@example\.org"):
        tokens(Endpoint([]), StandingClock(), of=account(token_url=url))


@pytest.mark.parametrize("url", ["http://127.0.0.1:8/t", "http://[::1]:8/t", "http://localhost/t"])
async def test_plain_http_is_good_enough_for_loopback(url: str) -> None:
    source = tokens(Endpoint([granted("one")]), StandingClock(), of=account(token_url=url))
    assert await source.token() == "one"


def test_an_account_without_a_refresh_token_is_a_mistake_of_configuration() -> None:
    with pytest.raises(ConfigError, match=r"refresh_token of me@example\.org"):
        tokens(Endpoint([]), StandingClock(), of=account(refresh_token=None))
