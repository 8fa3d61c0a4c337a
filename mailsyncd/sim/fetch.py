"""FETCH data items: from the text of a command to the bytes of an answer (RFC 3501 6.4.5, 7.4.2).

Not here: ENVELOPE, BODY without brackets, BODYSTRUCTURE and the macros. mailsyncd never asks for
them, Gmail refuses the macros (A45), and a wrong structure would be worse than BAD.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from mailsyncd.sim.mailstore import StoredMessage
from mailsyncd.sim.personality import Personality
from mailsyncd.sim.wire import BadSyntax, Cursor, encode_name, internaldate, quote

_SIMPLE = frozenset({"UID", "FLAGS", "INTERNALDATE", "RFC822.SIZE"})
_WHOLE = {"RFC822": ("", True), "RFC822.HEADER": ("HEADER", False), "RFC822.TEXT": ("TEXT", True)}
_GMAIL = frozenset({"X-GM-MSGID", "X-GM-THRID", "X-GM-LABELS"})
_PARTIAL = re.compile(r"(\d{1,10})\.(\d{1,10})$")
_HEADER_END = re.compile(rb"\r?\n\r?\n")


@dataclass(frozen=True, slots=True)
class Item:
    """One data item. `label` is how the answer names it; `section` is of BODY[...] items only."""

    label: str
    section: str | None = None
    fields: tuple[bytes, ...] = ()
    partial: tuple[int, int] | None = None
    marks_seen: bool = False


def parse_items(cursor: Cursor, *, gmail: bool) -> list[Item]:
    """What comes after the sequence set. Raises BadSyntax."""
    if not cursor.take(b"("):
        return [_item(cursor, gmail=gmail)]
    items = [_item(cursor, gmail=gmail)]
    while not cursor.take(b")"):
        cursor.space()
        items.append(_item(cursor, gmail=gmail))
    return items


def _item(cursor: Cursor, *, gmail: bool) -> Item:
    for name, peek in ((b"BODY.PEEK[", True), (b"BODY[", False)):
        if cursor.take(name):
            return _body(cursor, marks_seen=not peek)
    name_ = cursor.atom().upper()
    if name_ in _SIMPLE or (gmail and name_ in _GMAIL):
        return Item(name_)
    if name_ in _WHOLE:
        section, marks = _WHOLE[name_]
        return Item(name_, section, marks_seen=marks)
    raise BadSyntax(f"{name_[:30]} is not a data item here")


def _body(cursor: Cursor, *, marks_seen: bool) -> Item:
    section = ""
    fields: tuple[bytes, ...] = ()
    if not cursor.take(b"]"):
        section, fields = _section(cursor)
        cursor.expect(b"]")
    shown = f"{section} ({' '.join(field.decode('latin-1') for field in fields)})" if fields else section
    label = f"BODY[{shown}]"
    partial = None
    if cursor.take(b"<"):
        found = _PARTIAL.match(cursor.until(b">"))
        if not found or int(found[2]) == 0:
            raise BadSyntax("bad partial")
        partial = (int(found[1]), int(found[2]))
        label += f"<{partial[0]}>"
    return Item(label, section, fields, partial, marks_seen)


def _section(cursor: Cursor) -> tuple[str, tuple[bytes, ...]]:
    for name in ("HEADER.FIELDS.NOT", "HEADER.FIELDS"):
        if cursor.take(name.encode()):
            cursor.expect(b" (")
            fields = [cursor.astring()]
            while not cursor.take(b")"):
                cursor.space()
                fields.append(cursor.astring())
            return name, tuple(fields)
    for name in ("HEADER", "TEXT"):
        if cursor.take(name.encode()):
            return name, ()
    raise BadSyntax("only the whole message, HEADER, TEXT and HEADER.FIELDS are served")


def render(item: Item, message: StoredMessage, personality: Personality) -> bytes:
    """The item's name and value, as they stand in the answer."""
    if item.section is not None:
        data = section(message.raw, item.section, item.fields)
        if item.partial:
            data = data[item.partial[0] : item.partial[0] + item.partial[1]]
        return f"{item.label} {{{len(data)}}}\r\n".encode("latin-1") + data
    return f"{item.label} {_value(item.label, message, personality)}".encode()


def _value(label: str, message: StoredMessage, personality: Personality) -> str:
    match label:
        case "UID":
            return str(message.uid)
        case "FLAGS":
            return f"({' '.join(sorted(message.flags))})"
        case "INTERNALDATE":
            return f'"{internaldate(message.internaldate, personality.zone)}"'
        case "RFC822.SIZE":
            return str(_size(message, estimated=personality.size_is_estimate))
        case "X-GM-MSGID":
            return str(message.gm_msgid)
        case "X-GM-THRID":
            return str(message.gm_thrid)
        case _:
            labels = (quote(name if name[:1] == "\\" else encode_name(name)) for name in message.labels)
            return f"({' '.join(labels)})"


def _size(message: StoredMessage, *, estimated: bool) -> int:
    """Exchange guesses (B25), far off at times: nothing may depend on it."""
    return len(message.raw) * 2 + 389 if estimated else len(message.raw)


def section(raw: bytes, name: str, fields: tuple[bytes, ...] = ()) -> bytes:
    """A part of a message, cut from its bytes without an email parser."""
    if name == "":
        return raw
    if raw[:2] == b"\r\n" or raw[:1] == b"\n":
        head, text = raw[: raw.index(b"\n") + 1], raw[raw.index(b"\n") + 1 :]
    else:
        end = _HEADER_END.search(raw)
        head, text = (raw[: end.end()], raw[end.end() :]) if end else (raw, b"")
    match name:
        case "HEADER":
            return head
        case "TEXT":
            return text
        case _:
            return _fields(head, fields, wanted=name == "HEADER.FIELDS")


def _fields(head: bytes, names: tuple[bytes, ...], *, wanted: bool) -> bytes:
    """The fields with (or without) these names, folded as they are, and an empty line."""
    lower = {name.lower() for name in names}
    found: list[bytes] = []
    keep = False
    for line in head.splitlines(keepends=True):
        if not line.strip(b"\r\n"):
            break
        if line[:1] not in (b" ", b"\t"):
            keep = (line.partition(b":")[0].strip().lower() in lower) == wanted
        if keep:
            found.append(line if line.endswith(b"\n") else line + b"\r\n")
    return b"".join(found) + b"\r\n"
