"""The mail that is copied: the same seed, the same bytes. 2,000 of it are 140 MB: the median is
13.7 KB, 90 are larger than 100 KiB, 23 of them have 1 to 5 MB, and one has 25 MB."""

from __future__ import annotations

import base64
import math
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from random import Random

BLOCK = 2000  # messages after which the large ones come again
LARGE = 23  # of a block
LARGEST = 25_000_000  # bytes of one of a block
MEDIAN, SIGMA = 13_200, 1.1  # of the others: bytes, and the spread of their logarithm
BEGIN = datetime(2024, 1, 1, 9, tzinfo=UTC)
_SAYS = "garden harbour winter invoice meeting Grüße naïve 日本語 письмо 😀 > quoted -- . .. From here"
WORDS = _SAYS.split()


@dataclass(frozen=True, slots=True)
class Mail:
    raw: bytes
    received: datetime
    flags: str


def corpus(count: int, *, seed: int = 1, first: int = 0, size: int | None = None) -> Iterator[Mail]:
    """Messages `first` to `first + count` of a seed; with `size`, all of about so many bytes."""
    for number in range(first, first + count):
        yield message(seed, number, size)


def message(seed: int, number: int, size: int | None = None) -> Mail:
    rng = Random(f"bench {seed} {number}")
    received = BEGIN + timedelta(hours=number, seconds=rng.randrange(1800))
    flags = " ".join(flag for flag, share in _FLAGS if rng.random() < share)
    raw = _raw(rng, f"{seed}.{number}", size or _size(rng, seed, number), received)
    return Mail(raw, received, flags)


_FLAGS = (("\\Seen", 0.6), ("\\Answered", 0.1), ("\\Flagged", 0.05))


def _size(rng: Random, seed: int, number: int) -> int:
    largest, large = _large(seed, number // BLOCK)
    if number % BLOCK == largest:
        return LARGEST
    if number % BLOCK in large:
        return rng.randrange(1_000_000, 5_000_000)
    return max(600, min(int(rng.lognormvariate(math.log(MEDIAN), SIGMA)), 400_000))


@cache
def _large(seed: int, block: int) -> tuple[int, frozenset[int]]:
    """Where in a block the largest and the large messages are."""
    largest, *large = Random(f"large {seed} {block}").sample(range(BLOCK), LARGE + 1)
    return largest, frozenset(large)


def _raw(rng: Random, name: str, size: int, received: datetime) -> bytes:
    """A header as mail has it, then text or base64 of about the size that is left. CRLF everywhere."""
    text = rng.random() < 0.6 and size < 1_000_000
    how = (b"text/plain; charset=utf-8", b"8bit") if text else (b"application/pdf", b"base64")
    head = b"\r\n".join(
        (
            b"Return-Path: <bounce@example.net>",
            b"Received: from mx%d.example.net (mx.example.net [192.0.2.%d])" % (size % 9, size % 250),
            b"        by mx.example.com with ESMTPS id %x" % rng.getrandbits(64),
            b"        for <ann@example.com>; " + f"{received:%a, %d %b %Y %H:%M:%S %z}".encode(),
            b"DKIM-Signature: v=1; a=rsa-sha256; d=example.net; s=s1; h=from:to:subject:date;",
            b"        b=" + base64.b64encode(rng.randbytes(192)),
            b"From: Someone <someone%d@example.net>" % rng.randrange(500),
            b"To: ann@example.com",
            b"Subject: message " + name.encode(),
            b"Date: " + f"{received:%a, %d %b %Y %H:%M:%S %z}".encode(),
            b"Message-ID: <%s.%x@mail.example.org>" % (name.encode(), rng.getrandbits(64)),
            b"MIME-Version: 1.0",
            b"Content-Type: " + how[0],
            b"Content-Transfer-Encoding: " + how[1],
        )
    )
    left = max(0, size - len(head) - 4)
    return head + b"\r\n\r\n" + (_text(rng, left) if text else _base64(rng, left))


def _text(rng: Random, size: int) -> bytes:
    lines = [" ".join(rng.choices(WORDS, k=rng.randrange(1, 12))) for _ in range(30)]
    block = "\r\n".join(lines).encode() + b"\r\n"
    whole = (block * (size // len(block) + 1))[:size]
    return whole[: whole.rfind(b"\r\n") + 2]


def _base64(rng: Random, size: int) -> bytes:
    return base64.encodebytes(rng.randbytes(size * 57 // 78)).replace(b"\n", b"\r\n")
