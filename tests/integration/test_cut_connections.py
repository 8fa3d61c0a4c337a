"""Connections that break in mid-copy, on either side, at odd places: nothing is lost or doubled."""

from __future__ import annotations

import json
from dataclasses import replace
from random import Random

import pytest
from bed import Bed, Route, until
from corpus import varied
from mailboxes import SAME, Comparison
from wire import wire_to

pytestmark = pytest.mark.real
ANN = Route("src1", "Gmail/src1")
QUICK = 'settle_window = "1s"'
CUTS = 3


def pending(bed: Bed) -> int:
    shown = bed.cli("state", "show", "--config", "config.toml", "--json")
    return int(json.loads(shown.stdout)["routes"][0]["pending"])


def settled(bed: Bed, count: int) -> None:
    until(lambda: bed.count("Gmail/src1") >= count)
    until(lambda: pending(bed) == 0)


def test_the_destination_cut_in_the_pipeline(bed: Bed) -> None:
    """The server gets all that was sent and stores it; its answers never arrive."""
    bed.deliver("src1", varied(1, 120))
    rng = Random(1)
    with wire_to(bed.destination.tls_port) as wire:
        replace(bed, destination=replace(bed.destination, tls_port=wire.port)).configure(ANN, daemon=QUICK)
        wire.cuts = [rng.randrange(20_000, 400_000) for _ in range(CUTS)]
        with bed.daemon() as daemon:
            until(lambda: wire.broken == CUTS)
            settled(bed, 120)
            in_doubt = len(daemon.events("message.in_doubt"))
            found = len(daemon.events("recovery.found"))
            assert daemon.stop() == 0
    assert Comparison.of(bed.sent("src1"), bed.copies("Gmail/src1")) == SAME
    assert 0 < found <= in_doubt
    assert bed.once()["copied"] == 0


def test_the_destination_goes_away_with_all_that_is_in_flight(bed: Bed) -> None:
    """Both ends see a reset, at moments that fall as they fall."""
    bed.deliver("src1", varied(3, 120))
    with wire_to(bed.destination.tls_port) as wire:
        replace(bed, destination=replace(bed.destination, tls_port=wire.port)).configure(ANN, daemon=QUICK)
        with bed.daemon() as daemon:
            for stage in (10, 50, 90):
                until(lambda stage=stage: bed.count("Gmail/src1") >= stage)  # type: ignore[misc]
                wire.cut()
            settled(bed, 120)
            assert daemon.stop() == 0
        assert len(wire.said) >= 3
    assert Comparison.of(bed.sent("src1"), bed.copies("Gmail/src1")) == SAME


def test_the_source_cut_while_it_is_read(bed: Bed) -> None:
    bed.deliver("src1", varied(4, 120))
    with wire_to(bed.source.tls_port) as wire:
        replace(bed, source=replace(bed.source, tls_port=wire.port)).configure(ANN, daemon=QUICK)
        with bed.daemon() as daemon:
            for stage in (5, 40, 80):
                until(lambda stage=stage: bed.count("Gmail/src1") >= stage)  # type: ignore[misc]
                wire.cut()
            settled(bed, 120)
            bed.deliver("src1", varied(5, 3))
            settled(bed, 123)
            assert daemon.stop() == 0
        assert len(wire.said) >= 2
    assert Comparison.of(bed.sent("src1"), bed.copies("Gmail/src1")) == SAME


def test_a_line_cut_in_idle_is_noticed_and_what_came_meanwhile_is_fetched(bed: Bed) -> None:
    with wire_to(bed.source.tls_port) as wire:
        replace(bed, source=replace(bed.source, tls_port=wire.port)).configure(ANN)
        with bed.daemon() as daemon:
            daemon.await_event("route.connected")
            wire.dark = True
            wire.cut()
            daemon.await_event("route.retrying")
            bed.deliver("src1", varied(6, 2))
            wire.dark = False
            daemon.await_event("message.copied", 2)
            assert daemon.stop() == 0
    assert Comparison.of(bed.sent("src1"), bed.copies("Gmail/src1")) == SAME
