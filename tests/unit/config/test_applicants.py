"""Whom one may sign in as, by configurations that are not finished yet."""

from __future__ import annotations

from pathlib import Path

import pytest

from mailsyncd.account import Secret
from mailsyncd.config.applicants import Applicants, applicants
from mailsyncd.errors import ConfigError


def found(directory: Path, text: str, **environ: str) -> Applicants:
    path = directory / "config.toml"
    path.write_text(text)
    return applicants(path, environ, {})


def test_neither_tokens_nor_routes_nor_a_destination_are_needed_yet(tmp_path: Path) -> None:
    text = '[[routes]]\ngmail = "me@gmail.com"\nclient_id = "c"\nclient_secret = { env = "S" }\n'
    (one,) = found(tmp_path, text, S="secret").found
    assert one.is_gmail
    assert one.problems == ()
    assert (one.account.user, one.account.client_id, one.names) == ("me@gmail.com", "c", ("me@gmail.com",))
    assert one.account.client_secret == Secret("secret")
    assert one.account.refresh_token is None


def test_a_refresh_token_that_can_not_be_read_is_no_problem(tmp_path: Path) -> None:
    text = '[outlook]\nemail = "me@outlook.com"\nrefresh_token = { env = "NOT_SET" }\n'
    (one,) = found(tmp_path, text).found
    assert one.problems == ()
    assert one.kept_in is None


@pytest.mark.parametrize(("written", "where"), [("a/b", "{}/a/b"), ("~/b", "/home/me/b"), ("/c", "/c")])
def test_the_file_that_is_configured_is_known(tmp_path: Path, written: str, where: str) -> None:
    text = f'[outlook]\nemail = "me@outlook.com"\nrefresh_token = {{ file = "{written}" }}\n'
    (one,) = found(tmp_path, text, HOME="/home/me").found
    assert str(one.kept_in) == where.format(tmp_path)


def test_what_a_sign_in_needs_is_looked_at(tmp_path: Path) -> None:
    text = (
        '[outlook]\nemail = "me@outlook.com"\nclient_secret = { env = "NOPE" }\ntoken_url = "http://x.org"\n'
    )
    (one,) = found(tmp_path, text).found
    assert [str(problem) for problem in one.problems] == [
        "config.toml:4: outlook.token_url: must begin with https:// (http:// is for loopback addresses only)",
        "config.toml:3: outlook.client_secret: the environment variable NOPE is not set",
    ]


def test_a_mistake_in_one_section_is_not_another_s(tmp_path: Path) -> None:
    text = '[outlook]\nemail = "me@outlook.com"\n[[routes]]\ngmail = "a@b.c"\nscope = ""\n[daemon]\nx = 1\n'
    outlook, route = found(tmp_path, text).found
    assert outlook.problems == ()
    assert [problem.where for problem in route.problems] == ["routes[1].scope"]


def test_passwords_are_not_signed_in_with(tmp_path: Path) -> None:
    text = '[outlook]\nemail = "me@outlook.com"\nauth = "password"\n'
    assert found(tmp_path, text).found == ()


def test_the_environment_alone_may_do(tmp_path: Path) -> None:
    (one,) = applicants(None, {"MS_CLIENT_ID": "c", "MS_TENANT": "common"}, {}).found
    assert (one.account.user, one.names) == ("", ("outlook",))
    assert one.account.authorize_url == "https://login.microsoftonline.com/common/oauth2/v2.0/authorize"
    assert one.account.device_url == "https://login.microsoftonline.com/common/oauth2/v2.0/devicecode"


def test_an_address_that_is_none_is_not_shown_as_one(tmp_path: Path) -> None:
    (one,) = found(tmp_path, '[[routes]]\ngmail = "nobody"\nfolder = "F"\nusername = "me"\n').found
    assert (one.account.user, one.names) == ("me", ("F",))


def test_what_is_no_configuration_at_all_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="is not TOML"):
        found(tmp_path, "outlook = [")
    with pytest.raises(ConfigError, match="SYNC_ROUTES_JSON"):
        found(tmp_path, "", SYNC_ROUTES_JSON="[")
