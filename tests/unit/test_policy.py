"""The pure decisions."""

from __future__ import annotations

from itertools import islice
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailsyncd.policy import backoff, fingerprint, header_fields, instant

WHEN = "17-Jul-2019 09:40:08 +0000"


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        (WHEN, 1563356408.0),
        (" 7-Jul-2019 09:40:08 -0330", 1562505008.0),
        ("17-Jul-2019 09:40:08", None),
        ("32-Jul-2019 09:40:08 +0000", None),
        ("17-Foo-2019 09:40:08 +0000", None),
        ("17-Jul-2019 09:40:08 +9999", None),
        ("", None),
    ],
)
def test_an_internaldate_is_an_instant_or_nothing(text: str, seconds: float | None) -> None:
    assert instant(text) == seconds


def test_headers_are_read_unfolded_and_only_up_to_the_body() -> None:
    raw = b"MESSAGE-ID:\r\n <a@b>\r\nSubject: x\r\n\ty\r\nbroken\r\nSubject: second\r\n\r\nFrom: body\r\n"
    assert header_fields(raw, (b"message-id", b"subject", b"from")) == {
        b"message-id": [b"<a@b>"],
        b"subject": [b"x y", b"second"],
        b"from": [],
    }


def test_a_fingerprint_does_not_depend_on_the_order_of_the_fields() -> None:
    fields = [b"Subject: a", b"Message-ID: <1@b>", b"From: c@d", b"Subject: e", b"Date: now"]
    assert fingerprint(b"\r\n".join(fields)) == fingerprint(b"\r\n".join(reversed(fields)))


@given(st.binary(max_size=400))
def test_a_fingerprint_can_be_had_of_anything_and_of_its_header_alone(raw: bytes) -> None:
    header = raw.partition(b"\r\n\r\n")[0] + b"\r\n\r\n"
    assert fingerprint(raw) == fingerprint(raw)
    if b"\n\n" not in header and b"\n\r\n" not in header[:-4]:
        assert fingerprint(header) == fingerprint(header + b"body")


def test_delays_grow_with_jitter_up_to_their_cap() -> None:
    delays = list(islice(backoff(Random(1), 1.0, 60.0), 200))
    assert all(0.5 <= delay <= 60 for delay in delays)
    assert max(delays) > 30
    assert delays != list(islice(backoff(Random(2), 1.0, 60.0), 200))
