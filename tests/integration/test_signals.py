"""Signals in the middle of things: an end in good order, an end at once, and reloads that disturb nobody."""

from __future__ import annotations

import json
import signal
import time
from dataclasses import replace

import pytest
from bed import Bed, Daemon, Route, until
from corpus import varied
from mailboxes import SAME, Comparison
from wire import wire_to

pytestmark = pytest.mark.real
ANN = Route("src1", "Gmail/src1")
BOB = Route("src2", "Gmail/src2")
QUICK = 'settle_window = "1s"\ndrain_timeout = "2s"'
AT_ONCE = 2.0  # seconds
IN_TIME = 15.0  # seconds: the drain time, and what closing two silent connections takes


def pending(bed: Bed) -> int:
    shown = bed.cli("state", "show", "--config", "config.toml", "--json")
    return int(json.loads(shown.stdout)["routes"][0]["pending"])


def same(bed: Bed) -> bool:
    return Comparison.of(bed.sent("src1"), bed.copies("Gmail/src1")) == SAME


def hang_up(daemon: Daemon) -> None:
    daemon.process.send_signal(signal.SIGHUP)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_in_mid_copy_finishes_what_is_in_flight_and_leaves_nothing_in_doubt(
    bed: Bed, number: signal.Signals
) -> None:
    bed.deliver("src1", varied(1, 200))
    bed.configure(ANN)
    with bed.daemon() as daemon:
        until(lambda: bed.count("Gmail/src1") >= 30)
        asked = time.monotonic()
        assert daemon.stop(number) == 0
        assert time.monotonic() - asked < IN_TIME
    assert bed.count("Gmail/src1") < 200
    assert pending(bed) == 0
    bed.once()
    assert same(bed)


def test_a_silent_destination_can_not_hold_up_the_end(bed: Bed) -> None:
    bed.deliver("src1", varied(2, 100))
    with wire_to(bed.destination.tls_port) as wire:
        replace(bed, destination=replace(bed.destination, tls_port=wire.port)).configure(ANN, daemon=QUICK)
        with bed.daemon() as daemon:
            until(lambda: bed.count("Gmail/src1") >= 10)
            wire.stall()
            asked = time.monotonic()
            assert daemon.stop() == 0
            assert time.monotonic() - asked < IN_TIME
        wire.cut()
        wire.flow()
        bed.once()
    assert same(bed)


@pytest.mark.parametrize("silent", ["source", "destination"])
def test_a_server_that_never_greets_can_not_hold_up_the_end(bed: Bed, silent: str) -> None:
    bed.deliver("src1", varied(6, 3))
    with wire_to(getattr(bed, silent).tls_port) as wire:
        wire.stall()
        replace(bed, **{silent: replace(getattr(bed, silent), tls_port=wire.port)}).configure(
            ANN, daemon=QUICK
        )
        with bed.daemon() as daemon:
            daemon.await_event("lease.taken")
            until(lambda: wire.live == 1)
            asked = time.monotonic()
            assert daemon.stop() == 0
            assert time.monotonic() - asked < IN_TIME


def test_a_destination_that_falls_silent_under_recovery_can_not_hold_up_the_end(bed: Bed) -> None:
    bed.deliver("src1", varied(7, 60))
    with wire_to(bed.destination.port) as wire:
        led = replace(bed, destination=replace(bed.destination, tls_port=wire.port))
        led.configure(ANN, daemon=QUICK, tls="false")
        wire.cuts = [60_000]  # in mid-copy
        wire.stall_on = b"UID FETCH"  # which only recovery says to a destination
        with bed.daemon() as daemon:
            daemon.await_event("message.in_doubt")
            until(lambda: len(wire.said) == 2 and b"UID FETCH" in wire.said[1])
            asked = time.monotonic()
            assert daemon.stop() == 0
            assert time.monotonic() - asked < IN_TIME
        wire.stall_on = None
        wire.cut()
        wire.flow()
        bed.once()
    assert same(bed)


def test_a_second_signal_ends_it_at_once_and_the_next_start_clears_up(bed: Bed) -> None:
    bed.deliver("src1", varied(3, 100))
    slow = 'settle_window = "1s"\ndrain_timeout = "60s"'
    with wire_to(bed.destination.tls_port) as wire:
        replace(bed, destination=replace(bed.destination, tls_port=wire.port)).configure(ANN, daemon=slow)
        with bed.daemon() as daemon:
            until(lambda: bed.count("Gmail/src1") >= 10)
            wire.stall()
            daemon.process.send_signal(signal.SIGTERM)
            daemon.await_event("daemon.stopping")
            assert daemon.process.poll() is None
            daemon.process.send_signal(signal.SIGTERM)
            assert daemon.process.wait(AT_ONCE) == 128 + signal.SIGTERM
        wire.cut()
        wire.flow()
        bed.once()
    assert same(bed)


def test_reloads_leave_the_connections_of_unchanged_routes_alone(bed: Bed) -> None:
    with wire_to(bed.source.tls_port) as wire:
        led = replace(bed, source=replace(bed.source, tls_port=wire.port))
        led.configure(ANN)
        with bed.daemon() as daemon:
            daemon.await_event("route.connected")
            for _ in range(50):
                hang_up(daemon)
            daemon.await_event("config.reloaded")
            led.configure(ANN, BOB)
            hang_up(daemon)
            daemon.await_event("route.connected", 2)
            assert (len(wire.said), wire.live) == (2, 2)
            led.configure(ANN)
            hang_up(daemon)
            daemon.await_event("route.removed")
            until(lambda: wire.live == 1)
            bed.deliver("src1", varied(4, 2))
            daemon.await_event("message.copied", 2)
            assert len(wire.said) == 2
            assert daemon.stop() == 0
    assert same(bed)


def test_no_broken_configuration_stops_a_running_daemon(bed: Bed) -> None:
    path = bed.configure(ANN)
    good = path.read_text()
    lines = len(good.splitlines())
    broken = {
        "syntax": (good + "what = is this\n", f"config.toml:{lines + 1}"),
        "unknown key": (good.replace("sweep_interval", "sweep_intervall"), "config.toml:2"),
        "missing secret": (good.replace('"r-src1"', '{ file = "nowhere" }'), "nowhere"),
        "no route": (good.partition("[[routes]]")[0], "routes"),
        "another state": (good.replace("state.db", "other.db"), "restart"),
        "nothing": ("", "outlook"),
    }
    with bed.daemon() as daemon:
        daemon.await_event("route.connected")
        for text, where in broken.values():
            before = len(daemon.events("config.reload_failed"))
            path.write_text(text)
            hang_up(daemon)
            daemon.await_event("config.reload_failed", before + 1)
            assert where in str(daemon.events("config.reload_failed")[before:])
        before = len(daemon.events("config.reload_failed"))
        path.unlink()
        hang_up(daemon)
        daemon.await_event("config.reload_failed", before + 1)
        path.write_text(good)
        told = json.loads(bed.cli("check", "--config", "config.toml", "--json").stdout)
        assert told["reload"]["outcome"] == "refused"
        hang_up(daemon)
        daemon.await_event("config.reloaded")
        bed.deliver("src1", varied(5, 2))
        daemon.await_event("message.copied", 2)
        assert len(daemon.events("route.connected")) == 1
        assert daemon.stop() == 0
    assert same(bed)
