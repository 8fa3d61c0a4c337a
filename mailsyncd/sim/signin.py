"""Commands that need no mailbox: CAPABILITY, ID, NOOP, LOGOUT, ENABLE, and the ways to sign in."""

from __future__ import annotations

import base64
import binascii
import json

from mailsyncd.sim.personality import Refusal
from mailsyncd.sim.session import AFTER_SIGN_IN, ANY, Command, Refused, Session, State
from mailsyncd.sim.wire import BadSyntax, Cursor

_LONGEST_RESPONSE = 16_384
_BEFORE_SIGN_IN = frozenset({State.GREETED})
_CHALLENGE = {"status": "400", "schemes": "Bearer", "scope": "https://mail.google.com/"}


async def capability(session: Session, cursor: Cursor) -> str:
    cursor.end()
    await session.send(_capabilities(session))
    return session.words.done("CAPABILITY")


async def noop(session: Session, cursor: Cursor) -> str:
    cursor.end()
    return session.words.done("NOOP")


async def identify(session: Session, cursor: Cursor) -> str:
    """RFC 2971. What the client says of itself is in the transcript."""
    if session.words.identity != "NIL":
        await session.send(f"* ID {session.words.identity}")
    return session.words.done("ID")


async def enable(session: Session, cursor: Cursor) -> str:
    """RFC 5161: an answer without names means that nothing was enabled."""
    cursor.atom()
    await session.send("* ENABLED")
    return session.words.done("ENABLE")


async def logout(session: Session, cursor: Cursor) -> str:
    cursor.end()
    session.deselect()
    session.state = State.OVER
    await session.send(f"* BYE {session.words.bye}")
    return f"OK {session.words.logged_out}"


async def login(session: Session, cursor: Cursor) -> str:
    user = cursor.astring().decode("utf-8", "replace")
    cursor.space()
    password = cursor.astring().decode("utf-8", "replace")
    cursor.end()
    if not session.backend.password_is_good(user, password):
        raise Refused(session.words.refused.replace("AUTHENTICATE", "LOGIN"))
    return await _welcome(session, user, None, "LOGIN")


async def authenticate(session: Session, cursor: Cursor) -> str:
    """RFC 3501 6.2.2, with the initial response of RFC 4959."""
    mechanism = cursor.atom().upper()
    if f"AUTH={mechanism}" not in session.personality.capabilities(signed_in=False).split():
        raise Refused("NO unsupported authentication mechanism")
    if cursor.at_end:
        await session.send("+ ")
        response = await _continuation(session)
    else:
        cursor.space()
        response = cursor.atom().encode()
    try:
        plain = b"" if response == b"=" else base64.b64decode(response, validate=True)
    except binascii.Error as error:
        raise BadSyntax("Invalid SASL argument") from error
    if mechanism == "PLAIN":
        return await _plain(session, plain)
    user, token = _bearer(mechanism, plain)
    seconds = session.backend.token_seconds(user, token)
    if seconds is None:
        await _challenge(session)
        raise Refused(session.words.refused)
    return await _welcome(session, user, seconds, "AUTHENTICATE")


async def _plain(session: Session, plain: bytes) -> str:
    """RFC 4616: authorisation, user, password."""
    parts = plain.decode("utf-8", "replace").split("\0")
    if len(parts) != 3 or not session.backend.password_is_good(parts[1], parts[2]):
        raise Refused(session.words.refused)
    return await _welcome(session, parts[1], None, "AUTHENTICATE")


def _bearer(mechanism: str, plain: bytes) -> tuple[str, str]:
    """User and token of XOAUTH2 (A5) or OAUTHBEARER (RFC 7628 3.1)."""
    fields = plain.decode("utf-8", "replace").split("\x01")
    bearer = next((field[12:] for field in fields if field[:12].lower() == "auth=bearer "), "")
    if mechanism == "OAUTHBEARER":
        user = next((part[2:] for part in fields[0].split(",") if part.startswith("a=")), "")
    else:
        user = fields[0].removeprefix("user=")
    return user, bearer


async def _challenge(session: Session) -> None:
    """Gmail explains itself first and waits for an empty line (A6); Outlook does neither (B4)."""
    if session.personality.refusal is Refusal.CHALLENGE:
        await session.send("+ " + base64.b64encode(json.dumps(_CHALLENGE).encode()).decode())
        await _continuation(session)


async def _continuation(session: Session) -> bytes:
    line = await session.channel.line(_LONGEST_RESPONSE)
    session.channel.note("***" if line else "")
    return line


async def _welcome(session: Session, user: str, seconds: float | None, command: str) -> str:
    account = session.backend.account(user)
    limit = session.personality.max_connections
    if limit is not None and account.connections >= limit:
        raise Refused(session.words.too_many)
    session.sign_in(account, seconds)
    if session.personality.announces_after_login:
        await session.send(_capabilities(session))
    return f"OK {session.words.signed_in(user).replace('AUTHENTICATE', command)}"


def _capabilities(session: Session) -> str:
    signed_in = session.state is not State.GREETED
    return f"* CAPABILITY {session.personality.capabilities(signed_in=signed_in)}"


COMMANDS = {
    "CAPABILITY": Command(capability, ANY),
    "NOOP": Command(noop, ANY),
    "ID": Command(identify, ANY),
    "LOGOUT": Command(logout, ANY),
    "LOGIN": Command(login, _BEFORE_SIGN_IN),
    "AUTHENTICATE": Command(authenticate, _BEFORE_SIGN_IN),
    "ENABLE": Command(enable, AFTER_SIGN_IN),
}
