"""[http]: on loopback, off, or beyond loopback with a token."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from mailsyncd.config.load import Loaded
from mailsyncd.errors import ConfigError

Load = Callable[..., Loaded]
REST = """
[outlook]
email = "me@outlook.com"
auth = "password"
password = "x"
[[routes]]
gmail = "me@gmail.com"
folder = "F"
auth = "password"
password = "x"
"""
TOKEN = "0123456789abcdef"


def http(load_text: Load, text: str, **environ: str) -> object:
    return load_text(f"[http]\n{text}{REST}", environ).configuration.http


def wrong(load_text: Load, text: str, **environ: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        http(load_text, text, **environ)
    return [f"{one.where}: {one.what}" for one in caught.value.problems]


def test_it_is_on_loopback_by_itself(load_text: Load) -> None:
    found = load_text(REST, {}).configuration.http
    assert found.address == ("127.0.0.1", 8143)
    assert found.token is None


@pytest.mark.parametrize("off", ["off", ""])
def test_one_setting_turns_it_off(load_text: Load, off: str) -> None:
    found = load_text(f'[http]\nlisten = "{off}"{REST}', {}).configuration.http
    assert (found.listen, found.address) == ("off", None)


def test_the_environment_turns_it_off_where_nothing_there_counts_as_not_set(load_text: Load) -> None:
    assert load_text(REST, {"MAILSYNCD_HTTP__LISTEN": "off"}).configuration.http.address is None
    assert load_text(REST, {"MAILSYNCD_HTTP__LISTEN": ""}).configuration.http.address is not None


@pytest.mark.parametrize(
    ("listen", "address"),
    [
        ("127.0.0.1:8143", ("127.0.0.1", 8143)),
        ("[::1]:1", ("::1", 1)),
        ("localhost:65535", ("localhost", 65535)),
    ],
)
def test_a_loopback_address_needs_no_token(load_text: Load, listen: str, address: tuple[str, int]) -> None:
    assert load_text(f'[http]\nlisten = "{listen}"{REST}', {}).configuration.http.address == address


@pytest.mark.parametrize("listen", ["0.0.0.0:8143", "[::]:8143", "10.0.0.1:80", "mail.example.org:80"])
def test_beyond_loopback_it_does(load_text: Load, listen: str) -> None:
    (problem,) = wrong(load_text, f'listen = "{listen}"')
    assert problem.startswith("http.token: is missing")
    assert http(load_text, f'listen = "{listen}"\ntoken = "{TOKEN}"')


NO_PLACES = (
    *(
        "8143",
        ":8143",
        "127.0.0.1",
        "127.0.0.1:",
        "127.0.0.1:0",
        "127.0.0.1:65536",
        "::1:80",
        "[::1]",
        "[x]:1",
    ),
    *("http://127.0.0.1:80", "127.0.0.1:8143/", "127.0.0.1:80a", "[127.0.0.1", "a b:80"),
)


@pytest.mark.parametrize("listen", NO_PLACES)
def test_what_is_no_address_and_port_is_told(load_text: Load, listen: str) -> None:
    (problem,) = wrong(load_text, f'listen = "{listen}"')
    assert problem.startswith("http.listen: ")


@pytest.mark.parametrize("token", ["short", "has a space in it ok", "ünïcödé-ünïcödé-ü", "x" * 2000])
def test_a_token_that_is_weak_or_can_not_be_sent_is_told_and_not_shown(load_text: Load, token: str) -> None:
    (problem,) = wrong(load_text, f'listen = "127.0.0.1:8143"\ntoken = "{token}"')
    assert problem.startswith("http.token: must have 16 characters")
    assert token not in problem


def test_the_environment_sets_all_of_it(load_text: Load) -> None:
    environ = {
        "MAILSYNCD_HTTP__LISTEN": "0.0.0.0:80",
        "MAILSYNCD_HTTP__TOKEN": TOKEN,
        "MAILSYNCD_HTTP__HOSTS": "a.example, b.example",
    }
    found = load_text(REST, environ).configuration.http
    assert found.address == ("0.0.0.0", 80)
    assert found.hosts == ("a.example", "b.example")
    assert TOKEN not in repr(found)


@pytest.mark.parametrize("hosts", ["5", "[5]", '["a b"]', '["http://x"]', "{ a = 1 }"])
def test_hosts_are_names(load_text: Load, hosts: str) -> None:
    (problem,) = wrong(load_text, f"hosts = {hosts}")
    assert problem.startswith("http.hosts")
