"""Durations and sizes as people write them: "5m", "1h30m", "35MB", "64MiB"."""

from __future__ import annotations

import re
from datetime import date, datetime

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0, "w": 604_800.0}
_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|s|m|h|d|w)\s*", re.IGNORECASE)
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
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([kmg]?i?b?)", re.IGNORECASE)


def duration(value: object) -> float:
    """Seconds. Raises ValueError with what would be right."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise ValueError('is not a duration; write "90s", "5m", "1h30m", or a number of seconds')
    text = str(value).strip()
    if re.fullmatch(r"\d+(\.\d+)?", text):
        return float(text)
    parts = _DURATION.findall(text)
    if not parts or _DURATION.sub("", text):
        raise ValueError(f'{text!r} is not a duration; write "90s", "5m", "1h30m", or a number of seconds')
    return sum(float(number) * _UNITS[unit.lower()] for number, unit in parts)


def size(value: object) -> int:
    """Bytes. Raises ValueError with what would be right."""
    wrong = 'is not a size; write "35MB", "64MiB", or a number of bytes'
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise ValueError(wrong)
    match = _SIZE.fullmatch(str(value).strip())
    if not match or match[2].lower() not in _SIZES:
        raise ValueError(f"{str(value)!r} {wrong}")
    return int(float(match[1]) * _SIZES[match[2].lower()])


def start(value: object) -> str | date:
    """ "now", "all", or a day. Raises ValueError with what would be right."""
    if isinstance(value, datetime):
        return value.date()
    if isinstance(value, date):
        return value
    if value in ("now", "all"):
        return str(value)
    try:
        return date.fromisoformat(str(value))
    except ValueError:
        raise ValueError(f'{value!r} is not a start; write "now", "all", or a date like 2026-01-31') from None


def readable_duration(seconds: float) -> str:
    """The shortest way to write it."""
    for unit, factor in (("d", 86_400), ("h", 3600), ("m", 60)):
        if seconds >= factor and seconds % factor == 0:
            return f"{seconds / factor:g}{unit}"
    return f"{seconds:g}s"
