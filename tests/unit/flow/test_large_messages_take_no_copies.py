"""A large message, however it is made, is in memory once, and twice while it is repaired."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable

import pytest

from mailsyncd.errors import FailureKind
from mailsyncd.flow.repairs import Rules, advice, longest_line, repair
from mailsyncd.policy import fingerprint

MIB = 1 << 20
SIZE = 8 * MIB
HEAD = b"Subject: x\r\n\r\n"
LITTLE = SIZE // 4

BODIES = {
    "lines": HEAD + b"x" * 76 + b"\r\n",
    "bare": HEAD + b"x" * 76 + b"\n",
    "mixed": HEAD + b"x" * 76 + b"\n" + b"y\r\r\n",
    "long lines": HEAD + b"x" * 3000 + b"\r\n",
    "nothing but header": b"x: y\r\n",
    "nothing but folds": b"x\r\n ",
    "nothing but line ends": b"\r\n",
    "nothing but CR": b"\r",
    "one line": b"x",
    "nothing but Subject": b"subject:\r\n",
    "one endless Subject": b"subject: " + b"x \r\n " * 1000,
    "nothing but receipts": b"Return-Receipt-To: x\r\n",
}


def made(kind: str) -> bytes:
    unit = BODIES[kind]
    head = HEAD if unit.startswith(HEAD) else b""
    unit = unit.removeprefix(HEAD)
    return head + unit * (SIZE // len(unit))


def peak(work: Callable[[], object]) -> int:
    """Bytes that `work` held at most, beside what there was before."""
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("kind", BODIES)
def test_to_be_recognised_and_looked_at_a_message_is_not_copied(kind: str) -> None:
    body = made(kind)
    assert peak(lambda: fingerprint(body)) < LITTLE
    assert peak(lambda: longest_line(body, 998)) < LITTLE
    assert peak(lambda: advice(body, FailureKind.REJECTED)) < LITTLE
    assert peak(lambda: repair(body, Rules(), 998)) < LITTLE


@pytest.mark.parametrize("kind", ["lines", "bare", "mixed", "long lines", "nothing but receipts"])
@pytest.mark.parametrize("rule", ["wrap_long_lines", "fix_bare_lf", "disarm_read_receipts"])
def test_a_repair_makes_one_copy(kind: str, rule: str) -> None:
    body = made(kind)
    mended, applied = repair(body, Rules(**{rule: True}), 998)
    bound = len(mended) * 1.25 + LITTLE if applied else LITTLE
    assert peak(lambda: repair(body, Rules(**{rule: True}), 998)) < bound


def test_a_field_is_recognised_by_what_it_begins_with_if_it_never_ends() -> None:
    begins = b"Message-ID: <a@b>\r\nSubject: " + b"x" * 70_000
    assert fingerprint(begins + b"y\r\n\r\n") == fingerprint(begins + b"z\r\n\r\n")
    assert fingerprint(begins).message_id == "<a@b>"
