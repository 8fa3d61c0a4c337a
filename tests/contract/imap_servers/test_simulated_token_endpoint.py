"""The token endpoint, over HTTP: what Google and Microsoft do with refresh tokens."""

from __future__ import annotations

import httpx
import pytest

from mailsyncd.observe.clock import SystemClock
from mailsyncd.sim import Reply, TokenEndpoint, invalid_grant

ANN, ME = "ann@gmail.example", "me@outlook.example"


async def refresh(url: str, refresh_token: str, **more: str) -> httpx.Response:
    form = {"grant_type": "refresh_token", "client_id": "demo", "refresh_token": refresh_token, **more}
    async with httpx.AsyncClient(trust_env=False) as client:
        return await client.post(url, data=form)


async def test_google_gives_an_access_token_and_keeps_the_refresh_token(tokens: TokenEndpoint) -> None:
    grant = tokens.grant(ANN)
    for _ in range(2):
        answer = await refresh(tokens.google_url, grant)
        body = answer.json()
        assert (answer.status_code, body["token_type"], body["expires_in"]) == (200, "Bearer", 3599)
        assert "refresh_token" not in body
        left = tokens.seconds_left(ANN, body["access_token"])
        assert left is not None
        assert 3590 < left <= 3599


async def test_microsoft_gives_a_new_refresh_token_and_the_old_one_lives_on(tokens: TokenEndpoint) -> None:
    old = tokens.grant(ME, "microsoft")
    new = (await refresh(tokens.microsoft_url, old)).json()["refresh_token"]
    assert new != old
    for token in (old, new):
        assert (await refresh(tokens.microsoft_url, token)).status_code == 200


async def test_rotated_tokens_can_be_made_to_die(tokens: TokenEndpoint) -> None:
    tokens.revokes_rotated = True
    old = tokens.grant(ME, "microsoft")
    assert (await refresh(tokens.microsoft_url, old)).status_code == 200
    assert (await refresh(tokens.microsoft_url, old)).json()["error"] == "invalid_grant"


async def test_a_token_is_good_for_its_own_user_only(tokens: TokenEndpoint) -> None:
    access = (await refresh(tokens.google_url, tokens.grant(ANN))).json()["access_token"]
    assert tokens.seconds_left("bob@gmail.example", access) is None
    assert tokens.seconds_left(ANN.upper(), access) is not None


@pytest.mark.parametrize("provider", ["google", "microsoft"])
async def test_revoked_and_unknown_grants_are_invalid(tokens: TokenEndpoint, provider: str) -> None:
    url = tokens.google_url if provider == "google" else tokens.microsoft_url
    grant = tokens.grant(ANN, provider)
    access = (await refresh(url, grant)).json()["access_token"]
    tokens.revoke(ANN)
    assert tokens.seconds_left(ANN, access) is None
    for token in (grant, "never-given"):
        answer = await refresh(url, token)
        assert (answer.status_code, answer.json()["error"]) == (400, "invalid_grant")


async def test_a_grant_of_the_other_provider_is_invalid(tokens: TokenEndpoint) -> None:
    assert (await refresh(tokens.google_url, tokens.grant(ME, "microsoft"))).status_code == 400


async def test_other_requests_are_refused(tokens: TokenEndpoint) -> None:
    grant = tokens.grant(ANN)
    assert (await refresh(tokens.google_url, grant, grant_type="password")).status_code == 400
    assert (await refresh(tokens.google_url, grant, client_id="")).status_code == 401
    assert (await refresh(tokens.google_url + "/x", grant)).status_code == 404


async def test_answers_can_be_scripted_one_by_one(tokens: TokenEndpoint) -> None:
    grant = tokens.grant(ANN)
    tokens.answer_next(Reply(503, "<html>busy</html>", {"Retry-After": "7"}), invalid_grant(), 0.01)
    busy = await refresh(tokens.google_url, grant)
    assert (busy.status_code, busy.text, busy.headers["retry-after"]) == (503, "<html>busy</html>", "7")
    assert (await refresh(tokens.google_url, grant)).json()["error"] == "invalid_grant"
    assert (await refresh(tokens.google_url, grant)).status_code == 200


async def test_the_endpoint_is_gone_after_close() -> None:
    async with TokenEndpoint(SystemClock()) as endpoint:
        url = endpoint.google_url
    with pytest.raises(httpx.ConnectError):
        await refresh(url, "any")
