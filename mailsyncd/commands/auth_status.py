"""`mailsyncd auth status`: which sign-ins are good, which need their user, and when the others will end."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from contextlib import AsyncExitStack
from dataclasses import asdict
from datetime import UTC, datetime
from enum import Enum
from pathlib import Path
from random import Random
from typing import Any, TextIO
from uuid import uuid4

from mailsyncd.account import AuthKind
from mailsyncd.assemble import Accounts, accounts_of, make_store, token_notes
from mailsyncd.auth.forecast import WARNINGS
from mailsyncd.commands.load import load
from mailsyncd.commands.tables import Row, printable, show_table
from mailsyncd.config import load as config_load
from mailsyncd.observe.ask import NoAnswer, ask
from mailsyncd.observe.clock import SystemClock
from mailsyncd.observe.logs import configure

ANSWER_DEADLINE = 5.0
DAY = 86_400.0
_HEADS = ("ACCOUNT", "STATE", "SIGNED IN", "LAST USE", "ENDS", "KEPT IN", "")
_COLOURS = {"good": "green", "retrying": "yellow", "refused": "bold red", "needs_sign_in": "bold red"}
_NEEDS_A_PERSON = ("needs_sign_in", "refused")


async def status(config: Path | None, environ: Mapping[str, str], out: TextIO, *, as_json: bool) -> int:
    """0 if nobody has to do anything, 1 if somebody has, now or within two weeks. Raises ConfigError."""
    now = SystemClock().now()
    running, accounts = await _accounts(config, environ)
    if as_json:
        print(json.dumps({"running": running, "now": now, "accounts": accounts}), file=out)
    else:
        _show(accounts, running, now, out)
    return int(any(_calls(one, now) for one in accounts))


async def _accounts(config: Path | None, environ: Mapping[str, str]) -> tuple[bool, list[dict[str, Any]]]:
    """As the daemon tells; if none runs, as far as the stores tell."""
    try:
        told = ask(config_load.socket(config, environ), ANSWER_DEADLINE)
        return True, list(told.get("accounts", ()))
    except NoAnswer:
        return False, await _stored(config, environ)


async def _stored(config: Path | None, environ: Mapping[str, str]) -> list[dict[str, Any]]:
    configuration = await load(config, environ)
    configure("error", configuration.daemon.log_format, sys.stderr, uuid4().hex[:12])
    async with AsyncExitStack() as stack:
        clock = SystemClock()
        store = make_store(configuration.state, clock)
        stack.push_async_callback(store.close)
        accounts = Accounts(token_notes(configuration.state, store), clock, Random(), stack)
        for account, ca_file in accounts_of(configuration):
            if account.kind is AuthKind.OAUTH:
                accounts.login(account, ca_file)
        for source in accounts.sources():
            await source.look()
        return [{key: _plain(value) for key, value in asdict(one).items()} for one in accounts.status()]


def _plain(value: object) -> object:
    return value.value if isinstance(value, Enum) else value


def _calls(account: Mapping[str, Any], now: float) -> bool:
    ends = account.get("ends_at")
    return account.get("state") in _NEEDS_A_PERSON or (ends is not None and ends - now <= WARNINGS[0] * DAY)


def _show(accounts: list[dict[str, Any]], running: bool, now: float, out: TextIO) -> None:
    if not running:
        print("no daemon is running: what is shown is what was noted, and nothing was tried", file=out)
    if not accounts:
        print("nobody signs in with a refresh token", file=out)
        return
    show_table(_HEADS, [_row(one, now) for one in accounts], out, colours=_COLOURS)
    for line in _advice(accounts, now):
        print(printable(line), file=out)


def _row(account: Mapping[str, Any], now: float) -> Row:
    kept = str(account.get("kept_in") or "")
    words = (
        str(account.get("name")),
        str(account.get("state")),
        _day(account.get("consented_at"), now),
        _day(account.get("used_at"), now),
        _day(account.get("ends_at"), now),
        kept if account.get("is_kept", True) else "memory only",
        str(account.get("detail") or account.get("ends_why") or ""),
    )
    first, second, *rest = map(printable, words)
    return (first, second, *rest)


def _day(at: float | None, now: float) -> str:
    if at is None:
        return "-"
    day, days = datetime.fromtimestamp(at, UTC).date(), int(abs(at - now) // DAY)
    count = f"{days} day" if days == 1 else f"{days} days"
    return f"{day} (in {count})" if at > now else f"{day} ({count} ago)" if days else f"{day} (today)"


def _advice(accounts: list[dict[str, Any]], now: float) -> Iterator[str]:
    for one in accounts:
        if _calls(one, now) and one.get("command") and one.get("state") != "refused":
            yield f"{one['name']}: run {one['command']}"
