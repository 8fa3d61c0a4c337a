"""The way in: a TOML file and an environment become a Configuration, or a list of every mistake."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from mailsyncd.config import rules, schema
from mailsyncd.config.locate import KeyPath, line_of, lines_of
from mailsyncd.config.mistakes import Mistakes, settle
from mailsyncd.config.sources import Environment, Tree, from_environment, is_too_deep
from mailsyncd.config.translate import Translator
from mailsyncd.config.values import Configuration
from mailsyncd.errors import ConfigError, Problem


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
        if variable := self._variable(path):
            return Problem(key, what, source=f"environment {variable}")
        return Problem(key, what, line_of(self.lines, path), self.name)

    def origin(self, path: KeyPath) -> str:
        if variable := self._variable(path):
            return f"environment {variable}"
        return f"{self.name}:{self.lines[path]}" if path in self.lines else "default"

    def _variable(self, path: KeyPath) -> str | None:
        """All routes may come from one variable."""
        return self.variables.get(dotted(path)) or self.variables.get(dotted(path[:1]))


def load(path: Path | None, environ: Mapping[str, str]) -> Loaded:
    """Read, merge, check, translate. Raises ConfigError with every problem found."""
    text, name = _read(path), path.name if path else None
    file = _parse(text, name)
    variables = from_environment(environ, has_several="destinations" in file)
    places = _Places(name, lines_of(text), _names(variables, file))
    mistakes = Mistakes()
    if any(variable == "SYNC_ROUTES_JSON" for variable, _ in variables.wrong):
        mistakes.broken.add(("routes",))
    settings = settle([variables.tree, file, variables.implied], mistakes)
    translator = Translator(environ, (path.parent if path else Path()).absolute(), mistakes)
    if settings is not None:
        rules.check(settings, datetime.now(UTC).date(), mistakes)
        configuration = translator.configuration(settings)
    problems = [places.problem(where, what) for where, what in mistakes.found]
    problems.sort(key=lambda problem: (problem.line is None, problem.line or 0))
    problems += [Problem("", what, source=f"environment {one}") for one, what in variables.wrong]
    if problems or settings is None:
        raise ConfigError(*problems)
    places.variables.update({k: v for k, v in translator.variables.items() if k not in places.variables})
    return Loaded(configuration, dict(_origins(settings, places)), path)


def _read(path: Path | None) -> str:
    if path is None:
        return ""
    try:
        return path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise ConfigError(Problem("", f"can't be read: {error.strerror}", source=str(path))) from None
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise ConfigError(Problem("", "is not text in UTF-8", line, path.name)) from None


def _parse(text: str, name: str | None) -> Tree:
    tree: Tree | None = None
    try:
        tree = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        said, _, place = str(error).rpartition(" (at ")  # "... (at line 3, column 7)"
        number = re.match(r"line (\d+)", place)
        line = int(number[1]) if number else text.rstrip("\n").count("\n") + 1
        raise ConfigError(Problem("", f"is not TOML: {said}", line, name)) from None
    except ValueError:  # Python's limit on the digits of an integer, which tomllib lets through
        raise ConfigError(Problem("", "has a number of too many digits", source=name)) from None
    except RecursionError:
        pass
    if tree is None or is_too_deep(tree):
        raise ConfigError(Problem("", "is nested too deeply; sections and keys suffice", source=name))
    return tree


def _names(variables: Environment, file: Tree) -> dict[str, str]:
    """The variables by key; the backend may be meant by DYNAMODB_TABLE without being said."""
    names = dict(variables.names)
    state = file.get("state")
    if variables.implied and not (isinstance(state, dict) and "backend" in state):
        names.setdefault("state.backend", "DYNAMODB_TABLE")
    return names


def dotted(path: KeyPath) -> str:
    """("routes", 0, "folder") -> routes[1].folder"""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part + 1}]"
        else:
            shown = part if re.fullmatch(r"[A-Za-z0-9_-]+", part) else ascii(part)
            text += f".{shown}" if text else shown
    return text


def _origins(settings: schema.Settings, places: _Places) -> Iterator[tuple[str, str]]:
    sections: list[tuple[KeyPath, schema.Section]] = [
        (("daemon",), settings.daemon),
        (("state",), settings.state),
    ]
    sections += rules.placed_destinations(settings)
    sections += [(("routes", number), route) for number, route in enumerate(settings.routes)]
    for where, section in sections:
        for key in type(section).model_fields:
            path = (*where, key)
            is_set = key in section.model_fields_set or dotted(path) in places.variables
            yield dotted(path), places.origin(path) if is_set else "default"
