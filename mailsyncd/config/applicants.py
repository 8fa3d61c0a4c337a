"""Whom somebody may sign in as, by a configuration that may yet be incomplete: refresh tokens are what
a sign-in is for, and routes may follow later."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from mailsyncd.account import Account, AuthKind
from mailsyncd.config import schema
from mailsyncd.config.load import Draft, draft_of
from mailsyncd.config.locate import KeyPath
from mailsyncd.config.mistakes import Mistakes
from mailsyncd.config.parameters import Wanted
from mailsyncd.config.rules import placed_destinations, service_account
from mailsyncd.config.secrets import SecretSpec, within
from mailsyncd.config.sources import Tree
from mailsyncd.config.translate import Translator
from mailsyncd.errors import ConfigError, Problem
from mailsyncd.stored import Held, Reference

# What a sign-in has no use for: it may be wrong, or missing.
_NOT_NEEDED = {"refresh_token": None, "password": None}
_NEEDED = {
    *("client_id", "client_secret", "token_url", "authorize_url", "device_url", "scope", "tenant"),
    *("username", "ca_file", "auth", "service_key"),
}


@dataclass(frozen=True, slots=True)
class Applicant:
    """An account without its refresh token; its user may be unknown. `names`: what it may be called;
    `kept_in`: the file that its refresh token is configured to be in; `read_from`: the same, or the one
    that systemd hands on as a credential; `problems`: what is wrong with its section."""

    is_gmail: bool
    names: tuple[str, ...]
    account: Account
    ca_file: Path | None
    kept_in: Path | None
    read_from: Path | None
    problems: tuple[Problem, ...]


@dataclass(frozen=True, slots=True)
class Applicants:
    """All there are that sign in in the way that was asked for. `environ`: with what AWS has of it;
    `base`: where paths start; `region`: AWS's."""

    found: tuple[Applicant, ...]
    environ: Mapping[str, str]
    log_level: str
    base: Path
    region: str | None


def applicants(
    path: Path | None,
    environ: Mapping[str, str],
    held: Held,
    *,
    kind: AuthKind = AuthKind.OAUTH,
    options: Tree | None = None,
) -> Applicants:
    """Raises ConfigError where file or environment can't be understood at all; Wanted for what AWS's
    stores have of it. `options`: settings that win over both."""
    draft = draft_of(path, environ, held, options)
    if draft.settings is None or draft.variables.wrong:
        draft.tell([])
        raise ConfigError
    wanted: set[Reference] = set()
    found = [
        _applicant(section, where, draft, held, wanted)
        for where, section in _sections(draft.settings)
        if section.auth == kind.value
    ]
    if wanted:
        raise Wanted(frozenset(wanted), draft.region)
    return Applicants(tuple(found), draft.environ, draft.settings.daemon.log_level, draft.base, draft.region)


def _sections(settings: schema.Settings) -> Iterator[tuple[KeyPath, schema.Route | schema.Destination]]:
    yield from placed_destinations(settings)
    for number, route in enumerate(settings.routes):
        yield ("routes", number), route


def _applicant(
    section: schema.Route | schema.Destination,
    where: KeyPath,
    draft: Draft,
    held: Held,
    wanted: set[Reference],
) -> Applicant:
    mistakes, own = draft.mistakes, Mistakes(broken=draft.mistakes.broken)
    translator = Translator(draft.environ, draft.base, own, held)
    account = translator.account(section.model_copy(update=_NOT_NEEDED), where)
    wanted |= translator.wanted
    if section.auth == AuthKind.SERVICE_ACCOUNT.value:
        service_account(section, where, own)
    key = "gmail" if isinstance(section, schema.Route) else "email"
    if section.username is None and mistakes.is_broken((*where, key)):
        account = replace(account, user="")
    ca_file = translator.endpoint(section, where).ca_file
    wrong = [one for one in mistakes.found if one[0][:-1] == where and one[0][-1] in _NEEDED]
    kept_in = _file(section.refresh_token, draft.environ, draft.base)
    return Applicant(
        isinstance(section, schema.Route),
        _names(section, where, mistakes),
        account,
        ca_file,
        kept_in,
        kept_in or _credential(section.refresh_token, draft.environ),
        tuple(draft.places.problem(*one) for one in [*wrong, *own.found, *own.passing]),
    )


def _names(section: schema.Route | schema.Destination, where: KeyPath, mistakes: Mistakes) -> tuple[str, ...]:
    """The address first, if there is one; not what stands in for one that is wrong."""
    if isinstance(section, schema.Route):
        named = [("gmail", section.gmail), ("folder", section.folder)]
    else:
        named = [("email", section.email), ("name", section.name)]
    return tuple(name for key, name in named if not mistakes.is_broken((*where, key)))


def _file(spec: SecretSpec | None, environ: Mapping[str, str], base: Path) -> Path | None:
    return within(base, spec.value, environ) if spec is not None and spec.kind == "file" else None


def _credential(spec: SecretSpec | None, environ: Mapping[str, str]) -> Path | None:
    directory = environ.get("CREDENTIALS_DIRECTORY")
    return (
        Path(directory) / spec.value if directory and spec is not None and spec.kind == "credential" else None
    )
