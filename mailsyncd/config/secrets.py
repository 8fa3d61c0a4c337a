"""Secret values: written out, or named: in the environment, a file, or a systemd credential."""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from mailsyncd.model import Secret

KINDS = ("env", "file", "credential")
LATER = ("ssm", "secretsmanager")
FORMS = '"...", { env = "NAME" }, { file = "path" } or { credential = "name" }'
LONGEST = 64 * 1024


@dataclass(frozen=True, slots=True)
class SecretSpec:
    """Where a secret is to be had; "literal" holds it."""

    kind: str
    value: str = field(repr=False)


def spec(value: object) -> SecretSpec:
    """Of what stands in the configuration. Raises ValueError, which never holds the value."""
    if isinstance(value, SecretSpec):
        return value
    if isinstance(value, str):
        return SecretSpec("literal", value)
    if isinstance(value, dict) and len(value) == 1:
        ((kind, name),) = value.items()
        if kind in KINDS and isinstance(name, str) and name:
            return SecretSpec(kind, name)
    if isinstance(value, dict) and set(value) & set(LATER):
        raise ValueError(f"references to AWS stores are not supported yet; write {FORMS}")
    raise ValueError(f"is not a secret; write {FORMS}")


def resolve(wanted: SecretSpec, environ: Mapping[str, str], base: Path) -> Secret:
    """The secret itself. Raises ValueError with a sentence that does not hold it."""
    match wanted.kind:
        case "literal":
            found = wanted.value
        case "env":
            if wanted.value not in environ:
                raise ValueError(f"the environment variable {wanted.value} is not set")
            found = environ[wanted.value]
        case "credential":
            directory = environ.get("CREDENTIALS_DIRECTORY")
            if not directory:
                raise ValueError(
                    "there is no $CREDENTIALS_DIRECTORY: is this run by systemd with LoadCredential?"
                )
            if "/" in wanted.value:
                raise ValueError(f"{wanted.value!r} is not the name of a credential")
            found = _read(Path(directory) / wanted.value, private=False)
        case _:
            found = _read(base / Path(wanted.value).expanduser(), private=True)
    if not found:
        raise ValueError("is empty")
    return Secret(found)


def _read(path: Path, *, private: bool) -> str:
    """A file's text without its last line end; a file that others may read is refused."""
    try:
        with path.open("rb") as file:
            mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
            octets = file.read(LONGEST + 1)
    except OSError as error:
        raise ValueError(f"{path} can't be read: {error.strerror}") from error
    if private and mode & 0o077:
        raise ValueError(f"{path} can be read by others (mode {mode:04o}): chmod 600 {path}")
    if len(octets) > LONGEST:
        raise ValueError(f"{path} is too large for a secret")
    try:
        return octets.decode("utf-8").rstrip("\r\n")
    except UnicodeDecodeError:
        raise ValueError(f"{path} is not text in UTF-8") from None
