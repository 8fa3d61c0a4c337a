"""What servers say, and what becomes of it."""

from __future__ import annotations

import socket
import ssl

import pytest

from mailsyncd.errors import (
    AuthRejected,
    DestinationFull,
    FailureKind,
    MailsyncError,
    MessageRejected,
    RouteBlocked,
    Throttled,
    Transient,
)
from mailsyncd.imap.faults import During, refusal, silence, unreachable
from mailsyncd.imap.responses import status_of

SAID = [
    (During.SIGN_IN, "NO [AUTHENTICATIONFAILED] Invalid credentials (Failure)", AuthRejected),
    (During.SIGN_IN, "NO AUTHENTICATE failed.", AuthRejected),
    (During.SIGN_IN, "NO [ALERT] Too many simultaneous connections. (Failure)", Throttled),
    (During.SIGN_IN, "NO [ALERT] Your account is not enabled for IMAP use.", RouteBlocked),
    (During.SIGN_IN, "NO [ALERT] IMAP access is disabled for your domain.", RouteBlocked),
    (During.SIGN_IN, "NO [WEBALERT https://example.com] Web login required.", RouteBlocked),
    (During.SIGN_IN, "NO Lookup failed abc123", RouteBlocked),
    (During.SIGN_IN, "NO [UNAVAILABLE] Temporary failure", Transient),
    (During.OTHER, "BAD User is authenticated but not connected.", Transient),
    (During.OPEN, "NO [NONEXISTENT] Unknown Mailbox: x (Failure)", RouteBlocked),
    (During.OPEN, "NO Folder name is reserved", RouteBlocked),
    (During.OPEN, "NO System Error (Failure)", Transient),
    (During.READ, "NO Some messages could not be FETCHed (Failure)", MessageRejected),
    (During.READ, "NO [OVERQUOTA] Account exceeded command or bandwidth limits.", Throttled),
    (During.APPEND, "NO [TRYCREATE] no such mailbox", RouteBlocked),
    (During.APPEND, "NO [OVERQUOTA] full", DestinationFull),
    (During.APPEND, "NO Maximum size of appendable message has been exceeded", MessageRejected),
    (During.APPEND, "BAD Command Argument Error. 11", MessageRejected),
    (During.APPEND, "NO Server Unavailable. 15", Transient),
    (During.APPEND, "NO something new", Transient),
]


@pytest.mark.parametrize(("during", "line", "expected"), SAID)
def test_a_refusal_becomes_the_error_that_says_what_to_do(
    during: During, line: str, expected: type[MailsyncError]
) -> None:
    error = refusal("host:993 (APPEND)", status_of(line.encode()), during)
    assert type(error) is expected
    assert str(error).startswith("host:993 (APPEND): the server said ")


@pytest.mark.parametrize(
    "said",
    [
        "NO [OVERQUOTA] Quota exceeded (mailbox for user is full)",
        "NO [OVERQUOTA] full",
        "NO [OVERQUOTA] message too large for what is left",
        "NO Quota exceeded",
        "NO Over quota",
        "NO User is over their quota",
        "NO QuotaExceededException",
        "BAD The mailbox is full",
        "NO Mailbox full",
        "NO mailbox storage is full",
        "NO Not enough disk space",
        "NO No space left on device",
        "NO insufficient storage",
        "NO Out of disk space",
        "NO Storage limit exceeded",
    ],
)
def test_no_room_is_told_from_a_bad_message(said: str) -> None:
    assert type(refusal("host", status_of(said.encode()), During.APPEND)) is DestinationFull
    assert silence("host", status_of(said.encode())) is None


@pytest.mark.parametrize(
    ("said", "vague"),
    [
        ("BAD Command Argument Error. 11", True),
        ("BAD Command Error. 10", True),
        ("BAD something new", True),
        ("NO invalid message", False),
        ("NO Message contains bare newlines", False),
        ("NO [TOOBIG] no", False),
        ("BAD line too long", False),
    ],
)
def test_only_a_refusal_without_a_reason_may_mean_a_full_mailbox(said: str, vague: bool) -> None:
    error = refusal("host", status_of(said.encode()), During.APPEND)
    assert isinstance(error, MessageRejected)
    assert error.vague is vague


@pytest.mark.parametrize("kind", ["NO", "BAD"])
@pytest.mark.parametrize("during", list(During))
def test_a_throttle_is_one_whatever_was_being_done(kind: str, during: During) -> None:
    said = status_of(f"{kind} Request is throttled. Suggested Backoff Time: 89117 milliseconds".encode())
    error = refusal("host", said, during)
    heard = silence("host", said)
    assert isinstance(error, Throttled)
    assert heard is not None
    assert error.pause == heard.pause == pytest.approx(89.117)


@pytest.mark.parametrize(
    ("said", "least"),
    [
        ("NO [ALERT] Too many simultaneous connections. (Failure)", 60),
        ("NO [OVERQUOTA] Account exceeded command or bandwidth limits.", 3600),
        ("NO [THROTTLED] Try later", 600),
        ("NO [LIMIT] Maximum number of connections from user+IP exceeded", 60),
    ],
)
def test_limits_of_the_source_are_waited_out_in_silence(said: str, least: float) -> None:
    heard = silence("host", status_of(said.encode()))
    assert heard is not None
    assert heard.pause >= least


@pytest.mark.parametrize(
    ("said", "pause"),
    [
        ("299961 milliseconds", 299.961),
        ("1 milliseconds", 1.0),
        ("1000000000000 milliseconds", 300.0),
        ("9" * 5000 + " milliseconds", 300.0),
        ("0 milliseconds", 1.0),
        ("1.5 milliseconds", 1.0),
        ("", 60.0),
        ("-1 milliseconds", 1.0),
        ("soon", 60.0),
    ],
)
def test_the_servers_own_number_is_waited_within_reason(said: str, pause: float) -> None:
    line = f"NO Request is throttled. Suggested Backoff Time: {said}"
    error = refusal("host", status_of(line.encode()), During.APPEND)
    assert isinstance(error, Throttled)
    assert error.pause == pytest.approx(pause)


def test_too_large_is_its_own_kind() -> None:
    error = refusal("host", status_of(b"NO [TOOBIG] no"), During.APPEND)
    assert isinstance(error, MessageRejected)
    assert error.kind is FailureKind.OVERSIZE


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (socket.gaierror(-2, "Name or service not known"), "can't be resolved"),
        (ConnectionRefusedError(111, "Connection refused"), "Connection refused"),
        (OSError(24, "Too many open files"), "Too many open files"),
        (OSError(101, "Network is unreachable"), "Network is unreachable"),
        (TimeoutError(), "no connection within"),
        (ssl.SSLError(1, "x"), "TLS failed"),
    ],
)
def test_an_unreachable_server_is_named_with_the_reason(error: Exception, said: str) -> None:
    found = unreachable("imap.example:993", error)
    assert isinstance(found, Transient)
    assert str(found).startswith("imap.example:993: ")
    assert said in str(found)
