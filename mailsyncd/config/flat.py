"""Frozen values as pairs of key and plain value, the keys named as in the file: for showing them, and for
comparing them without their secrets."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import fields, is_dataclass
from enum import Enum
from pathlib import Path
from typing import Any

from mailsyncd.account import Account, Secret
from mailsyncd.model import Start

# The values group what the file has side by side, and call some of it by another name.
_IN_FILE = {
    "user": "username",
    "kind": "auth",
    "in_testing": "app_in_testing",
    "ca_mark": "ca_file (its contents)",
}


def flat(value: Any, hide: Callable[[Secret], Any], *, compare: bool = False) -> Iterator[tuple[str, Any]]:
    """`hide` makes of a secret what may be shown of it; to `compare` takes more than the file has."""
    for one in fields(value):
        follows = one.metadata.get("found") or (one.metadata.get("compared") and not compare)
        if not one.init or follows:
            continue
        inner = getattr(value, one.name)
        if isinstance(value, Account) and value.home.is_followed and one.name == "refresh_token":
            inner = Secret(str(value.home))  # what stands there may be another every hour
        if is_dataclass(inner) and not isinstance(inner, Start):
            yield from flat(inner, hide, compare=compare)
        else:
            yield _IN_FILE.get(one.name, one.name), _plain(inner, hide)


def _plain(value: Any, hide: Callable[[Secret], Any]) -> Any:
    match value:
        case Secret():
            return hide(value)
        case Enum():
            return value.value
        case Path():
            return str(value)
        case tuple():
            return [_plain(one, hide) for one in value]
        case Start():
            return str(value.day) if value.day else value.kind.value
        case float() if value.is_integer():
            return int(value)
    return None if value == "" else value
