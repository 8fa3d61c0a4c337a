"""Variables that are kept in AWS: the environment names parameters and secrets, each a JSON object
whose keys count as variables of the environment where that does not have them itself."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from mailsyncd import stored
from mailsyncd.account import Secret
from mailsyncd.errors import ConfigError, Problem, SecretsUnavailable
from mailsyncd.stored import Held, Reference, Trouble, Vault

# What stands later wins. Documented in docs/configuration.md; a test compares.
LISTS = {
    "AWS_SECRETS_MANAGER_SECRET_IDS": Vault.SECRETS_MANAGER,
    "AWS_SSM_PARAMETER_NAMES": Vault.SSM,
}
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


class Wanted(Exception):
    """The configuration can't be had without these: read them and begin anew."""

    def __init__(self, references: frozenset[Reference], region: str | None) -> None:
        self.references = references
        self.region = region
        super().__init__()


@dataclass(frozen=True, slots=True)
class Merged:
    """The environment with what AWS has of it. `homes`: variable -> where it is kept, if in AWS."""

    environ: Mapping[str, str]
    homes: Mapping[str, Reference] = field(default_factory=dict)


def merge(environ: Mapping[str, str], held: Held, region: str | None) -> Merged:
    """Raises Wanted; ConfigError, or SecretsUnavailable where that is all there is to say. What else
    is wrong with the configuration can't be known then."""
    listed = _listed(environ)
    if missing := frozenset(one for _, one in listed if one not in held):
        raise Wanted(missing, region)
    found: dict[str, str] = {}
    homes: dict[str, Reference] = {}
    lasting: list[Problem] = []
    passing: list[Problem] = []
    for name, one in listed:
        try:
            variables = _variables(held[one])
        except ValueError as error:
            trouble = held[one]
            passes = isinstance(trouble, Trouble) and trouble.passes
            problem = Problem("", f"{one}: {error}", source=f"environment {name}")
            (passing if passes else lasting).append(problem)
        else:
            found |= variables
            homes |= dict.fromkeys(variables, one)
    if lasting:
        raise ConfigError(*lasting, *passing)
    if passing:
        raise SecretsUnavailable(*passing)
    own = {name: value for name, value in environ.items() if value or name not in found}
    return Merged({**found, **own}, {name: one for name, one in homes.items() if name not in own})


def _listed(environ: Mapping[str, str]) -> list[tuple[str, Reference]]:
    """The variable and what it names, in the order in which they count."""
    found, problems = [], []
    for variable, vault in LISTS.items():
        given = [part.strip() for part in environ.get(variable, "").split(",")]
        for number, name in enumerate((part for part in given if part), 1):
            try:
                found.append((variable, stored.reference(vault, name)))
            except ValueError:  # without the name: it may be a secret that was pasted here
                what = f"entry {number} is not the name of a {_KINDS[vault]}, nor its ARN"
                problems.append(Problem("", what, source=f"environment {variable}"))
    if problems:
        raise ConfigError(*problems)
    return found


_KINDS = {Vault.SSM: "parameter", Vault.SECRETS_MANAGER: "secret"}


def _variables(whole: Secret | Trouble) -> dict[str, str]:
    """Raises ValueError, without any value."""
    if isinstance(whole, Trouble):
        raise ValueError(whole.what)
    found = {}
    for name, value in stored.entries(whole).items():
        if not _VARIABLE.fullmatch(name):
            raise ValueError("has a key that is no name of a variable")
        if value is None or isinstance(value, float):
            raise ValueError(f"has a {name} that is not a string")
        # SYNC_ROUTES_JSON is often kept as the array that it is.
        found[name] = value if isinstance(value, str) else json.dumps(value)
    return found
