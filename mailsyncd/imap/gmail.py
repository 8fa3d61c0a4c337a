"""The source: a mailbox opened by EXAMINE, listed, read by PEEK, and watched by IDLE."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Collection, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import date
from random import Random

import structlog
from aioimaplib.aioimaplib import SELECTED, quoted

from mailsyncd.account import Endpoint
from mailsyncd.errors import ConnectionLost, FailureKind, MessageRejected, RouteBlocked, Transient
from mailsyncd.imap import early
from mailsyncd.imap.commands import MOST_KEPT, Argument, Command, Reply, Wish
from mailsyncd.imap.faults import During, refusal
from mailsyncd.imap.fetches import Gathered, digits, number, text, uid_sets
from mailsyncd.imap.marks import MARKS, GatheredMarks
from mailsyncd.imap.names import Naming
from mailsyncd.imap.pace import Pace
from mailsyncd.imap.responses import Response, Status, Value, pairs, status_of, values
from mailsyncd.imap.searches import found_uids, search_date, search_keys
from mailsyncd.imap.session import Login, Session, session_end, signed_in
from mailsyncd.model import Listing, Mailbox, TailMessage, Wake
from mailsyncd.ports import Clock
from mailsyncd.steps import Step, reached

log = structlog.get_logger()

# Everything that is ever sent to a source (I4). UID FETCH is used with BODY.PEEK only.
ALLOWED = frozenset({"UID SEARCH", "UID FETCH", "EXAMINE", "IDLE", "NOOP", "STATUS", "LIST"}) | {
    *("CAPABILITY", "AUTHENTICATE", "LOGIN", "ID", "LOGOUT")
}
DESCRIBED_AT_ONCE = 2_000  # UIDs in one UID FETCH of listings
MARKED_AT_ONCE = 500  # UIDs in one UID FETCH of header fields
DESCRIBING = 4  # of them in flight at once
QUIET = 0.005  # seconds without a command before IDLE: between two reads it would only cost a round trip
LONGEST_DATE = 40  # characters
LONGEST_EASE = 60.0  # seconds
LISTED = frozenset({b"RFC822.SIZE", b"INTERNALDATE", b"X-GM-MSGID", b"X-GM-THRID"})


class GmailSource:
    """An IMAP mailbox to copy from: Gmail's, or any other server's."""

    def __init__(
        self,
        endpoint: Endpoint,
        login: Login,
        mailbox: str,
        *,
        clock: Clock,
        rng: Random,
        pace: Pace,
        max_literal: int,
        idle_renewal: float = 540.0,
        poll_interval: float = 30.0,
    ) -> None:
        self._endpoint = endpoint
        self._login = login
        self._mailbox = mailbox
        self._rng = rng
        self._pace = pace
        self.clock = clock
        self.max_literal = max_literal
        self.idle_renewal = idle_renewal
        self.poll_interval = poll_interval

    @asynccontextmanager
    async def session(self) -> AsyncIterator[GmailSession]:
        """Connect, sign in, EXAMINE."""
        await self._pace.turn(self._endpoint.host)
        async with signed_in(
            self._endpoint, self._login, max_literal=self.max_literal, allowed=ALLOWED
        ) as session:
            opened = GmailSession(session, self, session_end(self._login, self.clock, self._rng))
            await opened.examine(self._mailbox)
            yield opened


class GmailSession:
    """See ports.SourceSession."""

    def __init__(self, session: Session, source: GmailSource, ends_mono: float | None) -> None:
        self.ends_mono = ends_mono
        self._session = session
        self._connection = session.connection
        self._settings = source
        self._has_idle = session.has("IDLE")
        self._has_gm = self.lists_at_once = session.has("X-GM-EXT-1")
        self._uidvalidity = self._uidnext = self._exists = self._recent = 0
        self._uidnext_said = True
        self._early = early.EarlyBodies(source.max_literal)
        self._idle_until = self._quiet_from = 0.0
        self._news = False
        self._stirred = asyncio.Event()
        self._connection.heard = self._heard

    @property
    def mailbox(self) -> Mailbox:
        return Mailbox(self._uidvalidity, self._uidnext, self._exists, self._uidnext_said)

    def _heard(self, count: int | None, name: str, response: Response) -> None:
        """Every untagged response, whenever it comes: news may turn up anywhere."""
        self._session.heard(count, name, response)
        if name == "EXISTS" and count is not None:
            self._news = self._news or count > self._exists
            self._exists = count
        elif name == "EXPUNGE":
            self._exists = max(0, self._exists - 1)
        elif name == "RECENT" and count is not None:
            # Some servers tell of new mail by RECENT alone when another session saw EXISTS.
            self._news = self._news or count > self._recent
            self._recent = count
        elif name == "OK":
            self._note_code(status_of(response.text[2:]))
        elif name == "ANSWER":
            self._quiet_from = asyncio.get_running_loop().time() + QUIET
        if self._news or name in ("LOST", "ANSWER"):
            self._stirred.set()

    def _note_code(self, status: Status) -> None:
        said = number(status.argument.encode())
        if status.code == "UIDVALIDITY" and said:
            if self._uidvalidity not in (0, said):
                self._connection.fail("the mailbox got another UIDVALIDITY")
            self._uidvalidity = said
        elif status.code == "UIDNEXT":
            self._uidnext = max(self._uidnext, said)

    # --------------------------------------------------------------------- open

    async def examine(self, mailbox: str) -> None:
        """Open the mailbox, read-only, and learn its numbers."""
        naming = await self._session.naming(by_namespace=False) if "/" in mailbox else Naming()
        name = naming.to_server(mailbox)
        await self._session.command("EXAMINE", quoted(name), during=During.OPEN)
        self._connection.state = SELECTED
        if self._uidvalidity == 0:
            raise Transient(f"{self._session.where} (EXAMINE): the server did not say UIDVALIDITY")
        if self._uidnext == 0:
            await self._find_uidnext(name)
        self._news = False

    async def _find_uidnext(self, name: str) -> None:
        """For servers that leave UIDNEXT out of EXAMINE (B17): STATUS tells, or the highest UID."""
        reply = await self._connection.execute(
            "STATUS", quoted(name), "(UIDNEXT)", wish=Wish(("STATUS",), self._note_status)
        )
        if self._uidnext == 0 or reply.status.kind != "OK":
            self._uidnext_said = False
            found = await self._session.command("UID SEARCH", "ALL", wish=Wish(("SEARCH",)))
            self._uidnext = max(found_uids(found.untagged), default=0) + 1

    def _note_status(self, response: Response) -> None:
        *_, items = values(response)
        if isinstance(items, list):
            self._uidnext = number(pairs(items).get(b"UIDNEXT"))

    # --------------------------------------------------------------------- list

    async def search(
        self, after: int, *, before: int | None = None, since: date | None = None, raw: str | None = None
    ) -> list[int]:
        keys: list[Argument] = ["UID", f"{after + 1}:{'*' if before is None else before - 1}"]
        if since is not None:
            keys += ["SINCE", search_date(since)]
        if raw is not None:
            keys += search_keys(raw, gmail=self._has_gm)
            if not raw.isascii():
                keys = ["CHARSET", "UTF-8", *keys]
        self._news = False
        reply = await self._connection.execute("UID SEARCH", *keys, wish=Wish(("SEARCH",)))
        if reply.status.kind != "OK":
            raise self._search_refused(reply.status, raw)
        self._session.accept(reply, "UID SEARCH", During.OTHER)
        # n:* shows the last message even when it lies below n (A33).
        found = sorted(
            {u for u in found_uids(reply.untagged) if u > after and (before is None or u < before)}
        )
        if found:
            self._uidnext = max(self._uidnext, found[-1] + 1)
        return found

    def _search_refused(self, status: Status, raw: str | None) -> Exception:
        """With a filter, a BAD is about the filter, and no retry will mend it."""
        error = refusal(f"{self._session.where} (UID SEARCH)", status)
        about_filter = status.kind == "BAD" or status.code in ("BADCHARSET", "CANNOT", "CLIENTBUG")
        if raw is not None and about_filter and type(error) is Transient:
            return RouteBlocked(f"{error}. Correct the route's filter: it is not understood there")
        return error

    async def describe(self, uids: Sequence[int]) -> list[Listing]:
        """In several commands where the set is long, some of them in flight at once; what has
        vanished is left out."""
        await self._ease()
        wanted = sorted(set(uids))
        sets = uid_sets(wanted, most=DESCRIBED_AT_ONCE)
        found = await self._listings(sets)
        return [found[uid] for uid in wanted if uid in found]

    async def newest(self, after: int) -> list[Listing]:
        self._news = False
        found = await self._listings([f"{after + 1}:*"], self._early.ask(after + 1))
        self._uidnext = max([self._uidnext, *(uid + 1 for uid in found)])
        return [found[uid] for uid in sorted(found) if uid > after]

    async def _listings(self, sets: Iterable[str], bodies: str = "") -> dict[int, Listing]:
        """`bodies`: the set of which short bodies may come in the same flight."""
        gathered = Gathered(LISTED)
        items = "(UID RFC822.SIZE INTERNALDATE" + (" X-GM-MSGID X-GM-THRID)" if self._has_gm else ")")
        flights: deque[Command] = deque()
        try:
            for chosen in sets:
                if len(flights) == DESCRIBING:
                    await self._land(flights)
                wish = Wish(("FETCH",), gathered.take)
                flights.append(await self._connection.begin("UID FETCH", chosen, items, wish=wish))
            if bodies and not (self._early.refused or self._session.throttled):
                await self._read_early(bodies)
            while flights:
                await self._land(flights)
        finally:
            for command in flights:
                command.forget()
        return {
            uid: _listing(uid, found)
            for uid, found in gathered.by_uid.items()
            if b"RFC822.SIZE" in found or b"INTERNALDATE" in found
        }

    async def _read_early(self, bodies: str) -> None:
        """What is refused here is asked for again by read(), which sees to it."""
        wish = Wish(("FETCH",), self._early.take, early.MOST_BYTES)
        command = await self._connection.begin("UID FETCH", bodies, self._early.items, wish=wish)
        reached(Step.FETCH_SENT)
        try:
            reply = await self._connection.finish(command)
            self._early.refused = reply.status.kind != "OK"
        finally:
            command.forget()

    async def _land(self, flights: deque[Command]) -> None:
        reply = await self._connection.finish(flights.popleft())
        self._session.accept(reply, "UID FETCH", During.OTHER)

    async def marks(self, uids: Sequence[int]) -> list[TailMessage]:
        await self._ease()
        wanted = sorted(set(uids))
        gathered = GatheredMarks()
        for chosen in uid_sets(wanted, most=MARKED_AT_ONCE):
            wish = Wish(("FETCH",), gathered.take)
            reply = await self._connection.execute("UID FETCH", chosen, MARKS, wish=wish)
            self._session.accept(reply, "UID FETCH", During.OTHER)
        asked = set(wanted)
        return [seen for seen in gathered.messages() if seen.uid in asked]

    # --------------------------------------------------------------------- read

    async def read(self, uids: Sequence[int]) -> AsyncIterator[tuple[int, bytes]]:
        """Bodies as they arrive. If the caller stops early, the rest is taken in and dropped."""
        await self._ease()
        here = deque(self._early.hand_over(uids))
        wanted = sorted(set(uids) - {uid for uid, _ in here})
        most = len(wanted) * self._settings.max_literal + MOST_KEPT
        for chosen in uid_sets(wanted, most=max(1, len(wanted))):
            bodies = _Bodies(wanted)
            wish = Wish(("FETCH",), bodies.take, most)
            command = await self._connection.begin("UID FETCH", chosen, "(UID BODY.PEEK[])", wish=wish)
            reached(Step.FETCH_SENT)
            command.answer.add_done_callback(bodies.end)
            try:
                while here:  # while the others are on their way
                    yield here.popleft()
                while (one := await bodies.arrived.get()) is not None:
                    yield one
                self._accept_bodies(await self._finish_reading(command, len(wanted)), bodies)
            finally:
                command.forget()
        while here:
            yield here.popleft()

    async def _finish_reading(self, command: Command, count: int) -> Reply:
        """A body beyond the limit has ended the connection. That would happen again and again, so it
        is the message that is refused; which one, the caller finds out by asking one by one."""
        try:
            return await self._connection.finish(command)
        except ConnectionLost as lost:
            if self._connection.too_large:
                kind = FailureKind.OVERSIZE if count == 1 else FailureKind.SOURCE_UNREADABLE
                raise MessageRejected(str(lost), kind) from lost
            raise

    def _accept_bodies(self, reply: Reply, bodies: _Bodies) -> None:
        self._session.accept(reply, "UID FETCH", During.READ)
        if bodies.refused:
            raise MessageRejected(
                f"{self._session.where} (UID FETCH): the server lists the message and gives NIL for its text",
                FailureKind.SOURCE_UNREADABLE,
            )

    async def _ease(self) -> None:
        """Slow down, more each time, while the server says that it throttles us (A26)."""
        if self._session.throttled:
            pause = min(2.0 ** min(self._session.throttled, 10), LONGEST_EASE)
            log.warning("source.throttled", where=self._session.where, pause_seconds=pause)
            await self._settings.clock.sleep(pause)

    # --------------------------------------------------------------------- wait

    async def wait(self, seconds: float) -> Wake:
        """In IDLE, or by NOOP where there is none. IDLE is left running for the next command to
        end: DONE and that command then share a flight. So TIMEOUT is for the caller to list."""
        loop = asyncio.get_running_loop()
        ends = loop.time() + min(seconds, self._settings.idle_renewal)
        if self._connection.idling and loop.time() >= self._idle_until:
            await self._connection.end_idle()  # the caller has not listed: renew it all the same
        while True:
            self._stirred.clear()
            if self._connection.why_lost is not None:
                raise self._connection.lost()
            if self._news:
                reached(Step.EXISTS_SEEN)
                return Wake.NEWS
            left = ends - loop.time()
            if left <= 0:
                return Wake.TIMEOUT
            await self._listen(left)

    async def _listen(self, seconds: float) -> None:
        """Until something stirs, or so long; IDLE resumes when other commands have ended it."""
        quiet_in = self._quiet_from - asyncio.get_running_loop().time()
        if self._connection.busy or self._connection.idling:
            await self._pause(seconds)
        elif self._has_idle and quiet_in > 0:
            await self._pause(min(seconds, quiet_in))
        elif self._has_idle:
            self._has_idle = await self._connection.start_idle()
            self._idle_until = asyncio.get_running_loop().time() + self._settings.idle_renewal
        else:
            await self._pause(min(seconds, self._settings.poll_interval))
            if not self._news and self._connection.why_lost is None:
                await self._session.command("NOOP")

    async def _pause(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._stirred.wait()
        except TimeoutError:
            pass

    async def close(self) -> None:
        await self._connection.close()


# ------------------------------------------------------------------------ parsing


def _listing(uid: int, items: Mapping[bytes, Value]) -> Listing:
    return Listing(
        uid,
        number(items.get(b"RFC822.SIZE")),
        text(items.get(b"INTERNALDATE"))[:LONGEST_DATE],
        digits(items.get(b"X-GM-MSGID")),
        digits(items.get(b"X-GM-THRID")),
    )


class _Bodies:
    """The bodies of a UID FETCH, each once, on their way to whoever reads."""

    def __init__(self, wanted: Collection[int]) -> None:
        self._missing = set(wanted)
        self.refused: set[int] = set()
        self.arrived: asyncio.Queue[tuple[int, bytes] | None] = asyncio.Queue()

    def take(self, response: Response) -> None:
        items = response.items
        uid = number(items.get(b"UID"))
        if uid not in self._missing:
            return  # most likely another command's: several are in flight
        bodies = [value for name, value in items.items() if name.startswith(b"BODY[]")]
        if not bodies:
            return
        if isinstance(bodies[0], bytes):
            self._missing.discard(uid)
            self.refused.discard(uid)
            self.arrived.put_nowait((uid, bodies[0]))
        else:
            self.refused.add(uid)

    def end(self, answer: object) -> None:
        self.arrived.put_nowait(None)
