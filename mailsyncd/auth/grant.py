"""One exchange with a token endpoint (RFC 6749 section 6): a refresh token in, a Grant or an error out."""

from __future__ import annotations

import asyncio
import ipaddress
import json
import re
import ssl
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC
from email.utils import parsedate_to_datetime
from math import isfinite
from pathlib import Path
from typing import Any

import httpx

from mailsyncd.account import Account, AuthKind, Secret
from mailsyncd.errors import MailsyncError, RouteBlocked, SignInNeeded, Throttled, Transient

Client = httpx.AsyncClient  # for those who only pass it on

EXCHANGE_DEADLINE = 30.0
CONNECT_DEADLINE = 10.0
LONGEST_REPLY = 64 * 1024
LONGEST_PAUSE = 3600.0
ASSUMED_LIFE = 1800.0  # RFC 6749 section 5.1 lets expires_in be left out
LONGEST_LIFE = 86400.0

_SIGN_IN_AGAIN = "sign in again"
_CHECK_CLIENT = "check client_id and client_secret, and that the application is still registered"

# The `error` alone decides: descriptions and AADSTS numbers may change (C16).
_ONLY_A_PERSON_CAN_HELP = {
    "invalid_grant": _SIGN_IN_AGAIN,
    "interaction_required": _SIGN_IN_AGAIN,
    "consent_required": _SIGN_IN_AGAIN,
    "login_required": _SIGN_IN_AGAIN,
    "access_denied": _SIGN_IN_AGAIN,
    "invalid_client": _CHECK_CLIENT,
    "unauthorized_client": _CHECK_CLIENT,
    "deleted_client": _CHECK_CLIENT,
    "disabled_client": _CHECK_CLIENT,
    "invalid_request": "check client_id, token_url and the refresh token for missing characters",
    "unsupported_grant_type": "check token_url",
    "invalid_scope": "check scope",
}

# What a new sign-in mends.
_CONSENT_IS_GONE = {
    *("invalid_grant", "interaction_required", "consent_required", "login_required", "access_denied")
}

_GOOGLE_MAIL = "https://mail.google.com/"
_MICROSOFT_IMAP = "imap.accessasuser.all"
_MICROSOFT_HOSTS = ("login.microsoftonline.com", "login.live.com")
_OPAQUE = re.compile(r"\S{32,}")


@dataclass(frozen=True, slots=True)
class Grant:
    """What the token endpoint gave. `refresh_token` is set only where it sent one."""

    access_token: str = field(repr=False)
    life: float
    refresh_token: Secret | None = None
    scope: str | None = None  # as echoed


@dataclass(frozen=True, slots=True)
class Reply:
    """An HTTP answer, read whole."""

    status: int
    headers: Mapping[str, str]
    body: bytes = field(repr=False)


def token_client(ca_file: Path | None = None) -> httpx.AsyncClient:
    """A client for token endpoints: TLS verified, no redirects, few connections. Close it after use.

    `ca_file` is trusted beside the system's authorities: mail and tokens may have different ones.
    """
    tls = ssl.create_default_context()
    if ca_file:
        tls.load_verify_locations(ca_file)
    tls.minimum_version = ssl.TLSVersion.TLSv1_2
    return httpx.AsyncClient(
        verify=tls,
        follow_redirects=False,
        timeout=httpx.Timeout(EXCHANGE_DEADLINE, connect=CONNECT_DEADLINE),
        limits=httpx.Limits(max_connections=8, max_keepalive_connections=0),
    )


def url_problem(url: str) -> str | None:
    """Why a refresh token may not be sent to this address; None if it may."""
    try:
        parsed = httpx.URL(url)
    except (httpx.InvalidURL, TypeError):
        return "is not an address"
    if parsed.scheme == "https" and parsed.host:
        return None
    if parsed.scheme == "http" and _loopback(parsed.host):
        return None
    return "must begin with https:// (http:// is for loopback addresses only)"


def _loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


async def exchange(client: httpx.AsyncClient, account: Account, refresh_token: Secret, now: float) -> Grant:
    """Trade the refresh token for an access token. Raises RouteBlocked, Throttled, Transient."""
    form = {
        "grant_type": "refresh_token",
        "client_id": account.client_id,
        "refresh_token": refresh_token.reveal(),
    }
    if account.client_secret:
        form["client_secret"] = account.client_secret.reveal()
    if account.scope:
        form["scope"] = account.scope
    return judge(account, await ask(client, account.user, account.token_url, form), now)


async def ask(client: httpx.AsyncClient, user: str, url: str, form: dict[str, str]) -> Reply:
    """Post a form, within a deadline. Raises Transient if no answer comes."""
    try:
        async with asyncio.timeout(EXCHANGE_DEADLINE):
            return await _post(client, url, form)
    except TimeoutError:
        raise Transient(f"{user}: the token endpoint did not answer in time") from None
    except httpx.HTTPError as failure:
        why = presentable(str(failure)) or type(failure).__name__
        raise Transient(f"{user}: the token endpoint could not be asked: {why}") from None


async def _post(client: httpx.AsyncClient, url: str, form: dict[str, str]) -> Reply:
    headers = {"Accept": "application/json", "Accept-Encoding": "identity"}
    async with client.stream("POST", url, data=form, headers=headers) as response:
        body = bytearray()
        async for chunk in response.aiter_raw():  # raw: a small answer can't inflate
            body += chunk
            if len(body) > LONGEST_REPLY:
                break
        return Reply(response.status_code, dict(response.headers), bytes(body[:LONGEST_REPLY]))


