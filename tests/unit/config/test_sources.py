"""What the file and the environment give, which wins, and what is told when they can't be read."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from mailsyncd.config.load import Loaded, load
from mailsyncd.config.values import Backend
from mailsyncd.errors import ConfigError, Problem

Load = Callable[..., Loaded]
OUTLOOK = '[outlook]\nemail = "me@outlook.com"\nauth = "password"\npassword = "p"\n'
ROUTE = '[[routes]]\ngmail = "me@gmail.com"\nfolder = "Gmail/me"\nauth = "password"\npassword = "p"\n'
LEGACY = {
    "AWS_REGION": "us-west-2",
    "DYNAMODB_TABLE": "mail",
    "DYNAMODB_ENDPOINT_URL": "http://127.0.0.1:8000",
    "SYNC_INTERVAL_SECONDS": "120",
    "LOG_LEVEL": "WARNING",
    "OUTLOOK_EMAIL": "me@outlook.com",
    "MS_CLIENT_ID": "client",
    "MS_CLIENT_SECRET": "ms-secret",
    "MS_TENANT": "common",
    "MS_REFRESH_TOKEN": "ms-token",
    "SYNC_ROUTES_JSON": json.dumps(
        [
            {
                "GMAIL_EMAIL": "a@gmail.com",
                "GMAIL_CLIENT_ID": "google",
                "GMAIL_CLIENT_SECRET": "google-secret",
                "GMAIL_REFRESH_TOKEN": "google-token",
                "OUTLOOK_TARGET_FOLDER": "Gmail/a",
            },
            {
                "gmail_email": "b@gmail.com",
                "gmail_client_id": "google",
                "gmail_refresh_token": {"env": "MS_REFRESH_TOKEN"},
                "outlook_target_folder": "Gmail/b",
                "start": "all",
            },
        ]
    ),
}


def problems(load_text: Load, text: str, **environ: str) -> tuple[Problem, ...]:
    with pytest.raises(ConfigError) as caught:
        load_text(text, environ)
    return caught.value.problems


def test_a_file_that_is_missing_a_directory_or_not_text_is_told(tmp_path: Path) -> None:
    broken = tmp_path / "broken.toml"
    broken.write_bytes(b"# one\n# \xff\n")
    for path, said in (
        (tmp_path / "none.toml", "can't be read: No such file"),
        (tmp_path, "can't be read: Is a directory"),
        (broken, "broken.toml:2: is not text in UTF-8"),
    ):
        with pytest.raises(ConfigError, match=said) as caught:
            load(path, {})
        assert str(path.name) in str(caught.value)


@pytest.mark.parametrize(
    ("name", "value", "where", "what"),
    [
        ("SYNC_INTERVAL_SECONDS", "1", "daemon.sweep_interval", "write 5s to 1d"),
        ("MAILSYNCD_DAEMON__QUEUE_SIZE", "x", "daemon.queue_size", "is not a whole number"),
        ("MAILSYNCD_DAEMON__QUEUE_SICE", "1", "daemon.queue_sice", "did you mean queue_size?"),
        ("OUTLOOK_EMAIL", "me", "outlook.email", "is not an email address"),
        ("SYNC_ROUTES_JSON", "[", "", "is not JSON (line 1, column 2)"),
        ("SYNC_ROUTES_JSON", "{}", "", "is not an array of objects"),
        ("SYNC_ROUTES_JSON", "[" * 200_000, "", "is not an array of objects"),
        ("SYNC_ROUTES_JSON", '[{"port": ' + 40 * "[" + 40 * "]" + "}]", "", "is not an array of objects"),
        ("SYNC_ROUTES_JSON", '[{"port": ' + "9" * 5000 + "}]", "", "too many digits"),
        (
            "SYNC_ROUTES_JSON",
            '[{"GMAIL_EMAIL": "a@b", "gmail": "c@d"}]',
            "",
            "routes[1] twice",
        ),
        ("SYNC_ROUTES_JSON", "[]", "routes", "there is none"),
        ("MAILSYNCD_STATE__PATH", "a\udcff", "state.path", "not UTF-8"),
        ("MAILSYNCD_OUTLOOK__PASSWORD", "a\udcff", "outlook.password", "is not text in UTF-8"),
        ("SYNC_ROUTES_JSON", '[{"GMAIL_EMAIL": "x"}]', "routes[1].folder", "is missing"),
        ("MAILSYNCD_DEAMON__QUEUE_SIZE", "1", "", "did you mean MAILSYNCD_DAEMON__QUEUE_SIZE?"),
        ("MAILSYNCD_ROUTES__FOLDER", "1", "", "set SYNC_ROUTES_JSON"),
    ],
)
def test_a_mistake_in_the_environment_names_the_variable(
    load_text: Load, name: str, value: str, where: str, what: str
) -> None:
    found = problems(load_text, OUTLOOK + ROUTE, **{name: value})
    (problem,) = [one for one in found if one.where == where and what in one.what]
    assert (problem.source, problem.line) == (f"environment {name}", None)
    assert {one.source for one in found} == {f"environment {name}"}


def test_the_environment_alone_suffices() -> None:
    loaded = load(None, LEGACY)
    configuration = loaded.configuration
    assert configuration.daemon.sweep_interval == 120
    assert configuration.daemon.log_level == "warning"
    state = configuration.state
    assert (state.backend, state.table, state.region) == (Backend.DYNAMODB, "mail", "us-west-2")
    assert state.endpoint_url == "http://127.0.0.1:8000"
    (destination,) = configuration.destinations
    assert destination.account.token_url == "https://login.microsoftonline.com/common/oauth2/v2.0/token"
    assert destination.account.refresh_token is not None
    assert destination.account.refresh_token.reveal() == "ms-token"
    first, second = configuration.routes
    assert (first.route.gmail, first.route.folder, first.route.outlook) == (
        "a@gmail.com",
        "Gmail/a",
        "me@outlook.com",
    )
    assert first.account.client_secret is not None
    assert first.account.client_secret.reveal() == "google-secret"
    assert second.account.refresh_token == destination.account.refresh_token
    assert loaded.origins["state.backend"] == "environment DYNAMODB_TABLE"
    assert loaded.origins["outlook.email"] == "environment OUTLOOK_EMAIL"
    assert loaded.origins["routes[1].folder"] == "environment SYNC_ROUTES_JSON"
    assert loaded.origins["routes[1].host"] == "default"


def test_the_environment_wins_over_the_file_and_the_new_names_over_the_old(load_text: Load) -> None:
    text = f'[daemon]\nsweep_interval = "1m"\nqueue_size = 5\nlog_level = "debug"\n{OUTLOOK}{ROUTE}'
    environ = {
        "SYNC_INTERVAL_SECONDS": "120",
        "MAILSYNCD_DAEMON__SWEEP_INTERVAL": "3m",
        "MAILSYNCD_OUTLOOK__TLS": "true",
        "MAILSYNCD_OUTLOOK__PASSWORD": "other",
        "LOG_LEVEL": "",
    }
    loaded = load_text(text, environ)
    daemon = loaded.configuration.daemon
    assert (daemon.sweep_interval, daemon.queue_size, daemon.log_level) == (180, 5, "debug")
    password = loaded.configuration.destinations[0].account.password
    assert password is not None
    assert password.reveal() == "other"
    assert loaded.origins["daemon.sweep_interval"] == "environment MAILSYNCD_DAEMON__SWEEP_INTERVAL"
    assert loaded.origins["daemon.queue_size"] == "config.toml:3"
    assert loaded.origins["daemon.log_format"] == "default"


def test_routes_of_the_environment_replace_those_of_the_file(load_text: Load) -> None:
    loaded = load_text(
        OUTLOOK + ROUTE, {"SYNC_ROUTES_JSON": LEGACY["SYNC_ROUTES_JSON"], "MS_REFRESH_TOKEN": "x"}
    )
    assert [one.route.gmail for one in loaded.configuration.routes] == ["a@gmail.com", "b@gmail.com"]


def test_a_backend_in_the_file_is_not_contradicted_by_a_table_in_the_environment(load_text: Load) -> None:
    text = f'[state]\nbackend = "sqlite"\n{OUTLOOK}{ROUTE}'
    loaded = load_text(text, {"DYNAMODB_TABLE": "mail"})
    assert loaded.configuration.state.backend is Backend.SQLITE
    assert loaded.origins["state.backend"] == "config.toml:2"


def test_variables_of_a_container_platform_are_none_of_ours(load_text: Load) -> None:
    loaded = load_text(
        OUTLOOK + ROUTE, {"MAILSYNCD_PORT": "tcp://10.0.0.1:80", "MAILSYNCD_SERVICE_HOST": "x"}
    )
    assert len(loaded.configuration.routes) == 1


def test_names_for_the_one_destination_are_left_aside_where_there_are_several(load_text: Load) -> None:
    one = '[[destinations]]\nname = "a"\nemail = "a@example.org"\nauth = "password"\npassword = "p"\n'
    loaded = load_text(one + ROUTE, {"OUTLOOK_EMAIL": "me@outlook.com", "MS_REFRESH_TOKEN": "x"})
    assert [each.email for each in loaded.configuration.destinations] == ["a@example.org"]


def test_a_byte_order_mark_and_windows_line_ends_do_no_harm(load_text: Load) -> None:
    loaded = load_text("\ufeff" + (OUTLOOK + ROUTE).replace("\n", "\r\n"))
    assert loaded.origins["routes[1].folder"] == "config.toml:7"


def test_a_setting_on_one_line_with_others_is_known_to_come_from_there(load_text: Load) -> None:
    loaded = load_text(f'state = {{ path = "x.db", lease = "30s" }}\n{OUTLOOK}{ROUTE}')
    assert loaded.origins["state.lease"] == "config.toml:1"
    assert loaded.origins["state.grace"] == "default"
