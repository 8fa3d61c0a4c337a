"""A signed-in session: greeting, sign-in, capabilities, and the few commands both sides need."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from functools import lru_cache
from random import Random

import structlog
from aioimaplib.aioimaplib import AUTH, arguments_rfs2971, quoted

from mailsyncd import __version__
from mailsyncd.account import Endpoint, Secret
from mailsyncd.errors import AuthRejected, RouteBlocked, Transient
from mailsyncd.imap.commands import NOTHING, Argument, Command, Literal, Reply, Wish
from mailsyncd.imap.dial import dial
from mailsyncd.imap.faults import During, refusal, silence
from mailsyncd.imap.fetches import number, text
from mailsyncd.imap.names import Naming
from mailsyncd.imap.protocol import Connection
from mailsyncd.imap.responses import (
    HostileInput,
    Response,
    Status,
    Value,
    pairs,
    printable,
    status_of,
    values,
)
from mailsyncd.model import Mailbox
from mailsyncd.ports import Clock, TokenSource

log = structlog.get_logger()

EARLY = 300.0  # seconds before a token's end that a session is given up
ECHO = 8  # characters in a row of what we sent are enough to hide a word of the server's
MOST_LEARNT = 4096  # bytes of capabilities; Dovecot has 600
_CAPABILITY = Wish(("CAPABILITY",))


@dataclass(frozen=True, slots=True)
class TokenLogin:
    """XOAUTH2 (or OAUTHBEARER) with access tokens."""

    user: str
    tokens: TokenSource


@dataclass(frozen=True, slots=True)
class PasswordLogin:
    """PLAIN or LOGIN, for servers of one's own."""

    user: str
    password: Secret


Login = TokenLogin | PasswordLogin


def session_end(login: Login, clock: Clock, rng: Random) -> float | None:
    """When to leave, before the access token dies: sooner by up to half of the margin, at random,
    so that the sessions of many routes do not end together."""
    lifetime = login.tokens.lifetime() if isinstance(login, TokenLogin) else None
    if lifetime is None:
        return None
    margin = min(EARLY, lifetime * 0.2)
    return clock.monotonic() + lifetime - margin * rng.uniform(1.0, 1.5)


@lru_cache(16)  # all sessions with a server share them: 2 KiB for each route
def _capabilities(text: bytes) -> frozenset[str]:
    return frozenset(text.decode("ascii", "replace").upper().split()) - {"CAPABILITY"}


