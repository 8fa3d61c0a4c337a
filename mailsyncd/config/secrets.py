"""Secret values: written out, or named: in the environment, a file, or a systemd credential."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from mailsyncd.account import Secret

KINDS = ("env", "file", "credential")
LATER = ("ssm", "secretsmanager")
FORMS = '"...", { env = "NAME" }, { file = "path" } or { credential = "name" }'
LONGEST = 64 * 1024  # bytes


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
    """The secret itself. `base` is where relative paths start. Raises ValueError with a sentence
    that does not hold it."""
    match wanted.kind:
        case "literal":
            found = wanted.value
        case "env":
            found = _variable(wanted.value, environ)
        case "credential":
            found = _credential(wanted.value, environ)
        case _:
            found = _file(wanted.value, environ, base)
    if not found:
        raise ValueError("is empty")
    if re.search(r"[\x00-\x1f\x7f]", found):
        raise ValueError("has a line break or another control character inside; was it copied whole?")
    if re.search(r"[\ud800-\udfff]", found):  # what Python makes of other octets in the environment
        raise ValueError("is not text in UTF-8; was it copied whole?")
    return Secret(found)


def _variable(name: str, environ: Mapping[str, str]) -> str:
    # The name is shown only if it is one: people do paste the secret itself here.
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
        raise ValueError("env takes the name of an environment variable, and this is none")
    if name not in environ:
        raise ValueError(f"the environment variable {name} is not set")
    return environ[name]


def _credential(name: str, environ: Mapping[str, str]) -> str:
    directory = environ.get("CREDENTIALS_DIRECTORY")
    if not directory:
        raise ValueError("there is no $CREDENTIALS_DIRECTORY: is this run by systemd with LoadCredential?")
    if "/" in name or "\0" in name or name in (".", ".."):
        raise ValueError("credential takes a name, not a path")
    return _read(Path(directory) / name, private=False)


def _file(name: str, environ: Mapping[str, str], base: Path) -> str:
    if "\0" in name:
        raise ValueError("file takes a path, and this is none")
    path = within(base, name, environ)
    directory = environ.get("CREDENTIALS_DIRECTORY")
    # systemd guards that directory itself, and its files are readable by the unit's group.
    guarded = bool(directory) and path.resolve().is_relative_to(Path(str(directory)).resolve())
    return _read(path, private=not guarded)


def within(base: Path, text: str, environ: Mapping[str, str]) -> Path:
    """A path of the configuration: ~/ is the user's home, and a relative one starts at `base`."""
    if text.startswith("~/") and environ.get("HOME"):
        return Path(environ["HOME"]) / text[2:]
    return base / text


def _read(path: Path, *, private: bool) -> str:
    """A file's text without its last line end; a file that others may read is refused."""
    try:
        with open(path, "rb", opener=_at_once) as file:
            mode = os.fstat(file.fileno()).st_mode
            if not stat.S_ISREG(mode):
                raise ValueError(f"{path} is not a file")
            octets = file.read(LONGEST + 1)
    except OSError as error:
        raise ValueError(f"{path} can't be read: {error.strerror}") from None
    if private and mode & 0o077:
        raise ValueError(f"{path} can be read by others (mode {mode & 0o777:04o}): chmod 600 {path}")
    if len(octets) > LONGEST:
        raise ValueError(f"{path} is too large for a secret")
    try:
        return octets.decode("utf-8").rstrip("\r\n")
    except UnicodeDecodeError:
        raise ValueError(f"{path} is not text in UTF-8") from None


def _at_once(path: str, flags: int) -> int:
    """Without waiting: a named pipe would hold up the start for ever."""
    return os.open(path, flags | os.O_NONBLOCK)
