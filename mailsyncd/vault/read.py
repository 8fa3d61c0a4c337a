"""All that a configuration wants of AWS's stores, in as few requests as they allow."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from typing import Any

from mailsyncd.account import Secret
from mailsyncd.stored import Reference, Trouble, Vault
from mailsyncd.vault.client import Client, connected
from mailsyncd.vault.troubles import Refused, denial

PARAMETERS = 10  # names that GetParameters takes
SECRETS = 20  # names that BatchGetSecretValue takes

Found = dict[Reference, Secret | Trouble]


async def read(wanted: Collection[Reference], region: str | None) -> Found:
    """An answer for each. `region` is for names that are not ARNs; None leaves it to the SDK."""
    groups: dict[tuple[Vault, str | None], list[Reference]] = defaultdict(list)
    for one in sorted(set(wanted), key=str):
        groups[one.vault, one.region or region].append(one)
    found: Found = {}
    for answers in await asyncio.gather(*(_of_store(*where, names) for where, names in groups.items())):
        found |= answers
    return found


async def _of_store(vault: Vault, region: str | None, wanted: Sequence[Reference]) -> Found:
    found: Found = {}
    ask = _parameters if vault is Vault.SSM else _secrets
    try:
        async with connected(vault, region) as client:
            for batch in _batches(vault, wanted):
                found |= await ask(client, batch)
    except Refused as error:
        found = {one: found.get(one, error.trouble) for one in wanted}
    return found


def _batches(vault: Vault, wanted: Sequence[Reference]) -> Iterator[Sequence[Reference]]:
    """Two versions of one parameter would come back under one name."""
    plain = [one for one in wanted if not one.pinned]
    at_once = PARAMETERS if vault is Vault.SSM else SECRETS
    yield from (plain[start : start + at_once] for start in range(0, len(plain), at_once))
    yield from ([one] for one in wanted if one.pinned)


async def _parameters(client: Client, wanted: Sequence[Reference]) -> Found:
    try:
        answer = await client.ask("get_parameters", Names=[one.name for one in wanted], WithDecryption=True)
    except Refused as error:
        if error.of_store:
            raise
        if len(wanted) == 1:
            return {wanted[0]: error.trouble}
        # AWS refuses all of them for the sake of one, without saying which.
        return await _one_by_one(client, wanted, _parameters)
    parameters = answer.get("Parameters", ())
    if len(wanted) == 1 and parameters:  # under whatever name
        return {wanted[0]: Secret(parameters[0]["Value"])}
    given: dict[str, Secret | Trouble] = {}
    for one in parameters:
        given |= dict.fromkeys((one["Name"], one.get("ARN", "")), Secret(one["Value"]))
    return {one: given.get(one.name, Trouble("does not exist")) for one in wanted}


async def _secrets(client: Client, wanted: Sequence[Reference]) -> Found:
    if len(wanted) == 1:
        return {wanted[0]: await _secret(client, wanted[0])}
    try:
        answer = await client.ask("batch_get_secret_value", SecretIdList=[one.name for one in wanted])
    except Refused as error:
        if error.of_store:
            raise
        # A policy may well allow GetSecretValue alone.
        return await _one_by_one(client, wanted, _secrets)
    given: dict[str, Secret | Trouble] = {
        one.get("SecretId", ""): denial(
            client.vault, "GetSecretValue", one.get("ErrorCode", ""), one.get("Message", "")
        )
        for one in answer.get("Errors", ())
    }
    for one in answer.get("SecretValues", ()):
        given |= {one["Name"]: _text(one), one["ARN"]: _text(one)}
    found = {one: given[one.name] for one in wanted if one.name in given}
    # AWS may leave some to a next page, and gives others under a longer name.
    return found | await _one_by_one(client, [one for one in wanted if one not in found], _secrets)


async def _secret(client: Client, wanted: Reference) -> Secret | Trouble:
    try:
        return _text(await client.ask("get_secret_value", SecretId=wanted.name))
    except Refused as error:
        if error.of_store:
            raise
        return error.trouble


def _text(answer: dict[str, Any]) -> Secret | Trouble:
    if "SecretString" not in answer:
        return Trouble("is binary; store it as text")
    return Secret(answer["SecretString"])


async def _one_by_one(client: Client, wanted: Sequence[Reference], ask: Any) -> Found:
    found: Found = {}
    for one in wanted:
        found |= await ask(client, [one])
    return found
