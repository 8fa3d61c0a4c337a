"""A small blocking IMAP client for tests: fill a mailbox, list it, compare two. Its own code, so
that it shares no mistake with what it checks."""

from __future__ import annotations

import hashlib
import re
import socket
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from types import TracebackType
from typing import Self

AHEAD = 100  # appends that nobody has answered yet: the answers have room in the socket
_LITERAL = re.compile(rb"\{(\d+)\}\r\n$")


@dataclass(frozen=True, slots=True)
class Stored:
    """A message as a mailbox holds it."""

    uid: int
    flags: frozenset[bytes]
    received: datetime
    body: bytes

    @property
    def identity(self) -> tuple[str, datetime]:
        return hashlib.sha256(self.body).hexdigest(), self.received


# Dovecot's login process can break down, with all it has, over another client that was killed: those that
# it has taken in are hung up on, or told [UNAVAILABLE].
LOGINS = 5


class Plain:
    """A plaintext connection, signed in with a password."""

    def __init__(self, port: int, user: str, password: str = "pw") -> None:  # noqa: S107 - the test servers take any user with it
        self._tag = 0
        for left in reversed(range(LOGINS)):
            self._socket = socket.create_connection(("127.0.0.1", port), 60)
            self._file = self._socket.makefile("rb")
            try:
                self._file.readline()
                self.command(f'LOGIN "{user}" "{password}"')
                return
            except (ConnectionError, RuntimeError) as error:
                self._close()
                if not left or (isinstance(error, RuntimeError) and "[UNAVAILABLE]" not in str(error)):
                    raise
                time.sleep(0.2)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close()

    def _close(self) -> None:
        self._file.close()
        self._socket.close()

    def _response(self) -> tuple[bytes, list[bytes]]:
        text = b""
        literals: list[bytes] = []
        while True:
            line = self._file.readline()
            if not line:
                raise ConnectionError("the server hung up")
            text += line
            if not (match := _LITERAL.search(line)):
                return text, literals
            literals.append(self._file.read(int(match[1])))

    def command(self, line: str, literal: bytes | None = None) -> list[tuple[bytes, list[bytes]]]:
        """Untagged responses with their literals. Raises RuntimeError on NO or BAD."""
        self._tag += 1
        tag = b"t%d" % self._tag
        out = tag + b" " + line.encode()
        if literal is not None:
            out += b" {%d}\r\n" % len(literal)
            self._socket.sendall(out)
            assert self._file.readline().startswith(b"+")
            out = literal
        self._socket.sendall(out + b"\r\n")
        found: list[tuple[bytes, list[bytes]]] = []
        while True:
            text, literals = self._response()
            if text.startswith(tag + b" "):
                if not text.startswith(tag + b" OK"):
                    raise RuntimeError(text.decode("latin-1").strip())
                return found
            found.append((text, literals))

    def append(self, folder: str, body: bytes, when: datetime, flags: str = "") -> None:
        date = when.astimezone(UTC).strftime("%d-%b-%Y %H:%M:%S +0000")
        self.command(f'APPEND "{folder}" ({flags}) "{date}"', body)

    def append_all(self, folder: str, mail: Iterable[tuple[bytes, datetime, str]]) -> None:
        """Many, without waiting for each: the server must take literals unasked (RFC 7888)."""
        sent = answered = 0
        for body, when, flags in mail:
            date = when.astimezone(UTC).strftime("%d-%b-%Y %H:%M:%S +0000")
            head = f'a{sent} APPEND "{folder}" ({flags}) "{date}" {{{len(body)}+}}\r\n'
            self._socket.sendall(head.encode() + body + b"\r\n")
            sent += 1
            if sent - answered >= AHEAD:
                answered += self._appended()
        while answered < sent:
            answered += self._appended()

    def _appended(self) -> int:
        text, _ = self._response()
        if text.startswith(b"a") and b" OK" not in text[:16]:
            raise RuntimeError(text.decode("latin-1").strip())
        return int(text.startswith(b"a"))

    def messages(self, folder: str) -> list[Stored]:
        """All of a folder, by UID; empty if it is not there."""
        try:
            self.command(f'EXAMINE "{folder}"')
        except RuntimeError:
            return []
        found = []
        for text, literals in self.command("UID FETCH 1:* (UID FLAGS INTERNALDATE BODY.PEEK[])"):
            if b" FETCH " in text and b"BODY[]" in text:
                found.append(_stored(text, literals[0] if literals else b""))
        return sorted(found, key=lambda one: one.uid)

    def folders(self) -> list[str]:
        """Every mailbox's name as it stands on the wire."""
        names = []
        for text, _ in self.command('LIST "" "*"'):
            match = re.search(rb' "?([^"]+?|(?:[^"\\]|\\.)*)"?\r\n$', text.partition(b'"/"')[2])
            if match:
                names.append(match[1].decode())
        return names


def _stored(text: bytes, body: bytes) -> Stored:
    uid, flags, date = (
        re.search(pattern, text)
        for pattern in (rb"UID (\d+)", rb"FLAGS \(([^)]*)\)", rb'INTERNALDATE "([^"]+)"')
    )
    assert uid
    assert flags
    assert date
    received = datetime.strptime(date[1].decode().strip(), "%d-%b-%Y %H:%M:%S %z").astimezone(UTC)
    kept = frozenset(flag for flag in flags[1].split() if flag != b"\\Recent")
    return Stored(int(uid[1]), kept, received, body)


@dataclass(frozen=True, slots=True)
class Comparison:
    """How copies differ from what was sent: by bytes and INTERNALDATE, each copy counted once."""

    lost: int
    added: int

    @classmethod
    def of(cls, sent: Iterable[Stored], copies: Iterable[Stored]) -> Self:
        wanted = Counter(one.identity for one in sent)
        there = Counter(one.identity for one in copies)
        return cls((wanted - there).total(), (there - wanted).total())


SAME = Comparison(0, 0)
