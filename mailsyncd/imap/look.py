"""What a server shows of itself and of a few folders to somebody who only looks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mailsyncd.account import Endpoint
from mailsyncd.errors import RouteBlocked
from mailsyncd.imap.gmail import ALLOWED
from mailsyncd.imap.session import Login, signed_in
from mailsyncd.model import Mailbox

MAX_LITERAL = 64 * 1024


@dataclass(frozen=True, slots=True)
class Look:
    """`folders`: as asked for -> what STATUS says, or the server's words for not having it."""

    capabilities: frozenset[str]
    folders: dict[str, Mailbox | str]


async def look(endpoint: Endpoint, login: Login, folders: Sequence[str], *, is_source: bool) -> Look:
    """Sign in, ask, leave. Raises Transient, Throttled, RouteBlocked."""
    allowed = ALLOWED if is_source else ALLOWED | {"NAMESPACE"}
    async with signed_in(endpoint, login, max_literal=MAX_LITERAL, allowed=allowed) as session:
        naming = await session.naming(by_namespace=not is_source)
        found: dict[str, Mailbox | str] = {}
        for folder in folders:
            try:
                found[folder] = await session.status(naming.to_server(folder))
            except RouteBlocked as missing:
                found[folder] = str(missing)
        return Look(session.capabilities, found)
