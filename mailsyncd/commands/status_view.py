"""A status as a picture for a terminal: pure, from what the daemon said to something rich can print."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from mailsyncd.commands.check import reload_line
from mailsyncd.commands.columns import Column, Room, Row, laid_out, wrapped
from mailsyncd.commands.tables import printable

BLOCKS, LETTERS = " ▁▂▃▄▅▆▇█", " .:-=+*#@"
FAILURES, ACCOUNTS = 5, 5  # of those set aside, and of those who sign in, that are shown
LOW, LEAST = 40, 2  # lines: in a terminal with fewer, so many sign-ins, and of what was set aside the number
SOON = 14 * 86_400.0  # seconds before its end that a sign-in is worth a line
AGED = 110  # columns from which the ages of a backlog are shown

_COLOURS = {
    **dict.fromkeys(("healthy", "watching", "writing", "good"), "green"),
    **dict.fromkeys(("degraded", "retrying", "throttled", "connecting"), "yellow"),
    **dict.fromkeys(("failing", "blocked", "needs_sign_in", "full", "stopped"), "bold red"),
}
_RANKS = {"bold red": 0, "yellow": 1, "": 2, "green": 3}

Told = Mapping[str, Any]


def view(status: Told, now: float, *, rows: int | None, width: int, plain: bool) -> RenderableType:
    """`rows` and `width` of the terminal, rows None for as many as it takes; `plain`: without block
    elements."""
    room = Room(width, scarce=rows is not None)
    low = rows is not None and rows < LOW
    aside = status.get("set_aside", ())
    above = [*_head(status, room, low=low), *([_number_aside(status)] if aside and low else ()), Text()]
    below = [Text(), *_destinations(status.get("writers", ()), room)]
    if accounts := status.get("accounts", ()):
        most = None if rows is None else LEAST if low else ACCOUNTS
        below += [Text(), *_accounts(accounts, now, room, most)]
    if aside and not low:
        below += [Text(), *_set_aside(aside, now, room)]
    left = None if rows is None else max(rows // 3, rows - len(above) - len(below) - 1)
    lines = [*above, *_routes(status.get("routes", ()), room, BLOCKS if not plain else LETTERS, left), *below]
    for line in lines if plain else ():
        line.plain = line.plain.replace("…", "~")
    return Group(*lines[:rows])


def _head(status: Told, room: Room, *, low: bool) -> list[Text]:
    health = str(status.get("health"))
    head = Text(health, f"bold {_colour(health)}", no_wrap=True, overflow="ellipsis")
    head.append(
        f"  mailsyncd {status.get('version')}, up {age(status.get('uptime'))}, run {status.get('run_id')}"
    )
    lines = [head]
    reload = status.get("reload", {})
    if (line := reload_line(reload)) and not (low and reload.get("outcome") == "applied"):
        lines += [Text(one, "dim") for one in wrapped(f"last reload: {line}", room.width, room)]
    if status.get("state_away"):
        lines.append(Text("the state store is away: nothing is copied", "bold red"))
    return lines


# ---------------------------------------------------------------------- tables

_ROUTE = (
    Column("ROUTE"),
    Column("STATE"),
    Column("LAST MESSAGE", right=True, wide=80),
    Column("TOOK", right=True, wide=AGED),
    Column("LAG", right=True),
    Column("BACKLOG", right=True),
    Column("BY AGE", wide=AGED),
    Column("COPIED", right=True, wide=90),
    Column("SET ASIDE", right=True, wide=90),
)


def _routes(found: Sequence[Told], room: Room, blocks: str, most: int | None) -> list[Text]:
    """In `most` lines below the heading, if it has to be."""
    routes = sorted(found, key=lambda one: (_RANKS[_colour(one.get("state"))], one.get("name")))
    heading, *rows = laid_out(_ROUTE, [_route(one, blocks) for one in routes], room)
    legend = room.width >= AGED and any(one.get("unsettled") for one in routes)
    explained = [Text("backlog by age: up to 1 minute, 5 minutes, 1 hour, 1 day, and older", "dim")]
    after = explained if legend else []
    lines, shown = list(heading), 0
    left = None if most is None else most - len(after)
    for row in rows:
        more = 0 if shown + 1 == len(rows) else 1
        if left is not None and shown and len(lines) - 1 + len(row) + more > left:
            break
        lines += row
        shown += 1
    if shown < len(rows):
        lines.append(Text(f"and {len(rows) - shown:,} more", "dim"))
    return lines + after


def _route(one: Told, blocks: str) -> Row:
    waiting, colour = one.get("unsettled") or 0, _colour(one.get("state"))
    cells = (
        _plain(one.get("name")),
        _state(one.get("state")),
        _plain(_ago(one.get("copied_age"))),
        _plain(_took(one.get("copied_in"))),
        _plain(age(one.get("oldest_age"))),
        Text(f"{waiting:,}", "yellow" if waiting else "dim"),
        Text(bars(one.get("ages") or (), blocks), "cyan"),
        _plain(f"{one.get('copied') or 0:,}"),
        _count(one.get("set_aside")),
    )
    return Row(cells, _detail(one), colour if colour != "green" else "dim")


_DESTINATION = (
    Column("DESTINATION"),
    Column("STATE"),
    Column("IN FLIGHT", right=True, wide=70),
    Column("QUEUED", right=True),
    Column("SETTLING", right=True, wide=70),
    Column("PAUSE", right=True),
    Column("LEASE", wide=100),
)


def _destinations(writers: Sequence[Told], room: Room) -> list[Text]:
    rows = []
    for one in writers:
        pause = one.get("pause") or 0.0
        host, *rest = str(one.get("holder") or "").split("/")
        owner = f"{host}, process {rest[2]}" if len(rest) == 4 else host or "nobody known"
        lease = owner if one.get("epoch") is None else f"here, term {one['epoch']} ({owner})"
        cells = (
            _plain(one.get("name")),
            _state(one.get("state")),
            *(_plain(f"{one.get(key) or 0:,}") for key in ("in_flight", "queued", "settling")),
            Text(age(pause) if pause >= 1 else "-", "yellow" if pause >= 1 else ""),
            _plain(lease),
        )
        rows.append(Row(cells, one.get("detail") or "", _colour(one.get("state"))))
    return _flat(laid_out(_DESTINATION, rows, room))


_ACCOUNT = (
    Column("SIGN-IN"),
    Column("STATE"),
    Column("TOKEN", right=True, wide=70),
    Column("GOOD FOR", right=True),
)


def _accounts(accounts: Sequence[Told], now: float, room: Room, most: int | None) -> list[Text]:
    """Those that need somebody first; where lines are scarce, the others are only counted."""

    def is_well(one: Told) -> bool:
        ends = one.get("ends_at")
        return one.get("state") in ("good", "unused") and (ends is None or ends - now > SOON)

    found = sorted(
        accounts, key=lambda one: (_RANKS[_colour(one.get("state"))], is_well(one), one.get("name"))
    )
    shown = found if most is None else [one for one in found if not is_well(one)][:most]
    if most is not None and not shown:
        return [Text(f"SIGN-INS  all {len(found):,} are good", "dim")]
    lines = _flat(laid_out(_ACCOUNT, [_account(one, now) for one in shown], room))
    if len(shown) < len(found) and most != LEAST:
        lines.append(Text(f"and {len(found) - len(shown):,} more", "dim"))
    return lines


def _account(one: Told, now: float) -> Row:
    ends, needs = one.get("ends_at"), one.get("state") == "needs_sign_in"
    detail, command = str(one.get("detail") or ""), str(one.get("command") or "")
    if needs and command and not detail.endswith(command):
        detail = f"{detail}  run: {command}"
    cells = (
        _plain(one.get("name")),
        _state(one.get("state")),
        _plain(age(one.get("access_ends_in"))),
        _plain("-" if ends is None else age(max(0.0, ends - now))),
    )
    return Row(cells, detail or str(one.get("ends_why") or ""), _colour(one.get("state")) if needs else "dim")


_ASIDE = (
    Column("SET ASIDE"),
    Column("WHEN", right=True, wide=70),
    Column("KIND"),
    Column("NEXT TRY", right=True, wide=70),
    Column("ID"),
)


def _number_aside(status: Told) -> Text:
    number = sum(one.get("set_aside") or 0 for one in status.get("routes", ()))
    text = Text(no_wrap=True, overflow="ellipsis").append(f"{number:,} set aside", "red")
    return text.append(": mailsyncd failures list", "dim")


def _set_aside(found: Sequence[Told], now: float, room: Room) -> list[Text]:
    rows = []
    for one in reversed(found[-FAILURES:]):
        next_at = one.get("next_attempt_at")
        cells = (
            _plain(one.get("route")),
            _plain(_ago(max(0.0, now - one["at"]))),
            Text(printable(str(one.get("kind"))), "red"),
            _plain("by hand" if next_at is None else f"in {age(max(0.0, next_at - now))}"),
            _plain(f"{one.get('uidvalidity')}-{one.get('uid')}"),
        )
        rows.append(Row(cells, str(one.get("error") or "")))
    return _flat(laid_out(_ASIDE, rows, room))


def _flat(lines: Sequence[Sequence[Text]]) -> list[Text]:
    return [one for row in lines for one in row]


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


def _detail(route: Told) -> str:
    """Without the account before it, which stands above it."""
    detail, pause = str(route.get("detail") or ""), route.get("pause") or 0.0
    account = str(route.get("name")).partition(" > ")[0]
    detail = detail.removeprefix(f"{account}: ")
    return f"{detail} (again in {age(pause)})" if detail and pause >= 1 else detail


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
