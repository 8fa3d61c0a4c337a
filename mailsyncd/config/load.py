"""The way in: a TOML file and an environment become a Configuration, or a list of every mistake."""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from mailsyncd.config import schema
from mailsyncd.config.locate import Path as KeyPath
from mailsyncd.config.locate import line_of, lines_of
from mailsyncd.config.sources import BadEnvironment, Tree, from_environment
from mailsyncd.config.translate import Translator
from mailsyncd.config.values import Configuration
from mailsyncd.errors import ConfigError, Problem

SECRET_KEYS = frozenset({"password", "client_secret", "refresh_token"})
SECTIONS: dict[str, type[BaseModel]] = {
    "daemon": schema.Daemon,
    "state": schema.State,
    "outlook": schema.Destination,
    "destinations": schema.Destination,
    "routes": schema.Route,
}


@dataclass(frozen=True, slots=True)
class Loaded:
    """`origins`: dotted key, such as daemon.sweep_interval or routes[1].folder (the first route is
    1) -> "config.toml:12", "environment OUTLOOK_EMAIL" or "default"."""

    configuration: Configuration
    origins: Mapping[str, str]
    path: Path | None


@dataclass(frozen=True, slots=True)
class _Places:
    """Where each key was set."""

    name: str | None
    lines: dict[KeyPath, int]
    variables: dict[str, str]

    def problem(self, path: KeyPath, what: str) -> Problem:
        key = dotted(path)
        for known in (key, dotted(path[:1])):
            if known in self.variables:
                return Problem(key, what, source=f"environment {self.variables[known]}")
        return Problem(key, what, line_of(self.lines, path), self.name)

    def origin(self, path: KeyPath) -> str:
        key = dotted(path)
        if variable := self.variables.get(key) or self.variables.get(dotted(path[:1])):
            return f"environment {variable}"
        return f"{self.name}:{self.lines[path]}" if path in self.lines else "default"


def load(path: Path | None, environ: Mapping[str, str]) -> Loaded:
    """Read, merge, check, translate. Raises ConfigError with every problem found."""
    text = _read(path)
    name = path.name if path else None
    file = _parse(text, name)
    try:
        variables, names = from_environment(environ, has_several="destinations" in file)
    except BadEnvironment as bad:
        raise ConfigError(Problem(bad.name, str(bad), source="environment")) from None
    places = _Places(name, lines_of(text), names)
    lowest: Tree = {"state": {"backend": "dynamodb"}} if environ.get("DYNAMODB_TABLE") else {}
    try:
        settings = schema.merge(variables, file, lowest)
    except ValidationError as error:
        raise ConfigError(*_problems(error, places)) from None
    translator = Translator(environ, (path.parent if path else Path()).absolute())
    configuration = translator.configuration(settings)
    if translator.wrong:
        raise ConfigError(*(places.problem(where, what) for where, what in translator.wrong))
    return Loaded(configuration, dict(_origins(settings, places)), path)


def _read(path: Path | None) -> str:
    if path is None:
        return ""
    try:
        return path.read_bytes().decode("utf-8")
    except OSError as error:
        raise ConfigError(Problem("", f"can't be read: {error.strerror}", source=str(path))) from error
    except UnicodeDecodeError as error:
        raise ConfigError(Problem("", f"is not UTF-8 (byte {error.start})", source=str(path))) from error


def _parse(text: str, name: str | None) -> Tree:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        # "... (at line 3, column 7)"
        said, _, place = str(error).partition(" (at ")
        number = "".join(c for c in place.partition(",")[0] if c.isdigit())
        line = int(number) if number else text.count("\n") + 1
        raise ConfigError(Problem("", f"is not TOML: {said}", line, name)) from None


def dotted(path: KeyPath) -> str:
    """("routes", 0, "folder") -> routes[1].folder"""
    text = ""
    for part in path:
        text += f"[{part + 1}]" if isinstance(part, int) else f".{part}" if text else part
    return text


# -------------------------------------------------------------------- mistakes


def _problems(error: ValidationError, places: _Places) -> Iterator[Problem]:
    for one in error.errors(include_url=False):
        path = tuple(part for part in one["loc"] if isinstance(part, int) or part.isidentifier())
        path = path[: _depth(path)]
        for key, what in _sayings(path, one):
            yield places.problem((*path, key) if key else path, what)


def _depth(path: KeyPath) -> int:
    """pydantic appends the names of union members; a key of ours is at most this deep."""
    if path[:1] in (("destinations",), ("routes",)):
        return 3
    return 2


def _sayings(path: KeyPath, one: Any) -> Iterator[tuple[str, str]]:
    """(key within the section, or "", sentence)."""
    kind, said, value = one["type"], one["msg"], one.get("input")
    if kind == "extra_forbidden":
        yield "", f"is no known key{_did_you_mean(path)}"
    elif kind == "missing":
        yield "", "is missing"
    elif kind == "value_error":
        for line in said.removeprefix("Value error, ").split("\n"):
            key, colon, what = line.partition(": ")
            is_section = colon and key.isidentifier() and key in _fields(path)
            yield (key, what) if is_section else ("", line)
    else:
        said = said.replace("Input should be", "should be").replace("Input should", "should")
        shown = "" if path[-1] in SECRET_KEYS or isinstance(value, dict | list) else f"{value!r:.60} "
        yield "", f"{shown}{said[0].lower()}{said[1:]}"


def _fields(path: KeyPath) -> list[str]:
    model = SECTIONS.get(str(path[0])) if path else None
    return list(model.model_fields) if model else list(schema.Settings.model_fields)


def _did_you_mean(path: KeyPath) -> str:
    known = _fields(path) if len(path) > 1 else list(schema.Settings.model_fields)
    close = difflib.get_close_matches(str(path[-1]), known, n=1, cutoff=0.6)
    return f"; did you mean {close[0]!r}?" if close else f"; there are: {', '.join(sorted(known))}"


# --------------------------------------------------------------------- origins


def _origins(settings: schema.Settings, places: _Places) -> Iterator[tuple[str, str]]:
    for section in ("daemon", "state", "outlook"):
        if (part := getattr(settings, section)) is not None:
            for key in type(part).model_fields:
                yield f"{section}.{key}", places.origin((section, key))
    for section in ("destinations", "routes"):
        for number, part in enumerate(getattr(settings, section)):
            for key in type(part).model_fields:
                yield f"{section}[{number + 1}].{key}", places.origin((section, number, key))
