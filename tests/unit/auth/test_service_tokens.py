"""Service accounts: what is asserted, what comes of each answer, and tokens that are kept as any other's."""

from __future__ import annotations

import asyncio
import json

import httpx
import pytest
from joserfc import jwt
from joserfc.jwk import RSAKey
from service_provider import CERTIFICATE, ELLIPTIC, KEY, KEY_ID, NUMBER, SERVICE, google_key, pem, public_pem
from token_endpoint import Endpoint, StandingClock, account, granted, refused, tokens

from mailsyncd.account import Account, AuthKind, Secret
from mailsyncd.auth.tokens import RENEW_BETWEEN
from mailsyncd.errors import RouteBlocked, Throttled, Transient
from mailsyncd.service_key import Certificate, GoogleKey, read
from mailsyncd.state.memory import MemoryStore

SCOPE = "https://mail.google.com/"


def delegated(**changes: object) -> Account:
    given = {"kind": AuthKind.SERVICE_ACCOUNT, "refresh_token": None, "client_id": "", "scope": SCOPE}
    return account(**(given | {"service_key": Secret(google_key())} | changes))


async def test_the_assertion_says_who_for_whom_and_for_how_long() -> None:
    clock, endpoint = StandingClock(), Endpoint([granted("one")])
    assert await tokens(endpoint, clock, of=delegated()).token() == "one"
    (form,) = endpoint.asked
    assert sorted(form) == ["assertion", "grant_type"]
    found = jwt.decode(form["assertion"], RSAKey.import_key(public_pem(KEY)), algorithms=["RS256"])
    assert found.header == {"alg": "RS256", "typ": "JWT", "kid": KEY_ID}
    now = int(clock.now())
    assert found.claims == {
        "iss": SERVICE,
        "sub": "me@example.org",
        "scope": SCOPE,
        "aud": "https://tokens.example.org/token",
        "iat": now,
        "exp": now + 3600,
    }


async def test_tokens_are_renewed_early_by_one_request_and_nothing_is_kept() -> None:
    clock, endpoint = StandingClock(), Endpoint([granted("one"), granted("two")])
    notes = MemoryStore()
    source = tokens(endpoint, clock, notes, delegated())
    assert set(await asyncio.gather(*(source.token() for _ in range(20)))) == {"one"}
    clock.at += 3600 * RENEW_BETWEEN[1] + 1
    assert set(await asyncio.gather(*(source.token() for _ in range(20)))) == {"two"}
    assert len(endpoint.asked) == 2
    assert endpoint.asked[0]["assertion"] != endpoint.asked[1]["assertion"]
    assert notes.table.items == {}


async def test_each_assertion_of_a_certificate_is_another() -> None:
    """Or it could be sent again by who has seen it."""
    clock, endpoint = StandingClock(), Endpoint([granted("one")])
    of = delegated(client_id="c", service_key=Secret(pem() + CERTIFICATE))
    source = tokens(endpoint, clock, of=of)
    for _ in range(2):
        source.reject(await source.token())
    seen = [one["client_assertion"] for one in endpoint.asked]
    key = RSAKey.import_key(public_pem(KEY))
    claims = [jwt.decode(one, key, algorithms=["PS256"]).claims for one in seen]
    assert len({one["jti"] for one in claims}) == 2
    assert all(one["exp"] - one["nbf"] <= 600 for one in claims)


@pytest.mark.parametrize(
    ("answer", "kind", "words"),
    [
        (
            refused("unauthorized_client", status=401),
            RouteBlocked,
            f"client ID {NUMBER} with the scope {SCOPE}",
        ),
        (refused("invalid_grant", "Invalid email or User ID"), RouteBlocked, "is a mailbox of the domain"),
        (refused("temporarily_unavailable", status=503), Transient, "HTTP 503"),
        (httpx.Response(200, text="<html>"), Transient, "other than JSON"),
        (httpx.Response(429, headers={"Retry-After": "30"}), Throttled, "HTTP 429"),
        (granted("t", scope="https://www.googleapis.com/auth/gmail.send"), RouteBlocked, "the wrong scope"),
    ],
)
async def test_each_answer_has_its_error(answer: httpx.Response, kind: type[Exception], words: str) -> None:
    with pytest.raises(kind, match=words) as caught:
        await tokens(Endpoint([answer]), StandingClock(), of=delegated()).token()
    assert type(caught.value) is kind


async def test_a_clock_that_is_wrong_passes_once_it_is_set() -> None:
    refusal = refused("invalid_grant", "Invalid JWT")
    refusal.headers["Date"] = "Sat, 01 Jan 2000 00:00:00 GMT"
    clock, endpoint = StandingClock(), Endpoint([refusal, granted("one")])
    source = tokens(endpoint, clock, of=delegated())
    with pytest.raises(Transient, match=r"this machine's clock is [0-9]+ minutes ahead: set it"):
        await source.token()
    clock.at += 61
    assert await source.token() == "one"


async def test_an_echoed_scope_of_the_resource_is_enough_for_default() -> None:
    endpoint = Endpoint([granted("one", scope="https://outlook.office365.com/IMAP.AccessAsApp")])
    of = delegated(client_id="c", scope="https://outlook.office365.com/.default")
    assert await tokens(endpoint, StandingClock(), of=of).token() == "one"


async def test_a_key_that_cannot_sign_blocks_the_route_without_a_request() -> None:
    endpoint = Endpoint([granted("one")])
    for key in (google_key(ELLIPTIC), google_key(private_key=pem()[:200] + pem()[-60:]), "{}"):
        with pytest.raises(RouteBlocked, match="service_key"):
            await tokens(endpoint, StandingClock(), of=delegated(service_key=Secret(key))).token()
    assert endpoint.asked == []


# ----------------------------------------------------------------------------- keys


def test_both_kinds_of_key_are_known_by_what_they_are() -> None:
    google = read(Secret("\n" + google_key()))
    assert isinstance(google, GoogleKey)
    assert (google.email, google.client, google.number) == (SERVICE, NUMBER, KEY_ID)
    assert isinstance(read(Secret(CERTIFICATE + pem())), Certificate)


def test_a_key_shows_nothing_of_itself() -> None:
    for one in (read(Secret(google_key())), read(Secret(pem() + CERTIFICATE))):
        assert "MII" not in repr(one)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "has no private key"),
        ('{"a": ' + "[" * 100_000, "is broken JSON"),
        ('{"a": ' + "9" * 10_000 + "}", "is broken JSON"),
        (json.dumps({"type": ["service_account"]}), 'its "type" is another'),
        (google_key(client_email="none"), "has a client_email or client_id that is none"),
        (google_key(client_id=5), "lacks client_email"),
        (pem() + "-----BEGIN CERTIFICATE-----\nabc\n-----END CERTIFICATE-----\n", "has a broken certificate"),
        (pem().replace("PRIVATE", "ENCRYPTED PRIVATE"), "is locked with a passphrase"),
    ],
)
def test_what_is_no_key_is_told_in_a_sentence(text: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        read(Secret(text))
