"""Secrets that AWS's stores hold: what they are called, what came of reading them, what is in them.

Nothing in here reaches the network: vault/ does, and config/ says what is wanted of it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum

from mailsyncd.account import Secret

LONGEST_NAME = 2048
_KEY = re.compile(r"[A-Za-z0-9_.-]{1,128}")
_HOME = r"arn:aws[a-z-]*:{}:[a-z0-9-]+:[0-9]{{12}}:{}"  # what an ARN begins with
_PARAMETER = re.compile(
    rf"(({_HOME.format('ssm', 'parameter')})?(/[A-Za-z0-9_.-]+)+|[A-Za-z0-9_.-]+)"
    r"(:[A-Za-z0-9_.-]+)?"  # a version or a label
)
# AWS would take "//" in the name of a secret. A refresh token of Google's has it, and people do paste
# the secret itself here; what is taken for a name is shown.
_SECRET = re.compile(rf"({_HOME.format('secretsmanager', 'secret:')})?(?!.*//)[A-Za-z0-9/_+=.@!-]+")


class Vault(Enum):
    """One of the stores; the value is what a reference in the configuration calls it."""

    SSM = "ssm"
    SECRETS_MANAGER = "secretsmanager"


@dataclass(frozen=True, slots=True)
class Reference:
    """A parameter or a secret, whole: what one request gives."""

    vault: Vault
    name: str

    def __str__(self) -> str:
        kind = "SSM parameter" if self.vault is Vault.SSM else "Secrets Manager secret"
        return f"{kind} {self.name}"

    @property
    def region(self) -> str | None:
        """That of an ARN; None for a plain name."""
        return self.name.split(":")[3] if self.name.startswith("arn:") else None

    @property
    def pinned(self) -> bool:
        """Whether a parameter's version or label is part of the name; an ARN has five colons itself."""
        return self.vault is Vault.SSM and self.name.count(":") in (1, 6)


@dataclass(frozen=True, slots=True)
class Trouble:
    """Why it can't be had. `passes`: it may well be had later, with nothing changed."""

    what: str
    passes: bool = False


Held = Mapping[Reference, Secret | Trouble]


def reference(vault: Vault, name: str) -> Reference:
    """Raises ValueError, without the name, if it can't be one."""
    pattern = _PARAMETER if vault is Vault.SSM else _SECRET
    if len(name) > LONGEST_NAME or not pattern.fullmatch(name):
        kind = "a parameter" if vault is Vault.SSM else "a secret"
        raise ValueError(f"{vault.value} takes the name of {kind}, or its ARN, and this is none")
    return Reference(vault, name)


def key(name: str) -> str:
    """Raises ValueError, without the name, if it can't be the key of a secret."""
    if not _KEY.fullmatch(name):
        raise ValueError("key takes the name of a key in the JSON object, and this is none")
    return name


def entries(whole: Secret) -> dict[str, object]:
    """What a JSON object has. Raises ValueError, without any of it, if it is none."""
    found: object = None
    try:
        found = json.loads(whole.reveal())
    except json.JSONDecodeError as error:
        raise ValueError(f"is not JSON (line {error.lineno}, column {error.colno})") from None
    except ValueError:  # Python's limit on the digits of an integer
        raise ValueError("has a number of too many digits") from None
    except RecursionError:
        pass
    if not isinstance(found, dict):
        raise ValueError("is not a JSON object")
    return found


def entry(whole: Secret, name: str) -> str:
    """One key of a JSON object. Raises ValueError, without the value."""
    found = entries(whole)
    if name not in found:
        raise ValueError(f"has no key {name}")
    value = found[name]
    if not isinstance(value, str):
        raise ValueError(f"has a {name} that is not a string")
    return value


def names(found: Mapping[str, object]) -> str:
    """The keys of a JSON object, for showing; what can't be a key's name may be a secret."""
    return ", ".join(name if _KEY.fullmatch(name) else "(an odd key)" for name in found) or "none"