class Session:
    """Commands with typed answers over one connection. A NO or BAD is raised as errors.*"""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.capabilities: frozenset[str] = frozenset()
        self.throttled = 0  # answers in a row that said [THROTTLED] (A26)

    @property
    def where(self) -> str:
        return self.connection.where

    def has(self, capability: str) -> bool:
        return capability in self.capabilities

    def heard(self, number: int | None, name: str, response: Response) -> None:
        """What any session takes note of, wherever it turns up."""
        if name == "CAPABILITY":
            self._learn(response.text[2:])
        elif name == "OK":
            self._learn_from_code(status_of(response.text[2:]).code, status_of(response.text[2:]).argument)
        elif name == "ANSWER" and not (rest := response.text.partition(b" ")[2]).startswith(b"OK "):
            self._heed(status_of(rest))

    def _heed(self, status: Status) -> None:
        """Fall silent in this very moment if the server asks for it (B50)."""
        if status.kind != "OK" and (asked := silence(self.where, status)):
            self.connection.hush.begin(asked, asyncio.get_running_loop().time())

    def _learn(self, text: bytes) -> None:
        self.capabilities = _capabilities(text[:MOST_LEARNT])

    def _learn_from_code(self, code: str, argument: str) -> None:
        if code == "CAPABILITY":
            self._learn(argument.encode("ascii", "replace"))

    async def command(
        self, name: str, *arguments: Argument, wish: Wish = NOTHING, during: During = During.OTHER
    ) -> Reply:
        """Send, await OK. Raises the error that the refusal stands for."""
        return self.accept(await self.connection.execute(name, *arguments, wish=wish), name, during)

    def accept(self, reply: Reply, name: str, during: During) -> Reply:
        """The reply itself if it is an OK."""
        if reply.status.kind != "OK":
            raise refusal(f"{self.where} ({name})", reply.status, during)
        self._learn_from_code(reply.status.code, reply.status.argument)
        self.throttled = self.throttled + 1 if "[THROTTLED]" in reply.status.text else 0
        return reply

    def values(self, response: Response) -> list[Value]:
        """The response's values. Raises ConnectionLost, and ends the connection, if it is hostile."""
        try:
            return values(response)
        except HostileInput as hostile:
            self.connection.fail(f"the server sent {hostile}")
            raise self.connection.lost() from hostile

    # ------------------------------------------------------------------ sign-in

    async def greet(self) -> bool:
        """Take in the greeting; True if the server takes us for signed in already."""
        greeting = self.connection.greeting.result().text
        status = status_of(greeting[2:])
        if status.kind == "BYE":
            self._heed(status)
            raise refusal(f"{self.where} (greeting)", status)
        if status.kind not in ("OK", "PREAUTH"):
            began = printable(greeting, 60)
            raise Transient(f"{self.where}: this is no IMAP server: it began with {began!r}")
        self._learn_from_code(status.code, status.argument)
        if not self.capabilities:
            await self.command("CAPABILITY", wish=_CAPABILITY)
        return status.kind == "PREAUTH"

    async def sign_in(self, user: str, secret: Secret, *, is_token: bool) -> None:
        """Authenticate and learn what is offered now: the list changes at login (A3, B3)."""
        if not await self.greet():
            before, self.capabilities = self.capabilities, frozenset()
            if is_token:
                await self._bearer(user, secret.reveal(), before)
            else:
                await self._password(user, secret.reveal(), before)
        self.connection.state = AUTH
        if not self.capabilities:
            await self.command("CAPABILITY", wish=_CAPABILITY)
        if self.has("ID"):
            await self._introduce()

    async def _introduce(self) -> None:
        """ID (RFC 2971). Nobody needs the answer, so nobody awaits it: the next command goes along
        in the same flight (RFC 3501 5.5), and is told as well of a login that was none (B5)."""
        identity = " ".join(arguments_rfs2971(name="mailsyncd", version=__version__))
        await self.connection.begin("ID", identity.replace("( ", "(").replace(" )", ")"))

    async def _bearer(self, user: str, token: str, offered: frozenset[str]) -> None:
        """XOAUTH2 (A5), else OAUTHBEARER (RFC 7628)."""
        if "AUTH=XOAUTH2" in offered or "AUTH=OAUTHBEARER" not in offered:
            mechanism, on_refusal = "XOAUTH2", b""
            message = f"user={user}\1auth=Bearer {token}\1\1"
        else:
            mechanism, on_refusal = "OAUTHBEARER", b"AQ=="
            host, _, port = self.where.rpartition(":")
            name = user.replace("=", "=3D").replace(",", "=2C")
            message = f"n,a={name},\1host={host}\1port={port}\1auth=Bearer {token}\1\1"
        await self._authenticate(mechanism, message, token, on_refusal, has_ir="SASL-IR" in offered)

    async def _authenticate(
        self, mechanism: str, message: str, secret: str, on_refusal: bytes, *, has_ir: bool
    ) -> None:
        """One SASL exchange. A refusal comes as a challenge that must be answered before the tagged
        NO follows (A6); what it says is kept for the error."""
        initial = base64.b64encode(message.encode())
        unsent = [] if has_ir else [initial]
        reasons: list[bytes] = []

        def answer(challenge: bytes) -> bytes:
            if unsent:
                return unsent.pop()
            reasons.append(challenge)
            return on_refusal

        arguments = [mechanism, initial.decode()] if has_ir else [mechanism]
        reply = await self.connection.converse("AUTHENTICATE", *arguments, wish=_CAPABILITY, answers=answer)
        self._accept_sign_in(reply.status, (secret, initial.decode()), _reason(reasons))

    def _accept_sign_in(self, status: Status, secrets: tuple[str, ...], reason: str = "") -> None:
        """Raises what a refusal stands for. The server may repeat what it was sent: that is hidden."""
        if status.kind != "OK":
            words = (status.text + reason).split()
            shown = " ".join("***" if _echoes(word, secrets) else word for word in words)
            said = replace(status, text=shown)
            raise refusal(f"{self.where} (sign-in)", said, During.SIGN_IN)
        self._learn_from_code(status.code, status.argument)

    async def _password(self, user: str, password: str, offered: frozenset[str]) -> None:
        if "AUTH=PLAIN" in offered:
            message = f"\0{user}\0{password}"
            await self._authenticate("PLAIN", message, password, b"*", has_ir="SASL-IR" in offered)
        elif "LOGINDISABLED" in offered:
            raise RouteBlocked(
                f"{self.where}: the server takes no passwords on this connection: set tls = true"
            )
        else:
            reply = await self.connection.execute("LOGIN", _string(user), _string(password), wish=_CAPABILITY)
            self._accept_sign_in(reply.status, (password,))

    # ---------------------------------------------------------------- mailboxes

    async def status(self, mailbox: str) -> Mailbox:
        """STATUS of a mailbox; `mailbox` is in the server's own form."""
        return await self.told(mailbox, await self.ask_status(mailbox))

    async def ask_status(self, mailbox: str) -> Command:
        """Put STATUS on the wire; its answer is for told()."""
        items, wish = "(MESSAGES UIDNEXT UIDVALIDITY)", Wish(("STATUS",))
        return await self.connection.begin("STATUS", quoted(mailbox), items, wish=wish)

    async def told(self, mailbox: str, asked: Command) -> Mailbox:
        """What STATUS tells of a mailbox."""
        reply = self.accept(await self.connection.finish(asked), "STATUS", During.OPEN)
        told: dict[str, Mailbox] = {}
        for response in reply.untagged:
            *_, name, inner = self.values(response)
            if isinstance(inner, list):
                found = pairs(inner)
                told[text(name)] = Mailbox(
                    number(found.get(b"UIDVALIDITY")),
                    number(found.get(b"UIDNEXT")),
                    number(found.get(b"MESSAGES")),
                )
        if not told:
            raise Transient(f"{self.where} (STATUS): the server said OK and nothing else")
        # Others may be in flight. Where the server writes the name in a way of its own, the answer to
        # this one is the last before it is done.
        return told.get(mailbox) or list(told.values())[-1]

    async def naming(self, *, by_namespace: bool = True) -> Naming:
        """How the server names what is ours: the personal namespace (RFC 2342), else the separator.
        A source is asked for the latter alone, which takes no command that it would not see anyhow."""
        if by_namespace and self.has("NAMESPACE"):
            reply = await self.connection.execute("NAMESPACE", wish=Wish(("NAMESPACE",)))
            if "not connected" in reply.status.text:
                self.accept(reply, "NAMESPACE", During.SIGN_IN)  # B5: a login that was none
            for response in reply.untagged:
                found = self.values(response)[2:3]
                first = found[0][0] if found and isinstance(found[0], list) and found[0] else None
                if isinstance(first, list) and len(first) >= 2:
                    return Naming(text(first[0]), text(first[1]))
        reply = await self.command("LIST", '""', '""', wish=Wish(("LIST",)))
        for response in reply.untagged:
            listed = self.values(response)
            if len(listed) >= 5:
                return Naming("", text(listed[3]))
        return Naming("", "/")


