"""A signed-in session: greeting, sign-in, capabilities, and the few commands both sides need."""

from __future__ import annotations

import base64
import json
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import structlog
from aioimaplib.aioimaplib import arguments_rfs2971, quoted

from mailsyncd import __version__
from mailsyncd.errors import AuthRejected, ConnectionLost, RouteBlocked, Transient
from mailsyncd.imap.faults import During, refusal
from mailsyncd.imap.protocol import Argument, Connection, Literal, Reply, connect
from mailsyncd.imap.responses import HostileInput, Response, Value, pairs, printable, status_of, values
from mailsyncd.model import Endpoint, Mailbox, Secret
from mailsyncd.ports import TokenSource

log = structlog.get_logger()

LOGIN_TIMEOUT = 60.0  # seconds; a throttled account is slow to answer (A27)


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


class Session:
    """Commands with typed answers over one connection. A NO or BAD is raised as errors.*"""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.capabilities: frozenset[str] = frozenset()
        self.throttled = False

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

    def _learn(self, text: bytes) -> None:
        words = text.decode("ascii", "replace").upper().split()
        self.capabilities = frozenset(words) - {"CAPABILITY"}

    def _learn_from_code(self, code: str, argument: str) -> None:
        if code == "CAPABILITY":
            self._learn(argument.encode("ascii", "replace"))

    async def command(
        self, name: str, *arguments: Argument, wants: tuple[str, ...] = (), during: During = During.OTHER
    ) -> Reply:
        """Send, await OK. Raises the error that the refusal stands for."""
        reply = await self.connection.execute(name, *arguments, wants=wants)
        return self.accept(reply, name, during)

    def accept(self, reply: Reply, name: str, during: During) -> Reply:
        """The reply itself if it is an OK."""
        if reply.status.kind != "OK":
            raise refusal(f"{self.where} ({name})", reply.status, during)
        self._learn_from_code(reply.status.code, reply.status.argument)
        self.throttled = "[THROTTLED]" in reply.status.text  # A26: announced inside an OK
        return reply

    def values(self, response: Response) -> list[Value]:
        """The response's values. Raises ConnectionLost, and ends the connection, if it is hostile."""
        try:
            return values(response)
        except HostileInput as hostile:
            self.connection.fail(f"the server sent {hostile}")
            raise ConnectionLost(str(self.connection.lost)) from hostile

    # ------------------------------------------------------------------ sign-in

    async def greet(self) -> bool:
        """Take in the greeting; True if the server takes us for signed in already."""
        text = self.connection.greeting.result().text
        status = status_of(text[2:])
        if status.kind == "BYE":
            raise refusal(f"{self.where} (greeting)", status)
        if status.kind not in ("OK", "PREAUTH"):
            raise Transient(f"{self.where}: this is no IMAP server: it began with {printable(text, 60)!r}")
        self._learn_from_code(status.code, status.argument)
        if not self.capabilities:
            await self.command("CAPABILITY", wants=("CAPABILITY",))
        return status.kind == "PREAUTH"

    async def sign_in(self, login: Login) -> None:
        """Authenticate and learn what is offered now: the list changes at login (A3, B3)."""
        if not await self.greet():
            before, self.capabilities = self.capabilities, frozenset()
            if isinstance(login, TokenLogin):
                await self._bearer(login.user, await login.tokens.token(), before)
            else:
                await self._password(login.user, login.password.reveal(), before)
        self.connection.state = "AUTH"
        if not self.capabilities:
            await self.command("CAPABILITY", wants=("CAPABILITY",))
        if self.has("ID"):
            identity = " ".join(arguments_rfs2971(name="mailsyncd", version=__version__)).replace("( ", "(")
            await self.command("ID", identity.replace(" )", ")"), wants=("ID",))

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
        await self._authenticate(mechanism, message.encode(), on_refusal, "SASL-IR" in offered)

    async def _authenticate(self, mechanism: str, message: bytes, on_refusal: bytes, has_ir: bool) -> None:
        """One SASL exchange. A refusal comes as a challenge that must be answered before the tagged
        NO follows (A6); what it says is kept for the error."""
        initial = base64.b64encode(message)
        unsent = [] if has_ir else [initial]
        reasons: list[bytes] = []

        def answer(challenge: bytes) -> bytes:
            if unsent:
                return unsent.pop()
            reasons.append(challenge)
            return on_refusal

        arguments = [mechanism, initial.decode()] if has_ir else [mechanism]
        reply = await self.connection.execute(
            "AUTHENTICATE", *arguments, wants=("CAPABILITY",), timeout=LOGIN_TIMEOUT, answers=answer
        )
        if reply.status.kind != "OK":
            error = refusal(f"{self.where} (sign-in)", reply.status, During.SIGN_IN)
            raise type(error)(f"{error}{_reason(reasons)}") if isinstance(error, AuthRejected) else error
        self._learn_from_code(reply.status.code, reply.status.argument)

    async def _password(self, user: str, password: str, offered: frozenset[str]) -> None:
        if "AUTH=PLAIN" in offered and password.isprintable():
            message = f"\0{user}\0{password}".encode()
            await self._authenticate("PLAIN", message, b"", "SASL-IR" in offered)
        elif "LOGINDISABLED" in offered:
            raise RouteBlocked(
                f"{self.where}: the server takes no passwords on this connection: set tls = true"
            )
        else:
            reply = await self.connection.execute(
                "LOGIN", _string(user), _string(password), wants=("CAPABILITY",), timeout=LOGIN_TIMEOUT
            )
            if reply.status.kind != "OK":
                raise refusal(f"{self.where} (sign-in)", reply.status, During.SIGN_IN)
            self._learn_from_code(reply.status.code, reply.status.argument)

    # ---------------------------------------------------------------- mailboxes

    async def status(self, mailbox: str) -> Mailbox:
        """STATUS of a mailbox; `mailbox` is in the server's own form."""
        items = "(MESSAGES UIDNEXT UIDVALIDITY)"
        reply = await self.command("STATUS", _mailbox(mailbox), items, wants=("STATUS",), during=During.OPEN)
        for response in reply.untagged:
            *_, inner = self.values(response)
            if isinstance(inner, list):
                found = pairs(inner)
                return Mailbox(
                    _number(found.get(b"UIDVALIDITY")),
                    _number(found.get(b"UIDNEXT")),
                    _number(found.get(b"MESSAGES")),
                )
        raise Transient(f"{self.where} (STATUS): the server said OK and nothing else")

    async def separator(self) -> tuple[str, str]:
        """The personal namespace's prefix, and the hierarchy separator."""
        if self.has("NAMESPACE"):
            reply = await self.command("NAMESPACE", wants=("NAMESPACE",))
            for response in reply.untagged:
                found = self.values(response)[2:3]
                first = found[0][0] if found and isinstance(found[0], list) and found[0] else None
                if isinstance(first, list) and len(first) >= 2:
                    return _text(first[0]), _text(first[1])
        reply = await self.command("LIST", '""', '""', wants=("LIST",))
        for response in reply.untagged:
            found = self.values(response)
            if len(found) >= 5:
                return "", _text(found[3])
        return "", "/"


