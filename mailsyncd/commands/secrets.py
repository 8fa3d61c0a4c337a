"""`mailsyncd secrets migrate`: from Secrets Manager to SSM, without showing a value."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TextIO

from mailsyncd import stored
from mailsyncd.errors import MailsyncError
from mailsyncd.stored import Vault
from mailsyncd.vault.migrate import Move, Wish, migrate


async def copy(
    mappings: Sequence[str],
    region: str | None,
    environ: Mapping[str, str],
    streams: tuple[TextIO, TextIO],
    wish: Wish,
) -> int:
    """0 if every mapping went well, else 1. `streams`: for what was done, and for what failed."""
    out, err = streams
    moves = [_move(one) for one in mappings]
    if len({one.target for one in moves}) < len(moves):
        raise MailsyncError("two mappings have the same parameter; one would overwrite the other")
    region = region or environ.get("AWS_REGION") or None
    failed = False
    async for one in migrate(moves, region, wish):
        failed = failed or one.failed
        line = f"{one.move.source.name} -> {one.move.target.name}: {one.what}"
        print(f"mailsyncd: {line}" if one.failed else line, file=err if one.failed else out)
    return int(failed)


def _move(text: str) -> Move:
    """A secret's name may have a "=" in it, a parameter's may not."""
    source, separator, target = text.rpartition("=")
    try:
        if separator and ":" not in target:
            return Move(stored.reference(Vault.SECRETS_MANAGER, source), stored.reference(Vault.SSM, target))
    except ValueError:  # without the names: they may be anything that was pasted
        pass
    raise MailsyncError("a --mapping is SECRET=/PARAMETER: the name of a secret and that of a parameter")
