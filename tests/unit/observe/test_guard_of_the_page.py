"""Who gets an answer over HTTP."""

from __future__ import annotations

from base64 import b64encode

import pytest

from mailsyncd.account import Secret
from mailsyncd.observe.web.guard import HEADERS, Guard

TOKEN = "correct-horse-battery"
OPEN = Guard(None, frozenset({"mail.example.org"}))
CLOSED = Guard(Secret(TOKEN), frozenset())
HERE = {"Host": "127.0.0.1:8143"}


def basic(text: str) -> str:
    return "Basic " + b64encode(text.encode()).decode()


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "127.0.0.1:9000",
        "localhost:8143",
        "LOCALHOST",
        "[::1]:8143",
        "[::1]",
        "10.1.2.3:80",
        "mail.example.org",
        "Mail.Example.org.:443",
    ],
)
def test_who_asks_by_an_address_or_a_name_of_ours_gets_an_answer(host: str) -> None:
    assert OPEN.refuse("GET", {"Host": host}) is None


@pytest.mark.parametrize(
    "host",
    [
        "",
        "evil.example",
        "evil.example:8143",
        "127.0.0.1.evil.example",
        "localhost.evil.example",
        "[evil]:80",
        "evil.example@127.0.0.1",
        "127.0.0.1 evil.example",
        "0x7f000001",
        "mail.example.org.evil",
        "localhost:x",
    ],
)
def test_who_was_led_here_by_another_name_gets_none(host: str) -> None:
    refusal = OPEN.refuse("GET", {"Host": host})
    assert refusal is not None
    assert refusal.status == 421


@pytest.mark.parametrize(
    "shown", [f"Bearer {TOKEN}", f"bearer  {TOKEN}", basic(f"me:{TOKEN}"), basic(f":{TOKEN}")]
)
def test_who_shows_the_token_gets_an_answer(shown: str) -> None:
    assert CLOSED.refuse("GET", HERE | {"Authorization": shown}) is None


@pytest.mark.parametrize(
    "shown",
    [
        None,
        "",
        TOKEN,
        "Bearer",
        "Bearer x",
        f"Bearer {TOKEN}x",
        f"Token {TOKEN}",
        basic(TOKEN),
        basic("me:x"),
        "Basic !",
        "Basic /w==",
        "Bearer ä",
        f"Basic {TOKEN}",
    ],
)
def test_who_does_not_show_it_gets_none(shown: str | None) -> None:
    refusal = CLOSED.refuse("GET", HERE | ({} if shown is None else {"Authorization": shown}))
    assert refusal is not None
    assert refusal.status == 401
    assert "Basic" in refusal.headers["WWW-Authenticate"]
    assert TOKEN not in str(refusal)


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "CONNECT", "get"])
def test_nothing_can_be_done_but_to_read(method: str) -> None:
    refusal = OPEN.refuse(method, HERE)
    assert refusal is not None
    assert (refusal.status, refusal.headers["Allow"]) == (405, "GET, HEAD")


def test_a_stranger_does_not_learn_more_from_another_method() -> None:
    refusal = CLOSED.refuse("POST", HERE)
    assert refusal is not None
    assert refusal.status == 401


def test_the_policy_lets_in_nothing_from_elsewhere() -> None:
    policy = HEADERS["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'")
    assert "unsafe" not in policy
    assert "http" not in policy
