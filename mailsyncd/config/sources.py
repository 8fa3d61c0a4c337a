"""Where settings come from: the file below, the environment above it.

The environment has two sets of names: MAILSYNCD_<SECTION>__<KEY> for every plain key, and the
names that earlier deployments used. A variable that is empty counts as not set.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any

PREFIX = "MAILSYNCD_"
SECTIONS = ("daemon", "state", "http", "notify", "outlook")

# Name -> (section, key). Documented in docs/configuration.md; a test compares.
LEGACY = {
    "SYNC_INTERVAL_SECONDS": ("daemon", "sweep_interval"),
    "LOG_LEVEL": ("daemon", "log_level"),
    "AWS_REGION": ("state", "region"),
    "DYNAMODB_TABLE": ("state", "table"),
    "DYNAMODB_ENDPOINT_URL": ("state", "endpoint_url"),
    "OUTLOOK_EMAIL": ("outlook", "email"),
    "MS_CLIENT_ID": ("outlook", "client_id"),
    "MS_CLIENT_SECRET": ("outlook", "client_secret"),
    "MS_TENANT": ("outlook", "tenant"),
    "MS_REFRESH_TOKEN": ("outlook", "refresh_token"),
}
ROUTES = "SYNC_ROUTES_JSON"
ROUTE_KEYS = {
    "gmail_email": "gmail",
    "gmail_client_id": "client_id",
    "gmail_client_secret": "client_secret",
    "gmail_refresh_token": "refresh_token",
    "outlook_target_folder": "folder",
}

Tree = dict[str, Any]

DEEPEST = 16  # levels; the settings have four


@dataclass(slots=True)
class Environment:
    """What the variables say: a tree like the file's, and for each dotted key the variable's name.

    `implied` is what they say between the lines; the file may contradict it. `wrong` has the
    variables that can't be understood: name and sentence.
    """

    tree: Tree = field(default_factory=dict)
    names: dict[str, str] = field(default_factory=dict)
    implied: Tree = field(default_factory=dict)
    wrong: list[tuple[str, str]] = field(default_factory=list)

    def put(self, section: str, key: str, value: object, name: str) -> None:
        self.tree.setdefault(section, {})[key] = value
        self.names[f"{section}.{key}"] = name


def from_environment(environ: Mapping[str, str], *, has_several: bool) -> Environment:
    """The settings that the environment gives.

    `has_several`: the file has [[destinations]], so that the legacy names for the one
    destination are left aside.
    """
    found = Environment()
    for name, (section, key) in LEGACY.items():
        if environ.get(name) and not (section == "outlook" and has_several):
            found.put(section, key, environ[name], name)
    if environ.get("DYNAMODB_TABLE"):
        found.implied = {"state": {"backend": "dynamodb"}}
    for name, value in sorted(environ.items()):
        # One without "__" is none of ours: container platforms set MAILSYNCD_PORT and the like.
        section, separator, key = name.removeprefix(PREFIX).partition("__")
        if not name.startswith(PREFIX) or not separator or not value:
            continue
        if section.lower() in SECTIONS:
            found.put(section.lower(), key.lower(), value, name)
        else:
            found.wrong.append((name, _no_such_section(section, key)))
    if environ.get(ROUTES):
        _put_routes(found, environ[ROUTES])
    return found


def region(environ: Mapping[str, str], file: Tree) -> str | None:
    """Of AWS, as far as it can be told before all is merged; None leaves it to the SDK."""
    state = file.get("state")
    of_file = state.get("region") if isinstance(state, dict) else None
    names = (f"{PREFIX}STATE__REGION", "AWS_REGION")
    found = [*(environ.get(name) for name in names), of_file, environ.get("AWS_DEFAULT_REGION")]
    return next((one for one in found if isinstance(one, str) and one), None)


def _no_such_section(section: str, key: str) -> str:
    if section.lower() == "routes":
        return f"routes can't be set one by one; set {ROUTES}, or write them in the file"
    close = get_close_matches(section.lower(), SECTIONS, n=1)
    known = [one.upper() for one in (close or SECTIONS)]
    names = " or ".join(f"{PREFIX}{one}__{key if close else '...'}" for one in known)
    return f"is no known variable; did you mean {names}?"


def _put_routes(found: Environment, text: str) -> None:
    try:
        found.tree["routes"] = [_route(number, one) for number, one in enumerate(_objects(text), 1)]
        found.names["routes"] = ROUTES
    except ValueError as error:
        found.wrong.append((ROUTES, str(error)))


def _objects(text: str) -> list[Tree]:
    """Raises ValueError with a sentence."""
    given = None
    try:
        given = json.loads(text)
    except json.JSONDecodeError as error:
        place = f"line {error.lineno}, column {error.colno}"
        raise ValueError(f"is not JSON ({place}); write an array of objects") from None
    except ValueError:  # Python's limit on the digits of an integer
        raise ValueError("has a number of too many digits") from None
    except RecursionError:
        pass
    if not isinstance(given, list) or not all(isinstance(one, dict) for one in given) or is_too_deep(given):
        raise ValueError('is not an array of objects; write [{"GMAIL_EMAIL": ...}]')
    return given


def _route(number: int, given: Tree) -> Tree:
    """With the keys of [[routes]]. Raises ValueError where one is given under two names."""
    route: Tree = {}
    for name, value in given.items():
        key = ROUTE_KEYS.get(name.lower(), name.lower())
        if key in route:
            raise ValueError(f"gives {key!a} of routes[{number}] twice; write it once")
        route[key] = value
    return route


def is_too_deep(value: object) -> bool:
    """Deeper than any setting can be. What is not may be looked at by recursion."""
    level = [value]
    for _ in range(DEEPEST):
        level = [inner for one in level for inner in _inside(one)]
    return bool(level)


def _inside(value: object) -> Iterable[object]:
    if isinstance(value, dict):
        return value.values()
    return value if isinstance(value, list) else ()
