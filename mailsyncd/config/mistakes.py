"""Every mistake at once: pydantic's findings as sentences, and a way to go on without what is wrong,
so that the rest can be checked as well."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any

from pydantic import ValidationError

from mailsyncd.config import schema
from mailsyncd.config.grammar import shown
from mailsyncd.config.locate import KeyPath
from mailsyncd.config.sources import SECTIONS, Tree

SECRET_KEYS = frozenset({"password", "client_secret", "refresh_token", "service_key", "token"})

# What stands in for a required value that is wrong or missing, while the rest is checked.
_STAND_INS = {"email": "nobody@example.invalid", "gmail": "nobody@example.invalid", "folder": "none"}


@dataclass(slots=True)
class Mistakes:
    """What was found so far: key paths and sentences. Keys in `broken` were left out of what the
    rules see, so no rule may draw conclusions from them. `passing`: what may mend itself."""

    found: list[tuple[KeyPath, str]] = field(default_factory=list)
    passing: list[tuple[KeyPath, str]] = field(default_factory=list)
    broken: set[KeyPath] = field(default_factory=set)

    def break_off(self, path: KeyPath, what: str) -> None:
        """A value that can't be used at all."""
        self.broken.add(path)
        self.found.append((path, what))

    def add(self, path: KeyPath, what: str, *because_of: KeyPath) -> None:
        """What a rule found; left out where it follows from another mistake. `because_of`: other
        keys that the rule looked at."""
        if not any(self.is_broken(one) for one in (path, *because_of)):
            self.found.append((path, what))

    def is_broken(self, path: KeyPath) -> bool:
        return any(path[: len(one)] == one for one in self.broken)


def settle(layers: list[Tree], mistakes: Mistakes) -> schema.Settings | None:
    """The settings without what is wrong in them; None if that is too much to go on."""
    layers = deepcopy(layers)
    _refuse_what_is_no_section(layers, mistakes)
    for _ in range(3):
        try:
            return schema.merge(*layers)
        except ValidationError as error:
            for path, what in _findings(error):
                if not mistakes.is_broken(path):
                    mistakes.break_off(path, what)
        for path in mistakes.broken:
            for layer in layers:
                _leave_out(layer, path)
    return None


def _refuse_what_is_no_section(layers: list[Tree], mistakes: Mistakes) -> None:
    """Before the layers are merged: a section of another layer would hide it."""
    for name in SECTIONS:
        if any(not isinstance(layer.get(name, {}), dict) for layer in layers):
            mistakes.break_off((name,), _no_section(name))
            for layer in layers:
                layer.pop(name, None)


def _leave_out(layer: Any, path: KeyPath) -> None:
    """Take one key out of a tree, or put something harmless there if it can't be missing."""
    *way, last = path
    for part in way:
        if isinstance(layer, dict):
            layer = layer.get(part)
        elif isinstance(layer, list) and isinstance(part, int) and part < len(layer):
            layer = layer[part]
        else:
            return
    if isinstance(layer, dict) and last in _STAND_INS and way:
        layer[last] = _STAND_INS[str(last)]
    elif isinstance(layer, dict):
        layer.pop(last, None)
    elif isinstance(layer, list) and isinstance(last, int) and last < len(layer):
        wanted = schema.SECTIONS[str(way[0])].model_fields
        layer[last] = {key: value for key, value in _STAND_INS.items() if key in wanted}


# ---------------------------------------------------------------- pydantic's findings


def _findings(error: ValidationError) -> Iterator[tuple[KeyPath, str]]:
    for one in error.errors(include_url=False):
        # pydantic appends the names of union members; a key of ours is at most this deep.
        depth = 3 if one["loc"][:1] in (("destinations",), ("routes",)) else 2
        path = one["loc"][:depth]
        yield path, _sentence(path, one["type"], one["msg"], one.get("input"))


def _sentence(path: KeyPath, kind: str, said: str, value: object) -> str:
    if kind == "extra_forbidden":
        return f"is no known key{_did_you_mean(path)}"
    if kind == "missing":
        return "is missing"
    if kind == "value_error":
        return said.removeprefix("Value error, ")
    if kind in ("model_type", "model_attributes_type", "dict_type"):
        return _no_section(str(path[0]) if isinstance(path[-1], str) else f"[{path[0]}]")
    if kind == "tuple_type":
        return f"is not a list of sections; write [[{path[0]}]] with its keys below, once for each"
    said = said.replace("Input should be", "should be").replace("a valid boolean", "true or false")
    said = said.replace("a valid string", "text in quotes").partition(", unable to")[0]
    hidden = path[-1] in SECRET_KEYS or isinstance(value, dict | list)
    return said if hidden else f"{shown(value)} {said}"


def _no_section(name: str) -> str:
    return f"is not a section; write [{name}] with its keys below"


def _did_you_mean(path: KeyPath) -> str:
    section = schema.SECTIONS.get(str(path[0])) if len(path) > 1 else None
    known, key = list((section or schema.Settings).model_fields), str(path[-1]).lower()
    if close := difflib.get_close_matches(key, known, n=1, cutoff=0.7):
        return f"; did you mean {close[0]}?"
    homes = [name for name, other in schema.SECTIONS.items() if key in other.model_fields]
    if homes:
        return f"; it belongs to {' or '.join(f'[{home}]' for home in homes)}"
    return f"; there are: {', '.join(sorted(known))}"
