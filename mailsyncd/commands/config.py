"""`mailsyncd config check` and `config show`."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from enum import Enum
from pathlib import Path
from typing import Any, TextIO

from mailsyncd.config.load import load
from mailsyncd.config.values import Backend, Configuration
from mailsyncd.model import Secret, Start


def check(path: Path | None, environ: Mapping[str, str], out: TextIO) -> int:
    """0, with a line that sums it up. Raises ConfigError with every mistake."""
    configuration = load(path, environ).configuration
    routes, destinations = len(configuration.routes), len(configuration.destinations)
    state = configuration.state
    where = f"sqlite at {state.path}" if state.backend is Backend.SQLITE else f"dynamodb table {state.table}"
    print(
        f"{path or 'the environment'} is good: {_plural(routes, 'route')}, "
        f"{_plural(destinations, 'destination')}, state in {where}",
        file=out,
    )
    return 0


def show(path: Path | None, environ: Mapping[str, str], out: TextIO, *, as_json: bool) -> int:
    """Every setting in force and where it came from; secrets are masked."""
    loaded = load(path, environ)
    rows = [
        (key, value, loaded.origins.get(key) or loaded.origins.get(_in_file(key), "default"))
        for key, value in _flat(loaded.configuration)
    ]
    if as_json:
        print(json.dumps({key: {"value": value, "from": origin} for key, value, origin in rows}), file=out)
        return 0
    width = max(len(key) for key, _, _ in rows)
    for key, value, origin in rows:
        print(f"{key:{width}} = {json.dumps(value, ensure_ascii=False):24} # {origin}", file=out)
    return 0


def _flat(configuration: Configuration) -> Iterator[tuple[str, Any]]:
    """Dotted keys as in the file, with plain values."""
    yield from _values("daemon", configuration.daemon)
    yield from _values("state", configuration.state)
    alone = len(configuration.destinations) == 1
    for number, destination in enumerate(configuration.destinations, 1):
        yield from _values("outlook" if alone else f"destinations[{number}]", destination)
    for number, route in enumerate(configuration.routes, 1):
        yield from _values(f"routes[{number}]", route)


# The values group what the file has side by side, and call some of it by another name.
_GROUPS = {"endpoint", "account", "route"}
_IN_FILE = {"user": "username", "kind": "auth", "outlook": "destination_email"}


def _in_file(key: str) -> str:
    return key.replace(".username", ".email") if ".username" in key else key


def _values(prefix: str, value: Any) -> Iterator[tuple[str, Any]]:
    for one in fields(value):
        inner = getattr(value, one.name)
        if one.name in _GROUPS and is_dataclass(inner):
            yield from _values(prefix, inner)
        else:
            yield f"{prefix}.{_IN_FILE.get(one.name, one.name)}", _plain(inner)


def _plain(value: Any) -> Any:
    match value:
        case Secret():
            return "***"
        case Enum():
            return value.value
        case Path():
            return str(value)
        case Start():
            return str(value.day) if value.day else value.kind.value
    return value


def _plural(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
