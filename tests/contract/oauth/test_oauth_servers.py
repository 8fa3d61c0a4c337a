"""What an OAuth 2 server does with a sign-in: the simulator as a certified one does."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from oauth_server import OAuthServer
from oauth_targets import USER, Target
from service_provider import CERTIFICATE, STRANGER, pem

from mailsyncd.account import Account, AuthKind, Secret
from mailsyncd.auth import device, service
from mailsyncd.auth.attempt import Attempt
from mailsyncd.auth.grant import Grant, exchange, token_client
from mailsyncd.auth.providers import GOOGLE, MICROSOFT, Provider
from mailsyncd.errors import MailsyncError, RouteBlocked, SignInFailed
from mailsyncd.observe.clock import SystemClock

NOW = 1_800_000_000.0


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    async with token_client() as made:
        yield made


@pytest.fixture(params=[GOOGLE, MICROSOFT], ids=["google", "microsoft"])
def provider(request: pytest.FixtureRequest) -> Provider:
    found: Provider = request.param
    return found


def account_of(target: Target, provider: Provider) -> Account:
    return target.google() if provider is GOOGLE else target.microsoft()


def begun(target: Target, provider: Provider) -> Attempt:
    account = account_of(target, provider)
    return Attempt(account, provider, provider.redirect_at(54_321), account.user)


async def returned(target: Target, attempt: Attempt, *, refuses: bool = False) -> str:
    """The query that the browser comes back with."""
    ended = await target.go(attempt.address(), attempt.redirect, refuses=refuses)
    assert ended.startswith(f"{attempt.redirect}?")
    return ended.partition("?")[2]


async def signed_in(target: Target, provider: Provider, client: httpx.AsyncClient) -> Grant:
    attempt = begun(target, provider)
    code = attempt.code(await returned(target, attempt))
    return await attempt.redeem(client, code, NOW)


async def test_a_code_is_good_for_both_tokens(
    target: Target, provider: Provider, client: httpx.AsyncClient
) -> None:
    grant = await signed_in(target, provider, client)
    assert grant.refresh_token is not None
    assert grant.life > 600
    assert (grant.scope or "").split()[0] == (account_of(target, provider).scope or "").split()[0]


async def test_a_refresh_token_gives_access_tokens_and_microsofts_a_new_one_of_itself(
    target: Target, provider: Provider, client: httpx.AsyncClient
) -> None:
    first = await signed_in(target, provider, client)
    assert first.refresh_token
    second = await exchange(client, account_of(target, provider), first.refresh_token, NOW)
    assert second.access_token != first.access_token
    if provider is GOOGLE:
        assert second.refresh_token in (None, first.refresh_token)
        return
    assert second.refresh_token not in (None, first.refresh_token)
    third = await exchange(client, account_of(target, provider), second.refresh_token or Secret(""), NOW)
    assert third.access_token


async def test_a_rotated_refresh_token_is_dead_where_reuse_is_forbidden(
    target: Target, client: httpx.AsyncClient
) -> None:
    first = await signed_in(target, MICROSOFT, client)
    assert first.refresh_token
    await exchange(client, target.microsoft(), first.refresh_token, NOW)
    with pytest.raises(RouteBlocked, match="invalid_grant"):
        await exchange(client, target.microsoft(), first.refresh_token, NOW)


async def test_a_code_is_good_once(target: Target, provider: Provider, client: httpx.AsyncClient) -> None:
    attempt = begun(target, provider)
    code = attempt.code(await returned(target, attempt))
    await attempt.redeem(client, code, NOW)
    with pytest.raises(RouteBlocked, match="invalid_grant"):
        await attempt.redeem(client, code, NOW)


@pytest.mark.parametrize("change", ["verifier", "redirect", "code"])
async def test_a_stolen_code_is_good_for_nothing(
    target: Target, provider: Provider, client: httpx.AsyncClient, change: str
) -> None:
    attempt = begun(target, provider)
    code = attempt.code(await returned(target, attempt))
    thief = attempt
    if change == "verifier":
        thief = replace(attempt, verifier=Secret("x" * 43))
    elif change == "redirect":
        thief = replace(attempt, redirect=attempt.redirect.replace("54321", "54322"))
    else:
        code = Secret(code.reveal()[:-2])
    with pytest.raises(RouteBlocked, match="invalid_grant"):
        await thief.redeem(client, code, NOW)


async def test_a_code_of_one_client_is_none_of_another(target: Target, client: httpx.AsyncClient) -> None:
    attempt = begun(target, GOOGLE)
    code = attempt.code(await returned(target, attempt))
    other = replace(target.microsoft(), token_url=target.google().token_url)
    with pytest.raises(RouteBlocked, match="invalid_grant"):
        await replace(attempt, account=other).redeem(client, code, NOW)


async def test_who_refuses_comes_back_with_the_state_and_no_code(target: Target, provider: Provider) -> None:
    attempt = begun(target, provider)
    query = await returned(target, attempt, refuses=True)
    fields = parse_qs(query)
    assert fields["error"] == ["access_denied"]
    assert fields["state"] == [attempt.state.reveal()]
    assert "code" not in fields
    with pytest.raises(SignInFailed, match="access was refused in the browser"):
        attempt.code(query)


async def test_without_a_challenge_there_is_no_code(target: Target, provider: Provider) -> None:
    attempt = begun(target, provider)
    address = attempt.address().replace("code_challenge", "no_challenge")
    query = (await target.go(address, attempt.redirect)).partition("?")[2]
    assert parse_qs(query)["error"] == ["invalid_request"]
    with pytest.raises(SignInFailed, match="the provider refused: invalid_request"):
        attempt.code(query)


async def test_a_redirect_to_elsewhere_is_not_followed(target: Target, provider: Provider) -> None:
    attempt = begun(target, provider)
    elsewhere = replace(attempt, redirect="http://192.0.2.1/callback")
    text = await target.go(elsewhere.address(), "http://")
    assert not text.startswith("http")
    assert "redirect_uri" in text


async def test_an_unknown_refresh_token_is_an_invalid_grant(
    target: Target, provider: Provider, client: httpx.AsyncClient
) -> None:
    with pytest.raises(RouteBlocked, match="invalid_grant"):
        await exchange(client, account_of(target, provider), Secret("none"), NOW)


async def test_a_device_waits_until_its_person_has_signed_in(
    target: Target, client: httpx.AsyncClient
) -> None:
    account, clock = target.microsoft(), SystemClock()
    prompt = replace(await device.begin(client, account, NOW), interval=0.2)
    waiting = asyncio.create_task(device.wait(client, account, MICROSOFT, prompt, clock))
    await asyncio.sleep(0.5)
    assert not waiting.done()
    await target.enter(prompt.address, prompt.user_code)
    async with asyncio.timeout(20):
        assert (await waiting).refresh_token


async def test_a_device_whose_person_refuses_is_told(target: Target, client: httpx.AsyncClient) -> None:
    account = target.microsoft()
    prompt = replace(await device.begin(client, account, NOW), interval=0.2)
    await target.enter(prompt.address, prompt.user_code, refuses=True)
    with pytest.raises(SignInFailed, match="access was refused in the browser: nothing was stored"):
        async with asyncio.timeout(20):
            await device.wait(client, account, MICROSOFT, prompt, SystemClock())


async def test_a_device_code_is_good_once(target: Target, client: httpx.AsyncClient) -> None:
    account = target.microsoft()
    prompt = replace(await device.begin(client, account, NOW), interval=0.2)
    await target.enter(prompt.address, prompt.user_code)
    async with asyncio.timeout(20):
        await device.wait(client, account, MICROSOFT, prompt, SystemClock())
        with pytest.raises(MailsyncError):
            await device.wait(client, account, MICROSOFT, prompt, SystemClock())


async def test_the_address_is_the_servers_and_holds_no_secret(target: Target, provider: Provider) -> None:
    attempt = begun(target, provider)
    parts = urlsplit(attempt.address())
    assert parts.hostname == "127.0.0.1"
    assert attempt.verifier.reveal() not in parts.query
    assert "secret" not in parts.query


async def test_a_certificate_stands_in_for_a_secret(
    certified: OAuthServer, client: httpx.AsyncClient
) -> None:
    """The assertion that Microsoft gets, judged by who implements the same RFC 7523."""
    account = Account(
        USER,
        AuthKind.SERVICE_ACCOUNT,
        client_id="application",
        service_key=Secret(pem() + CERTIFICATE),
        token_url=certified.url("token"),
        scope="mail",
    )
    grant = await service.exchange(client, account, time.time())
    assert grant.scope == "mail"
    assert certified.active(grant.access_token)["client_id"] == "application"
    stranger = replace(account, service_key=Secret(pem(STRANGER) + CERTIFICATE))
    with pytest.raises(RouteBlocked, match="check client_id, that the certificate is uploaded"):
        await service.exchange(client, stranger, time.time())
