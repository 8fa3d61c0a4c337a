"""Where a configured refresh token stands, as a place that is read again and, where that can be, written:
a file, a key of a JSON object in AWS, or what can't be written at all."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Protocol

from mailsyncd.account import Home, Secret
from mailsyncd.auth import consent
from mailsyncd.auth.consent import Consent
from mailsyncd.auth.private import read_guarded, write_private
from mailsyncd.errors import RouteBlocked, Transient
from mailsyncd.ports import SecretDocument

FILE_LOOK = 5.0  # seconds between looks for a new token, while one is wanted
STORE_LOOK = 60.0  # a request to AWS each


class TokenHome(Protocol):
    """A place for one refresh token."""

    @property
    def look(self) -> float | None:
        """Seconds between looks for a new token; None where none can turn up by itself."""

    async def read(self) -> Secret:
        """What is there now. Raises RouteBlocked or Transient if nothing can be had."""

    async def consent(self) -> Consent | None:
        """When its user consented, where that is written beside it. Raises RouteBlocked, Transient."""

    async def replace(self, old: Secret, new: Secret) -> Secret:
        """Put `new` there durably if `old` is there still; returns what is there afterwards. Raises
        RouteBlocked or Transient if it can't be written."""


class FixedHome:
    """The configuration itself, the environment, or a credential of systemd's."""

    look = None

    def __init__(self, home: Home, token: Secret) -> None:
        self._home = home
        self._token = token

    async def read(self) -> Secret:
        return self._token

    async def consent(self) -> Consent | None:
        return None

    async def replace(self, old: Secret, new: Secret) -> Secret:
        raise RouteBlocked(f"{self._home} can't be written")


class FileHome:
    """A file of its own. The work is done in place, not in a thread: it is a few hundred bytes an hour,
    and so no cancellation can come between a write and its rename."""

    look = FILE_LOOK

    def __init__(self, path: Path) -> None:
        self._path = path

    async def read(self) -> Secret:
        return self._read()

    def _read(self) -> Secret:
        try:
            text = read_guarded(self._path).decode().rstrip("\r\n")
        except UnicodeDecodeError:
            text = ""
        except OSError as failure:
            raise RouteBlocked(f"{self._path} can't be read: {failure.strerror}") from None
        if not text or not text.isprintable():
            raise RouteBlocked(f"{self._path} holds no refresh token")
        return Secret(text)

    async def consent(self) -> Consent | None:
        """That of the file beside it, else the time at which somebody put the token there."""
        if found := consent.of_file(self._path):
            return found
        try:
            return Consent(self._path.stat().st_mtime)
        except OSError:
            return None

    async def replace(self, old: Secret, new: Secret) -> Secret:
        path = self._path.resolve()  # what a link leads to is replaced, not the link
        try:
            if path.parent.stat().st_mode & 0o022:
                raise RouteBlocked(f"{path.parent} can be written by others: chmod go-w {path.parent}")
            with _locked(path.parent):
                there = self._read()
                if there != old:
                    return there
                self._keep_consent(path)
                write_private(path, new.reveal().encode() + b"\n", owned_like=path.stat())
        except OSError as failure:
            raise Transient(f"{self._path} can't be written: {failure.strerror}") from None
        return new

    def _keep_consent(self, path: Path) -> None:
        """The file is about to change, and its time is all that tells of a token put there by hand."""
        if consent.of_file(self._path) is None:
            with suppress(OSError):
                told = Consent(path.stat().st_mtime).text().encode()
                write_private(consent.beside_file(self._path), told + b"\n", owned_like=path.stat())


@contextmanager
def _locked(directory: Path) -> Iterator[None]:
    """Alone among the processes of this machine, for the moment between a look and a rename."""
    handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Transient(f"{directory} is being written by another process") from None
        except OSError:  # some network file systems have no locks; a rename is whole there, too
            pass
        yield
    finally:
        os.close(handle)


class DocumentHome:
    """A key of a JSON object in one of AWS's stores."""

    look = STORE_LOOK

    def __init__(self, home: Home, document: SecretDocument) -> None:
        self._home = home
        self._document = document

    async def read(self) -> Secret:
        found = await self._document.read(self._home.key or "")
        if found is None or not found.reveal():
            raise RouteBlocked(f"{self._home} is not there")
        return found

    async def consent(self) -> Consent | None:
        found = await self._document.read(consent.key_beside(self._home))
        return consent.parse(found.reveal()) if found else None

    async def replace(self, old: Secret, new: Secret) -> Secret:
        return await self._document.replace(self._home.key or "", old, new)
