"""What of a status may be shown to whoever may look at the page."""

from __future__ import annotations

from typing import Any

from mailsyncd.meter import HOUR, SLOT, Meter
from mailsyncd.observe.control import as_json
from mailsyncd.observe.shown import shown
from mailsyncd.status import DaemonStatus


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
