"""`mailsyncd failures export`: the message itself, byte for byte, read only, into a file of its own."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO
from uuid import uuid4

from mailsyncd.assemble import Assembly
from mailsyncd.commands.choose import only_route
from mailsyncd.commands.failures import RENUMBERED, Found, find
from mailsyncd.commands.load import load
from mailsyncd.config.values import Configuration
from mailsyncd.errors import MailsyncError
from mailsyncd.observe.logs import configure


async def export(
    config: Path | None,
    environ: Mapping[str, str],
    out: BinaryIO,
    *,
    wanted: str,
    target: str,
    only: str | None,
) -> int:
    """Write it to the file `target`, which must not exist, or to `out` where that is "-".

    Raises MailsyncError, also of the source's kinds.
    """
    configuration = only_route(await load(config, environ), only)
    configure("warning", configuration.daemon.log_format, sys.stderr, uuid4().hex[:12])
    if target != "-":
        _must_be_new(target)
    found = await find(configuration, wanted)
    body = await _read(configuration, found)
    if target == "-":
        out.write(body)
        out.flush()
    else:
        _write(target, body)
    return 0


async def _read(configuration: Configuration, found: Found) -> bytes:
    """The very bytes, by EXAMINE and BODY.PEEK[]; beyond the configured limit if it failed for that."""
    uid, name = found.failure.uid, f"{found.route.name}: {found.id}"
    largest = max(configuration.daemon.max_message_size, 2 * found.failure.size)
    parts = Assembly(configuration)
    try:
        source = parts.source(replace(configuration.daemon, max_message_size=largest), found.settings)
        async with source.session() as session:
            if session.mailbox.uidvalidity != found.failure.uidvalidity:
                raise MailsyncError(f"{name}: {RENUMBERED}")
            async for _, body in session.read([uid]):
                return body
    finally:
        await parts.close()
    raise MailsyncError(f"{name} is gone from the source")


def _must_be_new(target: str) -> None:
    """Said before anything is fetched."""
    if os.path.lexists(target):
        raise _there_already(target)


def _write(target: str, body: bytes) -> None:
    """Whole or not at all, for its owner's eyes only, and never over another file."""
    try:
        handle = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        raise _there_already(target) from None
    except OSError as error:
        raise MailsyncError(f"{target}: can't be made: {error.strerror}") from None
    try:
        with open(handle, "wb") as file:
            file.write(body)
            file.flush()
            os.fsync(handle)
    except OSError as error:
        os.unlink(target)
        raise MailsyncError(f"{target}: can't be written: {error.strerror}") from None


def _there_already(target: str) -> MailsyncError:
    return MailsyncError(f"{target} is there already; choose another name")
