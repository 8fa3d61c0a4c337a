"""Table: what a server replied, or what the network did -> errors.*.

The one place where texts of servers are looked at. The order of the rows matters: the first
that fits decides.
"""

from __future__ import annotations

import re
import socket
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, auto

from mailsyncd.errors import (
    AuthRejected,
    ConnectionLost,
    DestinationFull,
    FailureKind,
    MailsyncError,
    MessageRejected,
    RouteBlocked,
    Throttled,
    Transient,
)
from mailsyncd.imap.responses import Status, printable

LONGEST_PAUSE = 300.0  # seconds: a server's number is believed up to here, then we ask again
THROTTLED_PAUSE = 600.0  # Gmail's word for the same, at first (A26)
BANDWIDTH_PAUSE = 3600.0  # Gmail's daily limits last for hours (A24, A25)
CROWDED_PAUSE = 120.0  # too many connections: others must go first (A11)
UNSAID_PAUSE = 60.0


class During(Enum):
    """What was being done when the server refused."""

    SIGN_IN = auto()
    OPEN = auto()
    READ = auto()
    APPEND = auto()
    OTHER = auto()


@dataclass(frozen=True, slots=True)
class Row:
    pattern: re.Pattern[str]
    make: Callable[[str, Status], MailsyncError]
    during: frozenset[During] = frozenset(During)


_BACKOFF = re.compile(r"backoff time:\s*(-?\d+)", re.IGNORECASE)


def _throttled(why: str, status: Status) -> MailsyncError:
    """B50: the number is in milliseconds; absurd ones are cut to what can be waited for."""
    said = _BACKOFF.search(status.text)
    pause = UNSAID_PAUSE if said is None else int(said[1][:15]) / 1000
    return Throttled(why, min(max(pause, 1.0), LONGEST_PAUSE))


def _pause(seconds: float) -> Callable[[str, Status], MailsyncError]:
    return lambda why, _: Throttled(why, seconds)


def _row(pattern: str, make: Callable[[str, Status], MailsyncError], *during: During) -> Row:
    return Row(re.compile(pattern, re.IGNORECASE), make, frozenset(during) or frozenset(During))


def _rejected(kind: FailureKind) -> Callable[[str, Status], MailsyncError]:
    return lambda why, _: MessageRejected(why, kind)


def _plain(error: type[MailsyncError]) -> Callable[[str, Status], MailsyncError]:
    return lambda why, _: error(why)


SILENCES = 4  # rows at the top of the table: nothing may be sent for a while
_FULL = (  # B37, and how other servers put it; [OVERQUOTA] is of RFC 5530
    r"\[overquota\]|quota|(mailbox|mail ?store|storage|disk|folder) (\w+ )?(is )?full|"
    r"(no|not enough|insufficient|out of) (\w+ )?(space|storage|room)|storage (limit|exceeded)"
)
S, O, R, A = During.SIGN_IN, During.OPEN, During.READ, During.APPEND  # noqa: E741 - columns of the table
TABLE = (
    _row(r"suggested backoff|request is throttled", _throttled),
    _row(r"\[throttled\]", _pause(THROTTLED_PAUSE)),
    _row(r"too many simultaneous|too many connections|maximum number of connections", _pause(CROWDED_PAUSE)),
    _row(r"bandwidth limits|exceeded command", _pause(BANDWIDTH_PAUSE)),
    _row(r"\[(unavailable|inuse|serverbug)\]|server unavailable|server busy|try again", _plain(Transient)),
    _row(r"system error", _plain(Transient), S, O, A, During.OTHER),
    _row(r"not connected", _plain(Transient)),
    # APPEND, from here on
    _row(r"\[toobig\]|maximum size of appendable", _rejected(FailureKind.OVERSIZE), A),
    _row(_FULL, _plain(DestinationFull), A, O),
    _row(r"too (large|big)", _rejected(FailureKind.OVERSIZE), A),
    _row(r"line (is )?too long|line length", _rejected(FailureKind.LINE_TOO_LONG), A),
    _row(
        r"\bnull?s?\b|\bbare\b|8.?bit|\[limit\]|invalid (header|message)", _rejected(FailureKind.REJECTED), A
    ),
    # signing in
    _row(r"\[limit\]", _pause(CROWDED_PAUSE), S),
    _row(
        r"webalert|web login|web browser|not enabled for imap|imap access is disabled",
        _plain(RouteBlocked),
        S,
    ),
    _row(r"lookup failed|invalid sasl argument", _plain(RouteBlocked), S),
    _row(r"\[overquota\]", _pause(BANDWIDTH_PAUSE), S, R, During.OTHER),
    _row(r"\[(trycreate|nonexistent)\]", _plain(RouteBlocked)),
    _row(r"", _plain(AuthRejected), S),
    _row(r"", _plain(RouteBlocked), O),  # missing, reserved, not permitted: servers have many words
    _row(r"", _rejected(FailureKind.SOURCE_UNREADABLE), R),
)


def refusal(where: str, status: Status, during: During = During.OTHER) -> MailsyncError:
    """The error for a tagged NO or BAD. `where` names server and command, never their arguments."""
    why = f"{where}: the server said {status.kind} {status.text}".rstrip()
    for row in TABLE:
        if during in row.during and row.pattern.search(status.text):
            return row.make(why, status)
    if during is During.APPEND and status.kind == "BAD":
        return MessageRejected(why, vague=True)  # B36: per message, and permanent; or B37
    return Transient(why)


def silence(where: str, status: Status) -> Throttled | None:
    """What a NO or BAD of any command asks for if it asks for a pause, whatever was being done."""
    for row in TABLE[:SILENCES]:
        if row.pattern.search(status.text):
            found = row.make(f"{where}: the server said {status.kind} {status.text}", status)
            return found if isinstance(found, Throttled) else None
    return None


def unreachable(where: str, error: Exception) -> MailsyncError:
    """The error for a connection that could not be made. Nothing was sent over it."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return Transient(
            f"{where}: its certificate is not to be trusted ({error.verify_message}); nothing was sent. "
            "For a server of your own set ca_file"
        )
    if isinstance(error, ssl.SSLError):
        return Transient(
            f"{where}: TLS failed ({getattr(error, 'reason', None) or 'unknown reason'}); nothing was sent"
        )
    if isinstance(error, socket.gaierror):
        return Transient(f"{where}: the host name can't be resolved ({error.strerror})")
    if isinstance(error, TimeoutError):
        return Transient(f"{where}: no connection within the time allowed")
    reason = getattr(error, "strerror", None) or printable(str(error).encode()) or type(error).__name__
    return ConnectionLost(f"{where}: {reason}")
