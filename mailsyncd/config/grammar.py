"""Durations, sizes and days as people write them: "5m", "1h30m", "35MB", "64MiB", "2026-01-31"."""

from __future__ import annotations

import math
import re
from datetime import UTC, date, datetime

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0, "w": 604_800.0}
_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|s|m|h|d|w)\s*", re.IGNORECASE | re.ASCII)
_SIZES = {
    "": 1,
    "b": 1,
    "kb": 10**3,
    "mb": 10**6,
    "gb": 10**9,
    "kib": 2**10,
    "mib": 2**20,
    "gib": 2**30,
}
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([kmg]?i?b?)", re.IGNORECASE | re.ASCII)
_NUMBER = re.compile(r"\d+(\.\d+)?", re.ASCII)


def duration(value: object) -> float:
    """Seconds. Raises ValueError with what would be right."""
    wrong = f'{shown(value)} is not a duration; write "90s", "5m", "1h30m", or a number of seconds'
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise ValueError(wrong)
    if isinstance(value, int | float):
        return _finite(value, wrong)
    text = value.strip()
    if _NUMBER.fullmatch(text):
        return _finite(text, wrong)
    parts = _DURATION.findall(text)
    if not parts or _DURATION.sub("", text):
        raise ValueError(wrong)
    return _finite(math.fsum(float(number) * _UNITS[unit.lower()] for number, unit in parts), wrong)


def _finite(value: float | str, wrong: str) -> float:
    try:
        number = float(value)
    except OverflowError:
        raise ValueError(wrong) from None
    if not 0 <= number < math.inf:
        raise ValueError(wrong)
    return number


def size(value: object) -> int:
    """Bytes. Raises ValueError with what would be right."""
    wrong = f'{shown(value)} is not a size; write "35MB", "64MiB", or a number of bytes'
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value
    match = _SIZE.fullmatch(value.strip()) if isinstance(value, str) else None
    if not match or match[2].lower() not in _SIZES:
        raise ValueError(wrong)
    return int(_finite(float(match[1]) * _SIZES[match[2].lower()], wrong))


def start(value: object) -> str | date:
    """ "now", "all", or a day (UTC). Raises ValueError with what would be right."""
    try:
        if isinstance(value, datetime):
            return (value.astimezone(UTC) if value.tzinfo else value).date()
        if isinstance(value, date):
            return value
        if isinstance(value, str):
            return value if value in ("now", "all") else date.fromisoformat(value)
    except (ValueError, OverflowError):  # a zone can take the first or last day out of the calendar
        pass
    raise ValueError(f'{shown(value)} is not a start; write "now", "all", or a date like 2026-01-31')


def shown(value: object) -> str:
    """A value for an error message: on one line, and not too long. Never give it a secret."""
    if isinstance(value, str | int | float | date):
        try:
            text = repr(str(value))
        except ValueError:  # an integer of more digits than Python writes out
            return "a number that long"
        return text if len(text) <= 60 else text[:57] + "...'"
    return "this"


def readable_duration(seconds: int) -> str:
    """The shortest way to write it."""
    for unit, factor in (("d", 86_400), ("h", 3600), ("m", 60)):
        if seconds and seconds % factor == 0:
            return f"{seconds // factor}{unit}"
    return f"{seconds}s"


def readable_size(octets: int) -> str:
    """The shortest way to write it."""
    for unit in ("gib", "mib", "kib", "gb", "mb", "kb"):
        if octets and octets % _SIZES[unit] == 0:
            name = unit[0].upper() + unit[1:-1] + "B" if "i" in unit else unit.upper()
            return f"{octets // _SIZES[unit]}{name}"
    return str(octets)
