"""How long a message takes from the source's OK to its place in the destination, with the real daemon
idling over TLS between two Dovecots. Prints one JSON line; fails above the bounds."""

from __future__ import annotations

import json
import statistics
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from dovecot import Dovecot, available, token_endpoint
from mailboxes import Plain

sys.path.insert(0, str(Path(__file__).parents[1] / "integration"))
from bed import Bed, Route, environment

pytestmark = [pytest.mark.bench, pytest.mark.real]
MESSAGES = 50
SIZE = 100_000  # bytes
HALF = 1.0  # seconds within which half of the messages have to be there
NEARLY_ALL = 5.0  # and 99 of 100
LOST = 60.0


@pytest.fixture
def bed() -> Iterator[Bed]:
    if not available():
        pytest.skip("Dovecot 2.3 and openssl are not installed")
    with TemporaryDirectory(prefix="ms-") as temporary:
        here = Path(temporary).resolve()
        for name in ("src", "dst", "home", "work"):
            (here / name).mkdir()
        with (
            Dovecot.run(here / "src", profile="gmail", tls=True) as source,
            Dovecot.run(here / "dst", profile="outlook", tls=True) as destination,
            token_endpoint({"src1": source, "dst": destination}) as tokens,
        ):
            yield Bed(here / "work", source, destination, tokens, environment(here / "home"))


def test_push_latency(bed: Bed) -> None:
    bed.configure(Route("src1", "Gmail/src1", {"start": '"now"'}))
    with (
        bed.daemon() as daemon,
        Plain(bed.source.port, "src1") as source,
        Plain(bed.destination.port, "dst") as destination,
    ):
        daemon.await_event("route.connected")
        destination.command('CREATE "Gmail/src1"')
        took = [_one(source, destination, number) for number in range(1, MESSAGES + 1)]
        assert daemon.stop() == 0
    spread = statistics.quantiles(took, n=100, method="inclusive")
    milliseconds = {"p50": spread[49], "p95": spread[94], "p99": spread[98], "worst": max(took)}
    print(
        json.dumps({"messages": MESSAGES, **{name: round(v * 1000, 1) for name, v in milliseconds.items()}})
    )
    assert spread[49] <= HALF
    assert spread[98] <= NEARLY_ALL


def _one(source: Plain, destination: Plain, number: int) -> float:
    """Deliver one, and look until it is there. The first also pays for the destination's connection."""
    line = b"Latency is measured from here to there, and this line is a part of it.\r\n"
    source.append("INBOX", b"Subject: %d\r\n\r\n" % number + line * (SIZE // len(line)), datetime.now(UTC))
    began = time.monotonic()
    while time.monotonic() - began < LOST:
        ((told, _),) = destination.command('STATUS "Gmail/src1" (MESSAGES)')
        if b"MESSAGES %d)" % number in told:
            return time.monotonic() - began
        time.sleep(0.002)
    raise AssertionError(f"message {number} did not arrive within {LOST:.0f} s")
