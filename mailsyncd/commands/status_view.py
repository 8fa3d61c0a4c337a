"""A status as a picture for a terminal: pure, from what the daemon said to something rich can print."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from mailsyncd.commands.check import reload_line
from mailsyncd.commands.tables import printable

BLOCKS, LETTERS = " ▁▂▃▄▅▆▇█", " .:-=+*#@"
FAILURES = 5  # of those set aside that are shown
FIXED = 14  # lines for what is not a route
FEWEST = 3  # routes that are shown however small the terminal

_COLOURS = {
    **dict.fromkeys(("healthy", "watching", "writing", "good"), "green"),
    **dict.fromkeys(("degraded", "retrying", "throttled", "connecting"), "yellow"),
    **dict.fromkeys(("failing", "blocked", "needs_sign_in", "full", "stopped"), "bold red"),
}
_RANKS = {"bold red": 0, "yellow": 1, "": 2, "green": 3}

Told = Mapping[str, Any]


def view(status: Told, now: float, *, rows: int | None, plain: bool) -> RenderableType:
    """`rows` of the terminal, None for as many as it takes; `plain`: without block elements."""
    routes = sorted(
        status.get("routes", ()), key=lambda one: (_RANKS[_colour(one.get("state"))], one.get("name"))
    )
    shown = routes if rows is None else routes[: max(FEWEST, rows - FIXED - _below(status))]
    parts: list[RenderableType] = [_head(status), Text(), _routes(shown, BLOCKS if not plain else LETTERS)]
    if len(shown) < len(routes):
        parts.append(Text(f"and {len(routes) - len(shown):,} more", "dim"))
    parts.append(Text("backlog by age: up to 1 minute, 5 minutes, 1 hour, 1 day, and older", "dim"))
    parts += [Text(), _destinations(status.get("writers", ()))]
    if accounts := status.get("accounts", ()):
        parts += [Text(), _accounts(accounts, now)]
    if aside := status.get("set_aside", ()):
        parts += [Text(), _set_aside(aside, now)]
    return Group(*parts)


def _below(status: Told) -> int:
    """Lines for what stands below the routes, and changes in number."""
    aside = min(FAILURES, len(status.get("set_aside", ())))
    return len(status.get("writers", ())) + len(status.get("accounts", ())) + aside


def _head(status: Told) -> Text:
    health = str(status.get("health"))
    head = Text(health, f"bold {_colour(health)}")
    head.append(
        f"  mailsyncd {status.get('version')}, up {age(status.get('uptime'))}, run {status.get('run_id')}"
    )
    if line := reload_line(status.get("reload", {})):
        head.append(printable(f", last reload: {line}"))
    if status.get("state_away"):
        head.append("  the state store is away: nothing is copied", "bold red")
    return head


# ---------------------------------------------------------------------- tables


def _table(*heads: str) -> Table:
    """A heading that ends in "#" is that of numbers."""
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for head in heads:
        table.add_column(head.rstrip("#"), justify="right" if head.endswith("#") else "left", overflow="fold")
    return table


def _routes(routes: Iterable[Told], blocks: str) -> Table:
    table = _table(
        "ROUTE", "STATE", "LAST MESSAGE#", "TOOK#", "LAG#", "BACKLOG#", "BY AGE", "COPIED#", "SET ASIDE#", ""
    )
    for one in routes:
        waiting = one.get("unsettled") or 0
        table.add_row(
            _plain(one.get("name")),
            _state(one.get("state")),
            _plain(_ago(one.get("copied_age"))),
            _plain(_took(one.get("copied_in"))),
            _plain(age(one.get("oldest_age"))),
            Text(f"{waiting:,}", "yellow" if waiting else "dim"),
            Text(bars(one.get("ages") or (), blocks), "cyan"),
            _plain(f"{one.get('copied') or 0:,}"),
            _count(one.get("set_aside")),
            _detail(one),
        )
    return table


def _destinations(writers: Iterable[Told]) -> Table:
    table = _table("DESTINATION", "STATE", "IN FLIGHT#", "QUEUED#", "SETTLING#", "PAUSE#", "LEASE", "")
    for one in writers:
        pause = one.get("pause") or 0.0
        host, *rest = str(one.get("holder") or "").split("/")
        owner = f"{host}, process {rest[2]}" if len(rest) == 4 else host or "nobody known"
        lease = owner if one.get("epoch") is None else f"here, term {one['epoch']} ({owner})"
        table.add_row(
            _plain(one.get("name")),
            _state(one.get("state")),
            *(_plain(f"{one.get(key) or 0:,}") for key in ("in_flight", "queued", "settling")),
            Text(age(pause) if pause >= 1 else "-", "yellow" if pause >= 1 else ""),
            _plain(lease),
            _plain(one.get("detail") or ""),
        )
    return table


def _accounts(accounts: Iterable[Told], now: float) -> Table:
    table = _table("SIGN-IN", "STATE", "TOKEN#", "GOOD FOR#", "")
    for one in accounts:
        ends = one.get("ends_at")
        needs = one.get("state") == "needs_sign_in"
        help_ = (
            f"{one.get('detail') or ''}  run: {one.get('command')}"
            if needs
            else one.get("detail") or one.get("ends_why")
        )
        table.add_row(
            _plain(one.get("name")),
            _state(one.get("state")),
            _plain(age(one.get("access_ends_in"))),
            _plain("-" if ends is None else age(max(0.0, ends - now))),
            _plain(help_ or ""),
        )
    return table


def _set_aside(found: Sequence[Told], now: float) -> Table:
    table = _table("SET ASIDE", "WHEN#", "KIND", "NEXT TRY#", "ID", "WHY")
    for one in reversed(found[-FAILURES:]):
        next_at = one.get("next_attempt_at")
        table.add_row(
            _plain(one.get("route")),
            _plain(_ago(max(0.0, now - one["at"]))),
            Text(printable(str(one.get("kind"))), "red"),
            _plain("by hand" if next_at is None else f"in {age(max(0.0, next_at - now))}"),
            _plain(f"{one.get('uidvalidity')}-{one.get('uid')}"),
            _plain(one.get("error")),
        )
    return table


# ----------------------------------------------------------------------- cells


def _plain(value: object) -> Text:
    """Text, not str: brackets in a folder's name are not markup."""
    return Text("-" if value is None else printable(str(value)))


