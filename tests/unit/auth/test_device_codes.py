"""The device code flow (RFC 8628), against answers of our own and time that stands still."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import httpx
import pytest
from token_endpoint import Endpoint, StandingClock, account, granted, refused

from mailsyncd.account import Secret
from mailsyncd.auth.attempt import ADVICE
from mailsyncd.auth.device import LONGEST_INTERVAL, Prompt, begin, wait
from mailsyncd.auth.grant import Grant
from mailsyncd.auth.providers import MICROSOFT
from mailsyncd.errors import MailsyncError, RouteBlocked, SignInFailed, Transient

IMAP = "https://outlook.office.com/IMAP.AccessAsUser.All"
WHO = account(
    scope=f"{IMAP} offline_access", device_url="https://login.example.org/device", refresh_token=None
)
PROMPT = Prompt("https://login.example.org/activate", "ABCD1234", Secret("device-canary"), 5.0, 900.0)
ANSWER = {
    "device_code": "device-canary",
    "user_code": "ABCD1234",
    "verification_uri": "https://www.example.org/a-long-way-to/the-page-for-codes",
    "expires_in": 900,
    "interval": 5,
}
PENDING = refused("authorization_pending")
GOOD = granted("token", refresh_token="new", scope=IMAP)


async def begun(answer: httpx.Response | Exception) -> tuple[Prompt, Endpoint]:
    endpoint = Endpoint([answer])
    async with httpx.AsyncClient(transport=httpx.MockTransport(endpoint)) as client:
        return await begin(client, WHO, 0.0), endpoint


async def waited(*answers: httpx.Response | Exception, prompt: Prompt = PROMPT) -> tuple[Grant, list[float]]:
    """The grant, and when each request was made."""
    clock, endpoint, at = StandingClock(), Endpoint(list(answers)), []

    def answer(request: httpx.Request) -> httpx.Response:
        at.append(clock.monotonic() - 1000.0)
        return endpoint(request)

    async with httpx.AsyncClient(transport=httpx.MockTransport(answer)) as client:
        return await wait(client, WHO, MICROSOFT, prompt, clock), at


async def test_the_code_is_asked_for_with_the_scope() -> None:
    prompt, endpoint = await begun(httpx.Response(200, json=ANSWER))
    assert endpoint.asked == [{"client_id": "client", "scope": f"{IMAP} offline_access"}]
    assert (prompt.address, prompt.user_code) == (ANSWER["verification_uri"], "ABCD1234")
    assert "canary" not in repr(prompt)


@pytest.mark.parametrize(
    "changes",
    [
        {"verification_uri": "http://phishing.example.org/"},
        {"verification_uri": "https://example.org/\x1b[2J"},
        {"verification_uri": None},
        {"user_code": "A\nB"},
        {"user_code": ""},
        {"device_code": None},
    ],
)
async def test_an_answer_that_must_not_be_shown_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(SignInFailed, match="check device_url"):
        await begun(httpx.Response(200, json=ANSWER | changes))


@pytest.mark.parametrize("value", [None, 0, -1, True, "x", 10**400])
async def test_odd_numbers_are_taken_for_none(value: object) -> None:
    prompt, _ = await begun(httpx.Response(200, json=ANSWER | {"interval": value, "expires_in": value}))
    assert (prompt.interval, prompt.life) == (5.0, 1800.0)


async def test_a_client_that_may_not_is_told_what_to_check() -> None:
    with pytest.raises(RouteBlocked) as refusal:
        await begun(refused("unauthorized_client", "AADSTS70002: not a public client"))
    assert str(refusal.value).endswith(f"(AADSTS70002): {ADVICE['unauthorized_client']}")


@pytest.mark.parametrize("answer", [httpx.Response(502, html="<html>"), httpx.Response(200, text="hello")])
async def test_what_is_no_answer_may_come_right_later(answer: httpx.Response) -> None:
    with pytest.raises(Transient):
        await begun(answer)


async def test_it_asks_in_the_interval_until_the_person_has_signed_in() -> None:
    grant, at = await waited(PENDING, PENDING, GOOD)
    assert grant.refresh_token == Secret("new")
    assert at == [5.0, 10.0, 15.0]


async def test_slow_down_means_five_seconds_more_from_then_on() -> None:
    _, at = await waited(refused("slow_down"), PENDING, GOOD)
    assert at == [5.0, 15.0, 25.0]


async def test_a_network_that_is_away_is_asked_ever_more_seldom() -> None:
    _, at = await waited(httpx.ConnectError("away"), httpx.Response(502), GOOD)
    assert at == [5.0, 15.0, 35.0]


async def test_but_once_a_minute_at_least() -> None:
    away = [httpx.ConnectError("away")] * 6
    _, at = await waited(*away, GOOD)
    assert max(later - sooner for sooner, later in pairwise(at)) == LONGEST_INTERVAL


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        ("access_denied", "access was refused in the browser: nothing was stored"),
        ("authorization_declined", "access was refused in the browser: nothing was stored"),
        ("expired_token", "nobody signed in in time: nothing was stored"),
        ("bad_verification_code", "does not know the code any more: nothing was stored"),
    ],
)
async def test_the_end_of_it_is_a_sentence(error: str, sentence: str) -> None:
    with pytest.raises(SignInFailed, match=sentence):
        await waited(PENDING, refused(error))


async def test_it_gives_up_when_the_code_is_too_old() -> None:
    with pytest.raises(SignInFailed, match="nobody signed in in time"):
        await waited(PENDING)


async def test_a_token_of_the_wrong_scope_is_refused() -> None:
    with pytest.raises(MailsyncError, match="wrong scope"):
        await waited(granted("token", refresh_token="new", scope="https://graph.microsoft.com/User.Read"))


async def test_no_error_holds_the_device_code() -> None:
    with pytest.raises(RouteBlocked) as refusal:
        await waited(refused("invalid_grant", "no device-canary here"))
    assert "canary" not in str(refusal.value)
