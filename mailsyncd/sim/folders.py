"""Commands about mailboxes as a whole: NAMESPACE, LIST, STATUS, SELECT, EXAMINE, CREATE and so on."""

from __future__ import annotations

import re

from mailsyncd.sim.mailstore import MailboxExists, NoSuchMailbox, StoredMailbox
from mailsyncd.sim.session import AFTER_SIGN_IN, WITH_MAILBOX, Command, Refused, Session
from mailsyncd.sim.wire import BadSyntax, Cursor, decode_name, quote_name

_STATUS_ITEMS = ("MESSAGES", "RECENT", "UIDNEXT", "UIDVALIDITY", "UNSEEN")


async def namespace(session: Session, cursor: Cursor) -> str:
    cursor.end()
    await session.send('* NAMESPACE (("" "/")) NIL NIL')
    return session.words.done("NAMESPACE")


async def list_(session: Session, cursor: Cursor) -> str:
    """RFC 3501 6.3.8: `%` stops at a separator, `*` does not; an empty pattern asks for it."""
    reference = cursor.mailbox()
    cursor.space()
    pattern = _pattern(cursor)
    cursor.end()
    if not pattern:
        await session.send('* LIST (\\Noselect) "/" "/"')
        return session.words.done("LIST")
    ignore_case = re.IGNORECASE if session.personality.case_insensitive else 0
    matcher = re.compile(_regex(reference + pattern), ignore_case)
    inbox = re.compile(_regex(reference + pattern), re.IGNORECASE)
    account = session.signed_in()
    boxes = [box for box in account if (inbox if box.name == "INBOX" else matcher).fullmatch(box.name)]
    await session.send(*(_listed(session, box) for box in boxes))
    return session.words.done("LIST")


def _listed(session: Session, box: StoredMailbox) -> str:
    children = "\\HasChildren" if session.signed_in().has_children(box.name) else "\\HasNoChildren"
    if box.name == "INBOX":
        return f'* LIST ({children}) "/" {session.personality.inbox_name}'
    return f'* LIST ({" ".join((children, *box.attributes))}) "/" {quote_name(box.name)}'


def _pattern(cursor: Cursor) -> str:
    return decode_name(cursor.astring())


def _regex(pattern: str) -> str:
    return "".join({"*": ".*", "%": "[^/]*"}.get(char, re.escape(char)) for char in pattern)


async def status(session: Session, cursor: Cursor) -> str:
    name = cursor.mailbox()
    cursor.space()
    wanted = [item.upper() for item in cursor.words()]
    cursor.end()
    if not wanted or not set(wanted) <= {*_STATUS_ITEMS, "HIGHESTMODSEQ"}:
        raise BadSyntax("unknown status item")
    box = session.signed_in().mailbox(name)
    values = {
        "MESSAGES": len(box),
        "RECENT": 0,
        "UIDNEXT": box.uidnext,
        "UIDVALIDITY": box.uidvalidity,
        "UNSEEN": sum("\\Seen" not in message.flags for message in box),
        "HIGHESTMODSEQ": box.modseq,
    }
    shown = " ".join(f"{item} {values[item]}" for item in wanted)
    await session.send(f"* STATUS {quote_name(name)} ({shown})")
    return session.words.done("STATUS")


async def select(session: Session, cursor: Cursor) -> str:
    return await _open(session, cursor, read_only=False)


async def examine(session: Session, cursor: Cursor) -> str:
    return await _open(session, cursor, read_only=True)


async def _open(session: Session, cursor: Cursor, *, read_only: bool) -> str:
    """A failed SELECT leaves no mailbox selected (RFC 3501 6.3.1, A36)."""
    name = cursor.mailbox()
    cursor.end()
    session.deselect()
    box = session.signed_in().mailbox(name)
    if "\\Noselect" in box.attributes:
        raise NoSuchMailbox(name)
    session.select(box, read_only=read_only)
    await session.send(*_opening(session, box, read_only=read_only))
    command, code = ("EXAMINE", "READ-ONLY") if read_only else ("SELECT", "READ-WRITE")
    done = session.words.done(command).removeprefix("OK ")
    return f"OK [{code}] {done}"


