"""A notice to a program of the user's: an argument list, never a shell, and killed when it takes too long."""

from __future__ import annotations

import asyncio
import os
import signal
from asyncio.subprocess import DEVNULL, PIPE
from collections.abc import Mapping, Sequence
from contextlib import suppress

BURIAL = 5.0  # seconds to wait for the end of what was killed
KEPT = ("PATH", "HOME", "LANG", "LC_ALL", "TZ", "USER")  # of our own environment, which has secrets


class HookFailed(Exception):
    """Why a notice did not arrive, without a secret."""


async def run(
    arguments: Sequence[str],
    body: bytes,
    variables: Mapping[str, str],
    environ: Mapping[str, str],
    seconds: float,
) -> None:
    """The body on standard input; its output goes nowhere. Raises HookFailed."""
    env = {name: environ[name] for name in KEPT if name in environ} | dict(variables)
    try:
        process = await asyncio.create_subprocess_exec(
            *arguments, stdin=PIPE, stdout=DEVNULL, stderr=DEVNULL, env=env, start_new_session=True
        )
    except (OSError, ValueError) as error:
        raise HookFailed(f"it can't be run: {getattr(error, 'strerror', None) or error}") from None
    try:
        async with asyncio.timeout(seconds):
            await process.communicate(body)
    except TimeoutError:
        raise HookFailed(f"it took longer than {seconds:g} s and was killed") from None
    finally:
        if process.returncode is None:
            with suppress(ProcessLookupError, PermissionError):  # gone already; sudo's
                os.killpg(process.pid, signal.SIGKILL)  # what it has begun goes with it
            await _buried(process)
    if process.returncode:
        raise HookFailed(_ending(process.returncode))


async def _buried(process: asyncio.subprocess.Process) -> None:
    """A program that waits for a disk or a server of files can't even be killed: it is left alone then."""
    with suppress(TimeoutError):
        async with asyncio.timeout(BURIAL):
            await process.wait()


def _ending(status: int) -> str:
    return f"it ended with status {status}" if status > 0 else f"it was ended by signal {-status}"
