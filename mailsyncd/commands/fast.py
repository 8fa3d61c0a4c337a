"""`mailsyncd check --fast`: the health of the running daemon, for supervisors that ask every few seconds.

It loads next to nothing: no argument parser, no event loop, no log, no settings library. What it does not
understand at once it leaves to the full `check`.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mailsyncd.observe.ask import NoAnswer, ask

ANSWER_DEADLINE = 2.0
NOT_RUNNING = 3
CODES = {"healthy": 0, "degraded": 1, "failing": 2}


def fast_check(arguments: Sequence[str], environ: Mapping[str, str]) -> int | None:
    """The exit status of `check`; None if that has to be found out by the full command."""
    given = _arguments(arguments)
    if given is None:
        return None
    socket = Path(given["--socket"]) if "--socket" in given else _socket(given.get("--config"), environ)
    return None if socket is None else _tell(socket, as_json="--json" in given)


def _tell(socket: Path, *, as_json: bool) -> int:
    try:
        status = ask(socket, ANSWER_DEADLINE)
        code = CODES[str(status["health"])]
    except (NoAnswer, KeyError) as failure:
        if as_json:
            print(json.dumps({"health": "not_running", "detail": str(failure)}))
        else:
            print(failure, file=sys.stderr)
        return NOT_RUNNING
    print(json.dumps(status) if as_json else status["health"])
    return code


def _arguments(arguments: Sequence[str]) -> dict[str, str] | None:
    """By name; None if there is anything out of the ordinary."""
    if "--fast" not in arguments or arguments[:1] != ["check"]:
        return None
    found: dict[str, str] = {}
    rest = iter(arguments[1:])
    for one in rest:
        name, separator, value = one.partition("=")
        if name in ("--fast", "--json") and not separator:
            found[name] = ""
        elif name in ("--socket", "--config") and (value := value if separator else next(rest, "")):
            found[name] = value
        else:
            return None
    return found


# ------------------------------------- where the socket is, as config/translate.py has it


def _socket(config: str | None, environ: Mapping[str, str]) -> Path | None:
    """None where that can't be said without looking at all that the file says."""
    tree = _tree(config)
    if tree is None:
        return None
    variables = {name.upper(): value for name, value in environ.items() if name.startswith("MAILSYNCD_")}
    base = (Path(config).parent if config else Path()).absolute()

    def given(section: str, key: str) -> Path | None:
        keys = tree.get(section)
        text = variables.get(f"MAILSYNCD_{section}__{key}".upper())
        text = text or (keys.get(key) if isinstance(keys, dict) else None)
        if isinstance(text, str) and text.startswith("~/") and environ.get("HOME"):
            return Path(environ["HOME"]) / text[2:]
        return base / text if isinstance(text, str) and text else None

    if socket := given("daemon", "socket"):
        return socket
    runtime = _directory(environ, "RUNTIME_DIRECTORY") or _directory(environ, "XDG_RUNTIME_DIR")
    return (runtime or _state(given("state", "path"), environ)) / "mailsyncd.sock"


def _state(path: Path | None, environ: Mapping[str, str]) -> Path:
    """The directory of the state."""
    if path is not None:
        return path.parent
    if systemd := _directory(environ, "STATE_DIRECTORY"):
        return systemd
    platform = _directory(environ, "XDG_STATE_HOME")
    return (platform or Path(environ.get("HOME") or Path.home()) / ".local/state") / "mailsyncd"


def _directory(environ: Mapping[str, str], name: str) -> Path | None:
    return Path(environ[name].partition(":")[0]) if environ.get(name) else None


def _tree(config: str | None) -> dict[str, Any] | None:
    if config is None:
        return {}
    import tomllib  # which a caller that names the socket has no use for

    try:
        with open(config, "rb") as file:
            return tomllib.loads(file.read().decode("utf-8-sig"))
    except (OSError, ValueError, RecursionError):
        return None