def _opening(session: Session, box: StoredMailbox, *, read_only: bool) -> list[str]:
    """The untagged answers in the server's own order: clients must not lean on it (A28, B16)."""
    flags = " ".join(session.personality.flags)
    permanent = "" if read_only else flags + (" \\*" if session.personality.keywords else "")
    first = next((n for n, message in enumerate(box, 1) if "\\Seen" not in message.flags), None)
    texts = {
        "flags": [f"* FLAGS ({flags})"],
        "permanent": [f"* OK [PERMANENTFLAGS ({permanent})] Flags permitted."],
        "counts": [f"* {len(box)} EXISTS", "* 0 RECENT"],
        "unseen": [f"* OK [UNSEEN {first}] Is the first unseen message"] if first else [],
        "validity": [f"* OK [UIDVALIDITY {box.uidvalidity}] UIDs valid."],
        "next": [f"* OK [UIDNEXT {box.uidnext}] Predicted next UID."],
        "modseq": [f"* OK [HIGHESTMODSEQ {box.modseq}]"],
    }
    gmail = ("flags", "permanent", "validity", "counts", "next", "modseq")
    outlook = ("counts", "flags", "permanent", "unseen", "validity", "next")
    order = gmail if session.personality.gmail_extensions else outlook
    return [line for part in order for line in texts[part]]


async def create(session: Session, cursor: Cursor) -> str:
    name = cursor.mailbox()
    cursor.end()
    _check_name(session, name)
    try:
        session.signed_in().create(name)
    except MailboxExists:
        raise Refused("NO [ALREADYEXISTS] Mailbox already exists") from None
    return session.words.done("CREATE")


async def delete(session: Session, cursor: Cursor) -> str:
    name = cursor.mailbox()
    cursor.end()
    account = session.signed_in()
    if name.upper() == "INBOX" or account.has_children(name):
        raise Refused("NO [CANNOT] This mailbox can't be deleted")
    gone = account.delete(name)
    for message in list(gone):
        gone.remove(message.uid)
    return session.words.done("DELETE")


async def rename(session: Session, cursor: Cursor) -> str:
    old = cursor.mailbox()
    cursor.space()
    new = cursor.mailbox()
    cursor.end()
    _check_name(session, new)
    if old.upper() == "INBOX":
        raise Refused("NO [CANNOT] INBOX can't be renamed here")
    try:
        session.signed_in().rename(old, new)
    except MailboxExists:
        raise Refused("NO [ALREADYEXISTS] Mailbox already exists") from None
    return session.words.done("RENAME")


def _check_name(session: Session, name: str) -> None:
    """Microsoft's servers keep some names for themselves (B14)."""
    if name.casefold() in {reserved.casefold() for reserved in session.personality.reserved}:
        raise Refused("NO Folder name is reserved")
    if not name.strip("/") or any(ord(char) < 32 for char in name):
        raise Refused("NO [CANNOT] Invalid mailbox name")


async def close(session: Session, cursor: Cursor) -> str:
    """RFC 3501 6.4.2: deleted messages go, unless the mailbox was opened by EXAMINE."""
    cursor.end()
    view = session.selected()
    if not view.read_only:
        for message in [m for m in view.mailbox if "\\Deleted" in m.flags]:
            view.mailbox.remove(message.uid)
    session.deselect()
    return session.words.done("CLOSE")


async def unselect(session: Session, cursor: Cursor) -> str:
    cursor.end()
    session.deselect()
    return session.words.done("UNSELECT")


COMMANDS = {
    "NAMESPACE": Command(namespace, AFTER_SIGN_IN),
    "LIST": Command(list_, AFTER_SIGN_IN),
    "STATUS": Command(status, AFTER_SIGN_IN),
    "SELECT": Command(select, AFTER_SIGN_IN),
    "EXAMINE": Command(examine, AFTER_SIGN_IN),
    "CREATE": Command(create, AFTER_SIGN_IN),
    "DELETE": Command(delete, AFTER_SIGN_IN),
    "RENAME": Command(rename, AFTER_SIGN_IN),
    "CLOSE": Command(close, WITH_MAILBOX),
    "UNSELECT": Command(unselect, WITH_MAILBOX),
}
