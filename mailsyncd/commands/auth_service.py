"""`mailsyncd auth service-account`: tries out what needs no person, Google's domain-wide delegation and
Microsoft's client credentials, and says what to write in the configuration."""

from __future__ import annotations

import base64
import json
import re
import sys
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TextIO
from uuid import uuid4

from mailsyncd.account import Account, AuthKind
from mailsyncd.auth import service
from mailsyncd.auth.grant import Grant, json_object, token_client
from mailsyncd.commands.load import with_all_held
from mailsyncd.commands.tables import printable
from mailsyncd.config.applicants import Applicant, applicants
from mailsyncd.errors import ConfigError, MailsyncError, Problem, RouteBlocked, SignInFailed
from mailsyncd.observe.clock import SystemClock
from mailsyncd.observe.logs import configure

GOOGLE, MICROSOFT = "google", "microsoft"
# What a setting is called on the command line.
_OPTIONS = {"gmail": "--email", "email": "--email", "service_key": "--key", "auth": "google|microsoft"}
_BY_OPTIONS = ("email", "key", "client_id", "client_secret", "tenant", "token_url", "scope")
_ROLE = "IMAP.AccessAsApp"


@dataclass(frozen=True, slots=True)
class Wish:
    """What the command line says; None where it says nothing. Without a provider the configuration says
    what is tried, all of it or the `only` one; with one the other options do, and `key` is a path or
    a reference as in the configuration."""

    config: Path | None = None
    provider: str | None = None
    only: str | None = None
    email: str | None = None
    key: str | None = None
    client_id: str | None = None
    client_secret: str | None = None
    tenant: str | None = None
    token_url: str | None = None
    scope: str | None = None


async def try_out(wish: Wish, environ: Mapping[str, str], out: TextIO) -> int:
    """0 if every one of them got a token, else 1. Raises ConfigError, SecretsUnavailable, SignInFailed."""
    if not wish.provider and (stray := [name for name in _BY_OPTIONS if getattr(wish, name) is not None]):
        what = "goes with the word google or microsoft; without it, the configuration says what is tried"
        raise ConfigError(*(Problem(f"--{name.replace('_', '-')}", what) for name in stray))
    options = _options(wish) if wish.provider else None
    read = partial(applicants, wish.config, environ, kind=AuthKind.SERVICE_ACCOUNT, options=options)
    known = await with_all_held(read)
    configure(known.log_level, "auto", sys.stderr, uuid4().hex[:12])
    chosen = _chosen(wish, known.found)
    if problems := [one for each in chosen for one in _problems(each, wish)]:
        raise ConfigError(*problems)
    is_good = True
    for one in chosen:
        try:
            lines = [*_said(one.account, await _token(one)), *_to_write(wish, one.account)]
        except MailsyncError as failure:
            lines, is_good = [f"{failure}"], False
        print("\n".join(map(printable, lines)), file=out, flush=True)
    if is_good:
        print("Try the mailbox by: mailsyncd auth test", file=out, flush=True)
    return 0 if is_good else 1


# ----------------------------------------------------------------------- which account


def _options(wish: Wish) -> dict[str, Any]:
    """The section that the command line writes."""
    given: dict[str, Any] = {
        "auth": AuthKind.SERVICE_ACCOUNT.value,
        "service_key": _reference(wish.key) if wish.key else None,
        "client_id": wish.client_id,
        "client_secret": wish.client_secret,
        "token_url": wish.token_url,
        "scope": wish.scope,
    }
    if wish.provider == GOOGLE:
        section = given | {"gmail": wish.email or "", "folder": "-"}
        return {"routes": [{key: value for key, value in section.items() if value is not None}]}
    section = given | {"email": wish.email or "", "tenant": wish.tenant}
    return {"outlook": {key: value for key, value in section.items() if value is not None}}


def _reference(text: str) -> object:
    """A path, or what the configuration would say."""
    if not text.lstrip().startswith("{"):
        return {"file": str(Path(text).absolute())}
    try:
        return tomllib.loads(f"x = {text}")["x"]
    except tomllib.TOMLDecodeError:
        what = "is neither a path nor a reference such as '{ ssm = \"/name\" }'"
        raise ConfigError(Problem("--key", what)) from None


