"""The source: a mailbox opened by EXAMINE, listed, read by PEEK, and watched by IDLE."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from datetime import date
from random import Random

import structlog
from aioimaplib.aioimaplib import quoted

from mailsyncd.errors import Transient
from mailsyncd.imap.faults import During
from mailsyncd.imap.names import to_server
from mailsyncd.imap.protocol import Argument, Literal
from mailsyncd.imap.responses import Response, Value, pairs, status_of, values
from mailsyncd.imap.session import Login, Session, TokenLogin, signed_in
from mailsyncd.model import Endpoint, Listing, Mailbox, Wake
from mailsyncd.ports import Clock

log = structlog.get_logger()

# Everything that is ever sent to a source (I4). UID FETCH is used with BODY.PEEK only.
ALLOWED = frozenset(
    {
        "CAPABILITY",
        "ID",
        "AUTHENTICATE",
        "LOGIN",
        "EXAMINE",
        "STATUS",
        "LIST",
        "UID SEARCH",
        "UID FETCH",
        "IDLE",
        "NOOP",
        "LOGOUT",
    }
)
LONGEST_SET = 4_000  # characters of a UID set; command lines stay below 8 kB (B34)
DESCRIBED_AT_ONCE = 2_000  # UIDs in one UID FETCH of listings
EARLY = 300.0  # seconds before a token's end that a session is given up
MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")

_BODY = re.compile(rb"BODY\[\]", re.IGNORECASE)


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
        max_literal: int,
        idle_renewal: float = 540.0,
        poll_interval: float = 30.0,
    ) -> None:
        self._endpoint = endpoint
        self._login = login
        self._mailbox = mailbox
        self._clock = clock
        self._rng = rng
        self._max_literal = max_literal
        self._idle_renewal = idle_renewal
        self._poll_interval = poll_interval

    @asynccontextmanager
    async def session(self) -> AsyncIterator[GmailSession]:
        """Connect, sign in, EXAMINE."""
        async with signed_in(
            self._endpoint, self._login, max_literal=self._max_literal, allowed=ALLOWED
        ) as session:
            ends = session_end(self._login, self._clock, self._rng)
            open_session = GmailSession(session, ends, self._idle_renewal, self._poll_interval)
            await open_session.examine(self._mailbox)
            yield open_session


def session_end(login: Login, clock: Clock, rng: Random) -> float | None:
    """When to leave, before the access token dies: sooner by up to half of the margin, at random,
    so that the sessions of many routes do not end together."""
    lifetime = login.tokens.lifetime() if isinstance(login, TokenLogin) else None
    if lifetime is None:
        return None
    margin = min(EARLY, lifetime * 0.2)
    return clock.monotonic() + lifetime - margin * rng.uniform(1.0, 1.5)


class GmailSession:
    """See ports.SourceSession."""

    def __init__(
        self, session: Session, ends_mono: float | None, idle_renewal: float, poll_interval: float
    ) -> None:
        self.ends_mono = ends_mono
        self._session = session
        self._connection = session.connection
        self._idle_renewal = idle_renewal
        self._poll_interval = poll_interval
        self._has_idle = session.has("IDLE")
        self._has_gm = session.has("X-GM-EXT-1")
        self._uidvalidity = self._uidnext = self._exists = 0
        self._recent = 0
        self._news = False
        self._stirred = asyncio.Event()
        self._connection.heard = self._heard

    @property
    def mailbox(self) -> Mailbox:
        return Mailbox(self._uidvalidity, self._uidnext, self._exists)

    def _heard(self, number: int | None, name: str, response: Response) -> None:
        """Every untagged response, whenever it comes: news may turn up anywhere."""
        self._session.heard(number, name, response)
        if name == "EXISTS" and number is not None:
            self._news = self._news or number > self._exists
            self._exists = number
        elif name == "EXPUNGE":
            self._exists = max(0, self._exists - 1)
        elif name == "RECENT" and number is not None:
            # Some servers tell of new mail by RECENT alone when another session saw EXISTS.
            self._news = self._news or number > self._recent
            self._recent = number
        elif name == "OK":
            self._note_code(response)
        if self._news or name in ("LOST", "IDLE-ENDED"):
            self._stirred.set()

    def _note_code(self, response: Response) -> None:
        status = status_of(response.text[2:])
        if status.code == "UIDVALIDITY" and status.argument.isdigit():
            self._uidvalidity = int(status.argument)
        elif status.code == "UIDNEXT" and status.argument.isdigit():
            self._uidnext = max(self._uidnext, int(status.argument))

    # --------------------------------------------------------------------- open

    async def examine(self, mailbox: str) -> None:
        """Open the mailbox, read-only, and learn its numbers."""
        separator, prefix = "/", ""
        if "/" in mailbox:
            reply = await self._session.command("LIST", '""', '""', wants=("LIST",))
            for response in reply.untagged:
                found = self._session.values(response)
                separator = _text(found[3]) if len(found) >= 5 else separator
        name = quoted(to_server(mailbox, separator, prefix))
        await self._session.command("EXAMINE", name, during=During.OPEN)
        self._connection.state = "SELECTED"
        if self._uidvalidity == 0:
            raise Transient(f"{self._session.where} (EXAMINE): the server did not say UIDVALIDITY")
        if self._uidnext == 0:
            await self._find_uidnext(name)
        self._news = False

    async def _find_uidnext(self, name: str) -> None:
        """For servers that leave UIDNEXT out of EXAMINE (B17): the highest UID tells."""
        reply = await self._session.command("UID SEARCH", "ALL", wants=("SEARCH",))
        self._uidnext = max(_uids(reply.untagged), default=0) + 1

    # --------------------------------------------------------------------- list

    async def search(
        self, after: int, *, before: int | None = None, since: date | None = None, raw: str | None = None
    ) -> list[int]:
        self._news = False
        keys: list[Argument] = ["UID", f"{after + 1}:{'*' if before is None else before - 1}"]
        if since is not None:
            keys += ["SINCE", f"{since.day}-{MONTHS[since.month - 1]}-{since.year:04d}"]
        if raw is not None:
            keys += self._filter(raw)
            if any(isinstance(key, Literal) for key in keys) or not raw.isascii():
                keys = ["CHARSET", "UTF-8", *keys]
        reply = await self._session.command("UID SEARCH", *keys, wants=("SEARCH",))
        # n:* shows the last message even when it lies below n (RFC 3501 6.4.8).
        found = sorted(
            uid for uid in _uids(reply.untagged) if uid > after and (before is None or uid < before)
        )
        if found:
            self._uidnext = max(self._uidnext, found[-1] + 1)
        return found

    def _filter(self, raw: str) -> list[Argument]:
        """A Gmail query where the server knows them, else the user's own SEARCH keys."""
        if not self._has_gm:
            return [raw]
        if raw.isascii() and raw.isprintable():
            return ["X-GM-RAW", quoted(raw)]
        return ["X-GM-RAW", Literal(raw.encode())]

    async def describe(self, uids: Sequence[int]) -> list[Listing]:
        """In several commands where the set is long; what has vanished is left out."""
        found: dict[int, Listing] = {}
        for chosen in uid_sets(sorted(set(uids)), most=DESCRIBED_AT_ONCE):
            for listing in await self._listings(chosen):
                found[listing.uid] = listing
        wanted = set(uids)
        return [found[uid] for uid in sorted(found) if uid in wanted]

    async def newest(self, after: int) -> list[Listing]:
        self._news = False
        found = {one.uid: one for one in await self._listings(f"{after + 1}:*") if one.uid > after}
        if found:
            self._uidnext = max(self._uidnext, max(found) + 1)
        return [found[uid] for uid in sorted(found)]

    async def _listings(self, chosen: str) -> list[Listing]:
        items = "UID RFC822.SIZE INTERNALDATE" + (" X-GM-MSGID X-GM-THRID" if self._has_gm else "")
        reply = await self._session.command("UID FETCH", chosen, f"({items})", wants=("FETCH",))
        found = (_listing(items_of(self._session.values(one))) for one in reply.untagged)
        return [listing for listing in found if listing]

    # --------------------------------------------------------------------- read

    async def read(self, uids: Sequence[int]) -> AsyncIterator[tuple[int, bytes]]:
        """Bodies as they arrive. If the caller stops early the rest is absorbed by the connection."""
        arrived: asyncio.Queue[tuple[int, bytes] | None] = asyncio.Queue()
        for chosen in uid_sets(sorted(set(uids)), most=len(uids) or 1):
            command = asyncio.create_task(self._fetch(chosen, set(uids), arrived))
            try:
                while (one := await arrived.get()) is not None:
                    yield one
                await command
            finally:
                command.cancel()
                await asyncio.gather(command, return_exceptions=True)

    async def _fetch(
        self, chosen: str, wanted: set[int], arrived: asyncio.Queue[tuple[int, bytes] | None]
    ) -> None:
        def take(response: Response) -> None:
            items = fetched(response)
            uid, body = _as_int(items.get(b"UID")), _body(items)
            if uid in wanted and body is not None:
                arrived.put_nowait((uid, body))

        try:
            reply = await self._connection.execute(
                "UID FETCH", chosen, "(UID BODY.PEEK[])", wants=("FETCH",), take=take
            )
            self._session.accept(reply, "UID FETCH", During.READ)
        finally:
            arrived.put_nowait(None)

    # --------------------------------------------------------------------- wait

    async def wait(self, seconds: float) -> Wake:
        """In IDLE, or by NOOP where there is none. IDLE is left running for the next command to
        end: DONE and that command then share a flight."""
        loop = asyncio.get_running_loop()
        ends = loop.time() + min(seconds, self._idle_renewal)
        while True:
            self._stirred.clear()
            if self._connection.lost is not None:
                raise self._connection.lost
            if self._news:
                return Wake.NEWS
            left = ends - loop.time()
            if left <= 0:
                return Wake.TIMEOUT
            await self._listen(left)

    async def _listen(self, seconds: float) -> None:
        """Until something stirs, or so long; IDLE resumes when other commands have ended it."""
        if self._connection.busy:
            await self._pause(min(seconds, 0.02))
        elif self._has_idle:
            self._has_idle = self._connection.idling or await self._connection.start_idle()
            if not self._news:
                await self._pause(seconds)
        else:
            await self._pause(min(seconds, self._poll_interval))
            if not self._news and self._connection.lost is None:
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


