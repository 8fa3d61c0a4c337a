"""Where a new refresh token is put, and what the configuration has to say to find it there."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Protocol

from mailsyncd.account import Secret
from mailsyncd.auth import consent
from mailsyncd.auth.consent import Consent
from mailsyncd.auth.private import own_directory, write_private
from mailsyncd.errors import SignInFailed
from mailsyncd.ports import SecretDocument


class TokenStore(Protocol):
    """A place for one refresh token."""

    async def prove(self) -> None:
        """Raises an error if the token could not be stored, before anybody is sent to sign in."""

    async def store(self, token: Secret, told: Consent) -> str:
        """Store it durably, and when its user consented beside it; returns the value of `refresh_token`
        in the configuration."""


class FileStore:
    """A file of mode 0600 in a directory of mode 0700."""

    def __init__(self, path: Path) -> None:
        self._path = path

    async def prove(self) -> None:
        try:
            own_directory(self._path.parent)
            # The very steps that will count, with a name that nobody reads.
            probe = self._path.with_name(f".probe.{self._path.name}")
            write_private(probe, b"")
            probe.unlink()
            if self._path.is_dir():
                raise SignInFailed(f"{self._path} is a directory: choose another with --file")
        except OSError as failure:
            raise self._unwritable(failure) from None

    async def store(self, token: Secret, told: Consent) -> str:
        try:
            own_directory(self._path.parent)
            write_private(consent.beside_file(self._path), told.text().encode() + b"\n")
            write_private(self._path, token.reveal().encode() + b"\n")
        except OSError as failure:
            raise self._unwritable(failure) from None
        return f"{{ file = {json.dumps(str(self._path), ensure_ascii=False)} }}"

    def _unwritable(self, failure: OSError) -> SignInFailed:
        return SignInFailed(f"the refresh token can't be stored in {self._path}: {failure.strerror}")


class DocumentStore:
    """A key of a JSON object in a store of secrets. `kind` and `name` are what the configuration calls
    the object."""

    def __init__(self, document: SecretDocument, kind: str, name: str, key: str) -> None:
        self._document = document
        self._kind = kind
        self._name = name
        self._key = key

    async def prove(self) -> None:
        """That it can be read; whether it may be written shows when it is."""
        await self._document.read(self._key)

    async def store(self, token: Secret, told: Consent) -> str:
        await self._document.write(self._key, token, {self._key + consent.KEY_SUFFIX: told.text()})
        return f"{{ {self._kind} = {json.dumps(self._name)}, key = {json.dumps(self._key)} }}"
