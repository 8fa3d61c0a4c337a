"""`mailsyncd auth test`: signs in to each server as the daemon would, and says what it found."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from random import Random
from typing import TextIO
from uuid import uuid4

from mailsyncd.account import Account, Endpoint
from mailsyncd.assemble import Accounts, make_store, token_notes
from mailsyncd.auth import consent
from mailsyncd.commands.choose import only_route
from mailsyncd.commands.load import load, with_all_held
from mailsyncd.commands.tables import printable
from mailsyncd.config.applicants import applicants
from mailsyncd.config.values import Configuration
from mailsyncd.errors import MailsyncError
from mailsyncd.imap.look import Look, look
from mailsyncd.model import Mailbox
from mailsyncd.observe.clock import SystemClock
from mailsyncd.observe.logs import configure

DAY = 86_400.0


@dataclass(frozen=True, slots=True)
class Visit:
    """One account on one server, and the folders of it that routes use. `may_lack`: those that are
    made when they are needed."""

    account: Account
    endpoint: Endpoint
    is_source: bool
    folders: list[str] = field(default_factory=list)
    may_lack: set[str] = field(default_factory=set)


async def test(config: Path | None, environ: Mapping[str, str], out: TextIO, *, only: str | None) -> int:
    """0 if every server let us in and has what the routes need, else 1. Raises ConfigError."""
    configuration = only_route(await load(config, environ), only)
    configure(configuration.daemon.log_level, configuration.daemon.log_format, sys.stderr, uuid4().hex[:12])
    known = await with_all_held(partial(applicants, config, environ))
    files = {(one.is_gmail, one.account.user): one.kept_in for one in known.found}
    clock, is_good = SystemClock(), True
    async with AsyncExitStack() as stack:
        store = make_store(configuration.state, clock)
        stack.push_async_callback(store.close)
        accounts = Accounts(token_notes(configuration.state, store), clock, Random(), stack)
        for visit in visits_of(configuration):
            where = f"{visit.account.user} at {visit.endpoint.host}"
            login = accounts.login(visit.account, visit.endpoint.ca_file)
            try:
                found = await look(visit.endpoint, login, visit.folders, is_source=visit.is_source)
            except MailsyncError as failure:
                lines, is_good = [f"{where}: NOT signed in: {failure}"], False
            else:
                lines = [f"{where}: signed in", *_findings(visit, found)]
                lines += _age(files.get((visit.is_source, visit.account.user)), clock.now())
                is_good = is_good and not lacking(visit, found)
            print("\n".join(map(printable, lines)), file=out, flush=True)
    return 0 if is_good else 1


def visits_of(configuration: Configuration) -> Iterator[Visit]:
    """Each source account once, then each destination."""
    sources: dict[tuple[str, Endpoint], Visit] = {}
    for one in configuration.routes:
        key = (one.account.user.casefold(), one.endpoint)
        visit = sources.setdefault(key, Visit(one.account, one.endpoint, is_source=True))
        if one.route.mailbox not in visit.folders:
            visit.folders.append(one.route.mailbox)
    yield from sources.values()
    for target in configuration.destinations:
        visit = Visit(target.account, target.endpoint, is_source=False)
        for one in configuration.routes:
            if one.route.destination == target.name and one.route.folder not in visit.folders:
                visit.folders.append(one.route.folder)
            if one.route.destination == target.name and one.route.create_folder:
                visit.may_lack.add(one.route.folder)
        yield visit


def lacking(visit: Visit, found: Look) -> bool:
    return any(isinstance(what, str) and name not in visit.may_lack for name, what in found.folders.items())


def _findings(visit: Visit, found: Look) -> Iterator[str]:
    yield f"  capabilities: {' '.join(sorted(found.capabilities))}"
    for name, what in found.folders.items():
        if isinstance(what, Mailbox):
            yield f"  {name}: {what.exists} {'message' if what.exists == 1 else 'messages'}"
        elif name in visit.may_lack:
            yield f"  {name}: not there yet; it is made when the first message comes"
        else:
            yield f"  {name}: NOT to be had: {what}"


def _age(file: Path | None, now: float) -> Iterator[str]:
    """How old the consent is, where that is known: a file that is configured is written at sign-in."""
    if file is None:
        return
    try:
        told = consent.of_file(file)
        stored = told.at if told else file.stat().st_mtime
    except OSError:
        return
    days = int((now - stored) // DAY)
    since = "today" if days <= 0 else "1 day ago" if days == 1 else f"{days} days ago"
    day = datetime.fromtimestamp(stored, UTC).date()
    yield f"  consent: the refresh token was stored {since} ({day})"
