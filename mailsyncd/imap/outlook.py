"""The destination: folders opened or created, messages APPENDed in a pipeline, the tail read back."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from random import Random

import structlog
from aioimaplib.aioimaplib import AUTH, SELECTED, quoted

from mailsyncd.account import Endpoint
from mailsyncd.errors import ConnectionLost, RouteBlocked, Transient
from mailsyncd.imap.commands import Literal, Reply, Wish
from mailsyncd.imap.dial import dial_ahead
from mailsyncd.imap.faults import During, refusal
from mailsyncd.imap.fetches import number
from mailsyncd.imap.marks import MARKS, GatheredMarks
from mailsyncd.imap.names import Naming
from mailsyncd.imap.profiles import Literals, Profile
from mailsyncd.imap.protocol import Connection
from mailsyncd.imap.responses import Response
from mailsyncd.imap.searches import found_uids
from mailsyncd.imap.selection import Selection
from mailsyncd.imap.session import Login, Session, session_end, signed_in
from mailsyncd.model import Appended, Mailbox, TailMessage
from mailsyncd.policy import instant
from mailsyncd.ports import Clock, SinkLimits

log = structlog.get_logger()

MAX_LITERAL = 4 * 1024 * 1024  # nothing larger than a message's header is ever read back
APPEND_TIMEOUT = 60.0  # seconds, and one more for every 100 kB (B40)
FULL_DATE = 26  # characters: a day of one digit has a space before it (RFC 3501, date-day-fixed)
LITERAL_MINUS = 4096  # bytes that may go out without waiting under LITERAL- (RFC 7888)
SIGN_OF_LIFE = 240.0  # seconds between NOOPs: servers hang up after some minutes (B54)
CALM = 2.0  # seconds without mail before a selected folder is left
WHOLE_TAIL = 4 * 1024**3  # bytes of headers: a folder of some millions


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
    async def session(self, wanted: asyncio.Event | None = None) -> AsyncIterator[OutlookSession]:
        """Connect, sign in, and see whether literals may go out early."""
        line = None
        if wanted is not None:
            line = await dial_ahead(self._endpoint, wanted, max_literal=MAX_LITERAL)
        if self._early is None:
            async with self._signed_in(line) as opened:
                line = None
                if await self._probe(opened):
                    yield opened
                    return
        async with self._signed_in(line) as opened:
            if self._profile.confirms_login:
                await opened.naming()
            yield opened

    @asynccontextmanager
    async def _signed_in(self, line: Connection | None) -> AsyncIterator[OutlookSession]:
        async with signed_in(self._endpoint, self._login, max_literal=MAX_LITERAL, line=line) as session:
            ends_mono = session_end(self._login, self._clock, self._rng)
            yield OutlookSession(session, self._profile, ends_mono, early=self._early is True)

    async def _probe(self, opened: OutlookSession) -> bool:
        """Once a process: does the server take in a literal that it was sent without asking and
        refuses? If it doesn't, it reads a message's text as commands. False if it read the probe so:
        that connection is not to be trusted."""
        if not opened.offers_early_literals:
            self._early = False
            return True
        try:
            taken_in = await opened.try_early_literal()
        except ConnectionLost:
            taken_in = False
        self._early = taken_in is True
        log.info("writer.probed", where=opened.where, early_literals=self._early)
        return taken_in is not False


async def _takes_in_refused_literals(session: Session, names: Callable[[], Awaitable[object]]) -> bool | None:
    """APPEND a few bytes to a mailbox that does not exist: one NO, and nothing else, is right. None if
    this taught nothing. `names` goes along, so that all of it takes one round trip."""
    odd: list[str] = []
    connection, before = session.connection, session.connection.heard

    def heard(count: int | None, name: str, response: Response) -> None:
        before(count, name, response)
        if name in ("BAD", "NO"):
            odd.append(name)

    connection.heard = heard
    name = f"mailsyncd-probe-{secrets.token_hex(6)}"
    literal = Literal(b"mailsyncd probe, to be refused\r\n", synchronising=False)
    probe = await connection.begin("APPEND", quoted(name), literal)
    noop = await connection.begin("NOOP")  # its answer tells that no other answer is to come
    await names()
    refused, after = await connection.finish(probe), await connection.finish(noop)
    connection.heard = before
    if refused.status.kind == "OK":  # a server that makes what it does not know
        await connection.execute("DELETE", quoted(name))
        return None
    return not odd and refused.status.kind == "NO" and after.status.kind == "OK"


class OutlookSession:
    """See ports.SinkSession."""

    def __init__(self, session: Session, profile: Profile, ends_mono: float | None, *, early: bool) -> None:
        self.ends_mono = ends_mono
        self.limits = SinkLimits(
            profile.window, profile.window_bytes, profile.per_second, profile.max_message
        )
        self._session = session
        self._connection = session.connection
        self._early_limit = _early_limit(session) if early else -1  # bytes that need not wait for `+`
        self._selection = Selection(session, wanted=profile.selects)
        self._naming: Naming | None = None
        self._names: dict[str, str] = {}  # of the folders, in the server's own form
        self._missing: set[str] = set()  # folders that were not there when the server was asked
        self._exists = 0
        self._gone = asyncio.Event()
        self._making = asyncio.Lock()
        self._asking = asyncio.Lock()
        self._lively_until = asyncio.get_running_loop().time() + SIGN_OF_LIFE
        self._connection.heard = self._heard

    @property
    def where(self) -> str:
        return self._session.where

    @property
    def lost(self) -> bool:
        return self._connection.why_lost is not None

    @property
    def offers_early_literals(self) -> bool:
        return _early_limit(self._session) >= 0

    async def try_early_literal(self) -> bool | None:
        """See whether literals may go out early, and let them where that is safe."""
        taken_in = await _takes_in_refused_literals(self._session, self.naming)
        self._early_limit = _early_limit(self._session) if taken_in else -1
        return taken_in

    def _heard(self, count: int | None, name: str, response: Response) -> None:
        self._session.heard(count, name, response)
        if name == "EXISTS" and count is not None:
            self._exists = count
        elif name == "ANSWER":
            self._lively_until = asyncio.get_running_loop().time() + SIGN_OF_LIFE
        elif name == "LOST":
            self._gone.set()

    # ------------------------------------------------------------------ folders

    async def open(self, folder: str, *, create: bool) -> Mailbox:
        name = await self._name(folder)
        await self._selection.leave()
        if create and name in self._missing:
            return self._numbered(await self._make(name))
        try:
            return self._numbered(await self._session.status(name))
        except RouteBlocked as missing:
            self._missing.add(name)
            if not create:
                raise RouteBlocked(
                    f"the folder {folder!r} can't be opened and create_folder is off: {missing}"
                ) from missing
        return self._numbered(await self._make(name))

    def _numbered(self, found: Mailbox) -> Mailbox:
        if found.uidvalidity == 0:
            raise Transient(f"{self._session.where} (STATUS): the server did not say UIDVALIDITY")
        return found

    async def _make(self, name: str) -> Mailbox:
        """CREATE and STATUS in one flight; where the server needs the parents first, one by one."""
        self._missing.discard(name)
        async with self._making:  # one after the other: they may have a parent in common
            asked = await self._connection.begin("CREATE", quoted(name))
            status = await self._session.ask_status(name)
            made = await self._connection.finish(asked)
            try:
                return await self._session.told(name, status)
            except RouteBlocked:
                if not _is_there(made):
                    await self._make_parents(name, made)
            return await self._session.status(name)

    async def _make_parents(self, name: str, refused: Reply) -> None:
        """CREATE of what is above a folder that was refused, for servers that do not make it by
        themselves; then of the folder itself."""
        separator = (await self.naming()).separator
        parent, _, leaf = name.rpartition(separator) if separator else ("", "", name)
        if not parent or not leaf:
            raise refusal(f"{self._session.where} (CREATE)", refused.status, During.OPEN)
        above = await self._connection.execute("CREATE", quoted(parent))
        again = await self._connection.execute("CREATE", quoted(name))
        if not _is_there(again) and not _is_there(above):
            await self._make_parents(parent, above)
            again = await self._connection.execute("CREATE", quoted(name))
        if not _is_there(again):
            raise refusal(f"{self._session.where} (CREATE)", again.status, During.OPEN)

    async def naming(self) -> Naming:
        """Asked once; the lock keeps the order of those who ask first."""
        async with self._asking:
            if self._naming is None:
                self._naming = await self._session.naming()
            return self._naming

    async def _name(self, folder: str) -> str:
        if folder not in self._names:
            self._names[folder] = (await self.naming()).to_server(folder)
        return self._names[folder]

    # ------------------------------------------------------------------- append

    async def append(
        self,
        folder: str,
        body: bytes,
        internaldate: str,
        *,
        seen: bool,
        guard: Callable[[], object] = lambda: None,
    ) -> Appended:
        name = await self._name(folder)
        arguments: list[str | Literal] = [quoted(name)]
        if seen:
            arguments.append("(\\Seen)")
        if instant(internaldate) is not None:
            arguments.append(quoted(internaldate.strip().rjust(FULL_DATE)))
        arguments.append(Literal(body, len(body) > self._early_limit, guard))
        timeout = APPEND_TIMEOUT + len(body) / 100_000
        selecting = await self._selection.before_append(name)
        reply = await self._connection.execute("APPEND", *arguments, timeout=timeout)
        if selecting is not None:
            await self._selection.confirm(selecting)
        if reply.status.kind != "OK":
            raise refusal(f"{self._session.where} (APPEND)", reply.status, During.APPEND)
        return _appended(reply.status.code, reply.status.argument)

    # --------------------------------------------------------------------- tail

    async def tail(
        self, folder: str, from_uid: int, *, before: int | None = None, newest: int | None = None
    ) -> list[TailMessage]:
        name = quoted(await self._name(folder))
        self._selection.replaced()
        self._exists = 0
        await self._session.command("EXAMINE", name, during=During.OPEN)
        self._connection.state = SELECTED
        if newest is not None and self._exists > newest:
            from_uid = max(from_uid, await self._first_of_newest(newest))
        gathered = GatheredMarks()
        if self._exists:
            wish = Wish(("FETCH",), gathered.take, WHOLE_TAIL)
            wanted = f"{from_uid}:{'*' if before is None else before - 1}"
            reply = await self._connection.execute("UID FETCH", wanted, MARKS, wish=wish)
            if "message set is invalid" not in reply.status.text.lower():  # B17: there are none
                self._session.accept(reply, "UID FETCH", During.OTHER)
        if self._session.has("UNSELECT"):  # or STATUS might tell of the folder as it was just now
            await self._session.command("UNSELECT")
            self._connection.state = AUTH
        # n:* shows the last message even when it lies below n (A33).
        return [seen for seen in gathered.messages() if seen.uid >= from_uid]

    async def _first_of_newest(self, newest: int) -> int:
        """The UID of the first of the newest so many messages; 0 if it has gone meanwhile."""
        reply = await self._connection.execute(
            "UID SEARCH", f"{self._exists - newest + 1}:*", wish=Wish(("SEARCH",))
        )
        self._session.accept(reply, "UID SEARCH", During.OTHER)
        return min(found_uids(reply.untagged), default=0)

    # --------------------------------------------------------------------- rest

    async def rest(self, seconds: float) -> None:
        loop = asyncio.get_running_loop()
        ends, calm = loop.time() + seconds, loop.time() + CALM
        while (left := ends - loop.time()) > 0:
            if self._connection.why_lost is not None:
                raise self._connection.lost()
            if loop.time() >= self._lively_until:
                await self._session.command("NOOP")
            if loop.time() >= calm:
                await self._selection.leave()
            pause = min(left, self._lively_until - loop.time(), CALM if self._selection else left)
            try:
                async with asyncio.timeout(max(0.0, pause)):
                    await self._gone.wait()
            except TimeoutError:
                continue

    async def close(self) -> None:
        await self._connection.close()


def _early_limit(session: Session) -> int:
    """Bytes of a literal that need not wait for `+`."""
    if session.has("LITERAL+"):
        return 1 << 62
    return LITERAL_MINUS if session.has("LITERAL-") else -1


def _is_there(made: Reply) -> bool:
    """CREATE's OK, or [ALREADYEXISTS] (RFC 5530), or as older servers put it (B13)."""
    return made.status.kind == "OK" or "exists" in made.status.text.lower()


def _appended(code: str, argument: str) -> Appended:
    """APPENDUID (RFC 4315) where it makes sense; a malformed one is as good as none (B31)."""
    numbers = [number(one.encode()) for one in argument.split()]
    if code == "APPENDUID" and len(numbers) == 2 and all(0 < one < 1 << 32 for one in numbers):
        return Appended(numbers[0], numbers[1])
    return Appended(None, None)
