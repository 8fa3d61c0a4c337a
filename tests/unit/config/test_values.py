"""What a configuration becomes: defaults, paths, secrets, and what can be compared on reload."""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import date
from pathlib import Path

import pytest

from mailsyncd.account import AuthKind, Endpoint, Secret
from mailsyncd.assemble import download_budget, max_size, settle_window
from mailsyncd.config.load import Loaded
from mailsyncd.config.values import Backend, DaemonSettings, StateSettings
from mailsyncd.errors import ConfigError
from mailsyncd.model import START_NOW, Dedupe, Start, StartKind

Load = Callable[..., Loaded]
OUTLOOK = '[outlook]\nemail = "me@outlook.com"\nclient_id = "c"\nrefresh_token = "t"\n'
ROUTE = '[[routes]]\ngmail = "me@gmail.com"\nfolder = "Gmail/me"\nclient_id = "g"\nrefresh_token = "u"\n'


def test_what_is_not_said_has_its_default(load_text: Load, tmp_path: Path) -> None:
    found = load_text(OUTLOOK + ROUTE).configuration
    path = tmp_path / ".local/state/mailsyncd/state.db"
    assert found.state == StateSettings(path)
    assert found.state.backend is Backend.SQLITE
    assert found.daemon == DaemonSettings(path.with_name("mailsyncd.sock"))
    (destination,), (route,) = found.destinations, found.routes
    assert destination.endpoint == Endpoint("outlook.office365.com")
    assert destination.account.user == "me@outlook.com"
    assert destination.tenant == "consumers"
    assert destination.account.scope == "https://outlook.office.com/IMAP.AccessAsUser.All offline_access"
    tokens = "https://login.microsoftonline.com/consumers/oauth2/v2.0/token"
    assert destination.account.token_url == tokens
    assert route.endpoint == Endpoint("imap.gmail.com")
    assert route.account.kind is AuthKind.OAUTH
    assert (route.account.token_url, route.account.scope) == ("https://oauth2.googleapis.com/token", None)
    assert (route.route.mailbox, route.route.destination, route.route.start) == (
        "INBOX",
        "outlook",
        START_NOW,
    )
    assert route.route.create_folder
    assert not route.route.mark_seen


def test_systemd_and_the_platform_say_where_state_and_socket_are(load_text: Load) -> None:
    text = OUTLOOK + ROUTE
    systemd = load_text(
        text, {"STATE_DIRECTORY": "/s:/t", "RUNTIME_DIRECTORY": "/r", "XDG_RUNTIME_DIR": "/x"}
    )
    assert systemd.configuration.state.path == Path("/s/state.db")
    assert systemd.configuration.daemon.socket == Path("/r/mailsyncd.sock")
    assert systemd.origins["state.path"] == "environment STATE_DIRECTORY"
    assert systemd.origins["daemon.socket"] == "environment RUNTIME_DIRECTORY"
    platform = load_text(text, {"XDG_STATE_HOME": "/h", "XDG_RUNTIME_DIR": "/x"}).configuration
    assert platform.state.path == Path("/h/mailsyncd/state.db")
    assert platform.daemon.socket == Path("/x/mailsyncd.sock")


def test_relative_paths_start_at_the_file(load_text: Load, tmp_path: Path, certificate: str) -> None:
    (tmp_path / "ca.pem").write_text(certificate)
    text = f'[daemon]\nsocket = "run/s"\n[state]\npath = "state.db"\n{OUTLOOK}ca_file = "~/ca.pem"\n{ROUTE}'
    found = load_text(text).configuration
    assert found.state.path == tmp_path / "state.db"
    assert found.daemon.socket == tmp_path / "run/s"
    assert found.destinations[0].endpoint.ca_file == tmp_path / "ca.pem"


@pytest.mark.parametrize(
    "host", ["a", "imap.example.org", "imap-1.example.org.", "bücher.example", "::1", "10.0.0.1"]
)
def test_a_host_is_a_name_or_an_address(load_text: Load, host: str) -> None:
    found = load_text(f'{OUTLOOK}host = "{host}"\n{ROUTE}').configuration
    assert found.destinations[0].endpoint.host == host


@pytest.mark.parametrize("host", ["a b", "a:993", "-a", "a..b", "imaps://a", "a" * 50 + "!"])
def test_what_is_neither_is_refused(load_text: Load, host: str) -> None:
    with pytest.raises(ConfigError, match="is not a host name"):
        load_text(f'{OUTLOOK}host = "{host}"\n{ROUTE}')


def test_a_named_pipe_as_ca_file_does_not_hold_up_the_start(load_text: Load, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "ca.pem")
    with pytest.raises(ConfigError, match="is not a file"):
        load_text(f'{OUTLOOK}ca_file = "ca.pem"\n{ROUTE}')


def test_a_directory_whose_name_is_not_utf_8_can_be_used(load_text: Load) -> None:
    daemon = load_text(OUTLOOK + ROUTE, {"RUNTIME_DIRECTORY": "/r\udcff"}).configuration.daemon
    assert daemon.socket == Path("/r\udcff/mailsyncd.sock")


def test_a_route_says_all_it_wants(load_text: Load) -> None:
    place = 'username = "u"\nport = 1\nmailbox = "Work"\n'
    wanted = 'start = 2026-01-31\nfilter = "x"\nmark_seen = true\ncreate_folder = false\ndedupe = "folder"\n'
    (route,) = load_text(OUTLOOK + ROUTE + place + wanted).configuration.routes
    assert route.route.start == Start(StartKind.DATE, date(2026, 1, 31))
    assert (route.route.filter, route.route.mark_seen, route.route.create_folder) == ("x", True, False)
    assert (route.account.user, route.endpoint.port, route.route.mailbox) == ("u", 1, "Work")
    assert route.route.dedupe is Dedupe.FOLDER


