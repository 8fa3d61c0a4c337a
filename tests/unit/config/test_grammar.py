"""Durations, sizes and days as people write them."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as some

from mailsyncd.config import grammar

UNITS = {"d": 86_400, "h": 3600, "m": 60, "s": 1}


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("5m", 300),
        ("90s", 90),
        ("1h30m", 5400),
        ("1h 30m", 5400),
        (" 24h ", 86_400),
        ("1.5h", 5400),
        ("250ms", 0.25),
        ("2w", 1_209_600),
        ("5M", 300),
        ("7", 7),
        (7, 7),
        (0.5, 0.5),
        ("0", 0),
    ],
)
def test_a_duration_is_read(text: object, seconds: float) -> None:
    assert grammar.duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "m",
        "5 apples",
        "-5m",
        -5,
        "5m3",
        "1,5h",
        "soon",
        True,
        None,
        [],
        "inf",
        10**400,
        "9" * 400,
        "٥m",
        "5m\n6x",
        float("nan"),
    ],
)
def test_what_is_no_duration_is_refused_with_an_example(text: object) -> None:
    with pytest.raises(ValueError, match="is not a duration; write"):
        grammar.duration(text)


@pytest.mark.parametrize(
    ("text", "octets"),
    [
        ("35MB", 35_000_000),
        ("64MiB", 67_108_864),
        ("64 mib", 67_108_864),
        ("1kB", 1000),
        ("1.5GiB", 1_610_612_736),
        ("100", 100),
        ("100B", 100),
        (100, 100),
    ],
)
def test_a_size_is_read(text: object, octets: int) -> None:
    assert grammar.size(text) == octets


@pytest.mark.parametrize(
    "text", ["", "MB", "35M", "35 potatoes", "-1", -1, 1.5, True, None, {}, "9" * 400, "1e3"]
)
def test_what_is_no_size_is_refused_with_an_example(text: object) -> None:
    with pytest.raises(ValueError, match="is not a size; write"):
        grammar.size(text)


@given(
    some.lists(some.tuples(some.integers(0, 999), some.sampled_from(sorted(UNITS))), min_size=1, max_size=5)
)
def test_the_parts_of_a_duration_add_up(parts: list[tuple[int, str]]) -> None:
    text = "".join(f"{number}{unit}" for number, unit in parts)
    assert grammar.duration(text) == sum(number * UNITS[unit] for number, unit in parts)


@given(some.integers(0, 10**9))
def test_a_duration_survives_being_written_out_and_read_again(seconds: int) -> None:
    assert grammar.duration(grammar.readable_duration(seconds)) == seconds


@given(some.integers(0, 2**40))
def test_a_size_survives_being_written_out_and_read_again(octets: int) -> None:
    assert grammar.size(grammar.readable_size(octets)) == octets


@given(some.text() | some.integers() | some.floats() | some.booleans() | some.none())
def test_whatever_is_given_is_a_number_of_its_kind_or_refused(value: object) -> None:
    for parse in (grammar.duration, grammar.size):
        said = ""
        try:
            assert parse(value) >= 0
        except ValueError as error:
            said = str(error)
        assert said == "" or "; write" in said
        assert "\n" not in said


@pytest.mark.parametrize(
    ("value", "start"),
    [
        ("now", "now"),
        ("all", "all"),
        ("2026-01-31", date(2026, 1, 31)),
        (date(2026, 1, 31), date(2026, 1, 31)),
        (datetime(2026, 1, 31, 12, tzinfo=UTC), date(2026, 1, 31)),
        (datetime(2026, 1, 31, 1, tzinfo=timezone(timedelta(hours=2))), date(2026, 1, 30)),
    ],
)
def test_a_start_is_a_word_or_a_day_in_utc(value: object, start: object) -> None:
    assert grammar.start(value) == start


@pytest.mark.parametrize("value", ["NOW!", "31.1.2026", "2026-02-30", 5, None, [], ""])
def test_what_is_no_start_is_refused_with_an_example(value: object) -> None:
    with pytest.raises(ValueError, match="is not a start; write"):
        grammar.start(value)
