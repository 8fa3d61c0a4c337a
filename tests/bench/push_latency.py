"""Push latency: from EXISTS at an idling route to DONE, on two real Dovecots with SQLite state.

`make bench` prints the percentiles of 200 messages, one after the other.
"""

from __future__ import annotations

import statistics
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "integration"))
from bed import Bed, Route
from conftest import bed as bed  # type: ignore[attr-defined]

from mailsyncd.sim.corpus import corpus

COUNT = 200

pytestmark = [pytest.mark.bench, pytest.mark.timeout(600)]


async def test_push_latency(bed: Bed) -> None:
    bed.configure(Route("src1", "Gmail/src1"))
    with bed.daemon() as daemon:
        daemon.await_event("route.connected")
        for number, mail in enumerate(corpus(1, COUNT), 1):
            bed.deliver("src1", [mail])
            daemon.await_event("message.copied", number)
        assert daemon.stop() == 0
    delays = [float(str(row["ms_since_seen"])) for row in daemon.events("message.copied")]
    assert len(delays) == COUNT
    percentiles = statistics.quantiles(delays, n=100)
    print(f"\nEXISTS to DONE, {COUNT} messages, ms: median {percentiles[49]:.1f}, p99 {percentiles[98]:.1f}")
