"""Token notes for who may need no state otherwise: the store is opened at the first need, and looking
makes none."""

from __future__ import annotations

from collections.abc import Callable

from mailsyncd.model import TokenNote
from mailsyncd.ports import StateStore


class NotesWhenNeeded:
    """See ports.TokenNotes. `is_there` tells whether there is anything to look into."""

    def __init__(self, store: StateStore, is_there: Callable[[], bool]) -> None:
        self._store = store
        self._is_there = is_there
        self._is_open = False

    async def token_note(self, account: str, line: str) -> TokenNote | None:
        if not self._is_there():
            return None
        await self._open()
        return await self._store.token_note(account, line)

    async def put_token_note(self, new: TokenNote, *, expected: TokenNote | None) -> bool:
        if new.sealed is None and not self._is_there():
            return False  # that a token was used is no reason to make a state
        await self._open()
        return await self._store.put_token_note(new, expected=expected)

    async def _open(self) -> None:
        if not self._is_open:
            await self._store.open()
            self._is_open = True
