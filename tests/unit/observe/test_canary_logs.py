"""Whatever way a secret takes into a log call, it does not come out (I9)."""

from __future__ import annotations

import base64
import io
import logging
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from mailsyncd.account import Account, AuthKind, Secret
from mailsyncd.model import Listing as Listed
from mailsyncd.model import Message, MessageRef, Route
from mailsyncd.observe import logs, redact

GOOGLE_ACCESS = "ya29.a0AfB_byCanaryCanary-Canary"
GOOGLE_REFRESH = "1//0gCanaryCanaryCanary-L9Ir"
GOOGLE_CLIENT = "GOCSPX-CanaryCanaryCanary"
MICROSOFT_ACCESS = "EwBAA8l6BAAU" + "Canary/" * 12 + "Ag=="
MICROSOFT_REFRESH = "M.C512_BAY.0.U.-CanaryCanary!Canary*Canary$"
JWT = "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJDYW5hcnkifQ.Canary-signature"
XOAUTH2 = f"user=me@example.org\x01auth=Bearer {MICROSOFT_REFRESH}\x01\x01"
XOAUTH2_BASE64 = base64.b64encode(XOAUTH2.encode()).decode()
GOOGLE_CODE = "4/0AVG7fiQCanary_CanaryCanary-Canary"
MICROSOFT_CLIENT = "abC8Q~Canary.CanaryCanary_Canary~Canary-"
KEY = "-----BEGIN PRIVATE KEY-----\nMIICanary\nCanary\n-----END PRIVATE KEY-----\n"
SECRETS = [
    GOOGLE_ACCESS,
    GOOGLE_REFRESH,
    GOOGLE_CLIENT,
    MICROSOFT_ACCESS,
    MICROSOFT_REFRESH,
    JWT,
    GOOGLE_CODE,
]
SECRETS += [
    MICROSOFT_CLIENT,
    KEY,
    KEY.replace("\n", "\\n"),
    '{"type": "service_account", "private_key": "' + KEY,
]
SHAPES = [*SECRETS, XOAUTH2, XOAUTH2_BASE64, "Authorization: Bearer Canary-of-any-shape", "BEARER\tCanary"]


@pytest.fixture(params=[("json", "info"), ("text", "info"), ("json", "debug"), ("text", "debug")])
def stream(request: pytest.FixtureRequest) -> Iterator[io.StringIO]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    written = io.StringIO()
    form, threshold = request.param
    logs.configure(threshold, form, written, "r")
    yield written
    root.handlers[:] = handlers
    root.setLevel(level)
    logging.captureWarnings(False)
    structlog.reset_defaults()


def as_value(secret: str) -> None:
    structlog.get_logger().info("e", detail=secret)


def as_event(secret: str) -> None:
    structlog.get_logger().info(secret)


def deep_inside(secret: str) -> None:
    structlog.get_logger().info("e", detail={"a": [{"b": (secret,)}]})


def as_key(secret: str) -> None:
    structlog.get_logger().info("e", detail={secret: 1})


def in_an_exception(secret: str) -> None:
    try:
        raise ValueError(f"server said: NO {secret}")
    except ValueError:
        structlog.get_logger().exception("e")


def as_an_exception(secret: str) -> None:
    structlog.get_logger().info("e", error=ValueError(secret))


def in_a_chain_of_exceptions(secret: str) -> None:
    try:
        try:
            raise ValueError(secret)
        except ValueError as cause:
            raise OSError("outer") from cause
    except OSError:
        structlog.get_logger().exception("e")


def by_a_library(secret: str) -> None:
    logging.getLogger("some.library").warning("got %s back", secret)


def in_an_object(secret: str) -> None:
    class Careless:
        def __repr__(self) -> str:
            return f"<Careless {secret}>"

    structlog.get_logger().info("e", detail=Careless())


WAYS = [as_value, as_event, deep_inside, as_key, in_an_exception, as_an_exception, in_a_chain_of_exceptions,
        by_a_library, in_an_object]  # fmt: skip


@pytest.mark.parametrize("way", WAYS)
def test_no_shape_of_token_gets_out_by_any_way(stream: io.StringIO, way: Callable[[str], None]) -> None:
    for secret in SHAPES:
        way(secret)
    written = stream.getvalue()
    assert written.count("\n") >= len(SHAPES)
    for secret in SHAPES:
        assert secret not in written
    assert "Canary" not in written
    assert XOAUTH2_BASE64[12:40] not in written


@pytest.mark.parametrize(
    "key", ["password", "PASSWORD", "imap_passwd", "access_token", "refresh-token", "client_secret",
            "Authorization", "set-cookie", "api_key", "apikey", "aws_credentials"],
)  # fmt: skip
def test_a_key_that_names_a_secret_hides_its_value(stream: io.StringIO, key: str) -> None:
    structlog.get_logger().info("e", **{key: "canary"})
    structlog.get_logger().info("e", headers={key: ["canary"]})
    assert "canary" not in stream.getvalue()
    assert stream.getvalue().count(redact.HIDDEN) == 2


def test_our_own_nouns_may_be_logged_by_mistake(stream: io.StringIO) -> None:
    account = Account("me@example.org", AuthKind.PASSWORD, Secret("canary"), refresh_token=Secret("canary"))
    ref = MessageRef(Route("a@b", "c@d", "F"), 1, Listed(1, 2, "17-Jul-2019 09:40:08 +0000"))
    message = Message(ref, b"Subject: canary", "0" * 64, "<canary@id>", "d", 15)
    structlog.get_logger().info("e", account=account, message=message, secret_less=Secret("canary"))
    structlog.get_logger().info("e", a=Secret("canary"), b=[Secret("canary")], body=b"canary")
    assert "canary" not in stream.getvalue()


@pytest.mark.parametrize(
    "innocent",
    [
        "me@example.org > Archive/2026",
        "f2ca1bb6c7e907d06dafe4687e579fce76b37e4e93b7605022da52e6ccc26fd2",
        "the token endpoint answered HTTP 500",
        "imap.gmail.com:993: connection reset by peer",
        "[AUTHENTICATIONFAILED] Invalid credentials (Failure)",
        "/var/lib/mailsyncd/tokens/me@example.org.0123456789abcdef.json",
    ],
)
def test_what_an_operator_needs_to_read_is_left_alone(innocent: str) -> None:
    assert redact.text(innocent) == innocent


def test_numbers_are_no_secrets_whatever_they_are_called() -> None:
    assert redact.value(3600, key="token_life") == 3600
    assert redact.value(None, key="password") is None


def test_values_are_bounded() -> None:
    deep: list[Any] = []
    deep.append(deep)
    assert len(redact.text("word " * 100_000)) < 5000
    assert len(redact.value(list(range(100_000)))) == redact.MOST_ITEMS
    assert "..." in str(redact.value(deep))


@given(st.binary(max_size=40), st.sampled_from(SECRETS), st.binary(max_size=40))
def test_a_secret_is_found_among_any_other_words(before: bytes, secret: str, after: bytes) -> None:
    given_text = f"{before.decode('latin-1')} {secret} {after.decode('latin-1')}"
    assert secret not in redact.text(given_text)


def test_what_is_remembered_of_texts_is_little_and_holds_no_secret() -> None:
    redact.clean.clear()
    for shape in SHAPES:
        assert redact.text(shape) == redact.text(shape) != shape
    redact.text("x" * redact.LONG)
    assert not redact.clean
    for number in range(3 * redact.MOST_CLEAN):
        assert redact.text(f"route {number}") == f"route {number}"
        assert len(redact.clean) <= redact.MOST_CLEAN
    assert f"route {number}" in redact.clean
