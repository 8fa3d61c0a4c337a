"""Commands about the messages of the selected mailbox: SEARCH, FETCH, STORE, COPY, MOVE, EXPUNGE, IDLE."""

from __future__ import annotations

from collections.abc import Iterable

from mailsyncd.sim.fetch import Item, parse_items, render
from mailsyncd.sim.mailstore import NoSuchMailbox, StoredMailbox, StoredMessage
from mailsyncd.sim.search import SearchKeys
from mailsyncd.sim.session import AFTER_SIGN_IN, WITH_MAILBOX, Command, Handler, Refused, Session
from mailsyncd.sim.view import MailboxView
from mailsyncd.sim.wire import BadSyntax, Cursor, NumberSet, number_set


async def idle(session: Session, cursor: Cursor) -> str:
    """RFC 2177: pushes until a line comes; anything but DONE is BAD under this tag (A20)."""
    cursor.end()
    if not session.personality.idle:
        raise Refused(session.words.unknown)
    await session.send(f"+ {session.words.idling}")
    line = await session.idle_line()
    session.channel.note(line[:40].decode("latin-1"))
    if line.strip().upper() != b"DONE":
        raise BadSyntax("Could not parse command")
    return f"OK {session.words.idle_done}"


def _search(*, by_uid: bool) -> Handler:
    async def search(session: Session, cursor: Cursor) -> str:
        view = session.selected()
        matches = SearchKeys(
            cursor,
            top_uid=view.top_uid,
            count=len(view),
            zone=session.personality.search_zone,
            gmail=session.personality.gmail_extensions,
        ).compile()
        found = [
            message.uid if by_uid else number
            for number, message in view.everything()
            if matches(number, message)
        ]
        await session.send(" ".join(["* SEARCH", *map(str, found)]))
        return session.words.done("SEARCH")

    return search


def _fetch(*, by_uid: bool) -> Handler:
    async def fetch(session: Session, cursor: Cursor) -> str:
        view = session.selected()
        numbers = _numbers(session, view, cursor)
        cursor.space()
        items = parse_items(cursor, gmail=session.personality.gmail_extensions)
        cursor.end()
        if by_uid and not any(item.label == "UID" for item in items):
            items.insert(0, Item("UID"))
        if session.personality.uid_comes_last:
            items.sort(key=lambda item: (item.label == "UID", item.section is None))
        wants_body = any(item.section is not None for item in items)
        unreadable = view.mailbox.unreadable if wants_body else set()
        chosen = list(view.chosen(numbers, by_uid=by_uid))
        for number, message in chosen:
            if message.uid not in unreadable:
                await _fetch_one(session, view, number, message, items)
        if any(message.uid in unreadable for _, message in chosen):
            raise Refused("NO Some messages could not be FETCHed (Failure)")
        return session.words.done("FETCH")

    return fetch


async def _fetch_one(
    session: Session, view: MailboxView, number: int, message: StoredMessage, items: list[Item]
) -> None:
    marks_seen = any(item.marks_seen for item in items) and not view.read_only
    if marks_seen and "\\Seen" not in message.flags:
        message = view.mailbox.set_flags(message.uid, message.flags | {"\\Seen"}) or message
        if not any(item.label == "FLAGS" for item in items):
            items = [*items, Item("FLAGS")]
    if any(item.label == "FLAGS" for item in items):
        view.noticed(message)
    body = b" ".join(render(item, message, session.personality) for item in items)
    await session.channel.send(b"* %d FETCH (%b)\r\n" % (number, body))


def _store(*, by_uid: bool) -> Handler:
    async def store(session: Session, cursor: Cursor) -> str:
        view = _writable(session)
        numbers = _numbers(session, view, cursor)
        cursor.space()
        action = cursor.atom().upper()
        cursor.space()
        flags = set(cursor.words()) if cursor.peek() == b"(" else {cursor.atom()}
        cursor.end()
        if action.removesuffix(".SILENT") not in ("FLAGS", "+FLAGS", "-FLAGS"):
            raise BadSyntax("bad STORE")
        for number, message in view.chosen(numbers, by_uid=by_uid):
            changed = view.mailbox.set_flags(message.uid, _after(message.flags, action, flags)) or message
            view.noticed(changed)
            if not action.endswith(".SILENT"):
                shown = " ".join(sorted(changed.flags))
                await session.send(f"* {number} FETCH (UID {changed.uid} FLAGS ({shown}))")
        return session.words.done("STORE")

    return store