def judge(
    account: Account,
    reply: Reply,
    now: float,
    *,
    advice: Mapping[str, str] = _ONLY_A_PERSON_CAN_HELP,
    hide: Iterable[Secret] = (),
) -> Grant:
    """What an answer means. `now` (wall clock) is for a Retry-After given as a date; `advice` has
    what to do about each error that only a person can mend; `hide` is what an error may not repeat,
    beside the account's own secrets."""
    fields = json_object(reply.body)
    if reply.status != 200:
        own = (account.refresh_token, account.client_secret, account.service_key)
        raise _refusal(account, reply, fields, now, advice, [*hide, *(one for one in own if one)])
    if fields is None:
        raise Transient(f"{account.user}: the token endpoint answered with something other than JSON")
    token = fields.get("access_token")
    # It becomes a part of an IMAP command: a control character or space would make it another.
    if not isinstance(token, str) or not re.fullmatch(r"[!-~]+", token):
        raise Transient(f"{account.user}: the token endpoint's answer has no usable access_token")
    if missing := _missing_scope(account, fields.get("scope")):
        why = f"the token has the wrong scope ({missing} is missing): sign in again and allow access to mail"
        raise SignInNeeded(f"{account.user}: {why}", error="invalid_scope")
    rotated, scope = fields.get("refresh_token"), fields.get("scope")
    return Grant(
        token,
        _life(fields),
        Secret(rotated) if isinstance(rotated, str) and rotated else None,
        scope if isinstance(scope, str) else None,
    )


def json_object(body: bytes) -> dict[str, Any] | None:
    """The object that an answer is; None if it is something else."""
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _life(fields: dict[str, Any]) -> float:
    try:
        life = float(fields.get("expires_in", ASSUMED_LIFE))
    except (TypeError, ValueError, OverflowError):
        return ASSUMED_LIFE
    return min(life, LONGEST_LIFE) if isfinite(life) and life > 0 else ASSUMED_LIFE


def _missing_scope(account: Account, granted: object) -> str | None:
    """The mail scope that the answer shows to be missing; answers without a scope show nothing."""
    if account.kind is AuthKind.SERVICE_ACCOUNT:  # has scopes of its own: service.py looks at them
        return None
    if not isinstance(granted, str) or not granted.strip():
        return None
    host, asked = httpx.URL(account.token_url).host, (account.scope or "").lower()
    scopes = granted.lower().split()
    if (host.endswith(".googleapis.com") or _GOOGLE_MAIL in asked) and _GOOGLE_MAIL not in scopes:
        return _GOOGLE_MAIL
    if host in _MICROSOFT_HOSTS or _MICROSOFT_IMAP in asked:
        # The resource may be written in several ways; a Graph token of the same name is no good (C12).
        good = [s for s in scopes if s.endswith(_MICROSOFT_IMAP) and "graph.microsoft.com" not in s]
        return None if good else "IMAP.AccessAsUser.All"
    return None


def _refusal(
    account: Account,
    reply: Reply,
    fields: dict[str, Any] | None,
    now: float,
    advice: Mapping[str, str],
    hide: Iterable[Secret],
) -> MailsyncError:
    error = fields.get("error") if fields else None
    if reply.status in (400, 401, 403) and isinstance(error, str) and error in advice:
        detail = _detail(fields.get("error_description") if fields else None, hide)
        why = f"{account.user}: the token endpoint refused: {error}{detail}: {advice[error]}"
        if error not in _CONSENT_IS_GONE or account.kind is AuthKind.SERVICE_ACCOUNT:
            return RouteBlocked(why)
        return SignInNeeded(why, error=error, detail=detail, skew=_skew(reply.headers, now))
    named = f" ({presentable(error)})" if isinstance(error, str) else ""
    why = f"{account.user}: the token endpoint answered HTTP {reply.status}{named}"
    pause = _retry_after(reply.headers, now)
    return Transient(why) if pause is None else Throttled(why, pause)


def _detail(description: object, hide: Iterable[Secret]) -> str:
    """The AADSTS code if there is one, else the description: short, printable, without our secrets."""
    if not isinstance(description, str):
        return ""
    if code := re.search(r"AADSTS\d{4,9}", description):
        return f" ({code[0]})"
    for secret in hide:
        if secret.reveal():
            description = description.replace(secret.reveal(), "***")
    text = presentable(description)
    return f" ({text})" if text else ""


def presentable(text: str) -> str:
    """A server's words: on one line, short, and without what may be a secret."""
    one_line = " ".join("".join(c if c.isprintable() else " " for c in text[:2000]).split())
    return _OPAQUE.sub("***", one_line)[:200]


def _skew(headers: Mapping[str, str], now: float) -> float:
    """How far ahead of ours the endpoint's clock is, in seconds; zero where it does not say."""
    try:
        said = parsedate_to_datetime(headers.get("date", ""))
    except ValueError:
        return 0.0
    return (said if said.tzinfo else said.replace(tzinfo=UTC)).timestamp() - now


def _retry_after(headers: Mapping[str, str], now: float) -> float | None:
    value = headers.get("retry-after", "").strip()
    if re.fullmatch(r"[0-9]{1,9}", value):
        seconds = float(value)
    else:
        try:
            when = parsedate_to_datetime(value)
        except ValueError:
            return None
        seconds = (when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp() - now
    return min(max(seconds, 1.0), LONGEST_PAUSE)