def _colour(state: object) -> str:
    return _COLOURS.get(str(state), "")


def _state(state: object) -> Text:
    return Text(printable(str(state).replace("_", " ")), _colour(state))


def _count(number: int | None) -> Text:
    return Text(f"{number or 0:,}", "red" if number else "dim")


def _detail(route: Told) -> Text:
    detail, pause = route.get("detail") or "", route.get("pause") or 0.0
    return _plain(f"{detail} (again in {age(pause)})" if detail and pause >= 1 else detail)


def bars(counts: Sequence[int], blocks: str) -> str:
    """A column for each, as high as it is beside the highest; none at all only for zero."""
    most = max(counts, default=0)
    if not most:
        return ""
    top = len(blocks) - 1
    return "".join(blocks[0 if not count else max(1, round(top * (count / most) ** 0.5))] for count in counts)


def _ago(seconds: float | None) -> str:
    return "-" if seconds is None else f"{age(seconds)} ago"


def _took(seconds: float | None) -> str:
    if seconds is None:
        return "-"
    return f"{seconds * 1000:.0f} ms" if seconds < 10 else age(seconds)


def age(seconds: float | None) -> str:
    """In the two units that matter most."""
    if seconds is None:
        return "-"
    whole = int(seconds)
    for unit, name, lower, lesser in ((86_400, "d", 3600, "h"), (3600, "h", 60, "m"), (60, "m", 1, "s")):
        if whole >= unit:
            return f"{whole // unit}{name}{whole % unit // lower:02}{lesser}"
    return f"{whole}s"
