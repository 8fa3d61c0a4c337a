"""What of a status may be shown to whoever may look at the page: no words of anybody's mail (I9).

Details hold what servers have said, and what a server says of a message may quote it.
"""

from __future__ import annotations

import re
from typing import Any

from mailsyncd.meter import HOUR, SLOT, Meter
from mailsyncd.observe.control import as_json
from mailsyncd.observe.redact import text
from mailsyncd.status import DaemonStatus

HIDDEN = "…"
LONGEST = 400  # characters of a detail
# What a server says when it takes or gives a message; a code in brackets is of RFC 5530, the rest is its own.
_OF_A_MESSAGE = re.compile(
    r"(\((?:APPEND|UID FETCH)\): the server said [A-Z]+(?: \[[A-Z-]+(?:\]|(?= )))?).*", re.S
)
_ADDRESS = re.compile(r"[^\s@<>()\[\]{}\"',:;]+@[^\s@<>()\[\]{}\"',:;]+")


def shown(detail: str, own: frozenset[str]) -> str:
    """A detail without what a server has said of a message, and without strangers' addresses."""

    def address(found: re.Match[str]) -> str:
        return found[0] if found[0].rstrip(".").casefold() in own else HIDDEN

    return _ADDRESS.sub(address, _OF_A_MESSAGE.sub(rf"\1 {HIDDEN}", text(detail)))[:LONGEST]


def page_status(
    status: DaemonStatus, meter: Meter, own: frozenset[str], mono: float, now: float
) -> dict[str, Any]:
    """What `check --json` tells, with the last hour's deliveries: `delays` as lists of seconds ago, delay
    in seconds, by a notification or not, and how many; `flow` of a route by minutes, if there was any."""
    told = as_json(status)
    for part in ("routes", "writers", "accounts"):
        for one in told.get(part, ()):
            one["detail"] = shown(one["detail"], own)
    for one in told["set_aside"]:
        one["error"] = shown(one["error"], own)
    for one in told["routes"]:
        flow = meter.last_hour.flow(one["name"], mono)
        one["flow"] = flow if any(flow) else []
    told["reload"]["reason"] = shown(told["reload"]["reason"], own)
    told["last_hour"] = {"slot": SLOT, "seconds": HOUR, "delays": meter.last_hour.delays(mono)}
    told["now"] = round(now, 3)
    return told
