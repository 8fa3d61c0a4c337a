"""`mailsyncd check --deep`: does what the daemon has to be able to do, beside it or without it.

Signs in to every server, reads and writes the state store, and has each destination take a probe into a
folder of its own and show it again. The sources are only looked at; no record, watermark or lease is
touched. A probe stays where it is: mailsyncd has no command that could delete mail.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Awaitable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TextIO
from uuid import uuid4

from mailsyncd.assemble import Assembly, readable_store
from mailsyncd.commands.auth_test import Visit, lacking, visits_of
from mailsyncd.commands.check import ANSWER_DEADLINE, NOT_RUNNING, show_status, verdict_of
from mailsyncd.commands.load import load
from mailsyncd.commands.tables import printable
from mailsyncd.config.values import Configuration, DestinationSettings
from mailsyncd.errors import ConfigError, MailsyncError, Problem, StateUnavailable, Transient
from mailsyncd.imap.look import look
from mailsyncd.model import Traffic
from mailsyncd.observe.ask import NoAnswer, ask
from mailsyncd.observe.logs import configure
from mailsyncd.policy import internaldate
from mailsyncd.status import Health

STEP = 120.0  # seconds for one step, whatever the adapters' own deadlines add up to
LOOKS = 10  # for a probe that the server has taken and does not show yet
BETWEEN = 2.0  # seconds between them
NOTE_LIFE = 3600  # seconds that the note in the state store is kept
ACCOUNT = "mailsyncd-check"  # whose traffic the note is: no mailbox has that name


@dataclass(frozen=True, slots=True)
class Finding:
    """What came of one step. `needed`: nothing can be copied without it."""

    what: str
    where: str
    is_good: bool
    detail: str
    needed: bool


async def deep_check(
    config: Path | None, environ: Mapping[str, str], socket: Path, folder: str
) -> tuple[int, dict[str, Any]]:
    """The exit status, and what was found. Raises ConfigError, SecretsUnavailable."""
    configuration = await load(config, environ)
    _must_be_free(configuration, folder)
    configure("warning", configuration.daemon.log_format, sys.stderr, uuid4().hex[:12])
    parts = Assembly(configuration)
    try:
        findings = [one async for one in _findings(configuration, parts, folder)]
    finally:
        await parts.close()
    status, daemon = await asyncio.to_thread(_daemon, socket)
    return _code(findings, status), {"daemon": daemon, "steps": [asdict(one) for one in findings]}


def _must_be_free(configuration: Configuration, folder: str) -> None:
    taken = {"inbox", *(one.route.folder.casefold() for one in configuration.routes)}
    if folder.casefold() in taken:
        raise ConfigError(Problem("--folder", f"{folder} is where mail goes: name another folder"))


def _daemon(socket: Path) -> tuple[int, dict[str, Any] | None]:
    try:
        status = ask(socket, ANSWER_DEADLINE)
        return verdict_of(status).value, status
    except NoAnswer:
        return NOT_RUNNING, None


def _code(findings: list[Finding], daemon: int) -> int:
    """What failed here counts for more than what the daemon, if there is one, says of itself."""
    sources = [one for one in findings if one.what == "source"]
    if any(one.needed and not one.is_good for one in findings):
        return Health.FAILING.value
    if sources and not any(one.is_good for one in sources):
        return Health.FAILING.value
    if daemon == NOT_RUNNING or all(one.is_good for one in findings):
        return daemon
    return max(daemon, Health.DEGRADED.value)


# ------------------------------------------------------------------------ the steps


async def _findings(configuration: Configuration, parts: Assembly, folder: str) -> AsyncIterator[Finding]:
    yield await _finding("state", _state_name(configuration), _state(configuration, parts), needed=True)
    for visit in visits_of(configuration):
        what = "source" if visit.is_source else "destination"
        where = f"{visit.account.user} at {visit.endpoint.host}"
        yield await _finding(what, where, _sign_in(visit, parts), needed=not visit.is_source)
    for target in configuration.destinations:
        yield await _finding("probe", f"{target.name}: {folder}", _probe(target, parts, folder), needed=True)


async def _finding(what: str, where: str, step: Awaitable[str], *, needed: bool) -> Finding:
    try:
        async with asyncio.timeout(STEP):
            return Finding(what, where, True, await step, needed)
    except MailsyncError as failure:
        return Finding(what, where, False, str(failure), needed)
    except TimeoutError:
        return Finding(what, where, False, f"took longer than {STEP:.0f} s", needed)


def _state_name(configuration: Configuration) -> str:
    state = configuration.state
    return str(state.path) if state.backend.value == "sqlite" else f"table {state.table}"


async def _state(configuration: Configuration, parts: Assembly) -> str:
    """A note that nobody heeds, written and read."""
    if readable_store(configuration.state, parts.clock) is None:
        raise StateUnavailable("there is none yet: mailsyncd state init makes it, as does the first start")
    await parts.store.open()
    now = parts.clock.now()
    note = Traffic(ACCOUNT, "check", parts.identity.owner, int(now), int(now) + NOTE_LIFE)
    await parts.store.note_traffic(note)
    if note not in await parts.store.traffic(ACCOUNT, "check"):
        raise StateUnavailable("what was written just now is not there")
    return "written and read"


async def _sign_in(visit: Visit, parts: Assembly) -> str:
    login = parts.accounts.login(visit.account, visit.endpoint.ca_file)
    found = await look(visit.endpoint, login, visit.folders, is_source=visit.is_source)
    if lacking(visit, found):
        missing = [name for name, what in found.folders.items() if isinstance(what, str)]
        raise Transient(f"signed in, but without {', '.join(missing)}")
    return "signed in"


async def _probe(target: DestinationSettings, parts: Assembly, folder: str) -> str:
    """The folder's tail is read from where it ended before: an earlier probe is not this one."""
    message_id = f"<{uuid4().hex}@mailsyncd.invalid>"
    when = internaldate(parts.clock.now())
    async with parts.sink(target).session() as session:
        before = await session.open(folder, create=True)
        await session.append(folder, _message(target.email, message_id), when, seen=True)
        for _ in range(LOOKS):
            tail = await session.tail(folder, before.uidnext or 1, newest=None if before.uidnext else 50)
            if any(seen.message_id == message_id for seen in tail):
                return "taken and found again; the probe stays there"
            await parts.clock.sleep(BETWEEN)
    raise Transient(f"the probe was taken, and is not to be found after {LOOKS * BETWEEN:.0f} s")


def _message(email: str, message_id: str) -> bytes:
    lines = [f"From: mailsyncd <{email}>", f"To: <{email}>", "Subject: a probe of mailsyncd check --deep"]
    lines += [f"Message-ID: {message_id}", "", "Nothing is wrong or to be done. It may be deleted."]
    return "\r\n".join([*lines, ""]).encode()


# ----------------------------------------------------------------------- the report


def tell(found: dict[str, Any], out: TextIO, *, as_json: bool) -> None:
    """For people: the daemon's own table, then a line for each step."""
    if as_json:
        print(json.dumps(found), file=out)
        return
    if found["daemon"] is None:
        print("no daemon is running", file=out)
    else:
        show_status(found["daemon"], out)
    print(file=out)
    for one in found["steps"]:
        good = "ok    " if one["is_good"] else "FAILED"
        print(printable(f"{good}  {one['what']:11}  {one['where']}: {one['detail']}"), file=out)
