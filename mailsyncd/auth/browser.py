"""The system's browser, opened at an address."""

from __future__ import annotations

import asyncio
import re
import sys
from collections.abc import Mapping

START_SECONDS = 10.0
_OPEN = "import sys, webbrowser; sys.exit(not webbrowser.open(sys.argv[1]))"
_SECRET = re.compile(r"SECRET|TOKEN|PASSW|CREDENTIAL|^AWS_|^SYNC_ROUTES_JSON$", re.I)


async def open_browser(address: str, environ: Mapping[str, str]) -> bool:
    """Whether one could be started. It gets the address, and no secret of the environment.

    In a process of its own: some browsers are waited for until they are closed, and some would
    take the terminal.
    """
    try:
        child = await asyncio.create_subprocess_exec(
            sys.executable,
            "-c",
            _OPEN,
            address,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
            env={name: value for name, value in environ.items() if not _SECRET.search(name)},
            start_new_session=True,  # an interrupt is meant for us alone
        )
    except OSError:
        return False
    try:
        async with asyncio.timeout(START_SECONDS):
            return await child.wait() == 0
    except TimeoutError:
        return True  # it is being shown
    finally:
        if child.returncode is None:
            child.kill()  # what it has started goes on
            await child.wait()
