"""No secret is ever shown: neither in an error, however it came about, nor by `config show` (I9)."""

from __future__ import annotations

import asyncio
import io
import json
import traceback
from collections.abc import Callable
from pathlib import Path

import pytest

from mailsyncd.commands.config import check, show
from mailsyncd.config.load import Loaded
from mailsyncd.errors import ConfigError

Load = Callable[..., Loaded]
CANARY = "C4N4RY-1//0g.secret"
GOOD = f"""
[outlook]
email = "me@outlook.com"
client_id = "c"
client_secret = "{CANARY}"
refresh_token = "{CANARY}"
[[routes]]
gmail = "me@gmail.com"
folder = "Gmail/me"
auth = "password"
password = {{ env = "GMAIL_PASSWORD" }}
client_secret = "{CANARY}"
"""

BROKEN = [
    *(
        GOOD.replace(f'{key} = "{CANARY}"', f"{key} = {wrong}", 1)
        for key in ("client_secret", "refresh_token")
        for wrong in (
            f'["{CANARY}"]',
            f'{{ envv = "{CANARY}" }}',
            f'{{ env = "{CANARY}" }}',
            f'{{ ssm = "{CANARY}" }}',
            f'{{ env = ["{CANARY}"] }}',
            f'"{CANARY}\\n{CANARY}"',
            f'"{CANARY}" "{CANARY}"',
            f'"{CANARY}',
            f"{CANARY}",
        )
    ),
    GOOD.replace("refresh_token", "refresh_tokn"),
    GOOD.replace("refresh_token", "secret"),
    GOOD.replace("client_id", "client_secret"),
    GOOD.replace("[outlook]", "[outlok]"),
    GOOD.replace("[[routes]]", "[routes]"),
    GOOD.replace("[outlook]", "[[outlook]]"),
    GOOD.replace("me@gmail.com", "me").replace("me@outlook.com", "me"),
    GOOD.replace("[outlook]", "[outlook]\ntls = false"),
    f'outlook = "{CANARY}"\n' + GOOD.partition("[[routes]]")[2].join(("[[routes]]", "")),
    f'routes = ["{CANARY}"]\n' + GOOD.partition("[[routes]]")[0],
    GOOD + f'[state]\nendpoint_url = "https://u:{CANARY}@example.org"\n',
]


@pytest.mark.parametrize("text", BROKEN)
def test_a_broken_configuration_does_not_show_its_secrets(load_text: Load, text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_text(text, {"GMAIL_PASSWORD": CANARY})
    everything = "".join(traceback.format_exception(caught.value)) + repr(caught.value)
    assert CANARY not in everything
    assert caught.value.problems


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("SYNC_ROUTES_JSON", f'[{{"GMAIL_REFRESH_TOKEN": "{CANARY}"'),
        ("SYNC_ROUTES_JSON", f'"{CANARY}"'),
        ("SYNC_ROUTES_JSON", f'[{{"GMAIL_REFRESH_TOKEN": ["{CANARY}"]}}]'),
        ("SYNC_ROUTES_JSON", f'[{{"GMAIL_REFRESH_TOKN": "{CANARY}"}}]'),
        ("MS_REFRESH_TOKEN", f"{CANARY}\n{CANARY}"),
        ("MAILSYNCD_OUTLOOK__REFRESH_TOKN", CANARY),
        ("MAILSYNCD_OUTLOK__REFRESH_TOKEN", CANARY),
    ],
)
def test_a_broken_environment_does_not_show_its_secrets(load_text: Load, name: str, value: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_text(GOOD, {"GMAIL_PASSWORD": CANARY, name: value})
    assert CANARY not in "".join(traceback.format_exception(caught.value)) + repr(caught.value)


def test_neither_check_nor_show_nor_the_values_show_a_secret(load_text: Load, tmp_path: Path) -> None:
    environ = {"GMAIL_PASSWORD": CANARY, "HOME": "/home/me"}
    loaded = load_text(GOOD, environ)
    out = io.StringIO()
    for as_json in (False, True):
        assert show(tmp_path / "config.toml", environ, out, as_json=as_json) == 0
    assert asyncio.run(check(tmp_path / "config.toml", environ, out)) == 0
    said = out.getvalue() + repr(loaded) + str(loaded.configuration)
    assert CANARY not in said
    assert said.count('"***"') == 8  # four secrets, shown twice


def test_show_tells_every_setting_and_where_it_came_from(load_text: Load, tmp_path: Path) -> None:
    environ = {"GMAIL_PASSWORD": "p", "HOME": "/home/me", "SYNC_INTERVAL_SECONDS": "60"}
    load_text(GOOD, environ)
    out = io.StringIO()
    show(tmp_path / "config.toml", environ, out, as_json=True)
    settings = json.loads(out.getvalue())
    assert settings["daemon.sweep_interval"] == {"value": 60, "from": "environment SYNC_INTERVAL_SECONDS"}
    assert settings["outlook.email"] == {"value": "me@outlook.com", "from": "config.toml:3"}
    assert settings["outlook.username"] == {"value": "me@outlook.com", "from": "config.toml:3"}
    assert settings["outlook.refresh_token"] == {"value": "***", "from": "config.toml:6"}
    assert settings["routes[1].folder"] == {"value": "Gmail/me", "from": "config.toml:9"}
    assert settings["routes[1].port"] == {"value": 993, "from": "default"}
    assert settings["routes[1].client_id"] == {"value": None, "from": "default"}
    assert settings["state.path"]["value"] == "/home/me/.local/state/mailsyncd/state.db"
    assert settings["outlook.tenant"] == {"value": "consumers", "from": "default"}
    assert set(settings) == set(load_text(GOOD, environ).origins)


def test_several_destinations_are_shown_under_their_numbers(load_text: Load, tmp_path: Path) -> None:
    text = GOOD.replace("[outlook]", '[[destinations]]\nname = "a"')
    environ = {"GMAIL_PASSWORD": "p"}
    load_text(text, environ)
    out = io.StringIO()
    show(tmp_path / "config.toml", environ, out, as_json=True)
    assert json.loads(out.getvalue())["destinations[1].name"] == {"value": "a", "from": "config.toml:3"}


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_what_the_terminal_cannot_show_does_not_end_the_command(
    load_text: Load, tmp_path: Path, encoding: str
) -> None:
    environ = {"GMAIL_PASSWORD": "p", "STATE_DIRECTORY": "/s\udcff"}
    load_text(GOOD.replace("Gmail/me", "Gmail/日本"), environ)
    path, octets = tmp_path / "config.toml", io.BytesIO()
    out = io.TextIOWrapper(octets, encoding)
    assert asyncio.run(check(path, environ, out)) == show(path, environ, out, as_json=False) == 0
    out.flush()
    said = octets.getvalue().decode(encoding)
    assert r"/s\udcff/state.db" in said
    assert ("Gmail/日本" if encoding == "utf-8" else r"Gmail/\u65e5\u672c") in said
    octets.seek(0)
    octets.truncate()
    show(path, environ, out, as_json=True)
    out.flush()
    assert json.loads(octets.getvalue())["routes[1].folder"]["value"] == "Gmail/日本"
