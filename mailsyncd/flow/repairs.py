"""What may be mended in a message before it is sent: opt-in rules, bytes -> bytes, each one pure.

Nothing here parses mail: a rule knows where the header ends and where lines end, no more, and
leaves every byte that it is not about. A message that no rule touches stays the very same object,
and of one that is changed there are never more than two in memory: as it came, and as it will be.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from io import BytesIO

from mailsyncd.errors import FailureKind

ANY_LINE = 998  # bytes: what every server must take (RFC 5322 2.1.1)
PIECE = 1 << 20  # bytes of a body that are mended at once
NEAR = 256  # bytes before the limit in which a body line is rather cut at white space
HEADER_END = re.compile(rb"\r?\n\r?\n|\A\r?\n")
LINE_ENDS = re.compile(rb"\r+\n?|\n")
REST_OF_END = re.compile(rb"\r*\n?")
# B48: reading the copy, or deleting it unread, would answer the sender once more.
RECEIPTS = re.compile(
    rb"^(?=(?:disposition-notification-to|return-receipt-to|x-confirm-reading-to)[ \t]*:)",
    re.IGNORECASE | re.MULTILINE,
)


@dataclass(frozen=True, slots=True)
class Rules:
    """Which repairs a destination's user has asked for."""

    wrap_long_lines: bool = False
    fix_bare_lf: bool = False
    disarm_read_receipts: bool = False


def repair(body: bytes, rules: Rules, limit: int | None) -> tuple[bytes, tuple[str, ...]]:
    """The message as it is to be sent, and the rules that changed it. `limit`: the longest line."""
    applied = []
    for name, rule in RULES.items():
        if getattr(rules, name) and (mended := rule(body, limit or ANY_LINE)) is not body:
            body = mended
            applied.append(name)
    return body, tuple(applied)


def advice(body: bytes, kind: FailureKind) -> str:
    """Which rule might have helped a message that was refused; empty where none is known."""
    if has_bare_ends(body):
        return "it has line ends that are not CRLF, which fix_bare_lf would mend"
    longest = longest_line(body, ANY_LINE)
    if kind is FailureKind.LINE_TOO_LONG or longest > ANY_LINE:
        return f"a line of it has {longest:,} bytes, which wrap_long_lines would cut at max_line_length"
    if RECEIPTS.search(body, 0, header_length(body)):
        return "it asks for a read receipt, which disarm_read_receipts would undo"
    return ""


# ----------------------------------------------------------------------- lines


def longest_line(body: bytes, floor: int) -> int:
    """The length of the longest line without its end; `floor` if none is longer than that."""
    return max((end - start for start, end in long_lines(body, 0, len(body), floor)), default=floor)


def long_lines(body: bytes, start: int, end: int, limit: int) -> Iterator[tuple[int, int]]:
    """Where the lines longer than `limit` begin and end, without their line ends.

    Looks back from the farthest place where a line's end would be in time, so that it touches
    one place in `limit` bytes or so: 150 MB cost milliseconds, and no copy.
    """
    while end - start > limit:
        feed = body.rfind(b"\n", start, start + limit + 1)
        if feed < 0:
            feed = body.find(b"\n", start + limit + 1, end)
            stop = end if feed < 0 else feed - (body[feed - 1] == 0x0D)
            if stop - start > limit:
                yield start, stop
            if feed < 0:
                return
        start = feed + 1


def header_length(body: bytes) -> int:
    """Bytes up to the empty line that ends the header; all of them if there is none."""
    found = HEADER_END.search(body)
    if found is None:
        return len(body)
    return found.end() - (2 if body[found.end() - 2 : found.end()] == b"\r\n" else 1)


# ------------------------------------------------------------------- the rules


def wrap_long_lines(body: bytes, limit: int) -> bytes:
    """Header fields folded at white space (RFC 5322 2.2.3), body lines cut, at `limit` bytes.

    A header field without white space has no place to be folded at, and stays as it is: any
    other cut would change what it says.
    """
    head = header_length(body)
    cuts: list[int] = []
    for start, end in long_lines(body, 0, head, limit):
        cuts += _folds(body, start, end, limit)
    for start, end in long_lines(body, head, len(body), limit):
        cuts += _cuts(body, start, end, limit)
    if not cuts:
        return body
    view, start, out = memoryview(body), 0, BytesIO()
    for cut in cuts:
        out.write(view[start:cut])
        out.write(b"\r\n")
        start = cut
    out.write(view[start:])
    return out.getvalue()


