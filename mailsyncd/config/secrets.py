"""Secret values: written out, or named: in the environment, a file, a systemd credential, a store of AWS."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from mailsyncd import stored
from mailsyncd.account import Secret
from mailsyncd.stored import Held, Reference, Trouble, Vault

KINDS = ("env", "file", "credential")
VAULTS = tuple(one.value for one in Vault)
FORMS = (
    '"...", { env = "NAME" }, { file = "path" }, { credential = "name" }, '
    '{ ssm = "/name", key = "KEY" } or { secretsmanager = "name", key = "KEY" }'
)
LONGEST = 64 * 1024  # bytes


@dataclass(frozen=True, slots=True)
class SecretSpec:
    """Where a secret is to be had; "literal" holds it. `key`: of the JSON object that AWS has; without
    it, all that AWS has is the secret."""

    kind: str
    value: str = field(repr=False)
    key: str | None = None

    @property
    def reference(self) -> Reference | None:
        """What to read of AWS for it, if anything."""
        return Reference(Vault(self.kind), self.value) if self.kind in VAULTS else None


class NotNow(ValueError):
    """The secret can't be had at the moment; it may be had later with nothing changed."""


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
    if isinstance(value, dict) and set(value) in ({one, *more} for one in VAULTS for more in ((), ("key",))):
        return _stored_spec(value)
    raise ValueError(f"is not a secret; write {FORMS}")


def _stored_spec(value: dict[str, object]) -> SecretSpec:
    (kind,) = set(value) - {"key"}
    name, key = value[kind], value.get("key")
    if not isinstance(name, str) or not isinstance(key, str | None):
        raise ValueError(f"is not a secret; write {FORMS}")
    found = stored.reference(Vault(kind), name)
    return SecretSpec(kind, found.name, None if key is None else stored.key(key))


def resolve(
    wanted: SecretSpec, environ: Mapping[str, str], base: Path, held: Held, *, has_lines: bool = False
) -> Secret:
    """The secret itself. `base` is where relative paths start, and `held` has what its reference calls
    for. Raises ValueError with a sentence that does not hold the secret."""
    match wanted.kind:
        case "literal":
            found = wanted.value
        case "env":
            found = _variable(wanted.value, environ)
        case "credential":
            found = _credential(wanted.value, environ)
        case "ssm" | "secretsmanager":
            found = _stored(Reference(Vault(wanted.kind), wanted.value), wanted.key, held)
        case _:
            found = _file(wanted.value, environ, base)
    if not found:
        raise ValueError("is empty")
    if re.search(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]" if has_lines else r"[\x00-\x1f\x7f]", found):
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


def _stored(reference: Reference, key: str | None, held: Held) -> str:
    whole = held[reference]
    if isinstance(whole, Trouble):
        raise (NotNow if whole.passes else ValueError)(f"{reference}: {whole.what}")
    if key is None:
        return whole.reveal()
    try:
        return stored.entry(whole, key)
    except ValueError as error:
        raise ValueError(f"{reference}: {error}") from None


def _file(name: str, environ: Mapping[str, str], base: Path) -> str:
    if "\0" in name:
        raise ValueError("file takes a path, and this is none")
    path = within(base, name, environ)
    return _read(path, private=not is_guarded(path, environ))


def is_guarded(path: Path, environ: Mapping[str, str]) -> bool:
    """Whether systemd guards it: credentials are readable by the unit's group, and nobody can write them."""
    directory = environ.get("CREDENTIALS_DIRECTORY")
    return bool(directory) and path.resolve().is_relative_to(Path(str(directory)).resolve())


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
