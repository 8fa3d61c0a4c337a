"""Mail as the wild has it, for the tests against real servers: the same seed, the same bytes.

Made apart from the simulators' mail, so that the two share no blind spot: lines over every limit,
empty bodies, one large message, Message-IDs that lie.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from random import Random

from mailsyncd.sim.corpus import Mail

LARGE = 5_000_000  # bytes of the one large message
_BEGIN = datetime(2024, 2, 28, 21, 30, tzinfo=UTC)
_TEXTS = (
    ("us-ascii", "See the figures below."),
    ("utf-8", "Grüße, naïve café, 日本語, кириллица 😀"),
    ("iso-8859-1", "Voilà l'été, señor Muñoz"),
    ("windows-1252", "“Quotes” – and 20 €"),
    ("koi8-r", "Старое письмо"),
    ("shift_jis", "ご確認ください。"),
    ("gb2312", "请查收附件。"),
    ("iso-2022-jp", "会議の件です。"),
    ("euc-kr", "회의 자료입니다"),
)


def varied(seed: int, count: int) -> Iterator[Mail]:
    """Every kind in turn; the middle one of 50 or more is large. Dates are not always in step with
    the order of delivery, and zones differ."""
    rng = Random(f"varied {seed}")
    before: list[bytes] = []
    for number in range(count):
        make = _large if count >= 50 and number == count // 2 else _KINDS[number % len(_KINDS)]
        raw = make(rng, f"{seed}.{number}", before)
        before.append(raw)
        zone_free = _BEGIN + timedelta(hours=7 * number, seconds=rng.randrange(-90_000, 90_000))
        yield Mail(raw, zone_free)


def _head(rng: Random, name: str, *more: bytes, message_id: bytes | None = None) -> bytes:
    lines = [
        b"Return-Path: <bounce@example.net>",
        b"Received: from mx%d.example.net\r\n\tby mx.example.com; Wed, 28 Feb 2024 21:30:00 +0000"
        % rng.randrange(9),
        b"From: Someone <someone%d@example.net>" % rng.randrange(500),
        b"To: ann@example.com",
        b"Subject: message " + name.encode(),
        b"Date: Wed, 28 Feb 2024 21:30:00 +0000",
        b"Message-ID: " + (message_id or f"<{name}.{rng.getrandbits(64):x}@mail.example.org>".encode()),
        *more,
    ]
    return b"\r\n".join(lines) + b"\r\n"


def _body(rng: Random, size: int) -> bytes:
    words = ("report", "garden", "ticket", "harbour", "winter", "> quoted", "--", ".", "..", "From here")
    out = bytearray()
    while len(out) < size:
        out += " ".join(rng.choice(words) for _ in range(rng.randrange(1, 12))).encode() + b"\r\n"
    return bytes(out)


def _plain(rng: Random, name: str, before: list[bytes]) -> bytes:
    return _head(rng, name) + b"\r\n" + _body(rng, rng.randrange(20, 20_000))


def _charset(rng: Random, name: str, before: list[bytes]) -> bytes:
    charset, text = rng.choice(_TEXTS)
    how = f"Content-Type: text/plain; charset={charset}\r\nContent-Transfer-Encoding: 8bit".encode()
    return _head(rng, name, b"MIME-Version: 1.0", how) + b"\r\n" + (text + "\r\n").encode(charset) * 20


def _base64(rng: Random, name: str, before: list[bytes]) -> bytes:
    charset, text = rng.choice(_TEXTS)
    how = f"Content-Type: text/html; charset={charset}\r\nContent-Transfer-Encoding: base64".encode()
    encoded = base64.encodebytes((text * 40).encode(charset)).replace(b"\n", b"\r\n")
    return _head(rng, name, b"MIME-Version: 1.0", how) + b"\r\n" + encoded


def _multipart(rng: Random, name: str, before: list[bytes], size: int = 40_000) -> bytes:
    """A closing boundary is left out now and then: not our business."""
    mark = f"=_{name}".encode()
    data = base64.encodebytes(rng.randbytes(size * 3 // 4)).replace(b"\n", b"\r\n")
    parts = b"--%s\r\nContent-Type: text/plain\r\n\r\nSee below.\r\n--%s\r\n" % (mark, mark)
    parts += b"Content-Type: application/pdf\r\nContent-Transfer-Encoding: base64\r\n\r\n" + data
    end = b"--%s--\r\n" % mark if rng.random() < 0.8 else b""
    how = b'MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary="%s"' % mark
    return _head(rng, name, how) + b"\r\n" + parts + end


def _large(rng: Random, name: str, before: list[bytes]) -> bytes:
    return _multipart(rng, name, before, LARGE)


def _long_line(rng: Random, name: str, before: list[bytes]) -> bytes:
    return _head(rng, name) + b"\r\n" + b"a word and " * 4_000 + b"\r\nthe end\r\n"


def _long_header(rng: Random, name: str, before: list[bytes]) -> bytes:
    folded = b"References: " + b"\r\n ".join(b"<%d@old.example.org>" % n for n in range(400))
    return _head(rng, name, folded, b"X-Report: " + b"y" * 9_000) + b"\r\nshort\r\n"


def _dots(rng: Random, name: str, before: list[bytes]) -> bytes:
    odd = b"\r\n.\r\n..\r\n.x\r\n>From\r\n* 3 EXISTS\r\n+ go on\r\n {12}\r\n \t\r\n\r\n\r\n"
    return _head(rng, name) + odd


def _no_final_newline(rng: Random, name: str, before: list[bytes]) -> bytes:
    return _head(rng, name) + b"\r\n" + _body(rng, 300) + b"and no more"


def _empty_body(rng: Random, name: str, before: list[bytes]) -> bytes:
    return _head(rng, name) + b"\r\n"


def _header_only(rng: Random, name: str, before: list[bytes]) -> bytes:
    return _head(rng, name)


def _raw_header(rng: Random, name: str, before: list[bytes]) -> bytes:
    charset, text = rng.choice(_TEXTS[1:7])
    return _head(rng, name, b"X-Raw: " + text.encode(charset) + b"\xff\x80", b"X-Empty:") + b"\r\nbody\r\n"


def _no_message_id(rng: Random, name: str, before: list[bytes]) -> bytes:
    return b"From: a@example.net\r\nSubject: message " + name.encode() + b"\r\n\r\n" + _body(rng, 200)


def _odd_message_id(rng: Random, name: str, before: list[bytes]) -> bytes:
    odd = rng.choice((b"no brackets at all", b"\r\n <folded.%d@x>", b"<sp ace.%d@[IPv6:2001:db8::1]>", b"<>"))
    return _head(rng, name, message_id=odd.replace(b"%d", name.encode())) + b"\r\nodd\r\n"


def _same_message_id(rng: Random, name: str, before: list[bytes]) -> bytes:
    """Every one of this kind says the same of itself, and each is another message."""
    return _head(rng, name, message_id=b"<the-same-for-all@example.org>") + b"\r\n" + _body(rng, 100)


def _twin(rng: Random, name: str, before: list[bytes]) -> bytes:
    """An earlier message once more, byte for byte: two messages all the same."""
    return rng.choice(before[-9:]) if before else _plain(rng, name, before)


_KINDS: tuple[Callable[[Random, str, list[bytes]], bytes], ...] = (
    *(_plain, _charset, _base64, _multipart, _long_line, _long_header, _dots, _no_final_newline),
    *(_empty_body, _header_only, _raw_header, _no_message_id, _odd_message_id, _same_message_id, _twin),
)
