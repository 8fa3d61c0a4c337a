"""`mailsyncd failures`: list, show, retry, discard and export what was set aside.

All work with the daemon running or not: what is changed here, it reads by its next sweep.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TextIO

from mailsyncd.assemble import make_store, readable_store
from mailsyncd.commands.choose import only_route
from mailsyncd.commands.load import load
from mailsyncd.commands.tables import Row, printable, show_table
from mailsyncd.config.values import Configuration, RouteSettings, StateSettings
from mailsyncd.errors import MailsyncError
from mailsyncd.flow.failures import resolved, wanted_now
from mailsyncd.model import Failure, Route
from mailsyncd.observe.clock import SystemClock

HEADS = ("ROUTE", "ID", "KIND", "SIZE", "RETRIES", "NEXT TRY", "ERROR")
RENUMBERED = "the source has renumbered its messages since, so it can't be found there any more"


@dataclass(frozen=True, slots=True)
class Found:
    """A failure, where it is, and whether its UID still means anything at the source."""

    settings: RouteSettings
    failure: Failure
    current: bool

    @property
    def route(self) -> Route:
        return self.settings.route

    @property
    def id(self) -> str:
        return f"{self.failure.uidvalidity}-{self.failure.uid}"

    def __str__(self) -> str:
        return f"{self.route.name}: {self.id}"

    @property
    def next_try(self) -> str:
        """As the table shows it."""
        when = self.failure.next_attempt_at
        if self.failure.resolved:
            return "resolved"
        if not self.current:
            return "never: renumbered"
        if when is None:
            return "by hand"
        return "due" if when <= SystemClock().now() else _time(when)


# ------------------------------------------------------------------- the commands


async def show_list(
    config: Path | None,
    environ: Mapping[str, str],
    out: TextIO,
    *,
    only: str | None,
    resolved_too: bool,
    as_json: bool,
) -> int:
    """What was set aside, by route and UID. Raises ConfigError, StateUnavailable."""
    found = await _all(only_route(await load(config, environ), only))
    shown = [one for one in found if resolved_too or not one.failure.resolved]
    if as_json:
        print(json.dumps({"failures": [_as_json(one) for one in shown]}), file=out)
    elif shown:
        show_table(HEADS, [_row(one) for one in shown], out)
    else:
        print("nothing is set aside", file=out)
    return 0


async def show_one(
    config: Path | None, environ: Mapping[str, str], out: TextIO, *, wanted: str, only: str | None
) -> int:
    """All that is known of one failure. Raises MailsyncError if there is none of that name."""
    found = await find(only_route(await load(config, environ), only), wanted)
    for key, value in _as_json(found).items():
        print(f"{key}: {'-' if value is None else printable(str(value))}", file=out)
    return 0


async def retry(
    config: Path | None, environ: Mapping[str, str], out: TextIO, *, wanted: str | None, only: str | None
) -> int:
    """Have one, or all (`wanted` is None), tried again. Raises MailsyncError if it can't be."""
    configuration = only_route(await load(config, environ), only)
    found = await _all(configuration)
    if wanted is not None:
        found = [_pick(found, wanted)]
        _must_be_open(found[0])
        if not found[0].current:
            raise MailsyncError(f"{found[0]} can't be tried again: {RENUMBERED}")
    due = [one for one in found if one.current and not one.failure.resolved]
    now = SystemClock().now()
    if due:
        await _write(configuration.state, {one: wanted_now(one.failure, now) for one in due})
    what = f"{len(due)} of them" if wanted is None else str(due[0])
    print(f"{what} will be tried again by the daemon's next sweep, or the next run", file=out)
    return 0


async def discard(
    config: Path | None, environ: Mapping[str, str], out: TextIO, *, wanted: str, only: str | None
) -> int:
    """Call one dealt with. Raises MailsyncError if it is so already, or there is none."""
    configuration = only_route(await load(config, environ), only)
    found = _pick(await _all(configuration), wanted)
    _must_be_open(found)
    why, ttl = f"discarded: {found.failure.error}", configuration.state.record_ttl
    await _write(configuration.state, {found: resolved(found.failure, SystemClock().now(), ttl, why)})
    print(f"{found} is discarded", file=out)
    return 0


async def find(configuration: Configuration, wanted: str) -> Found:
    """The failure of that name. Raises MailsyncError if there is none, or several."""
    return _pick(await _all(configuration), wanted)


# ----------------------------------------------------------------------- the store


async def _all(configuration: Configuration) -> list[Found]:
    """By route and UID. Where there is no state, nothing has failed, and none is made for the asking."""
    store = readable_store(configuration.state, SystemClock())
    if store is None:
        return []
    found = []
    try:
        await store.open()
        for settings in configuration.routes:
            watermark = await store.watermark(settings.route.key)
            for one in await store.failures(settings.route.key):
                current = watermark is None or watermark.uidvalidity == one.uidvalidity
                found.append(Found(settings, one, current))
    finally:
        await store.close()
    return found


async def _write(settings: StateSettings, changes: Mapping[Found, Failure]) -> None:
    store = make_store(settings, SystemClock())
    try:
        await store.open()
        for found, failure in changes.items():
            await store.fail(found.route.key, failure, None)
    finally:
        await store.close()


def _pick(found: Sequence[Found], wanted: str) -> Found:
    chosen = [one for one in found if wanted in (one.id, str(one.failure.uid))]
    if not chosen:
        raise MailsyncError(f"no failure is called {wanted}; see mailsyncd failures list --all")
    if len(chosen) > 1:
        names = ", ".join(map(str, chosen))
        raise MailsyncError(f"several are called {wanted} ({names}): give the whole id, and --route")
    return chosen[0]


def _must_be_open(found: Found) -> None:
    if found.failure.resolved:
        raise MailsyncError(f"{found} is dealt with already")


# ------------------------------------------------------------------------ showing


def _row(found: Found) -> Row:
    failure = found.failure
    return (
        printable(found.route.name),
        found.id,
        failure.kind.value,
        f"{failure.size:,}",
        str(failure.retry_count),
        found.next_try,
        printable(failure.error),
    )


def _as_json(found: Found) -> dict[str, Any]:
    failure = found.failure
    when = failure.next_attempt_at
    return {
        "route": found.route.name,
        "id": found.id,
        "uidvalidity": failure.uidvalidity,
        "uid": failure.uid,
        "kind": failure.kind.value,
        "error": failure.error if found.current or failure.resolved else f"{failure.error}; {RENUMBERED}",
        "size": failure.size,
        "retry_count": failure.retry_count,
        "updated_at": _time(failure.updated_at),
        "next_try": found.next_try,
        "next_attempt_at": None if when is None or not found.current else _time(when),
        "resolved": failure.resolved,
    }


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")
