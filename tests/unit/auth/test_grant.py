"""What a token endpoint's answer means."""

from __future__ import annotations

import json
from email.utils import formatdate
from typing import Any

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from token_endpoint import account, granted, refused

from mailsyncd.account import Account, Secret
from mailsyncd.auth.grant import ASSUMED_LIFE, LONGEST_LIFE, LONGEST_PAUSE, Grant, Reply, judge
from mailsyncd.errors import RouteBlocked, Throttled, Transient

NOW = 1_700_000_000.0
GOOGLE = account(token_url="https://oauth2.googleapis.com/token")
MICROSOFT = account(token_url="https://login.microsoftonline.com/consumers/oauth2/v2.0/token")
OUTLOOK_SCOPE = "https://outlook.office.com/IMAP.AccessAsUser.All"


def judged(response: httpx.Response, of: Account | None = None) -> Grant:
    return judge(of or account(), Reply(response.status_code, response.headers, response.content), NOW)


@pytest.mark.parametrize(
    "error",
    ["invalid_grant", "unauthorized_client", "invalid_client", "invalid_scope", "interaction_required"],
)
@pytest.mark.parametrize("status", [400, 401])
def test_errors_that_only_a_person_can_mend_block_the_route(error: str, status: int) -> None:
    with pytest.raises(RouteBlocked) as refusal:
        judged(refused(error, "Bad Request", status))
    sentence = str(refusal.value)
    assert sentence.startswith("me@example.org: ")
    assert error in sentence
    assert "sign in again" in sentence or "check" in sentence
    assert "\n" not in sentence


@pytest.mark.parametrize(
    "response",
    [
        httpx.Response(500),
        httpx.Response(502, html="<html>bad gateway</html>"),
        httpx.Response(400, html="<html>captive portal</html>"),
        httpx.Response(200, html="<html>log in to the hotel's network</html>"),
        httpx.Response(302, headers={"Location": "http://portal.example/"}),
        httpx.Response(200, json=["access_token"]),
        httpx.Response(200, json={"token_type": "Bearer"}),
        httpx.Response(200, json={"access_token": 7}),
        httpx.Response(200, json={"access_token": ""}),
        httpx.Response(200, json={"access_token": "a\x01b"}),
        httpx.Response(200, content=b"[" * 60_000),
        refused("temporarily_unavailable"),
        refused("invalid_grant", status=500),
    ],
    ids=lambda r: f"{r.status_code} {r.content[:30]!r}",
)
def test_everything_else_is_tried_again_later(response: httpx.Response) -> None:
    with pytest.raises(Transient):
        judged(response)


@pytest.mark.parametrize(
    ("header", "pause"),
    [
        ("7", 7.0),
        ("0", 1.0),
        ("999999999", LONGEST_PAUSE),
        (formatdate(NOW + 120, usegmt=True), 120.0),
        (formatdate(NOW - 120, usegmt=True), 1.0),
    ],
)
@pytest.mark.parametrize("status", [429, 503])
def test_retry_after_is_understood_in_seconds_and_as_a_date(status: int, header: str, pause: float) -> None:
    with pytest.raises(Throttled) as refusal:
        judged(httpx.Response(status, headers={"Retry-After": header}))
    assert refusal.value.pause == pause


@pytest.mark.parametrize("header", ["soon", "-5", "1e9", "\u0663"])
def test_a_retry_after_that_makes_no_sense_is_ignored(header: str) -> None:
    reply = Reply(429, {"retry-after": header}, b"")
    with pytest.raises(Transient) as refusal:
        judge(account(), reply, NOW)
    assert not isinstance(refusal.value, Throttled)


def test_microsofts_number_is_named_and_its_prose_is_not() -> None:
    prose = "AADSTS70000: The user could not be authenticated. Trace ID: 1b2c Correlation ID: 3d4e"
    with pytest.raises(RouteBlocked, match=r"invalid_grant \(AADSTS70000\)") as refusal:
        judged(refused("invalid_grant", prose))
    assert "Trace" not in str(refusal.value)


def test_googles_description_is_quoted_for_it_is_short() -> None:
    with pytest.raises(RouteBlocked, match=r"\(Token has been expired or revoked\.\)"):
        judged(refused("invalid_grant", "Token has been expired or revoked."))


