"""Where the user wants a new refresh token: a file, or a key of a JSON object in a store of AWS."""

from __future__ import annotations

from dataclasses import dataclass

from mailsyncd import stored
from mailsyncd.auth.stores import DocumentStore, FileStore, TokenStore
from mailsyncd.commands.auth_account import Signing
from mailsyncd.errors import ConfigError, Problem
from mailsyncd.stored import Vault


@dataclass(frozen=True, slots=True)
class Where:
    """What the command line says; all None for the file."""

    parameter_name: str | None = None
    parameter_key: str | None = None
    secret_id: str | None = None
    secret_key: str | None = None


def store_for(where: Where, signing: Signing) -> TokenStore:
    """Raises ConfigError, RouteBlocked."""
    if where.parameter_name is not None or where.parameter_key is not None:
        return _document(
            Vault.SSM, "--write-parameter-", "name", where.parameter_name, where.parameter_key, signing
        )
    if where.secret_id is not None or where.secret_key is not None:
        return _document(
            Vault.SECRETS_MANAGER, "--write-secret-", "id", where.secret_id, where.secret_key, signing
        )
    return FileStore(signing.file)


def _document(
    vault: Vault, option: str, noun: str, name: str | None, key: str | None, signing: Signing
) -> TokenStore:
    for missing, given in ((noun, name), ("key", key)):
        if given is None:
            raise ConfigError(Problem(f"{option}{missing}", "is missing: name and key belong together"))
    try:
        reference = stored.reference(vault, name or "")
    except ValueError as error:
        raise ConfigError(Problem(f"{option}{noun}", str(error))) from None
    try:
        stored.key(key or "")
    except ValueError as error:
        raise ConfigError(Problem(f"{option}key", str(error))) from None
    # Here, because the SDK takes time and memory that a file has no use for.
    from mailsyncd.vault.documents import document

    return DocumentStore(document(reference, signing.region), vault.value, reference.name, key or "")