def test_one_account_may_go_to_two_folders_and_two_mailboxes_into_one(load_text: Load) -> None:
    text = OUTLOOK + ROUTE + ROUTE.replace("Gmail/me", "Else") + ROUTE + 'mailbox = "Work"\n'
    assert len(load_text(text).configuration.routes) == 3


def test_equal_files_give_equal_values_and_a_changed_secret_another(load_text: Load) -> None:
    first, again = (load_text(OUTLOOK + ROUTE).configuration for _ in range(2))
    changed = load_text(OUTLOOK + ROUTE.replace('"u"', '"v"')).configuration
    assert first == again
    assert hash(first) == hash(again)
    assert first != changed
    assert first.destinations == changed.destinations


# ------------------------------------------------------------------------- secrets


def token(loaded: Loaded) -> Secret | None:
    return loaded.configuration.destinations[0].account.refresh_token


def private(path: Path, text: str, mode: int = 0o600) -> Path:
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    path.chmod(mode)
    return path


@pytest.mark.parametrize(
    "reference",
    [
        '"wanted"',
        '{ env = "TOKEN" }',
        '{ file = "token" }',
        '{ credential = "token" }',
        '{ file = "creds/token" }',
    ],
)
def test_a_secret_is_had_from_where_it_is_named(load_text: Load, tmp_path: Path, reference: str) -> None:
    private(tmp_path / "token", "wanted\n")
    private(tmp_path / "creds/token", "wanted\r\n", mode=0o440)
    environ = {"TOKEN": "wanted", "CREDENTIALS_DIRECTORY": str(tmp_path / "creds")}
    assert token(load_text(OUTLOOK.replace('"t"', reference) + ROUTE, environ)) == Secret("wanted")


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o644])
def test_a_file_that_others_can_read_is_refused(load_text: Load, tmp_path: Path, mode: int) -> None:
    private(tmp_path / "token", "CANARY", mode)
    with pytest.raises(ConfigError, match=r"config.toml:4: .*can be read by others.*chmod 600") as caught:
        load_text(OUTLOOK.replace('"t"', '{ file = "token" }') + ROUTE)
    assert "CANARY" not in str(caught.value)


@pytest.mark.parametrize(
    ("octets", "said"),
    [
        (b"", "is empty"),
        (b"\n", "is empty"),
        (b"a\nb", "line break"),
        (b"\xff", "not text"),
        (b"x" * 65_537, "large"),
    ],
)
def test_a_file_without_a_usable_secret_is_told(
    load_text: Load, tmp_path: Path, octets: bytes, said: str
) -> None:
    private(tmp_path / "token", "").write_bytes(octets)
    with pytest.raises(ConfigError, match=said):
        load_text(OUTLOOK.replace('"t"', '{ file = "token" }') + ROUTE)


def test_a_named_pipe_does_not_hold_up_the_start(load_text: Load, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "token", 0o600)
    with pytest.raises(ConfigError, match="is not a file"):
        load_text(OUTLOOK.replace('"t"', '{ file = "token" }') + ROUTE)


@pytest.mark.parametrize("name", ["../token", "a/b", ".."])
def test_a_credential_is_a_name_and_no_path(load_text: Load, tmp_path: Path, name: str) -> None:
    text = OUTLOOK.replace('"t"', f'{{ credential = "{name}" }}') + ROUTE
    with pytest.raises(ConfigError, match="takes a name, not a path"):
        load_text(text, {"CREDENTIALS_DIRECTORY": str(tmp_path)})


def test_a_destination_may_have_a_settle_window_and_a_size_of_its_own(load_text: Load) -> None:
    daemon = '[daemon]\nsettle_window = "2m"\nmax_message_size = "10MB"\n'
    own = 'settle_window = "30s"\nmax_message_size = "5MB"\n'
    plain = load_text(daemon + OUTLOOK + ROUTE).configuration
    assert (plain.destinations[0].settle_window, plain.daemon.settle_window) == (None, 120.0)
    assert max_size(plain.daemon, plain.destinations[0]) == 10_000_000
    set_ = load_text(daemon + OUTLOOK + own + ROUTE).configuration
    assert set_.destinations[0].settle_window == 30.0
    assert max_size(set_.daemon, set_.destinations[0]) == 5_000_000
    for configuration, expected in ((plain, 120.0), (set_, 30.0)):
        assert settle_window(configuration.daemon, configuration.destinations[0]) == expected


@pytest.mark.parametrize(
    ("text", "host", "budget"),
    [
        ("", None, 2_000_000_000),
        ("", "imap.example.net", 0),
        ("daily_download_budget = 0\n", None, 0),
        ('daily_download_budget = "500MB"\n', None, 500_000_000),
        ('daily_download_budget = "500MB"\n', "imap.example.net", 500_000_000),
    ],
)
def test_the_download_budget_is_gmails_unless_set(
    load_text: Load, text: str, host: str | None, budget: int
) -> None:
    route = ROUTE + (f'host = "{host}"\n' if host else "")
    found = load_text(f"[daemon]\n{text}{OUTLOOK}{route}").configuration
    assert download_budget(found.daemon, found.routes[0]) == budget
