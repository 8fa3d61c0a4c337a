"""When to connect again: the rules alone."""

from __future__ import annotations

from random import Random

import pytest

from mailsyncd.flow.reconnect import QUICK_DEATHS, RARE, STEADY, Reconnects


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize(
    ("planned", "fruitful"), [(False, False), (True, False), (False, True), (True, True)]
)
def test_after_ten_quick_deaths_logins_are_rare_however_the_sessions_ended(
    seed: int, planned: bool, fruitful: bool
) -> None:
    reconnects = Reconnects(Random(seed))
    waits = [reconnects.after(0.1, planned=planned, fruitful=fruitful) for _ in range(200)]
    assert min(waits[:QUICK_DEATHS]) > 0
    assert min(waits[QUICK_DEATHS - 1 :]) >= RARE
    assert max(waits) <= 300


def test_one_that_lived_for_a_while_clears_the_count() -> None:
    reconnects = Reconnects(Random(1))
    for _ in range(50):
        reconnects.after(0.1)
    assert reconnects.after(STEADY) <= 1.0
    assert reconnects.after(0.1) <= 2.0


def test_a_planned_end_costs_nothing_unless_it_comes_at_once() -> None:
    reconnects = Reconnects(Random(1))
    assert reconnects.after(3000.0, planned=True) == 0
    assert reconnects.after(0.1, planned=True) > 0


def test_one_that_was_of_use_is_made_again_soon() -> None:
    reconnects = Reconnects(Random(1))
    assert all(reconnects.after(5.0, fruitful=True) <= 1.0 for _ in range(QUICK_DEATHS - 1))
