"""Requests to one of AWS's stores of secrets: few, each with a deadline, every failure a Refused."""

from __future__ import annotations

import asyncio
import ipaddress
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any
from urllib.parse import urlsplit

from aiobotocore.config import AioConfig
from aiobotocore.session import get_session

from mailsyncd import __version__
from mailsyncd.stored import Trouble, Vault
from mailsyncd.vault.troubles import ERRORS, SERVICES, Refused, refused

CONNECT_TIMEOUT = 3.0
READ_TIMEOUT = 5.0
ATTEMPTS = 4  # in all; what is throttled or lost is tried again by the SDK, ever later
DEADLINE = 20.0  # for all that is asked of one store, tries included


class Client:
    """One store in one region."""

    def __init__(self, vault: Vault, connected: Any) -> None:
        self.vault = vault
        self._connected = connected

    async def ask(self, method: str, **arguments: Any) -> dict[str, Any]:
        """Raises Refused. What the SDK raised may repeat a value, and goes no further."""
        operation = self._connected.meta.method_to_api_mapping[method]
        try:
            answer: dict[str, Any] = await getattr(self._connected, method)(**arguments)
        except ERRORS as error:
            raise refused(self.vault, operation, error) from None
        # The SDK takes a web page with status 200 for an empty answer, which none of AWS's is.
        if set(answer) == {"ResponseMetadata"}:
            what = f"what answers there is not {SERVICES[self.vault]}: check the address"
            raise Refused(Trouble(what, passes=True), of_store=True)
        return answer


@asynccontextmanager
async def connected(vault: Vault, region: str | None) -> AsyncIterator[Client]:
    """Credentials, and whatever else is not said here, are found as the SDK finds them. Raises Refused,
    also when all of it together takes too long."""
    config = AioConfig(
        connect_timeout=CONNECT_TIMEOUT,
        read_timeout=READ_TIMEOUT,
        retries={"mode": "standard", "total_max_attempts": ATTEMPTS},
        user_agent=f"mailsyncd/{__version__}",
    )
    too_long = asyncio.timeout(DEADLINE)
    try:
        async with too_long, AsyncExitStack() as stack:
            try:
                made = get_session().create_client(vault.value, region_name=region, config=config)
                client: Any = await stack.enter_async_context(made)
            except ERRORS as error:
                raise refused(vault, "connecting", error) from None
            if not _is_private(client.meta.endpoint_url):
                what = "AWS_ENDPOINT_URL must begin with https:// (http:// is for loopback addresses only)"
                raise Refused(Trouble(what), of_store=True)
            yield Client(vault, client)
    except TimeoutError:
        if not too_long.expired():
            raise
        what = f"{SERVICES[vault]} gave no answer within {DEADLINE:.0f} seconds"
        raise Refused(Trouble(what, passes=True), of_store=True) from None


def _is_private(url: str) -> bool:
    """Secrets go over TLS, or do not leave the machine."""
    parts = urlsplit(url)
    if parts.scheme == "https":
        return True
    try:
        return ipaddress.ip_address(parts.hostname or "").is_loopback
    except ValueError:
        return parts.hostname == "localhost"
