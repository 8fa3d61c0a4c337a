"""What a reload says it touches is what it touches, and nothing that it says has a secret in it."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import pytest

from mailsyncd.assemble import _sink_identity, footprint, route_in_force
from mailsyncd.config.changes import Differences, Footprint, differences
from mailsyncd.config.load import Loaded
from mailsyncd.config.values import Configuration

Load = Callable[..., Loaded]
BASE = """
[daemon]
log_level = "info"
[state]
path = "state.db"
[outlook]
email = "me@outlook.com"
auth = "password"
password = "hunter2"
[[routes]]
gmail = "a@gmail.com"
folder = "A"
auth = "password"
password = "swordfish"
[[routes]]
gmail = "b@gmail.com"
folder = "B"
auth = "password"
password = "swordfish"
"""
SALT = b"0123456789abcdef"
DAEMON = {
    "sweep_interval": "1m",
    "log_level": "debug",
    "log_format": "json",
    "idle_renewal": "1m",
    "poll_interval": "1m",
    "settle_window": "1m",
    "max_message_size": "1MB",
    "memory_budget": "2MiB",
    "daily_download_budget": "1GB",
    "queue_size": 7,
    "drain_timeout": "1m",
    "uidvalidity_window": "1h",
}
OUTLOOK = {
    "port": 1993,
    "username": "you",
    "password": "another",
    "max_message_size": "1MB",
    "settle_window": "1m",
    "literals": "sync",
    "window": 3,
    "per_second": 1,
    "max_line_length": 998,
    "wrap_long_lines": True,
    "fix_bare_lf": True,
    "disarm_read_receipts": True,
    "host": "imap.example.org",
}


def compared(old: Configuration, new: Configuration) -> Differences:
    """As over the socket: what runs has been JSON."""
    running = Footprint(**json.loads(json.dumps(asdict(footprint(old, SALT)))))
    return differences(running, footprint(new, SALT))


def touched(old: Configuration, new: Configuration) -> set[str]:
    """The routes that a reload begins anew: by what it really compares."""

    def in_force(one: Configuration) -> dict[str, object]:
        (target,) = one.destinations
        found: dict[str, object] = {}
        for route in one.routes:
            found[route.route.name] = route_in_force(one.daemon, one.state, target, route)
        return found

    before, after = in_force(old), in_force(new)
    return {name for name in before if before[name] != after[name]}


def set_to(text: str, section: str, key: str, value: object) -> str:
    before, _, after = text.partition(f"{section}\n")
    here, bracket, rest = after.partition("\n[")
    kept = [line for line in here.splitlines() if not line.startswith(f"{key} =")]
    return before + "\n".join([section, f"{key} = {json.dumps(value)}", *kept]) + bracket + rest


@pytest.mark.parametrize(
    ("section", "key", "value"),
    [("[daemon]", *one) for one in DAEMON.items()] + [("[outlook]", *one) for one in OUTLOOK.items()],
)
def test_what_is_said_to_be_touched_is_what_is_touched(
    load_text: Load, section: str, key: str, value: object
) -> None:
    old = load_text(BASE).configuration
    text = set_to(BASE, section, key, value)
    new = load_text(text).configuration
    found = compared(old, new)
    assert {one.name for one in found.routes.changed} == touched(old, new)
    assert found.restart == ()
    if section == "[daemon]":
        assert [one[0] for one in found.process] == [f"daemon.{key}"]
    else:
        ((name, keys),) = [(one.name, one.keys) for one in found.destinations.changed]
        assert (name, [one[0] for one in keys]) == ("outlook", [key])
    if _sink_identity(old.destinations[0]) != _sink_identity(new.destinations[0]):
        assert found.destinations.changed


def test_no_secret_is_in_a_footprint_and_another_one_is_seen(load_text: Load) -> None:
    old = load_text(BASE).configuration
    text = json.dumps(asdict(footprint(old, SALT)))
    assert "hunter2" not in text
    assert "swordfish" not in text
    new = load_text(BASE.replace('password = "swordfish"', 'password = "marlin"', 1)).configuration
    (change,) = compared(old, new).routes.changed
    assert (change.name, [one[0] for one in change.keys]) == ("a@gmail.com > A", ["password"])


def test_other_authorities_under_the_same_name_are_seen_where_they_are_trusted(
    load_text: Load, certificate: str, tmp_path: Path
) -> None:
    (tmp_path / "ca.pem").write_text(certificate)
    text = set_to(BASE, "[[routes]]", "ca_file", "ca.pem")
    old = load_text(text).configuration
    assert not compared(old, load_text(text).configuration)
    (tmp_path / "ca.pem").write_text(certificate * 2)
    new = load_text(text).configuration
    found = compared(old, new)
    (change,) = found.routes.changed
    assert (change.name, [one[0] for one in change.keys]) == ("a@gmail.com > A", ["ca_file (its contents)"])
    assert {change.name} == touched(old, new)
    assert not found.destinations
    text = set_to(BASE, "[outlook]", "ca_file", "ca.pem")
    old = load_text(text).configuration
    (tmp_path / "ca.pem").write_text(certificate)
    new = load_text(text).configuration
    assert [one.name for one in compared(old, new).destinations.changed] == ["outlook"]
    assert _sink_identity(old.destinations[0]) != _sink_identity(new.destinations[0])
    assert not compared(old, new).routes


def test_the_same_is_no_difference_and_the_state_needs_a_restart(load_text: Load) -> None:
    old = load_text(BASE).configuration
    assert not compared(old, load_text(BASE).configuration)
    assert str(compared(old, old)) == "nothing changed"
    other = load_text(BASE.replace("state.db", "other.db")).configuration
    assert [one[0] for one in compared(old, other).restart] == ["state.path"]
    socket = load_text(BASE.replace("[daemon]", '[daemon]\nsocket = "x"')).configuration
    assert [one[0] for one in compared(old, socket).restart] == ["daemon.socket"]


def test_an_email_or_folder_that_changes_is_another_route(load_text: Load) -> None:
    old = load_text(BASE).configuration
    moved = compared(old, load_text(BASE.replace('folder = "B"', 'folder = "C"')).configuration)
    assert (moved.routes.added, moved.routes.removed) == (("b@gmail.com > C",), ("b@gmail.com > B",))
    assert str(moved) == "1 route added, 1 route removed"
    other = compared(old, load_text(BASE.replace("me@outlook.com", "you@outlook.com")).configuration)
    assert len(other.routes.added) == len(other.routes.removed) == 2
