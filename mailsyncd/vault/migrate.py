"""From Secrets Manager to SSM: JSON objects are copied whole, byte for byte, as SecureStrings."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass

from mailsyncd import stored
from mailsyncd.account import Secret
from mailsyncd.stored import Reference, Trouble, Vault
from mailsyncd.vault import parameters
from mailsyncd.vault.client import Client, connected
from mailsyncd.vault.read import read
from mailsyncd.vault.troubles import Refused


@dataclass(frozen=True, slots=True)
class Move:
    source: Reference
    target: Reference


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of it, in words that hold no value."""

    move: Move
    what: str
    failed: bool = False


@dataclass(frozen=True, slots=True)
class Wish:
    overwrite: bool
    dry_run: bool


async def migrate(moves: Sequence[Move], region: str | None, wish: Wish) -> AsyncIterator[Outcome]:
    """One after the other; a failure keeps no other from being copied."""
    found = await read([one.source for one in moves], region)
    for one in moves:
        yield await _outcome(one, found[one.source], region, wish)


async def _outcome(move: Move, whole: Secret | Trouble, region: str | None, wish: Wish) -> Outcome:
    if isinstance(whole, Trouble):
        return Outcome(move, f"{move.source}: {whole.what}", failed=True)
    try:
        keys = stored.names(stored.entries(whole))
    except ValueError as error:
        return Outcome(move, f"{move.source}: {error}", failed=True)
    try:
        async with connected(Vault.SSM, region) as client:
            what = await _copy(client, move.target.name, whole, wish)
    except Refused as error:
        return Outcome(move, f"{move.target}: {error.trouble.what}", failed=True)
    return Outcome(move, f"{what}; keys: {keys}")


async def _copy(client: Client, name: str, whole: Secret, wish: Wish) -> str:
    there = await parameters.newest(client, name)
    if there is not None and not wish.overwrite:
        raise Refused(_THERE)
    if there is not None and there.whole == whole:
        return "is the same already"
    parameters.check(whole.reveal())
    if wish.dry_run:
        return "would be overwritten" if there else "would be copied"
    if await parameters.put(client, name, whole.reveal(), there) is None:
        raise Refused(_THERE)
    return "overwritten" if there else "copied"


_THERE = Trouble("exists already; --overwrite replaces it")