def _after(present: frozenset[str], action: str, flags: Iterable[str]) -> frozenset[str]:
    match action[0]:
        case "+":
            return present | set(flags)
        case "-":
            return present - set(flags)
        case _:
            return frozenset(flags)


def _copy(*, by_uid: bool, move: bool) -> Handler:
    async def copy(session: Session, cursor: Cursor) -> str:
        view = _writable(session) if move else session.selected()
        numbers = _numbers(session, view, cursor)
        cursor.space()
        name = cursor.mailbox()
        cursor.end()
        try:
            target = session.signed_in().mailbox(name)
        except NoSuchMailbox:
            raise Refused("NO [TRYCREATE] Mailbox does not exist") from None
        chosen = [message for _, message in view.chosen(numbers, by_uid=by_uid)]
        copies = [target.add(message) for message in chosen]
        code = _copyuid(target, chosen, copies) if session.personality.uidplus and chosen else ""
        if not move:
            return f"OK {code}{session.words.done('COPY').removeprefix('OK ')}"
        if code:
            await session.send(f"* OK {code}Moved")  # RFC 6851 4.3: before the EXPUNGEs
        for message in chosen:
            view.mailbox.remove(message.uid)
        return session.words.done("MOVE")

    return copy


def _copyuid(target: StoredMailbox, chosen: list[StoredMessage], copies: list[StoredMessage]) -> str:
    """RFC 4315 3; the trailing space is the one before the text."""
    source = ",".join(str(message.uid) for message in chosen)
    made = ",".join(str(message.uid) for message in copies)
    return f"[COPYUID {target.uidvalidity} {source} {made}] "


async def expunge(session: Session, cursor: Cursor) -> str:
    cursor.end()
    view = _writable(session)
    for message in [m for m in view.mailbox if "\\Deleted" in m.flags]:
        view.mailbox.remove(message.uid)
    return session.words.done("EXPUNGE")


async def uid_expunge(session: Session, cursor: Cursor) -> str:
    """RFC 4315 2.1."""
    if not session.personality.uidplus:
        raise Refused(session.words.unknown)
    view = _writable(session)
    numbers = _numbers(session, view, cursor)
    cursor.end()
    for _, message in list(view.chosen(numbers, by_uid=True)):
        if "\\Deleted" in message.flags:
            view.mailbox.remove(message.uid)
    return session.words.done("EXPUNGE")


def _numbers(session: Session, view: MailboxView, cursor: Cursor) -> NumberSet:
    numbers = number_set(cursor.atom())
    if session.personality.empty_set_refused and not len(view):
        raise Refused("NO The specified message set is invalid.")  # B17
    return numbers


def _writable(session: Session) -> MailboxView:
    view = session.selected()
    if view.read_only:
        raise Refused("NO [READ-ONLY] The mailbox is open read-only")
    return view


COMMANDS = {
    "IDLE": Command(idle, AFTER_SIGN_IN),
    "SEARCH": Command(_search(by_uid=False), WITH_MAILBOX),
    "UID SEARCH": Command(_search(by_uid=True), WITH_MAILBOX),
    "FETCH": Command(_fetch(by_uid=False), WITH_MAILBOX),
    "UID FETCH": Command(_fetch(by_uid=True), WITH_MAILBOX),
    "STORE": Command(_store(by_uid=False), WITH_MAILBOX),
    "UID STORE": Command(_store(by_uid=True), WITH_MAILBOX),
    "COPY": Command(_copy(by_uid=False, move=False), WITH_MAILBOX),
    "UID COPY": Command(_copy(by_uid=True, move=False), WITH_MAILBOX),
    "MOVE": Command(_copy(by_uid=False, move=True), WITH_MAILBOX),
    "UID MOVE": Command(_copy(by_uid=True, move=True), WITH_MAILBOX),
    "EXPUNGE": Command(expunge, WITH_MAILBOX),
    "UID EXPUNGE": Command(uid_expunge, WITH_MAILBOX),
}
