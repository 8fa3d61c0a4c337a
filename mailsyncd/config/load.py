"""The way in: a TOML file and an environment become a Configuration, or a list of every mistake."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from mailsyncd.config import parameters, rules, schema
from mailsyncd.config.homes import Homes
from mailsyncd.config.locate import KeyPath, dotted, line_of, lines_of
from mailsyncd.config.mistakes import Mistakes, settle
from mailsyncd.config.parameters import Merged, Wanted
from mailsyncd.config.sources import Environment, Tree, from_environment, is_too_deep, region
from mailsyncd.config.translate import Translator
from mailsyncd.config.values import Configuration
from mailsyncd.errors import ConfigError, Problem, SecretsUnavailable
from mailsyncd.stored import Held, Reference


@dataclass(frozen=True, slots=True)
class Loaded:
    """`origins`: dotted key, such as daemon.sweep_interval or routes[1].folder (the first route is
    1) -> "config.toml:12", "environment OUTLOOK_EMAIL" or "default"."""

    configuration: Configuration
    origins: Mapping[str, str]
    path: Path | None


@dataclass(frozen=True, slots=True)
class Places:
    """Where each key was set."""

    name: str | None
    lines: dict[KeyPath, int]
    variables: dict[str, str]
    homes: Mapping[str, Reference]

    def problem(self, path: KeyPath, what: str) -> Problem:
        key = dotted(path)
        if variable := self._variable(path):
            return Problem(key, what, source=self.variable(variable))
        return Problem(key, what, line_of(self.lines, path), self.name)

    def origin(self, path: KeyPath) -> str:
        if variable := self._variable(path):
            return self.variable(variable)
        return f"{self.name}:{self.lines[path]}" if path in self.lines else "default"

    def variable(self, name: str) -> str:
        return f"{self.homes[name]}, {name}" if name in self.homes else f"environment {name}"

    def _variable(self, path: KeyPath) -> str | None:
        """All routes may come from one variable."""
        return self.variables.get(dotted(path)) or self.variables.get(dotted(path[:1]))


def load(path: Path | None, environ: Mapping[str, str], held: Held | None = None) -> Loaded:
    """Read, merge, check, translate. Raises ConfigError with every problem found, or SecretsUnavailable
    if all of them may pass.

    `held` is what AWS's stores gave; if there is more to be had of them, Wanted is raised, which says
    what. With None they are left aside: secrets that are theirs are empty ones.
    """
    draft = draft_of(path, environ, held)
    translator = Translator(draft.environ, draft.base, draft.mistakes, held, draft.homes(path))
    if draft.settings is not None:
        rules.check(draft.settings, datetime.now(UTC).date(), draft.mistakes)
        configuration = translator.configuration(draft.settings)
        if translator.wanted:
            raise Wanted(frozenset(translator.wanted), draft.region)
    draft.tell(_left_aside(environ) if held is None else [])
    if draft.settings is None:
        raise ConfigError
    variables = draft.places.variables
    variables.update({k: v for k, v in translator.variables.items() if k not in variables})
    return Loaded(configuration, dict(_origins(draft.settings, draft.places)), path)


def socket(path: Path | None, environ: Mapping[str, str]) -> Path:
    """Where the daemon's socket is. Who asks for it needs no secret, and nothing of AWS."""
    draft = draft_of(path, environ, None)
    matter = [one for one in draft.mistakes.found if one[0][0] in ("daemon", "state")]
    draft.mistakes.found[:] = matter
    translator = Translator(draft.environ, draft.base, draft.mistakes, None)
    found = translator.socket(draft.settings) if draft.settings else Path()
    draft.tell([])
    return found


@dataclass(slots=True)
class Draft:
    """What file and environment say together. `settings` is None if that is too little to go on."""

    settings: schema.Settings | None
    mistakes: Mistakes
    variables: Environment
    places: Places
    environ: Mapping[str, str]
    base: Path
    region: str | None

    def homes(self, path: Path | None) -> Homes:
        stores, whole = self.places.homes, path and path.absolute()
        return Homes(self.environ, self.base, self.variables.names, stores, self.region, whole)

    def tell(self, more: list[Problem]) -> None:
        """Raise what is wrong, if anything is, and with it what explains it."""
        lasting = [self.places.problem(*one) for one in self.mistakes.found]
        problems = lasting + [self.places.problem(*one) for one in self.mistakes.passing]
        problems.sort(key=lambda problem: (problem.line is None, problem.line or 0))
        wrong = [Problem("", what, source=self.places.variable(one)) for one, what in self.variables.wrong]
        if lasting or wrong:
            raise ConfigError(*problems, *wrong, *more)
        if problems:
            raise SecretsUnavailable(*problems)


def draft_of(
    path: Path | None, environ: Mapping[str, str], held: Held | None, options: Tree | None = None
) -> Draft:
    """Read and merge; `options` win over both. Raises Wanted, SecretsUnavailable, and ConfigError for
    what can't be read at all."""
    text, name = _read(path), path.name if path else None
    file = _parse(text, name)
    merged = Merged(environ) if held is None else parameters.merge(environ, held, region(environ, file))
    variables = from_environment(merged.environ, has_several="destinations" in file)
    places = Places(name, lines_of(text), _names(variables, file), merged.homes)
    mistakes = Mistakes()
    if any(variable == "SYNC_ROUTES_JSON" for variable, _ in variables.wrong):
        mistakes.broken.add(("routes",))
    settings = settle([options or {}, variables.tree, file, variables.implied], mistakes)
    base = (path.parent if path else Path()).absolute()
    where = (settings.state.region if settings else None) or region(environ, file)
    return Draft(settings, mistakes, variables, places, merged.environ, base, where)


def _left_aside(environ: Mapping[str, str]) -> list[Problem]:
    what = "is not looked into here; `mailsyncd config check` does it"
    return [Problem("", what, source=f"environment {name}") for name in parameters.LISTS if environ.get(name)]


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


def _origins(settings: schema.Settings, places: Places) -> Iterator[tuple[str, str]]:
    sections: list[tuple[KeyPath, schema.Section]] = [
        (("daemon",), settings.daemon),
        (("state",), settings.state),
        (("http",), settings.http),
        (("notify",), settings.notify),
    ]
    sections += rules.placed_destinations(settings)
    sections += [(("routes", number), route) for number, route in enumerate(settings.routes)]
    for where, section in sections:
        for key in type(section).model_fields:
            path = (*where, key)
            is_set = key in section.model_fields_set or dotted(path) in places.variables
            yield dotted(path), places.origin(path) if is_set else "default"
