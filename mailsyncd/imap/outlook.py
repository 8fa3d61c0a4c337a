"""The destination: folders opened or created, messages APPENDed in a pipeline, the tail read back."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from random import Random

import structlog
from aioimaplib.aioimaplib import quoted

from mailsyncd.errors import ConnectionLost, RouteBlocked, Transient
from mailsyncd.imap.faults import During, refusal
from mailsyncd.imap.gmail import fetched, session_end
from mailsyncd.imap.names import to_server
from mailsyncd.imap.profiles import Literals, Profile
from mailsyncd.imap.protocol import Literal
from mailsyncd.imap.responses import Response
from mailsyncd.imap.session import Login, Session, signed_in
from mailsyncd.model import Appended, Endpoint, Mailbox, TailMessage
from mailsyncd.policy import fingerprint, instant
from mailsyncd.ports import Clock, SinkLimits

log = structlog.get_logger()

MAX_LITERAL = 4 * 1024 * 1024  # nothing larger than a message's header is ever read back
APPEND_TIMEOUT = 60.0  # seconds, and one more for every 100 kB (B40)
LITERAL_MINUS = 4096  # bytes that may go out without waiting under LITERAL- (RFC 7888)
SIGN_OF_LIFE = 240.0  # seconds between NOOPs: servers hang up after some minutes (B54)
TAIL_ITEMS = "(UID INTERNALDATE BODY.PEEK[HEADER.FIELDS (MESSAGE-ID DATE FROM SUBJECT)])"


class OutlookSink:
    """An IMAP mailbox to copy into: Outlook.com's, or any other server's."""

    def __init__(
        self, endpoint: Endpoint, login: Login, profile: Profile, *, clock: Clock, rng: Random
    ) -> None:
        self._endpoint = endpoint
        self._login = login
        self._profile = profile
        self._clock = clock
        self._rng = rng
        self._early: bool | None = {Literals.SYNCHRONISING: False, Literals.PLUS: True}.get(profile.literals)

    @asynccontextmanager
    async def session(self) -> AsyncIterator[OutlookSession]:
        """Connect, sign in, and see whether literals may go out early."""
        if self._early is None:
            self._early = await self._probe()
        async with signed_in(self._endpoint, self._login, max_literal=MAX_LITERAL) as session:
            if self._profile.confirms_login and session.has("NAMESPACE"):
                await session.separator()
            ends = session_end(self._login, self._clock, self._rng)
            yield OutlookSession(session, self._profile, ends, early=self._early)

    async def _probe(self) -> bool:
        """Once a process, over a connection of its own: does the server take in a literal that it
        was sent without asking and refuses? If it doesn't, it reads a message's text as commands."""
        async with signed_in(self._endpoint, self._login, max_literal=MAX_LITERAL) as session:
            if not (session.has("LITERAL+") or session.has("LITERAL-")):
                return False
            try:
                honoured = await _takes_refused_literals(session)
            except ConnectionLost:
                honoured = False
            log.info("writer.probed", where=session.where, early_literals=honoured)
            return honoured


async def _takes_refused_literals(session: Session) -> bool:
    """APPEND a few bytes to a mailbox that does not exist: one NO, and nothing else, is right."""
    odd: list[str] = []

    def heard(number: int | None, name: str, response: Response) -> None:
        session.heard(number, name, response)
        if name in ("BAD", "NO"):
            odd.append(name)

    session.connection.heard = heard
    name = f"mailsyncd-probe-{secrets.token_hex(6)}"
    probe = Literal(b"mailsyncd probe, to be refused\r\n", synchronising=False)
    reply = await session.connection.execute("APPEND", quoted(name), probe)
    if reply.status.kind == "OK":  # a server that creates what it does not know
        await session.connection.execute("DELETE", quoted(name))
    after = await session.connection.execute("NOOP")
    return not odd and reply.status.kind in ("NO", "OK") and after.status.kind == "OK"


class OutlookSession:
    """See ports.SinkSession."""

    def __init__(self, session: Session, profile: Profile, ends_mono: float | None, *, early: bool) -> None:
        self.ends_mono = ends_mono
        self.limits = SinkLimits(
            profile.window, profile.window_bytes, profile.per_second, profile.max_message
        )
        self._session = session
        self._connection = session.connection
        self._early_limit = 0
        if early:
            self._early_limit = 1 << 62 if session.has("LITERAL+") else LITERAL_MINUS
        self._namespace: tuple[str, str] | None = None
        self._exists = 0
        self._gone = asyncio.Event()
        self._opening = asyncio.Lock()
        self._naming = asyncio.Lock()
        self._connection.heard = self._heard

    @property
    def lost(self) -> bool:
        return self._connection.lost is not None

    def _heard(self, number: int | None, name: str, response: Response) -> None:
        self._session.heard(number, name, response)
        if name == "EXISTS" and number is not None:
            self._exists = number
        elif name == "LOST":
            self._gone.set()

    # ------------------------------------------------------------------ folders

    async def open(self, folder: str, *, create: bool) -> Mailbox:
        async with self._opening:
            name = await self._name(folder)
            try:
                found = await self._session.status(name)
            except RouteBlocked as missing:
                if not create:
                    raise RouteBlocked(
                        f"the folder {folder!r} can't be opened and create_folder is off: {missing}"
                    ) from missing
                await self._create(name)
                found = await self._session.status(name)
            if found.uidvalidity == 0:
                raise Transient(f"{self._session.where} (STATUS): the server did not say UIDVALIDITY")
            return found

    async def _create(self, name: str) -> None:
        """With its parents, for servers that do not make them by themselves."""
        _, separator = await self._names()
        reply = await self._connection.execute("CREATE", quoted(name))
        if reply.status.kind == "OK" or _exists_already(reply.status.text):
            return
        parent, _, leaf = name.rpartition(separator) if separator else ("", "", name)
        if not parent or not leaf:
            raise refusal(f"{self._session.where} (CREATE)", reply.status, During.OPEN)
        above = await self._connection.execute("CREATE", quoted(parent))
        again = await self._connection.execute("CREATE", quoted(name))
        if again.status.kind == "OK" or _exists_already(again.status.text):
            return
        if above.status.kind != "OK" and not _exists_already(above.status.text):
            await self._create(parent)
            again = await self._connection.execute("CREATE", quoted(name))
        self._session.accept(again, "CREATE", During.OPEN)

    async def _names(self) -> tuple[str, str]:
        async with self._naming:
            if self._namespace is None:
                self._namespace = await self._session.separator()
            return self._namespace

    async def _name(self, folder: str) -> str:
        prefix, separator = await self._names()
        return to_server(folder, separator, prefix)

    # ------------------------------------------------------------------- append

    async def append(self, folder: str, body: bytes, internaldate: str, *, seen: bool) -> Appended:
        name = await self._name(folder)
        arguments: list[str | Literal] = [quoted(name)]
        if seen:
            arguments.append("(\\Seen)")
        if instant(internaldate) is not None:
            arguments.append(quoted(internaldate))
        arguments.append(Literal(body, synchronising=len(body) > self._early_limit))
        timeout = APPEND_TIMEOUT + len(body) / 100_000
        reply = await self._connection.execute("APPEND", *arguments, timeout=timeout)
        if reply.status.kind != "OK":
            raise refusal(f"{self._session.where} (APPEND)", reply.status, During.APPEND)
        return _appended(reply.status.code, reply.status.argument)

    # --------------------------------------------------------------------- tail

    async def tail(self, folder: str, from_uid: int) -> list[TailMessage]:
        self._exists = 0
        name = quoted(await self._name(folder))
        await self._session.command("EXAMINE", name, during=During.OPEN)
        self._connection.state = "SELECTED"
        if self._exists == 0:
            return []
        found: dict[int, TailMessage] = {}

        def take(response: Response) -> None:
            seen = _tail_message(response)
            if seen is not None and seen.uid >= from_uid:
                found[seen.uid] = seen

        reply = await self._connection.execute(
            "UID FETCH", f"{from_uid}:*", TAIL_ITEMS, wants=("FETCH",), take=take
        )
        if reply.status.kind != "OK" and "message set is invalid" not in reply.status.text.lower():
            raise refusal(f"{self._session.where} (UID FETCH)", reply.status)
        return [found[uid] for uid in sorted(found)]

    # --------------------------------------------------------------------- rest

    async def rest(self, seconds: float) -> None:
        loop = asyncio.get_running_loop()
        ends = loop.time() + seconds
        while (left := ends - loop.time()) > 0:
            try:
                async with asyncio.timeout(min(left, SIGN_OF_LIFE)):
                    await self._gone.wait()
            except TimeoutError:
                await self._session.command("NOOP")
            if self._connection.lost is not None:
                raise self._connection.lost

    async def close(self) -> None:
        await self._connection.close()


def _exists_already(text: str) -> bool:
    """[ALREADYEXISTS] (RFC 5530), or as older servers put it (B13)."""
    return "exists" in text.lower()


def _appended(code: str, argument: str) -> Appended:
    """APPENDUID (RFC 4315) where it makes sense; a malformed one is as good as none (B31, R9)."""
    numbers = argument.split()
    if code == "APPENDUID" and len(numbers) == 2 and all(one.isdigit() for one in numbers):
        uidvalidity, uid = map(int, numbers)
        if 0 < uidvalidity < 1 << 32 and 0 < uid < 1 << 32:
            return Appended(uidvalidity, uid)
    return Appended(None, None)


def _tail_message(response: Response) -> TailMessage | None:
    items = fetched(response)
    uid, when = items.get(b"UID"), items.get(b"INTERNALDATE")
    header = next((value for name, value in items.items() if name.startswith(b"BODY[HEADER")), None)
    if not (isinstance(uid, bytes) and uid.isdigit() and isinstance(when, bytes)):
        return None
    mark = fingerprint(header if isinstance(header, bytes) else b"")
    received = instant(when.decode("ascii", "replace"))
    return TailMessage(int(uid), mark.message_id, received or 0.0, mark.digest)
