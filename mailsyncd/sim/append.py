"""APPEND: what may refuse it before its body comes, and the moment of committing (RFC 3501 6.3.11).

The bytes that came are the bytes that are kept, unless the server's personality rewrites them (B26).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from mailsyncd.sim.backend import Backend
from mailsyncd.sim.mailstore import Account, NoSuchMailbox, StoredMailbox, StoredMessage
from mailsyncd.sim.personality import Personality
from mailsyncd.sim.session import AFTER_SIGN_IN, Command, Refused, Session
from mailsyncd.sim.wire import BadSyntax, Cursor, date_time


@dataclass(frozen=True, slots=True)
class Target:
    """Where and how to store, from the command line of an APPEND."""

    mailbox: str
    flags: tuple[str, ...]
    internaldate: datetime | None


def _target(cursor: Cursor) -> Target:
    """Everything up to the message's literal. Raises BadSyntax."""
    mailbox = cursor.mailbox()
    cursor.space()
    flags: tuple[str, ...] = ()
    if cursor.peek() == b"(":
        flags = tuple(cursor.words())
        cursor.space()
    when = None
    if cursor.peek() == b'"':
        when = date_time(cursor.string().decode("latin-1"))
        cursor.space()
    return Target(mailbox, flags, when)


def admit(session: Session, so_far: bytes, size: int) -> None:
    """Raise Refused if the body is not worth sending: the answer then comes instead of `+` (B29)."""
    try:
        target = _target(Cursor(so_far))
    except BadSyntax:
        return  # the literal may be the mailbox's name; if not, the whole command is BAD
    try:
        session.signed_in().mailbox(target.mailbox)
    except NoSuchMailbox:
        raise Refused("NO [TRYCREATE] Mailbox does not exist") from None
    limit = session.personality.max_message
    if limit is not None and size > limit:
        raise Refused(session.personality.too_big)


async def append(session: Session, cursor: Cursor) -> str:
    target, raw = _parse(cursor)
    refusal = _objection(raw, session.personality)
    if refusal is not None:
        raise Refused(refusal)
    try:
        box = session.signed_in().mailbox(target.mailbox)
    except NoSuchMailbox:
        raise Refused("NO [TRYCREATE] Mailbox does not exist") from None
    stored = _store(session.backend, box, target, raw)
    done = session.words.done("APPEND")
    if not (session.personality.uidplus and session.personality.append_uid):
        return done
    return f"OK [APPENDUID {box.uidvalidity} {stored.uid}] {done.removeprefix('OK ')}"


def commit(backend: Backend, account: Account, arguments: bytes) -> None:
    """Carry out an APPEND whose client has gone: there is no one to tell, not even of a refusal."""
    target, raw = _parse(Cursor(arguments))
    if _objection(raw, backend.personality) is None:
        _store(backend, account.mailbox(target.mailbox), target, raw)


def _parse(cursor: Cursor) -> tuple[Target, bytes]:
    target = _target(cursor)
    raw = cursor.literal()
    cursor.end()
    return target, raw


def _store(backend: Backend, box: StoredMailbox, target: Target, raw: bytes) -> StoredMessage:
    personality = backend.personality
    known = {flag.lower(): flag for flag in personality.flags}
    flags = [
        known.get(flag.lower(), flag)
        for flag in target.flags
        if personality.keywords or flag.lower() in known
    ]
    kept = personality.rewrite(raw) if personality.rewrite else raw
    return backend.store(box, kept, target.internaldate, flags)


def _objection(raw: bytes, personality: Personality) -> str | None:
    """Why this very message is refused (B35); None if it is not."""
    limit = personality.max_body_line
    if limit is not None and any(len(line) > limit for line in raw.split(b"\r\n")):
        return personality.long_line
    return personality.objection(raw) if personality.objection else None


COMMANDS = {"APPEND": Command(append, AFTER_SIGN_IN, admit, commit)}