def _chosen(wish: Wish, found: tuple[Applicant, ...]) -> list[Applicant]:
    """Those to try, each account once."""
    if wish.provider:
        email = (wish.email or "").casefold()
        is_google = wish.provider == GOOGLE
        fitting = [one for one in found if one.is_gmail is is_google]
        return [one for one in fitting if email in map(str.casefold, one.names)][:1] or fitting[:1]
    if not found:
        raise SignInFailed(
            'no route or destination is configured with auth = "service-account": write that into one, '
            "or try a key by: mailsyncd auth service-account google --email USER --key FILE"
        )
    if wish.only is None:
        return list({one.account: one for one in found}.values())
    named = [one for one in found if wish.only.casefold() in map(str.casefold, one.names)]
    if not named:
        names = ", ".join(sorted({one.names[0] for one in found if one.names}))
        raise ConfigError(
            Problem("--route", f"no service account is called {wish.only!r}; there are: {names}")
        )
    return named[:1]


def _problems(one: Applicant, wish: Wish) -> Iterator[Problem]:
    for problem in one.problems:
        key = problem.where.rpartition(".")[2]
        if wish.provider and not problem.source:
            yield Problem(_OPTIONS.get(key, f"--{key.replace('_', '-')}"), problem.what)
        else:
            yield problem
    if wish.provider and not re.fullmatch(r"[^@\s]+@[^@\s]+", wish.email or ""):
        yield Problem("--email", 'is missing, or no email address; say whose mailbox it is: "me@example.com"')


# ------------------------------------------------------------------------ what came of it


async def _token(one: Applicant) -> Grant:
    async with token_client(one.ca_file) as client:
        grant = await service.exchange(client, one.account, SystemClock().now())
    if why := _wrong_audience(one.account, grant.access_token):
        raise RouteBlocked(f"{one.account.user}: {why}")
    return grant


def _wrong_audience(account: Account, token: str) -> str | None:
    """What a token for applications says of itself, where it can be read: Microsoft gives one to an
    application without any right, which its IMAP then refuses without a reason (B4). Only this command
    looks: what is in a token is its provider's own affair, and may change (C17)."""
    parts = token.split(".")
    if not account.client_id or len(parts) != 3:
        return None
    try:
        claims = json_object(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4))) or {}
    except ValueError:
        return None
    resource, is_default, _ = (account.scope or "").partition("/.default")
    audience, roles = claims.get("aud"), claims.get("roles", [])
    if not is_default or not isinstance(audience, str):
        return None
    if audience.startswith("https://") and audience.rstrip("/") != resource:
        return f"the token is for another service than {resource}: check scope"
    if isinstance(roles, list) and _ROLE in roles:
        return None
    return (
        f"the token gives no right to IMAP: add the application permission {_ROLE} of Office 365 "
        "Exchange Online, and have an administrator grant consent"
    )


def _said(account: Account, grant: Grant) -> Iterator[str]:
    minutes = max(1, round(grant.life / 60))
    scope = grant.scope or account.scope
    yield f"A token for {account.user}, with the scope {scope}, good for {minutes} minutes."


def _to_write(wish: Wish, account: Account) -> Iterator[str]:
    if not wish.provider:
        return
    yield f"In the configuration of {account.user}:"
    yield ""
    yield f"    auth = {json.dumps(AuthKind.SERVICE_ACCOUNT.value)}"
    if wish.key:
        yield f"    service_key = {_written(_reference(wish.key))}"
    for name in ("client_id", "tenant", "token_url", "scope"):
        if (value := getattr(wish, name)) is not None:
            yield f"    {name} = {json.dumps(value, ensure_ascii=False)}"
    if wish.provider == MICROSOFT and not wish.key:
        yield '    client_secret = { env = "MS_CLIENT_SECRET" }'
    yield ""


def _written(reference: object) -> str:
    pairs = reference.items() if isinstance(reference, dict) else ()
    return (
        "{ " + ", ".join(f"{name} = {json.dumps(value, ensure_ascii=False)}" for name, value in pairs) + " }"
    )
