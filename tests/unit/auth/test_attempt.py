"""What the browser is sent out with, and what it may come back with."""

from __future__ import annotations

import base64
import hashlib
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import httpx
import pytest
from token_endpoint import Endpoint, account, granted, refused

from mailsyncd.account import Account, Secret
from mailsyncd.auth.attempt import Attempt, Forged
from mailsyncd.auth.providers import GOOGLE, MICROSOFT, Provider
from mailsyncd.errors import MailsyncError, RouteBlocked, SignInFailed, Transient

REDIRECT = "http://127.0.0.1:8765/callback"
MAIL = "https://mail.google.com/"
IMAP = "https://outlook.office.com/IMAP.AccessAsUser.All"
CODE = Secret("4/code-canary")
NOW = 1_700_000_000.0


def attempt(provider: Provider = GOOGLE, hint: str | None = "me@gmail.com", **changes: Any) -> Attempt:
    of = {"authorize_url": "https://accounts.example.org/auth", "scope": MAIL, "refresh_token": None}
    return Attempt(account(**(of | changes)), provider, REDIRECT, hint)


def asked(of: Attempt) -> dict[str, str]:
    fields = parse_qs(urlsplit(of.address()).query, strict_parsing=True)
    return {name: value for name, (value,) in fields.items()}


def came_back(of: Attempt, **fields: str) -> str:
    return urlencode({"state": of.state.reveal(), **fields})


def test_the_address_asks_for_a_code_with_a_challenge_by_sha256() -> None:
    one = attempt()
    digest = hashlib.sha256(one.verifier.reveal().encode()).digest()
    fields = asked(one)
    assert fields["response_type"] == "code"
    assert fields["redirect_uri"] == REDIRECT
    assert fields["scope"] == MAIL
    assert fields["code_challenge_method"] == "S256"
    assert fields["code_challenge"] == base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
    assert fields["login_hint"] == "me@gmail.com"
    assert one.verifier.reveal() not in one.address()


def test_google_is_asked_for_a_refresh_token_each_time() -> None:
    fields = asked(attempt())
    assert (fields["access_type"], fields["prompt"]) == ("offline", "consent")
    assert asked(attempt(MICROSOFT))["response_mode"] == "query"


def test_nothing_that_can_be_redeemed_is_in_the_address() -> None:
    one = attempt(client_secret=Secret("canary"), refresh_token=Secret("canary"))
    assert "canary" not in one.address()
    assert "canary" not in repr(one)
    assert one.state.reveal() not in repr(one)


def test_an_authorize_url_may_have_a_query_of_its_own() -> None:
    one = attempt(authorize_url="https://accounts.example.org/auth?policy=x")
    assert asked(one)["policy"] == "x"


def test_every_attempt_has_a_state_and_a_verifier_of_its_own() -> None:
    many = [attempt() for _ in range(20)]
    assert len({one.state.reveal() for one in many} | {one.verifier.reveal() for one in many}) == 40
    # 128 bits at least of state; 43 characters at least of verifier (RFC 7636 section 4.1).
    assert all(len(one.state.reveal()) >= 43 and len(one.verifier.reveal()) >= 43 for one in many)


def test_the_code_of_the_answer_is_taken() -> None:
    one = attempt()
    assert one.code(came_back(one, code="4/0Ab c+d")).reveal() == "4/0Ab c+d"


@pytest.mark.parametrize(
    "query",
    [
        "",
        "code=4/abc",
        "code=4/abc&state=",
        "code=4/abc&state=other",
        "code=4/abc&state=\N{SNOWMAN}",
        "code=4/abc&state=%ff%fe",
        "error=access_denied",
        "error=access_denied&state=other",
        "&".join(f"a{n}=1" for n in range(60)),
    ],
)
def test_what_has_another_state_is_no_answer(query: str) -> None:
    with pytest.raises(Forged):
        attempt().code(query)


def test_a_state_that_is_only_begun_right_is_no_answer() -> None:
    one = attempt()
    for state in (one.state.reveal()[:-1], one.state.reveal() + "x"):
        with pytest.raises(Forged):
            one.code(urlencode({"state": state, "code": "4/abc"}))


@pytest.mark.parametrize("name", ["state", "code"])
def test_a_parameter_that_comes_twice_is_no_answer(name: str) -> None:
    one = attempt()
    with pytest.raises(Forged, match="twice"):
        one.code(came_back(one, code="4/abc") + f"&{name}=x")


def test_a_user_who_cancels_is_told_that_nothing_was_stored() -> None:
    one = attempt()
    with pytest.raises(SignInFailed, match="access was refused in the browser: nothing was stored"):
        one.code(came_back(one, error="access_denied"))


def test_another_error_is_shown_with_what_to_do_about_it() -> None:
    one = attempt()
    with pytest.raises(SignInFailed) as refusal:
        one.code(came_back(one, error="invalid_scope", error_description="bad\x1b[31m\nscope"))
    assert str(refusal.value).endswith("the provider refused: invalid_scope (bad [31m scope): check scope")


@pytest.mark.parametrize("code", ["", "a\nb", "\N{SNOWMAN}"])
def test_an_answer_without_a_usable_code_ends_the_sign_in(code: str) -> None:
    one = attempt()
    with pytest.raises(SignInFailed, match="brought no code"):
        one.code(came_back(one, code=code))