def test_a_long_description_is_cut_and_made_printable() -> None:
    with pytest.raises(RouteBlocked) as refusal:
        judged(refused("invalid_grant", "one\r\ntwo\x1b[2J " + "word " * 500))
    assert len(str(refusal.value)) < 400
    assert str(refusal.value).isprintable()


def test_a_description_that_echoes_our_secrets_does_not_get_through() -> None:
    of = account(client_secret=Secret("short-secret"), refresh_token=Secret("1//canary-refresh"))
    echo = "no 1//canary-refresh with short-secret nor kept " + "k" * 60
    with pytest.raises(RouteBlocked) as refusal:
        judged(refused("invalid_grant", echo), of)
    sentence = str(refusal.value)
    assert "canary" not in sentence
    assert "short-secret" not in sentence
    assert "kkk" not in sentence


@pytest.mark.parametrize(
    ("given_life", "life"),
    [(3599, 3599.0), ("3600", 3600.0), (None, ASSUMED_LIFE), (0, ASSUMED_LIFE), (-1, ASSUMED_LIFE),
     ("nan", ASSUMED_LIFE), ("soon", ASSUMED_LIFE), (10**12, LONGEST_LIFE), (10**400, ASSUMED_LIFE)],
)  # fmt: skip
def test_the_life_of_a_token_is_what_it_says_within_reason(given_life: Any, life: float) -> None:
    assert judged(granted("t", expires_in=given_life)).life == life


def test_an_empty_rotated_token_is_none() -> None:
    assert judged(granted("t", refresh_token="")).refresh_token is None
    assert judged(granted("t", refresh_token="next")).refresh_token == Secret("next")


@pytest.mark.parametrize(
    ("of", "scope"),
    [
        (GOOGLE, "openid email"),
        (GOOGLE, "https://www.googleapis.com/auth/gmail.readonly"),
        (account(scope="https://mail.google.com/"), "openid"),
        (MICROSOFT, "https://graph.microsoft.com/IMAP.AccessAsUser.All"),
        (MICROSOFT, "https://outlook.office.com/SMTP.Send"),
        (account(scope=OUTLOOK_SCOPE + " offline_access"), "https://outlook.office.com/POP.AccessAsUser.All"),
    ],
)
def test_a_token_without_the_mail_scope_blocks_the_route(of: Account, scope: str) -> None:
    with pytest.raises(RouteBlocked, match="wrong scope"):
        judged(granted("t", scope=scope), of)


@pytest.mark.parametrize(
    ("of", "scope"),
    [
        (GOOGLE, None),
        (GOOGLE, ""),
        (GOOGLE, "openid https://mail.google.com/"),
        (MICROSOFT, OUTLOOK_SCOPE),  # without offline_access: not missing (C13)
        (MICROSOFT, OUTLOOK_SCOPE.lower()),
        (account(scope=OUTLOOK_SCOPE), "IMAP.AccessAsUser.All"),
        (account(), "whatever a private server calls it"),
    ],
)
def test_a_token_with_the_mail_scope_or_without_a_word_about_it_is_good(
    of: Account, scope: str | None
) -> None:
    assert judged(granted("t", scope=scope), of).access_token == "t"


def test_a_grant_does_not_show_its_token() -> None:
    assert "canary" not in repr(judged(granted("canary", refresh_token="canary-too")))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)
FIELDS = st.fixed_dictionaries(
    {},
    optional={
        "access_token": JSON, "expires_in": JSON, "scope": JSON, "refresh_token": JSON,
        "error": st.sampled_from(["invalid_grant", "slow_down"]) | JSON, "error_description": JSON,
    },
)  # fmt: skip


@settings(max_examples=150, deadline=None)
@given(status=st.sampled_from([200, 400, 401, 403, 429, 500]), fields=FIELDS, retry=st.text(max_size=20))
def test_no_answer_whatever_is_in_it_escapes_the_three_outcomes(
    status: int, fields: dict[str, Any], retry: str
) -> None:
    body = json.dumps(fields).encode()
    outcome: Grant | Exception
    try:
        outcome = judge(MICROSOFT, Reply(status, {"retry-after": retry}, body), NOW)
    except (Transient, RouteBlocked) as refusal:
        outcome = refusal
    if isinstance(outcome, Grant):
        assert outcome.access_token
        assert 0 < outcome.life <= LONGEST_LIFE
    else:
        assert str(outcome).isprintable()
