"""Where settings come from: the file below, the environment above it.

The environment has two sets of names: MAILSYNCD_<SECTION>__<KEY> for every plain key, and the
names that earlier deployments used.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

PREFIX = "MAILSYNCD_"
SECTIONS = ("daemon", "state", "outlook")

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


class BadEnvironment(ValueError):
    """A variable that can't be understood at all: its name, and a sentence."""

    def __init__(self, name: str, what: str) -> None:
        self.name = name
        super().__init__(what)


def from_environment(environ: Mapping[str, str], *, has_several: bool) -> tuple[Tree, dict[str, str]]:
    """The settings that the environment gives, and for each dotted key the variable's name.

    `has_several`: the file has [[destinations]], so that the legacy names for the one
    destination are left aside. Raises BadEnvironment.
    """
    tree: Tree = {}
    names: dict[str, str] = {}

    def put(section: str, key: str, value: object, name: str) -> None:
        tree.setdefault(section, {})[key] = value
        names[f"{section}.{key}"] = name

    for name, (section, key) in LEGACY.items():
        if environ.get(name) and not (section == "outlook" and has_several):
            put(section, key, environ[name], name)
    for name, value in sorted(environ.items()):
        section, _, key = name.removeprefix(PREFIX).partition("__")
        if name.startswith(PREFIX) and key and section.lower() in SECTIONS:
            put(section.lower(), key.lower(), value, name)
    if environ.get(ROUTES):
        tree["routes"] = _routes(environ[ROUTES])
        names["routes"] = ROUTES
    return tree, names


def _routes(text: str) -> list[Tree]:
    try:
        given = json.loads(text)
    except ValueError as error:
        where = (
            f" (line {error.lineno}, column {error.colno})" if isinstance(error, json.JSONDecodeError) else ""
        )
        raise BadEnvironment(ROUTES, f"is not JSON{where}; write an array of objects") from None
    if not isinstance(given, list) or not all(isinstance(one, dict) for one in given):
        raise BadEnvironment(ROUTES, "is not an array of objects")
    return [{ROUTE_KEYS.get(key.lower(), key.lower()): value for key, value in one.items()} for one in given]