@asynccontextmanager
async def signed_in(
    endpoint: Endpoint, login: Login, *, max_literal: int, allowed: frozenset[str] | None = None
) -> AsyncIterator[Session]:
    """Connect and sign in; a refused token is replaced once. Closes with LOGOUT. `allowed`: the only
    commands that may be sent."""
    session = await _open(endpoint, login, max_literal, allowed, retry=True)
    try:
        yield session
    finally:
        await session.connection.close()


async def _open(
    endpoint: Endpoint, login: Login, max_literal: int, allowed: frozenset[str] | None, *, retry: bool
) -> Session:
    connection = await connect(endpoint, _tls(endpoint), max_literal=max_literal)
    connection.allowed = allowed
    session = Session(connection)
    connection.heard = session.heard
    try:
        await session.sign_in(login)
    except AuthRejected as rejected:
        await connection.close()
        if isinstance(login, TokenLogin) and retry:
            login.tokens.reject(await login.tokens.token())
            return await _open(endpoint, login, max_literal, allowed, retry=False)
        raise RouteBlocked(f"{rejected}. {_advice(login)}") from rejected
    except BaseException:
        await connection.close()
        raise
    return session


def _advice(login: Login) -> str:
    if isinstance(login, PasswordLogin):
        return f"Check the password of {login.user}"
    return f"A fresh access token was refused too: check that IMAP is on for {login.user} and sign in again"


def _tls(endpoint: Endpoint) -> ssl.SSLContext | None:
    """TLS is always verified, against the system's authorities and the user's own if given."""
    if not endpoint.tls:
        return None
    context = ssl.create_default_context()
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if endpoint.ca_file is not None:
        try:
            context.load_verify_locations(cafile=str(endpoint.ca_file))
        except (OSError, ssl.SSLError) as error:
            raise RouteBlocked(f"{endpoint.ca_file}: can't be used as ca_file ({error.strerror})") from error
    return context


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


def _mailbox(name: str) -> str:
    return str(quoted(name))


def _number(value: Value) -> int:
    return int(value) if isinstance(value, bytes) and value.isdigit() else 0


def _text(value: Value) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else ""
