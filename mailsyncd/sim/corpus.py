"""Mail to send through the simulators: the same seed makes the same messages, byte for byte.

The kinds go round in a fixed order, so that even a short run meets twins, missing Message-IDs,
lone dots, odd headers and old charsets. None has NUL or lines over 998 bytes, nor bare LF: Gmail
hands out CRLF (B41).
"""

from __future__ import annotations

import base64
import quopri
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from random import Random

_NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
_WORDS = (
    *("invoice", "meeting", "lunch", "train", "garden", "ticket", "draft", "photo", "summer", "budget"),
    *("bridge", "coffee", "report", "letter", "harbour", "window", "answer", "music", "winter", "market"),
)
_SUBJECTS = (
    ("utf-8", "Grüße aus Köln"),
    ("iso-8859-1", "Été à la mer"),
    ("koi8-r", "Привет из Москвы"),
    ("iso-2022-jp", "来週の会議について"),
    ("windows-1252", "Price: 20 € – 30 €"),
    ("gb18030", "会议记录"),
)
_LARGEST_ATTACHMENT = 300_000


@dataclass(frozen=True, slots=True)
class Mail:
    """A message to deliver, and when it claims to have come."""

    raw: bytes
    internaldate: datetime


def corpus(seed: int, count: int) -> Iterator[Mail]:
    """`count` messages. One in eleven is the twin of the one before: same bytes, another message."""
    rng = Random(seed)
    last: Mail | None = None
    for number in range(count):
        kind = number % len(_KINDS)
        when = _NOON + timedelta(minutes=number, seconds=rng.randrange(60))
        if _KINDS[kind] is _twin and last is not None:
            mail = Mail(last.raw, when)
        else:
            mail = Mail(_KINDS[kind](rng, number, when), when)
        yield mail
        last = mail


def _header(rng: Random, number: int, when: datetime, *more: str, subject: str | None = None) -> list[str]:
    sender = f"{rng.choice(_WORDS)}.{rng.choice(_WORDS)}@example.{rng.choice(('org', 'net', 'com'))}"
    fields = [
        f"Received: from mx{rng.randrange(9)}.example.net by mx.gmail.example; {format_datetime(when)}",
        f"Date: {format_datetime(when)}",
        f"From: {sender}",
        "To: <ann@gmail.example>",
        f"Subject: {subject if subject is not None else _sentence(rng, 4)}",
        "MIME-Version: 1.0",
        *more,
    ]
    if not any(field.startswith("Message-ID:") for field in more):
        fields.append(f"Message-ID: <{number}.{rng.randbytes(8).hex()}@example.org>")
    return fields


def _joined(header: list[str], body: bytes) -> bytes:
    return "\r\n".join(header).encode("latin-1") + b"\r\n\r\n" + body


def _sentence(rng: Random, words: int) -> str:
    return " ".join(rng.choice(_WORDS) for _ in range(words)).capitalize()


def _text(rng: Random, lines: int) -> bytes:
    return b"".join(_sentence(rng, rng.randrange(3, 11)).encode() + b".\r\n" for _ in range(lines))


def _plain(rng: Random, number: int, when: datetime) -> bytes:
    return _joined(_header(rng, number, when), _text(rng, rng.randrange(1, 60)))


def _charset(rng: Random, number: int, when: datetime) -> bytes:
    name, subject = _SUBJECTS[number // len(_KINDS) % len(_SUBJECTS)]
    encoded = f"=?{name}?B?{base64.b64encode(subject.encode(name)).decode()}?="
    how = ("Content-Transfer-Encoding: quoted-printable", f"Content-Type: text/plain; charset={name}")
    body = quopri.encodestring(f"{subject}\n{subject}\n".encode(name)).replace(b"\n", b"\r\n")
    return _joined(_header(rng, number, when, *how, subject=encoded), body)


def _attachment(rng: Random, number: int, when: datetime) -> bytes:
    mark = f"=_{rng.randbytes(9).hex()}"
    data = base64.encodebytes(rng.randbytes(rng.randrange(2_000, _LARGEST_ATTACHMENT)))
    body = (
        f"--{mark}\r\nContent-Type: text/plain\r\n\r\n".encode()
        + _text(rng, 3)
        + f"--{mark}\r\nContent-Type: application/octet-stream\r\n".encode()
        + b'Content-Disposition: attachment; filename="scan.pdf"\r\n'
        + b"Content-Transfer-Encoding: base64\r\n\r\n"
        + data.replace(b"\n", b"\r\n")
        + f"--{mark}--\r\n".encode()
    )
    kind = f'Content-Type: multipart/mixed; boundary="{mark}"'
    return _joined(_header(rng, number, when, kind), body)


def _without_message_id(rng: Random, number: int, when: datetime) -> bytes:
    header = _header(rng, number, when)[:-1]
    return _joined(header, _text(rng, rng.randrange(1, 9)))


def _dots(rng: Random, number: int, when: datetime) -> bytes:
    """What SMTP would have stuffed and mbox would have quoted must come through as it is."""
    body = b".\r\n..\r\n.leading\r\nFrom here on\r\n>From\r\n* 5 EXISTS\r\na1 OK done\r\n{7}\r\n.\r\n"
    return _joined(_header(rng, number, when, subject="5 * 3 * 2 = 30 {12}"), body + _text(rng, 2))


def _no_final_newline(rng: Random, number: int, when: datetime) -> bytes:
    return _joined(_header(rng, number, when), _text(rng, 3) + b"the end")


def _odd_header(rng: Random, number: int, when: datetime) -> bytes:
    """Folded, repeated, raw 8-bit, empty and enormous fields, as mail in the wild has them."""
    more = (
        f"X-Long: {'x' * 900}",
        "References: <a@example.org>\r\n\t<b@example.org>\r\n <c@example.org>",
        "X-Empty:",
        "X-Raw: caf\xe9 \xff",
        "subject: a second one",
        f"Message-ID:\r\n <{number}.{rng.randbytes(4).hex()}@folded.example.org>",
    )
    return _joined(_header(rng, number, when, *more), _text(rng, 2))


def _eight_bit(rng: Random, number: int, when: datetime) -> bytes:
    """Bytes that are no text in the charset they claim."""
    how = ("Content-Type: text/plain; charset=utf-8", "Content-Transfer-Encoding: 8bit")
    junk = bytes(rng.choice(range(0x80, 0x100)) for _ in range(200))
    return _joined(_header(rng, number, when, *how), junk + b"\r\n" + _text(rng, 2))


def _tiny(rng: Random, number: int, when: datetime) -> bytes:
    return f"Subject: {number}.{rng.randrange(10**6)}\r\n\r\n".encode()


def _twin(rng: Random, number: int, when: datetime) -> bytes:
    return _plain(rng, number, when)


_KINDS: tuple[Callable[[Random, int, datetime], bytes], ...] = (
    _plain,
    _charset,
    _attachment,
    _dots,
    _without_message_id,
    _no_final_newline,
    _odd_header,
    _eight_bit,
    _plain,
    _twin,
    _tiny,
)
