"""A notice to an address: one POST of JSON, tried again a few times. The address may be a secret itself."""

from __future__ import annotations

import asyncio

import httpx

from mailsyncd.account import Secret
from mailsyncd.notify.command import HookFailed
from mailsyncd.ports import Clock

PAUSES = (2.0, 10.0)  # seconds before a second and a third try


async def post(address: Secret, body: bytes, seconds: float, clock: Clock) -> None:
    """Raises HookFailed."""
    for pause in (*PAUSES, None):
        try:
            async with asyncio.timeout(seconds):
                status = await _once(address, body, seconds)
        except (httpx.HTTPError, httpx.InvalidURL, OSError, TimeoutError) as error:
            why = "no answer in time" if isinstance(error, TimeoutError) else type(error).__name__
        else:
            if 200 <= status < 300:
                return
            why = f"it answered {status}"
            if status < 500 and status != 429:
                raise HookFailed(why)
        if pause is None:
            raise HookFailed(why)
        await clock.sleep(pause)


async def _once(address: Secret, body: bytes, seconds: float) -> int:
    """The status; what else comes is not read."""
    headers = {"Content-Type": "application/json", "User-Agent": "mailsyncd"}
    async with (
        httpx.AsyncClient(timeout=seconds, follow_redirects=False) as client,
        client.stream("POST", address.reveal(), content=body, headers=headers) as response,
    ):
        return response.status_code
