"""`mailsyncd config check` and `config show`."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TextIO

from mailsyncd.commands.load import load
from mailsyncd.config import load as unread
from mailsyncd.config.flat import flat
from mailsyncd.config.values import Backend, Configuration


async def check(path: Path | None, environ: Mapping[str, str], out: TextIO) -> int:
    """0, with a line that sums it up. Raises ConfigError with every mistake."""
    configuration = await load(path, environ)
    routes, destinations = len(configuration.routes), len(configuration.destinations)
    state = configuration.state
    where = f"sqlite at {state.path}" if state.backend is Backend.SQLITE else f"dynamodb table {state.table}"
    _say(
        f"{path or 'the environment'} is good: {_plural(routes, 'route')}, "
        f"{_plural(destinations, 'destination')}, state {where}",
        out,
    )
    return 0


def show(path: Path | None, environ: Mapping[str, str], out: TextIO, *, as_json: bool) -> int:
    """Every setting in force and where it came from; secrets are masked, and not read of AWS."""
    loaded = unread.load(path, environ)
    rows = [
        (key, value, _origin(key, loaded.origins))
        for key, value in _flat(loaded.configuration, loaded.origins)
    ]
    if as_json:
        settings = {key: {"value": value, "from": origin} for key, value, origin in rows}
        print(json.dumps(settings, indent=2), file=out)
        return 0
    _say("# times in seconds, sizes in bytes", out)
    keys = max(len(key) for key, _, _ in rows)
    for key, value, origin in rows:
        shown = "-" if value is None else json.dumps(value, ensure_ascii=False)
        _say(f"{key:{keys}} = {shown:36} # {origin}", out)
    return 0


_NOT_IN_FILE = {
    "routes": {"outlook", "device_url"},
    "outlook": {"app_in_testing"},
    "destinations": {"app_in_testing"},
}

# Where a key is not set, its value follows from one of these.
_FOLLOWS = {
    "username": ("email", "gmail"),
    "token_url": ("tenant",),
    "authorize_url": ("tenant",),
    "device_url": ("tenant",),
}


def _origin(key: str, origins: Mapping[str, str]) -> str:
    section, _, name = key.rpartition(".")
    names = (name, *_FOLLOWS.get(name, ()))
    found = [origins.get(f"{section}.{one}", "default") for one in names]
    return next((origin for origin in found if origin != "default"), "default")


def _flat(configuration: Configuration, origins: Mapping[str, str]) -> Iterator[tuple[str, Any]]:
    """Dotted keys as in the file, with plain values."""
    yield from _values("daemon", configuration.daemon)
    yield from _values("state", configuration.state)
    yield from _values("http", configuration.http)
    yield from _values("notify", configuration.notify)
    for number, destination in enumerate(configuration.destinations, 1):
        alone = "outlook.email" in origins
        yield from _values("outlook" if alone else f"destinations[{number}]", destination)
    for number, route in enumerate(configuration.routes, 1):
        yield from _values(f"routes[{number}]", route)


def _values(prefix: str, value: Any) -> Iterator[tuple[str, Any]]:
    left_out = _NOT_IN_FILE.get(prefix.partition("[")[0], set())
    for key, plain in flat(value, lambda _: "***"):
        if key not in left_out:
            yield f"{prefix}.{key}", plain


def _plural(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _say(line: str, out: TextIO) -> None:
    """A path may have octets, and a folder letters, that the terminal's encoding does not know."""
    encoding = out.encoding or "utf-8"
    print(line.encode(encoding, "backslashreplace").decode(encoding), file=out)
