"""The daemon's clock goes on while the machine is suspended."""

from __future__ import annotations

import time

from mailsyncd.observe.clock import SystemClock


def test_the_monotonic_clock_counts_the_time_in_which_the_machine_was_suspended() -> None:
    counting = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
    before = time.clock_gettime(counting)
    shown = SystemClock().monotonic()
    assert before <= shown <= time.clock_gettime(counting)
