"""Which account is to be signed in to, with what and where: options over configuration over environment."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import quote

from mailsyncd.account import Account, AuthKind, Secret
from mailsyncd.auth.grant import url_problem
from mailsyncd.auth.providers import GOOGLE, Provider
from mailsyncd.config import schema
from mailsyncd.config.applicants import Applicant, Applicants
from mailsyncd.errors import ConfigError, Problem

_URLS = ("authorize_url", "token_url", "device_url")


@dataclass(frozen=True, slots=True)
class Asked:
    """What the command line says; None where it says nothing. `only` is --route or --destination."""

    config: Path | None = None
    only: str | None = None
    email: str | None = None
    client_id: str | None = None
    client_secret: Secret | None = None
    authorize_url: str | None = None
    token_url: str | None = None
    device_url: str | None = None
    scope: str | None = None
    tenant: str | None = None
    file: Path | None = None


@dataclass(frozen=True, slots=True)
class Signing:
    """All that a sign-in needs. `hint` is the address, where it is known; `is_configured` says whether
    the configuration takes the refresh token from that very file."""

    account: Account
    hint: str | None
    ca_file: Path | None
    file: Path
    is_configured: bool
    log_level: str
    region: str | None


def who_signs_in(provider: Provider, asked: Asked, known: Applicants) -> Signing:
    """Raises ConfigError with all that is missing or wrong."""
    chosen = _choose(provider, asked, known)
    account = _merged(provider, asked, chosen, known.environ)
    problems = list(_problems(provider, asked, account))
    if chosen:
        given = {name for name in Asked.__dataclass_fields__ if getattr(asked, name) is not None}
        problems += [one for one in chosen.problems if one.where.rpartition(".")[2] not in given]
    if problems:
        raise ConfigError(*problems)
    hint = asked.email or (chosen.account.user if chosen else "") or None
    default = known.base / "refresh-tokens" / quote(hint or provider.name.lower(), safe="@+")
    file = asked.file.absolute() if asked.file else (chosen and chosen.kept_in) or default
    account = replace(account, user=hint or f"the {provider.name} account")
    is_configured = chosen is not None and chosen.read_from is not None and _same(chosen.read_from, file)
    ca_file = chosen.ca_file if chosen else None
    return Signing(account, hint, ca_file, file, is_configured, known.log_level, known.region)


def _same(one: Path, other: Path) -> bool:
    return one.resolve() == other.resolve()


def _choose(provider: Provider, asked: Asked, known: Applicants) -> Applicant | None:
    """The one that is meant; None if none is configured, and none was named."""
    option = "--route" if provider is GOOGLE else "--destination"
    fitting = [one for one in known.found if one.is_gmail is (provider is GOOGLE)]
    names = ", ".join(sorted({one.names[0] for one in fitting if one.names}))
    wanted = asked.only or asked.email
    if wanted:
        named = [one for one in fitting if wanted.casefold() in map(str.casefold, one.names)]
        if not named and asked.only:
            what = f"none that signs in is called {wanted!r}; there are: {names or 'none'}"
            raise ConfigError(Problem(option, what))
        fitting = named
    users = {one.account.user.casefold() for one in fitting}
    if len(users) > 1:
        raise ConfigError(Problem(option, f"is missing, and there are several: {names}"))
    return fitting[0] if fitting else None


def _merged(
    provider: Provider, asked: Asked, chosen: Applicant | None, environ: Mapping[str, str]
) -> Account:
    account = chosen.account if chosen else _unconfigured(provider)
    if asked.tenant:
        account = _of_tenant(account, asked.tenant)
    for name in ("client_id", "client_secret", "scope", *_URLS):
        if (value := getattr(asked, name)) is not None:
            account = replace(account, **{name: value})
    # Last, because a token is good for its own client only, and the daemon has what is configured.
    prefix = _prefix(provider)
    if not account.client_id:
        account = replace(account, client_id=environ.get(f"{prefix}_CLIENT_ID", ""))
    if account.client_secret is None and (secret := environ.get(f"{prefix}_CLIENT_SECRET")):
        account = replace(account, client_secret=Secret(secret))
    return replace(account, scope=account.scope or schema.GOOGLE_SCOPE)


def _unconfigured(provider: Provider) -> Account:
    account = Account("", AuthKind.OAUTH)
    if provider is GOOGLE:
        return replace(account, authorize_url=schema.GOOGLE_CONSENT, token_url=schema.GOOGLE_TOKENS)
    return replace(_of_tenant(account, "consumers"), scope=schema.MICROSOFT_SCOPE)


def _of_tenant(account: Account, tenant: str) -> Account:
    return replace(
        account,
        authorize_url=schema.MICROSOFT_CONSENT.format(tenant=tenant),
        token_url=schema.MICROSOFT_TOKENS.format(tenant=tenant),
        device_url=schema.MICROSOFT_DEVICES.format(tenant=tenant),
    )


def _prefix(provider: Provider) -> str:
    return "GMAIL" if provider is GOOGLE else "MS"


def _problems(provider: Provider, asked: Asked, account: Account) -> list[Problem]:
    problems = [
        Problem(f"--{name.replace('_', '-')}", why)
        for name in _URLS
        if (url := getattr(asked, name)) is not None and (why := url_problem(url))
    ]
    if asked.tenant is not None and not re.fullmatch(r"[A-Za-z0-9.-]+", asked.tenant):
        problems.append(Problem("--tenant", "is none; write consumers, or your tenant's name or id"))
    if asked.email is not None and not re.fullmatch(r"[^@\s]+@[^@\s]+", asked.email):
        problems.append(Problem("--email", 'is not an email address; write "name@example.com"'))
    if not account.client_id:
        what = f"is missing: write it in the configuration, or set {_prefix(provider)}_CLIENT_ID"
        problems.append(Problem("client_id", f"{what} (docs/sign-in.md tells how to get one)"))
    return problems