@pytest.mark.parametrize("beginning", ["http://127.0.0.1:8765/callback?", "127.0.0.1:8765/callback?"])
def test_a_pasted_address_is_taken_as_browsers_show_it(beginning: str) -> None:
    one = attempt()
    assert one.pasted(f"  {beginning}{came_back(one, code='4/abc')}\r\n").reveal() == "4/abc"


@pytest.mark.parametrize(
    "beginning",
    [
        "https://127.0.0.1:8765/callback?",
        "http://127.0.0.1:8766/callback?",
        "http://localhost:8765/callback?",
        "http://127.0.0.1:8765/other?",
        "http://me@127.0.0.1:8765/callback?",
        "http://127.0.0.1:x/callback?",
        "http://[::1/callback?",
        "4/",
    ],
)
def test_another_pasted_address_is_not_taken(beginning: str) -> None:
    one = attempt()
    with pytest.raises(Forged) as refusal:
        one.pasted(beginning + came_back(one, code="4/abc"))
    assert "4/abc" not in str(refusal.value)


def test_the_usual_port_may_be_left_out() -> None:
    one = Attempt(account(), GOOGLE, GOOGLE.redirect_at(80))
    assert one.pasted(f"http://127.0.0.1/callback?{came_back(one, code='4/abc')}").reveal() == "4/abc"


# --------------------------------------------------------------- redeeming the code


async def redeemed(answer: httpx.Response | Exception, of: Attempt | None = None) -> tuple[Any, Endpoint]:
    endpoint = Endpoint([answer])
    async with httpx.AsyncClient(transport=httpx.MockTransport(endpoint)) as client:
        return await (of or attempt()).redeem(client, CODE, NOW), endpoint


async def refusal_of(answer: httpx.Response | Exception, of: Attempt | None = None) -> MailsyncError:
    with pytest.raises(MailsyncError) as refusal:
        await redeemed(answer, of)
    return refusal.value


async def test_the_code_is_redeemed_with_verifier_and_redirect() -> None:
    one = attempt(client_secret=Secret("s3cret"))
    grant, endpoint = await redeemed(granted("ya29", refresh_token="1//r", scope=MAIL), one)
    assert grant.refresh_token == Secret("1//r")
    assert endpoint.asked == [
        {
            "grant_type": "authorization_code",
            "client_id": "client",
            "client_secret": "s3cret",
            "code": CODE.reveal(),
            "redirect_uri": REDIRECT,
            "code_verifier": one.verifier.reveal(),
        }
    ]


async def test_a_public_client_sends_no_secret() -> None:
    _, endpoint = await redeemed(granted("ya29", refresh_token="1//r"))
    assert "client_secret" not in endpoint.asked[0]


@pytest.mark.parametrize(
    ("of", "scope", "missing"),
    [
        (account(scope=MAIL), "openid https://www.googleapis.com/auth/userinfo.email", MAIL),
        (
            account(scope=f"{IMAP} offline_access"),
            "https://graph.microsoft.com/IMAP.AccessAsUser.All",
            "IMAP",
        ),
        (account(scope=f"{IMAP} offline_access"), "https://graph.microsoft.com/User.Read", "IMAP"),
        (account(scope="mail.read mail.list offline_access"), "mail.read", "mail.list"),
    ],
)
async def test_a_token_for_the_wrong_audience_gets_a_sentence(of: Account, scope: str, missing: str) -> None:
    one = Attempt(of, GOOGLE, REDIRECT)
    refusal = await refusal_of(granted("token", refresh_token="r", scope=scope), one)
    assert isinstance(refusal, RouteBlocked)
    assert "the token has the wrong scope" in str(refusal)
    assert missing in str(refusal)


@pytest.mark.parametrize("scope", [IMAP, IMAP.lower(), f"openid {IMAP}", "", None])
async def test_microsoft_need_not_echo_offline_access(scope: str | None) -> None:
    one = attempt(MICROSOFT, scope=f"{IMAP} offline_access")
    more = {} if scope is None else {"scope": scope}
    grant, _ = await redeemed(granted("token", refresh_token="r", **more), one)
    assert grant.refresh_token == Secret("r")


@pytest.mark.parametrize(("provider", "what"), [(GOOGLE, "remove the app"), (MICROSOFT, "offline_access")])
async def test_an_answer_without_a_refresh_token_says_how_to_get_one(provider: Provider, what: str) -> None:
    refusal = await refusal_of(granted("ya29"), attempt(provider))
    assert isinstance(refusal, SignInFailed)
    assert what in str(refusal)


async def test_a_missing_client_secret_is_told() -> None:
    refusal = await refusal_of(refused("invalid_request", "client_secret is missing."))
    assert str(refusal).endswith(
        "invalid_request (client_secret is missing.): check client_id, and give "
        "the client secret if the client has one"
    )


async def test_no_error_repeats_code_verifier_or_secret() -> None:
    one = attempt(client_secret=Secret("s3cret"))
    echoed = f"bad {CODE.reveal()} {one.verifier.reveal()} s3cret"
    for answer in (refused("invalid_grant", echoed), refused("odd", echoed), httpx.ConnectError(echoed)):
        text = str(await refusal_of(answer, one))
        assert one.verifier.reveal() not in text
        if isinstance(answer, httpx.Response):
            assert CODE.reveal() not in text
            assert "s3cret" not in text


async def test_a_network_that_goes_down_half_way_can_be_told_from_a_refusal() -> None:
    assert isinstance(await refusal_of(httpx.ConnectError("no route to host")), Transient)
