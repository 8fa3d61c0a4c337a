"""`mailsyncd reload`: has the running daemon read its configuration again, and says what came of it;
`mailsyncd config diff`: says beforehand what would."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TextIO

from mailsyncd.assemble import footprint
from mailsyncd.commands.load import load
from mailsyncd.commands.tables import printable
from mailsyncd.config.changes import Differences, Footprint, Kind, differences
from mailsyncd.observe.ask import NoAnswer, ask
from mailsyncd.observe.control import ANSWER_DEADLINE, plain
from mailsyncd.status import ReloadOutcome

LOOK_DEADLINE = 10.0  # seconds
NOT_RUNNING = 3
NEEDS_RESTART = 1
_STATUSES = {ReloadOutcome.APPLIED: 0, ReloadOutcome.REFUSED: 78, ReloadOutcome.UNAVAILABLE: 75}


def reload(socket_path: Path, *, as_json: bool, out: TextIO, err: TextIO) -> int:
    """0: applied; 75: a secret could not be had; 78: refused; 3: no daemon runs."""
    try:
        answer = ask(socket_path, ANSWER_DEADLINE, "reload", has="outcome")
        status = _STATUSES[ReloadOutcome(answer["outcome"])]
    except (NoAnswer, ValueError, KeyError) as failure:
        print(f"mailsyncd: {failure}", file=err)
        return NOT_RUNNING
    if as_json:
        print(json.dumps(answer), file=out)
    elif status == 0:
        print(printable(f"reloaded: {answer.get('changes')}"), file=out)
    else:
        reason = f"{answer['outcome']}, the old configuration stays in force: {answer.get('reason')}"
        print(printable(f"mailsyncd: {reason}"), file=err)
    return status


async def diff(
    path: Path | None,
    environ: Mapping[str, str],
    socket_path: Path,
    streams: tuple[TextIO, TextIO],
    as_json: bool,
) -> int:
    """0: a reload would take it; 1: it would refuse, for a restart is needed; 3: no daemon runs. Raises
    ConfigError and SecretsUnavailable as a reload would refuse for."""
    out, err = streams
    configuration = await load(path, environ)
    try:
        answer = ask(socket_path, LOOK_DEADLINE, "running", has="footprint")
        running = Footprint(**answer["footprint"])
        found = differences(running, footprint(configuration, bytes.fromhex(answer["salt"])))
    except (NoAnswer, TypeError, ValueError, KeyError) as failure:
        print(f"mailsyncd: {failure}", file=err)
        return NOT_RUNNING
    if as_json:
        print(json.dumps(plain(found)), file=out)
    else:
        for line in _lines(found):
            print(printable(line), file=out)
    return NEEDS_RESTART if found.restart else 0


def _lines(found: Differences) -> Iterator[str]:
    if not found:
        yield "nothing would change"
    yield from _kind(found.destinations, "destination")
    yield from _kind(found.routes, "route")
    for key in found.process:
        yield f"~ {_change(*key)}"
    for key in found.restart:
        yield f"! {_change(*key)}: needs a restart, a reload would be refused"
    if found and not found.restart:
        yield f"= {found.routes.untouched} routes, {found.destinations.untouched} destinations untouched"


def _kind(kind: Kind, noun: str) -> Iterator[str]:
    yield from (f"+ {noun} {name}" for name in kind.added)
    yield from (f"- {noun} {name}" for name in kind.removed)
    for one in kind.changed:
        yield f"~ {noun} {one.name}: {'; '.join(_change(*key) for key in one.keys)}"


def _change(key: str, old: Any, new: Any) -> str:
    if isinstance(old, dict) or isinstance(new, dict):  # a secret's mark
        return key
    return f"{key} {json.dumps(old, ensure_ascii=False)} -> {json.dumps(new, ensure_ascii=False)}"
