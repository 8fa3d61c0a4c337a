"""Bytes -> responses: IMAP's lines and literals, read incrementally and without I/O.

Linear in the bytes fed, whatever their cut; nothing recurses; every length has a limit.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from io import BytesIO

from mailsyncd.steps import Step, reached

LONGEST_LINE = 16 * 1024 * 1024  # bytes: a UID SEARCH over two million messages
LONGEST_PARSED = 2 * 1024 * 1024  # bytes of a response that is taken to pieces; SEARCH is not
MOST_LITERALS = 1_000  # in one response; a FETCH of ours is answered with one
DEEPEST = 64  # parentheses within each other; BODYSTRUCTURE, which we never ask for, has the deepest

_LITERAL = re.compile(rb"~?\{(\d{1,20})\+?\}$")
_STATUS = re.compile(rb"(?:\*|[^\s*+]+) (?:OK|NO|BAD|BYE|PREAUTH)(?: |$)", re.IGNORECASE)


class HostileInput(Exception):
    """The server sent what no client can take: the connection has to end."""


class LiteralTooLarge(HostileInput):
    """A literal beyond the limit: perhaps no ill will, but a message of which the size was unknown."""


@dataclass(frozen=True)
class Response:
    """One response: texts and literals in turn (`parts[1::2]` are literals), ends of line removed."""

    parts: tuple[bytes, ...]

    @property
    def text(self) -> bytes:
        return self.parts[0]

    @property
    def size(self) -> int:
        return sum(map(len, self.parts))

    @cached_property
    def items(self) -> dict[bytes, Value]:
        """Those of an untagged FETCH; none for what is not one. Read once, however many commands in
        flight look whether it is theirs. May raise HostileInput."""
        found = values(self)
        return pairs(found[3]) if len(found) >= 4 and isinstance(found[3], list) else {}


class ResponseReader:
    """feed() it what arrives; it gives the responses that are complete."""

    def __init__(self, *, max_literal: int, max_line: int = LONGEST_LINE) -> None:
        self._max_literal = max_literal
        self._max_line = max_line
        self._line = bytearray()
        self._parts: list[bytes] = []
        self._text_size = 0  # of the parts, literals left out
        self._literal = BytesIO()
        self._missing: int | None = None

    def feed(self, data: bytes) -> Iterator[Response]:
        """Yields each response that `data` completes. Raises HostileInput."""
        position = 0
        while position < len(data) or self._missing == 0:
            if self._missing is not None:
                position = self._take_literal(data, position)
                continue
            end = data.find(b"\n", position)
            piece = data[position : end if end >= 0 else len(data)]
            if self._text_size + len(self._line) + len(piece) > self._max_line:
                raise HostileInput(f"a line of more than {self._max_line:,} bytes")
            if end < 0:
                self._line += piece
                return
            position = end + 1
            if response := self._end_line(self._whole(piece).removesuffix(b"\r")):
                yield response

    def _whole(self, piece: bytes) -> bytes:
        """The line that ends with it. Few lines come in pieces."""
        if not self._line:
            return piece
        line = bytes(self._line + piece)
        self._line.clear()
        return line

    def _end_line(self, line: bytes) -> Response | None:
        literal = None
        if line.endswith(b"}") and self._may_hold_literal(line):
            literal = _LITERAL.search(line, max(0, len(line) - 24))
        if literal is None:
            response = Response((*self._parts, line))
            self._parts.clear()
            self._text_size = 0
            return response
        self._expect(int(literal[1]))
        self._parts.append(line[: literal.start()])
        self._text_size += literal.start()
        return None

    def _may_hold_literal(self, line: bytes) -> bool:
        """Text for people may end in {5} and mean nothing by it, and so may what is no IMAP at all."""
        return bool(self._parts) or (line.startswith(b"* ") and not _STATUS.match(line))

    def _expect(self, size: int) -> None:
        if size > self._max_literal:
            raise LiteralTooLarge(f"a literal of {size:,} bytes; the limit is {self._max_literal:,}")
        held = sum(map(len, self._parts[1::2]))
        if held + size > self._max_literal + self._max_line or len(self._parts) >= 2 * MOST_LITERALS:
            raise HostileInput("a response that never ends")
        self._missing = size

    def _take_literal(self, data: bytes, position: int) -> int:
        missing = self._missing or 0
        taken = self._literal.write(memoryview(data)[position : position + missing])
        self._missing = missing - taken
        if self._missing <= self._literal.tell() + self._missing >> 1 < missing:
            reached(Step.FETCH_HALF)
        if self._missing == 0:
            self._parts.append(self._literal.getvalue())  # CPython hands out its buffer, and copies nothing
            self._literal = BytesIO()
            self._missing = None
        return position + taken


# ---------------------------------------------------------------------- values

Value = bytes | None | list["Value"]

# Possessive, and a string or bracket that is never closed ends with its part: so each byte is
# looked at once, whatever the server sends.
_TOKEN = re.compile(
    rb"""\s++ | (?P<open>\() | (?P<close>\))
       | "(?P<quoted>[^"\\]*+(?:\\.[^"\\]*+)*+)(?:"|\\?\Z)
       | (?P<atom>[^\s()"\[]++(?:\[[^\]]*+(?:\]|\Z)(?:<\d++>)?+)?+ | \[[^\]]*+(?:\]|\Z))""",
    re.VERBOSE | re.DOTALL,
)
_ESCAPED = re.compile(rb"\\(.)", re.DOTALL)


def values(response: Response) -> list[Value]:
    """The response as nested lists of atoms and strings; NIL is None.

    Takes what servers send: unbalanced parentheses end where the response ends. Raises
    HostileInput when they go too deep, or on for too long.
    """
    if sum(map(len, response.parts[::2])) > LONGEST_PARSED:
        raise HostileInput(f"a response with more than {LONGEST_PARSED:,} bytes of text")
    stack: list[list[Value]] = [[]]
    for n, part in enumerate(response.parts):
        if n % 2:
            stack[-1].append(part)
            continue
        for match in _TOKEN.finditer(part):
            kind = match.lastgroup
            if kind == "open":
                if len(stack) >= DEEPEST:
                    raise HostileInput(f"parentheses more than {DEEPEST} deep")
                inner: list[Value] = []
                stack[-1].append(inner)
                stack.append(inner)
            elif kind == "close":
                if len(stack) > 1:
                    stack.pop()
            elif kind == "quoted":
                stack[-1].append(_ESCAPED.sub(rb"\1", match["quoted"]))
            elif kind == "atom":
                atom = match["atom"]
                stack[-1].append(None if atom.upper() == b"NIL" else atom)
    return stack[0]


def pairs(items: Sequence[Value]) -> dict[bytes, Value]:
    """FETCH items, STATUS items: name (upper case) -> value, in whatever order they came."""
    found: dict[bytes, Value] = {}
    for name, value in zip(items[::2], items[1::2], strict=False):
        if isinstance(name, bytes):
            found[name.upper()] = value
    return found


_CODE = re.compile(rb"\[([A-Za-z0-9-]+)(?: ([^\]]*))?\]")


@dataclass(frozen=True, slots=True)
class Status:
    """OK, NO, BAD, BYE or PREAUTH, with its response code (upper case) and the text for people."""

    kind: str
    code: str
    argument: str
    text: str


def status_of(line: bytes) -> Status:
    """Of the part of a status response that follows its tag or star."""
    kind, _, rest = line.partition(b" ")
    code = _CODE.match(rest)
    return Status(
        kind.decode("ascii", "replace").upper(),
        code[1].decode("ascii").upper() if code else "",
        (code[2] or b"").decode("utf-8", "replace") if code else "",
        printable(rest),
    )


def printable(text: bytes, most: int = 200) -> str:
    """What a server said, fit for a log line."""
    said = text[: most * 4].decode("utf-8", "replace")[:most]
    return said if said.isprintable() else "".join(c if c.isprintable() else "?" for c in said)
