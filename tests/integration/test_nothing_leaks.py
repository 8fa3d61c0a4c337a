"""Secrets, subjects and bodies are seen nowhere (I9), on the ways that go wrong too, at log level debug."""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime

import pytest
from bed import Bed, Route, until

from mailsyncd.sim.corpus import Mail

pytestmark = pytest.mark.real
DAY = datetime(2024, 6, 1, 9, 30, tzinfo=UTC)
LOUD = 'log_level = "debug"\nsettle_window = "1s"'
RAW = (
    b"From: Canary Sender <canary-sender@leak.example>\r\nTo: canary-to@leak.example\r\n"
    b"Subject: canary-subject\r\nMessage-ID: <%d@leak.example>\r\n"
    b"X-Private: canary-header\r\n\r\ncanary-body\r\n"
)
MAIL = [Mail(RAW % 1, DAY), Mail(RAW % 2 + b"z" * 60_000, DAY), Mail(RAW % 3, DAY)]
HEADERS = ("canary-sender", "canary-to", "canary-subject", "canary-header", "canary-body")
KEYS = {
    "oauth": {"start": '"all"', "client_secret": '"canary-client-secret"'},
    "password": {"start": '"all"', "auth": '"password"', "password": '"canary-password"'},
}


def forms(canary: str) -> set[bytes]:
    """The text itself, and the part of its base64 that stays the same wherever in a longer text it
    stands, in either alphabet."""
    raw, found = canary.encode(), {canary.encode()}
    for before in range(3):
        encoded = base64.b64encode(b"\0" * before + raw).rstrip(b"=")
        inner = encoded[(before * 8 + 5) // 6 : len(encoded) - 1]
        found |= {inner, inner.replace(b"+", b"-").replace(b"/", b"_")}
    return found


def test_the_forms_find_a_secret_inside_of_an_encoded_whole() -> None:
    for before in range(5):
        whole = base64.b64encode(b"user=x"[:before] + b"canary-password" + b"\1\1")
        assert any(form in whole for form in forms("canary-password"))


def test_all_ways_at_debug_level_show_nothing_private(bed: Bed) -> None:
    for user in ("src1", "src2"):
        bed.deliver(user, MAIL)
    routes = [
        Route("src1", "Good", KEYS["oauth"]),
        Route("src2", "Mismatched", KEYS["oauth"], refresh_token="r-src1"),  # a token that is refused
        Route("src3", "Revoked", KEYS["oauth"], refresh_token="r-canary-revoked"),
        Route("src2", "Password", KEYS["password"]),
    ]
    bed.configure(*routes, daemon=LOUD, max_message_size='"50KB"')
    path = bed.directory / "config.toml"
    with bed.daemon() as daemon:
        daemon.await_event("message.copied", 2)
        daemon.await_event("message.failed")
        daemon.await_event("route.needs_sign_in")
        until(lambda: {str(row["route"])[0:4] for row in daemon.events("route.blocked")} == {"src2"})
        asked = [
            bed.cli(*command, "--config", "config.toml", *more)
            for command in (("check",), ("config", "show"), ("state", "show"))
            for more in ((), ("--json",))
        ]
        asked += [bed.cli("run-once", "--config", "config.toml", *more) for more in ((), ("--dry-run",))]
        good = path.read_text()
        path.write_text(good + 'refresh_token = "r-canary-twice"\n')
        asked.append(bed.cli("config", "check", "--config", "config.toml"))
        path.write_text(good)
        assert daemon.stop() == 0
    asked.append(bed.cli("run-once", "--config", "config.toml", "--json"))
    assert json.loads(asked[-1].stdout)["routes"]
    seen = daemon.log.read_bytes() + "".join(one.stdout + one.stderr for one in asked).encode()
    kept = [one for one in bed.directory.glob("state.db*") if one.is_file()]
    seen += b"".join(one.read_bytes() for one in kept)
    assert kept
    assert b"Traceback" not in seen
    secrets = [
        *("r-src1", "r-dst", "r-canary-revoked", "r-canary-twice", "canary-client-secret", "canary-password"),
        *(bed.source.token("src1")[:44], bed.destination.token("dst")[:44]),
    ]
    assert [canary for canary in [*HEADERS, *secrets] if any(form in seen for form in forms(canary))] == []
