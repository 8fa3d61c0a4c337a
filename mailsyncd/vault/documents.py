"""JSON objects in AWS of which one key is read or written, all others kept: a place for refresh tokens.

Two who write at once lose nothing of each other. Secrets Manager moves AWSCURRENT only from the version
that was read. SSM knows no condition, so after each write its version tells whether somebody came
between, and their keys are put back.
"""

from __future__ import annotations

import gc
import json
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

from mailsyncd import stored
from mailsyncd.account import Secret
from mailsyncd.errors import MailsyncError, RouteBlocked, Transient
from mailsyncd.ports import NOTHING, SecretDocument
from mailsyncd.stored import Reference, Trouble, Vault
from mailsyncd.vault import parameters
from mailsyncd.vault.client import Client, connected
from mailsyncd.vault.troubles import Refused

TRIES = 8  # of a write that others get in the way of
_STAGE = "MAILSYNCD-NEW"  # what a version is called until it is the current one
_CROWDED = Trouble("is being changed by others again and again", passes=True)

Entries = dict[str, Any]
Change = Callable[[Entries], Entries]  # what is there -> what is to be there


def document(reference: Reference, region: str | None) -> SecretDocument:
    """That of a name as it stands in the configuration. Raises RouteBlocked for one that can only be read."""
    if reference.vault is Vault.SECRETS_MANAGER:
        return ManagedSecret(reference, region)
    if ":" in reference.name:
        raise RouteBlocked(f"{reference}: can't be written under an ARN, a version or a label")
    return Parameter(reference, region)


@dataclass(frozen=True, slots=True)
class Parameter:
    """A SecureString, made if it is missing, with AWS's own key for SSM then."""

    reference: Reference
    region: str | None = None

    async def read(self, key: str) -> Secret | None:
        async with _asking(self.reference, self.region) as client:
            found = await parameters.newest(client, self.reference.name)
        return _value(self.reference, found.whole if found else None, key)

    async def write(self, key: str, value: Secret, beside: Mapping[str, str] = NOTHING) -> None:
        async with _asking(self.reference, self.region) as client:
            await self._write(client, _putting(key, value, beside))

    async def replace(self, key: str, old: Secret, new: Secret) -> Secret:
        async with _asking(self.reference, self.region) as client:
            return Secret(str((await self._write(client, _replacing(key, old, new)))[key]))

    async def _write(self, client: Client, change: Change) -> Entries:
        """Returns what is there afterwards."""
        name = self.reference.name
        base = await parameters.newest(client, name)
        written = None if base is None else _entries(base.whole)
        for _ in range(TRIES):
            entries = change({} if base is None else _entries(base.whole))
            if entries == written:  # it is there, or what came between was the same write, repeated
                return entries
            number = await parameters.put(client, name, _json(entries), base)
            if number is None:  # somebody else has made it
                base = await parameters.newest(client, name)
                continue
            if number == (base.number if base else 0) + 1:
                return entries
            theirs = await parameters.version(client, name, number - 1)
            written, base = entries, theirs.numbered(number)
        raise Refused(_CROWDED)


@dataclass(frozen=True, slots=True)
class ManagedSecret:
    """A secret of Secrets Manager, made if it is missing."""

    reference: Reference
    region: str | None = None

    async def read(self, key: str) -> Secret | None:
        async with _asking(self.reference, self.region) as client:
            found = await self._current(client)
        return _value(self.reference, found[1] if found else None, key)

    async def write(self, key: str, value: Secret, beside: Mapping[str, str] = NOTHING) -> None:
        async with _asking(self.reference, self.region) as client:
            await self._write(client, _putting(key, value, beside))

    async def replace(self, key: str, old: Secret, new: Secret) -> Secret:
        async with _asking(self.reference, self.region) as client:
            return Secret(str((await self._write(client, _replacing(key, old, new)))[key]))

    async def _write(self, client: Client, change: Change) -> Entries:
        """Returns what is there afterwards."""
        for _ in range(TRIES):
            found = await self._current(client)
            there = {} if found is None else _entries(found[1])
            entries = change(there)
            if found is not None and entries == there:
                return entries
            whole = _json(entries)
            if await (self._moved(client, found[0], whole) if found else self._made(client, whole)):
                return entries
        raise Refused(_CROWDED)

    async def _moved(self, client: Client, version: str, whole: str) -> bool:
        """Whether it is there; False if somebody came between."""
        new = {"ClientRequestToken": str(uuid4()), "SecretString": whole}
        name = self.reference.name
        await client.ask("put_secret_value", SecretId=name, VersionStages=[_STAGE], **new)
        move = {"RemoveFromVersionId": version, "MoveToVersionId": new["ClientRequestToken"]}
        try:
            await client.ask("update_secret_version_stage", SecretId=name, VersionStage="AWSCURRENT", **move)
        except Refused as error:
            if error.code != "InvalidParameterException":
                raise
            return False
        return True

    async def _made(self, client: Client, whole: str) -> bool:
        new = {"ClientRequestToken": str(uuid4()), "SecretString": whole}
        try:
            await client.ask("create_secret", Name=self.reference.name, **new)
        except Refused as error:
            if error.code != "ResourceExistsException":
                raise
            if await self._current(client) is not None:
                return False
            # It was made without a value. The first one is current whatever it is called.
            await client.ask("put_secret_value", SecretId=self.reference.name, VersionStages=[_STAGE], **new)
            return False
        return True

    async def _current(self, client: Client) -> tuple[str, Secret] | None:
        try:
            answer = await client.ask(
                "get_secret_value", SecretId=self.reference.name, VersionStage="AWSCURRENT"
            )
        except Refused as error:
            if error.code == "ResourceNotFoundException" and not self.reference.region:
                return None
            raise
        if "SecretString" not in answer:
            raise Refused(Trouble("is binary; store it as text"))
        return answer["VersionId"], Secret(answer["SecretString"])


@asynccontextmanager
async def _asking(reference: Reference, region: str | None) -> AsyncIterator[Client]:
    """Refused becomes what the rest of mailsyncd understands."""
    try:
        async with connected(reference.vault, reference.region or region) as client:
            yield client
    except Refused as error:
        raise failure(reference, error.trouble) from None
    finally:
        gc.collect()  # the SDK leaves its descriptions of AWS in circles: 15 MiB for each connection


def _putting(key: str, value: Secret, beside: Mapping[str, str]) -> Change:
    return lambda there: {**there, **beside, key: value.reveal()}


def _replacing(key: str, old: Secret, new: Secret) -> Change:
    """What is neither the old nor the new one stays: somebody else has put it there."""

    def change(there: Entries) -> Entries:
        value = there.get(key)
        theirs = isinstance(value, str) and value and value != old.reveal()
        return there if theirs else {**there, key: new.reveal()}

    return change


def failure(reference: Reference, trouble: Trouble) -> MailsyncError:
    return (Transient if trouble.passes else RouteBlocked)(f"{reference}: {trouble.what}")


def _value(reference: Reference, whole: Secret | None, key: str) -> Secret | None:
    if whole is None:
        return None
    try:
        found = stored.entries(whole)
        return Secret(stored.entry(whole, key)) if key in found else None
    except ValueError as error:
        raise RouteBlocked(f"{reference}: {error}") from None


def _entries(whole: Secret) -> Entries:
    try:
        return stored.entries(whole)
    except ValueError as error:  # to write into it would destroy what is there
        raise Refused(Trouble(str(error))) from None


def _json(entries: Entries) -> str:
    return json.dumps(entries, ensure_ascii=False)