def _folds(body: bytes, start: int, end: int, limit: int) -> Iterator[int]:
    """Places before white space; none that would leave a line of white space alone."""
    text_end = end
    while text_end > start and body[text_end - 1] in b" \t":
        text_end -= 1
    while end - start > limit:
        border = min(start + limit + 1, text_end)
        at = max(body.rfind(b" ", start + 1, border), body.rfind(b"\t", start + 1, border))
        if at < 0 or not body[start:at].strip(b" \t"):
            return
        yield at
        start = at


def _cuts(body: bytes, start: int, end: int, limit: int) -> Iterator[int]:
    """Places behind white space if some is near the limit, else between two characters of UTF-8."""
    while end - start > limit:
        cut = start + limit
        near = max(start + limit // 2, cut - NEAR)
        if (space := max(body.rfind(b" ", near, cut), body.rfind(b"\t", near, cut))) >= 0:
            cut = space + 1
        else:
            back = next((n for n in range(4) if body[cut - n] & 0xC0 != 0x80), 0)
            cut -= back if back < limit else 0
        yield cut
        start = cut


def has_bare_ends(body: bytes) -> bool:
    """Whether some CR or LF stands without the other."""
    pairs = body.count(b"\r\n")
    return body.count(b"\n") != pairs or body.count(b"\r") != pairs


def fix_bare_lf(body: bytes) -> bytes:
    """Every line end becomes CRLF: bare LF, bare CR, and CR CR LF, which some gateways make of CRLF.

    In the header a bare CR becomes a space, since a line end there would end the field or the
    header.
    """
    if not has_bare_ends(body):
        return body
    out, head = BytesIO(), header_length(body)
    _replace(body, 0, head, LINE_ENDS, _end_in_header, out)
    start = head
    while start < len(body):
        end = min(start + PIECE, len(body))
        if body[end - 1] == 0x0D:  # a line's end must not be cut apart
            end = REST_OF_END.match(body, end).end()  # type: ignore[union-attr] # it matches anything
        unix = body[start:end].replace(b"\r\n", b"\n")
        if b"\r" not in unix:  # by far the fastest, and by far the commonest case
            out.write(unix.replace(b"\n", b"\r\n"))
        else:
            _replace(body, start, end, LINE_ENDS, _end_in_body, out)
        start = end
    return out.getvalue()


def _replace(
    body: bytes,
    start: int,
    end: int,
    pattern: re.Pattern[bytes],
    make: Callable[[re.Match[bytes]], bytes],
    out: BytesIO,
) -> None:
    """As pattern.sub() does, but straight into `out`, and the matches can look around."""
    view = memoryview(body)
    for found in pattern.finditer(body, start, end):
        out.write(view[start : found.start()])
        out.write(make(found))
        start = found.end()
    out.write(view[start:end])


def _end_in_body(found: re.Match[bytes]) -> bytes:
    ends = found[0]
    return b"\r\n" if ends.endswith(b"\n") else b"\r\n" * len(ends)


def _end_in_header(found: re.Match[bytes]) -> bytes:
    if found[0].endswith(b"\n"):
        return b"\r\n"
    begins_line = found.start() == 0 or found.string[found.start() - 1 : found.start()] == b"\n"
    return b"" if begins_line else b" "


def disarm_read_receipts(body: bytes) -> bytes:
    """The header fields that ask for a receipt get names that no program heeds."""
    head = header_length(body)
    if not RECEIPTS.search(body, 0, head):
        return body
    out = BytesIO()
    _replace(body, 0, head, RECEIPTS, lambda _: b"X-Disarmed-", out)
    out.write(memoryview(body)[head:])
    return out.getvalue()


# In this order: only with line ends mended is it clear where the header ends, and a longer name of
# a field may make its line too long.
RULES: dict[str, Callable[[bytes, int], bytes]] = {
    "fix_bare_lf": lambda body, _: fix_bare_lf(body),
    "disarm_read_receipts": lambda body, _: disarm_read_receipts(body),
    "wrap_long_lines": wrap_long_lines,
}
