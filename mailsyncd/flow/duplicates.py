"""The same mail by another way: with dedupe = "folder" a message is not copied into a folder that
holds it already, or is about to, whichever route it came by.

It counts as the same by its Message-ID together with its Date, From and Subject; INTERNALDATE is
each account's own. Without a Message-ID nothing is taken for the same.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from mailsyncd.errors import RouteBlocked
from mailsyncd.flow.recover import Key, Recovery
from mailsyncd.model import Appended, Dedupe, Message, Record, Route
from mailsyncd.ports import SinkSession

PAGE = 2_000  # UIDs asked for by one request
MOST = 100_000  # messages of a folder that are remembered: the newest


class UnderWay(Exception):
    """The same mail is being copied into the folder, or is in doubt there."""


@dataclass(slots=True)
class _Index:
    """A folder's messages by their marks, up to `uidnext`."""

    uidvalidity: int
    uidnext: int = 1
    uids: dict[bytes, int | None] = field(default_factory=dict)

    def add(self, mark: bytes | None, uid: int | None) -> None:
        if mark is not None:
            self.uids.setdefault(mark, uid)
            if len(self.uids) > MOST:
                del self.uids[next(iter(self.uids))]


class Duplicates:
    """Of one destination, for the time of one lease."""

    def __init__(self, recovery: Recovery) -> None:
        self._recovery = recovery
        self._wanted: set[str] = set()
        self._fresh: set[str] = set()
        self._folders: dict[str, _Index] = {}
        self._sending: dict[tuple[str, bytes | None], Key] = {}

    def serve(self, routes: Iterable[Route]) -> None:
        """The routes that write to this destination."""
        self._wanted = {route.folder for route in routes if route.dedupe is Dedupe.FOLDER}

    def forget(self) -> None:
        """The lease is gone: what others do to the folders meanwhile is not seen."""
        self._folders.clear()
        self._fresh.clear()

    # ------------------------------------------------------------- the folders

    def connected(self) -> None:
        """A new connection: there may be more than we know of."""
        self._fresh.clear()

    def due(self) -> bool:
        return not self._wanted <= self._fresh

    async def look(self, session: SinkSession) -> None:
        """Read what has come into every such folder since the last look. Nothing may be in flight."""
        for folder in sorted(self._wanted - self._fresh):
            try:
                await self._read(session, folder)
            except RouteBlocked:
                self._folders.pop(folder, None)  # there is none, so it holds nothing
            self._fresh.add(folder)

    async def _read(self, session: SinkSession, folder: str) -> None:
        mailbox = await session.open(folder, create=False)
        index = self._folders.get(folder)
        if index is None or index.uidvalidity != mailbox.uidvalidity or mailbox.uidnext < index.uidnext:
            index = self._folders[folder] = _Index(mailbox.uidvalidity)
        ends = list(range(index.uidnext, mailbox.uidnext, PAGE)) if mailbox.exists else []
        for first in ends:
            for seen in await session.tail(folder, first, before=min(first + PAGE, mailbox.uidnext)):
                index.add(_mark(seen.message_id, seen.digest), seen.uid)
            index.uidnext = min(first + PAGE, mailbox.uidnext)

    # ------------------------------------------------------------ the messages

    def copy_of(self, message: Message) -> Appended | None:
        """The numbers of a copy that the folder holds. Raises UnderWay."""
        route, mark = message.ref.route, _mark(message.message_id, message.digest)
        if route.dedupe is not Dedupe.FOLDER or mark is None:
            return None
        index = self._folders.get(route.folder)
        if index is not None and mark in index.uids:
            return Appended(index.uidvalidity, index.uids[mark])
        others = {self._sending.get((route.folder, mark), message.ref.key)}
        for one in self._recovery.doubts_in(route.folder):
            if _mark(one.record.message_id, one.record.digest) == mark:
                others.add(one.ref.key)
        if others != {message.ref.key}:
            raise UnderWay
        return None

    @contextmanager
    def sending(self, message: Message) -> Iterator[None]:
        """While a message is on its way into a folder."""
        key = (message.ref.route.folder, _mark(message.message_id, message.digest))
        self._sending[key] = message.ref.key
        try:
            yield
        finally:
            if self._sending.get(key) == message.ref.key:
                del self._sending[key]

    def note(self, folder: str, record: Record) -> None:
        """A copy was made."""
        if folder in self._wanted and record.dest_uidvalidity is not None:
            index = self._folders.setdefault(folder, _Index(record.dest_uidvalidity))
            if index.uidvalidity == record.dest_uidvalidity:
                index.add(_mark(record.message_id, record.digest), record.dest_uid)


def _mark(message_id: str | None, digest: str) -> bytes | None:
    if message_id is None:
        return None
    return hashlib.blake2b(f"{digest} {message_id}".encode(), digest_size=16).digest()
