"""An authorization code with PKCE: the address for the browser, what came back, the code redeemed.

RFC 6749 section 4.1, RFC 7636 (S256 always), RFC 8252 (a native app). No OAuth library is used here:
oauthlib refuses a redirect to http, loopback or not, and compares the state by `!=`; authlib's client
reads answers of any size and keeps tokens in plain dicts. grant.py had the exchange already.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
from dataclasses import dataclass, field
from urllib.parse import SplitResult, parse_qs, quote, urlencode, urlsplit

import httpx

from mailsyncd.account import Account, Secret
from mailsyncd.auth.grant import Grant, Reply, ask, judge, presentable
from mailsyncd.auth.providers import Provider
from mailsyncd.errors import RouteBlocked, SignInFailed

PATIENCE = 300.0  # seconds for the whole of a sign-in
LONGEST_ADDRESS = 16 * 1024
_NEVER_ECHOED = {"offline_access", "openid", "profile", "email"}  # C13

ADVICE = {
    "invalid_grant": "the code was used before, is too old or is not this client's: begin again",
    "invalid_client": "check client_id and client_secret, and that the application is still registered",
    "unauthorized_client": "check client_id, and that the application may sign in this kind of account",
    "deleted_client": "check client_id: that application is gone",
    "disabled_client": "check client_id: that application is switched off",
    "invalid_request": "check client_id, and give the client secret if the client has one",
    "unsupported_grant_type": "check token_url",
    "invalid_scope": "check scope",
    "redirect_uri_mismatch": "register the redirect address with the application",
    "access_denied": "allow access, and sign in as the right user",
    "consent_required": "begin again, and allow access",
    "interaction_required": "begin again",
}


class Forged(Exception):
    """A redirect that does not belong to this sign-in. Holds a sentence."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """One trip to the browser and back."""

    account: Account
    provider: Provider
    redirect: str
    hint: str | None = None
    state: Secret = field(default_factory=lambda: Secret(secrets.token_urlsafe(32)))
    verifier: Secret = field(default_factory=lambda: Secret(secrets.token_urlsafe(48)))

    def address(self) -> str:
        """Where the browser is to go. It holds the state and the challenge, and nothing to redeem."""
        digest = hashlib.sha256(self.verifier.reveal().encode()).digest()
        asked = {
            "response_type": "code",
            "client_id": self.account.client_id,
            "redirect_uri": self.redirect,
            "scope": self.account.scope or "",
            "state": self.state.reveal(),
            "code_challenge": base64.urlsafe_b64encode(digest).rstrip(b"=").decode(),
            "code_challenge_method": "S256",
            **self.provider.asks,
        }
        if self.hint:
            asked["login_hint"] = self.hint
        url = self.account.authorize_url
        return f"{url}{'&' if '?' in url else '?'}{urlencode(asked, quote_via=quote)}"

    def code(self, query: str) -> Secret:
        """The code that a redirect brought. Raises Forged if it is not the answer to this attempt,
        SignInFailed if it is one that says no."""
        try:
            fields = parse_qs(query, keep_blank_values=True, max_num_fields=50, errors="strict")
        except ValueError:
            raise Forged("the redirect can't be read") from None
        if any(len(values) > 1 for values in fields.values()):  # RFC 6749 section 3.1
            raise Forged("the redirect says something twice")
        said = {name: values[0] for name, values in fields.items()}
        given = said.get("state", "").encode()
        if not hmac.compare_digest(given, self.state.reveal().encode()):
            raise Forged("the redirect is not the answer to this sign-in: its state is another")
        if "error" in said:
            raise _denied(said, self.account)
        code = said.get("code", "")
        if not code or not code.isascii() or not code.isprintable():
            raise SignInFailed(f"{self.account.user}: the redirect brought no code: begin again")
        return Secret(code)

    def pasted(self, text: str) -> Secret:
        """The same of an address that a person copied; browsers show it without its http://."""
        text = text.strip()
        try:
            parts = urlsplit(text if "://" in text else f"http://{text}")
            place = _place(parts)
        except ValueError:
            raise Forged("that is not an address") from None
        if place != _place(urlsplit(self.redirect)):
            raise Forged(f"that is not the address to paste: it begins with {self.redirect}?")
        return self.code(parts.query)

    async def redeem(self, client: httpx.AsyncClient, code: Secret, now: float) -> Grant:
        """The code for a refresh token. Raises RouteBlocked, SignInFailed, Transient."""
        form = {
            "grant_type": "authorization_code",
            "client_id": self.account.client_id,
            "code": code.reveal(),
            "redirect_uri": self.redirect,
            "code_verifier": self.verifier.reveal(),
        }
        if self.account.client_secret:
            form["client_secret"] = self.account.client_secret.reveal()
        reply = await ask(client, self.account.user, self.account.token_url, form)
        return granted(self.account, self.provider, reply, now, code, self.verifier)


def _place(parts: SplitResult) -> tuple[object, ...]:
    return parts.scheme, parts.username, parts.hostname, parts.port or 80, parts.path


def granted(account: Account, provider: Provider, reply: Reply, now: float, *hide: Secret) -> Grant:
    """What the token endpoint gave, if it is enough to live on: the scope, and a refresh token."""
    grant = judge(account, reply, now, advice=ADVICE, hide=hide)
    has = (grant.scope or "").lower().split()
    asked = [one for one in (account.scope or "").split() if one.lower() not in _NEVER_ECHOED]
    if has and (missing := [one for one in asked if _name(one) not in map(_name, has)]):
        raise RouteBlocked(
            f"{account.user}: the token has the wrong scope ({missing[0]} is missing): "
            "sign in again and allow access to mail"
        )
    if grant.refresh_token is None:
        what = provider.without_refresh_token
        raise SignInFailed(f"{account.user}: {provider.name} sent no refresh token: {what}")
    return grant


def _name(scope: str) -> str:
    """Microsoft writes the resource in several ways (C12); judge() has refused a wrong one by now."""
    return scope.lower().rpartition("/")[2] or scope.lower()


def _denied(said: dict[str, str], account: Account) -> SignInFailed:
    if said["error"] == "access_denied":
        return SignInFailed(f"{account.user}: access was refused in the browser: nothing was stored")
    detail = presentable(said.get("error_description", ""))
    shown = presentable(said["error"]) + (f" ({detail})" if detail else "")
    advice = ADVICE.get(said["error"], "nothing was stored; begin again")
    return SignInFailed(f"{account.user}: the provider refused: {shown}: {advice}")