def uid_sets(uids: Sequence[int], *, most: int) -> Iterator[str]:
    """Ascending UIDs as sets like 1:3,7, of at most `most` UIDs and short enough for a line."""
    for start in range(0, len(uids), most):
        text = ""
        for one in _ranges(uids[start : start + most]):
            if len(text) + len(one) >= LONGEST_SET:
                yield text
                text = ""
            text = f"{text},{one}" if text else one
        yield text


def _ranges(uids: Sequence[int]) -> Iterator[str]:
    first = last = uids[0]
    for uid in uids[1:]:
        if uid != last + 1:
            yield str(first) if first == last else f"{first}:{last}"
            first = uid
        last = uid
    yield str(first) if first == last else f"{first}:{last}"


def fetched(response: Response) -> dict[bytes, Value]:
    """The items of an untagged FETCH. May raise HostileInput, which ends a receiving connection."""
    return items_of(values(response))


def items_of(found: list[Value]) -> dict[bytes, Value]:
    """The items of a FETCH response; empty for what is not one."""
    if len(found) >= 4 and isinstance(found[3], list):
        return pairs(found[3])
    return {}


def _listing(items: dict[bytes, Value]) -> Listing | None:
    """None for a FETCH that tells of something else, such as a change of flags (A31)."""
    uid, size, when = items.get(b"UID"), items.get(b"RFC822.SIZE"), items.get(b"INTERNALDATE")
    if not (isinstance(uid, bytes) and isinstance(size, bytes) and isinstance(when, bytes)):
        return None
    return Listing(
        _as_int(uid),
        _as_int(size),
        when.decode("ascii", "replace").strip(),
        _digits(items.get(b"X-GM-MSGID")),
        _digits(items.get(b"X-GM-THRID")),
    )


def _body(items: dict[bytes, Value]) -> bytes | None:
    for name, value in items.items():
        if _BODY.match(name):
            return value if isinstance(value, bytes) else None
    return None


def _digits(value: Value) -> str | None:
    return value.decode("ascii") if isinstance(value, bytes) and value.isdigit() else None


def _as_int(value: Value) -> int:
    return int(value) if isinstance(value, bytes) and value.isdigit() and len(value) <= 20 else 0


def _uids(responses: Sequence[Response]) -> list[int]:
    """Of untagged SEARCH, in one line or several."""
    return [
        int(word)
        for response in responses
        for word in response.text.split()[2:]
        if word.isdigit() and len(word) <= 10
    ]


def _text(value: Value) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else ""