@asynccontextmanager
async def signed_in(
    endpoint: Endpoint,
    login: Login,
    *,
    max_literal: int,
    allowed: frozenset[str] | None = None,
    line: Connection | None = None,
) -> AsyncIterator[Session]:
    """Connect and sign in; a refused token is replaced once. Closes with LOGOUT. `allowed`: the only
    commands that may be sent. `line`: one that was dialled before, for the first try."""
    lines = [line] if line is not None else []

    async def opened(secret: Secret) -> Session:
        connection = lines.pop() if lines else None
        if connection is None or connection.why_lost is not None:
            connection = await dial(endpoint, max_literal=max_literal)
        return await _open(connection, login, secret, allowed)

    try:
        if isinstance(login, PasswordLogin):
            session = await opened(login.password)
        else:
            session = await _open_with_token(login, opened)
    finally:
        for unused in lines:
            unused.fail("not wanted")
    try:
        yield session
    finally:
        await session.connection.close()


async def _open_with_token(login: TokenLogin, opened: Callable[[Secret], Awaitable[Session]]) -> Session:
    token = await login.tokens.token()
    try:
        return await opened(Secret(token))
    except AuthRejected:
        login.tokens.reject(token)
    token = await login.tokens.token()
    try:
        return await opened(Secret(token))
    except AuthRejected as rejected:
        raise RouteBlocked(
            f"{rejected}. A fresh access token was refused too: check that IMAP is on for {login.user} "
            "and sign in again"
        ) from rejected


async def _open(
    connection: Connection, login: Login, secret: Secret, allowed: frozenset[str] | None
) -> Session:
    connection.allowed = allowed
    session = Session(connection)
    connection.heard = session.heard
    try:
        await session.sign_in(login.user, secret, is_token=isinstance(login, TokenLogin))
    except BaseException as error:
        await connection.close()
        if isinstance(error, AuthRejected) and isinstance(login, PasswordLogin):
            raise RouteBlocked(f"{error}. Check the password of {login.user}") from error
        raise
    return session


def _echoes(word: str, secrets: tuple[str, ...]) -> bool:
    """Whether a word of the server's holds a secret of ours, or a piece of one."""
    pieces = {word[n : n + ECHO] for n in range(len(word) - ECHO + 1)}
    return any(secret in word or any(piece in secret for piece in pieces) for secret in secrets if secret)


def _reason(challenges: list[bytes]) -> str:
    """What the server's JSON said about the refusal; never what we sent."""
    for challenge in challenges:
        try:
            said = json.loads(base64.b64decode(challenge, validate=True))
            return f" (status {printable(str(said['status']).encode(), 20)})"
        except (ValueError, KeyError, TypeError):
            continue
    return ""


def _string(text: str) -> Argument:
    """A quoted string where that can hold it, else a literal."""
    if text.isascii() and text.isprintable():
        return str(quoted(text))
    return Literal(text.encode())
