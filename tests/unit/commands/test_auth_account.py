"""Which account a sign-in is for, of options, configuration and environment."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from mailsyncd.account import Secret
from mailsyncd.auth.providers import GOOGLE, MICROSOFT, Provider
from mailsyncd.commands.auth_account import Asked, Signing, who_signs_in
from mailsyncd.config.applicants import applicants
from mailsyncd.errors import ConfigError

TWO_ROUTES = """\
[[routes]]
gmail = "a@gmail.com"
folder = "A"
client_id = "of-a"
[[routes]]
gmail = "b@gmail.com"
folder = "B"
client_id = "of-b"
client_secret = "secret-of-b"
scope = "other"
[[routes]]
gmail = "b@gmail.com"
folder = "B2"
client_id = "of-b2"
"""


def signing(
    provider: Provider, text: str = "", environ: dict[str, str] | None = None, /, **asked: Any
) -> Signing:
    path = Path("config.toml")
    path.write_text(text)
    return who_signs_in(provider, Asked(**asked), applicants(path, environ or {}, {}))


@pytest.fixture(autouse=True)
def _in_a_directory_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
    "asked", [{"only": "b@gmail.com"}, {"only": "B"}, {"only": "b"}, {"email": "B@gmail.com"}]
)
def test_a_route_is_chosen_by_address_or_folder(asked: dict[str, str]) -> None:
    one = signing(GOOGLE, TWO_ROUTES, **asked)
    assert (one.account.client_id, one.account.scope) == ("of-b", "other")
    assert one.hint is not None
    assert one.hint.lower() == "b@gmail.com"


def test_of_several_accounts_one_must_be_named() -> None:
    with pytest.raises(
        ConfigError, match=r"--route: is missing, and there are several: a@gmail\.com, b@gmail\.com"
    ):
        signing(GOOGLE, TWO_ROUTES)
    with pytest.raises(
        ConfigError, match=r"--route: none that signs in is called 'C'; there are: a@gmail\.com, b"
    ):
        signing(GOOGLE, TWO_ROUTES, only="C")


def test_a_single_account_need_not_be_named() -> None:
    one = signing(MICROSOFT, '[outlook]\nemail = "me@outlook.com"\nclient_id = "c"\n')
    assert (one.hint, one.account.user) == ("me@outlook.com", "me@outlook.com")
    assert one.file == Path.cwd() / "refresh-tokens/me@outlook.com"
    assert one.account.scope == "https://outlook.office.com/IMAP.AccessAsUser.All offline_access"


def test_options_win_over_configuration_and_that_over_the_environment() -> None:
    environ = {"GMAIL_CLIENT_ID": "env", "GMAIL_CLIENT_SECRET": "env-secret"}
    configured = signing(GOOGLE, TWO_ROUTES, environ, only="B")
    assert (configured.account.client_id, configured.account.client_secret) == ("of-b", Secret("secret-of-b"))
    optioned = signing(
        GOOGLE, TWO_ROUTES, environ, only="B", client_id="x", client_secret=Secret("y"), scope="z"
    )
    assert (optioned.account.client_id, optioned.account.client_secret) == ("x", Secret("y"))
    assert optioned.account.scope == "z"
    alone = signing(GOOGLE, "", environ)
    assert (alone.account.client_id, alone.account.client_secret) == ("env", Secret("env-secret"))
    assert alone.account.scope == "https://mail.google.com/"
    assert alone.hint is None
    assert alone.file == Path.cwd() / "refresh-tokens/google"


def test_a_tenant_of_the_command_line_is_in_every_endpoint() -> None:
    one = signing(MICROSOFT, client_id="c", tenant="contoso.com", token_url="https://own.example/token")
    assert one.account.authorize_url == "https://login.microsoftonline.com/contoso.com/oauth2/v2.0/authorize"
    assert one.account.device_url == "https://login.microsoftonline.com/contoso.com/oauth2/v2.0/devicecode"
    assert one.account.token_url == "https://own.example/token"


def test_the_configured_file_is_where_the_token_goes() -> None:
    text = '[outlook]\nemail = "me@outlook.com"\nclient_id = "c"\nrefresh_token = { file = "here/it" }\n'
    assert signing(MICROSOFT, text).file == Path.cwd() / "here/it"
    assert signing(MICROSOFT, text, file=Path("there")).file == Path.cwd() / "there"


def test_a_name_can_not_lead_out_of_the_directory() -> None:
    one = signing(GOOGLE, client_id="c", email="../../x@example.org")
    assert one.file.parent == Path.cwd() / "refresh-tokens"


@pytest.mark.parametrize(
    ("option", "value"),
    [("authorize_url", "http://a.example"), ("token_url", "ftp://a.example"), ("device_url", "x"),
     ("tenant", "a/b"), ("email", "me")],
)  # fmt: skip
def test_an_option_that_is_wrong_is_named(option: str, value: str) -> None:
    with pytest.raises(ConfigError, match=f"--{option.replace('_', '-')}: "):
        signing(MICROSOFT, client_id="c", **{option: value})


def test_what_an_option_gives_need_not_be_right_in_the_file() -> None:
    text = '[outlook]\nemail = "me@outlook.com"\nclient_id = "c"\nclient_secret = { env = "NOPE" }\n'
    with pytest.raises(ConfigError, match="NOPE is not set"):
        signing(MICROSOFT, text)
    assert signing(MICROSOFT, text, client_secret=Secret("s")).account.client_secret == Secret("s")


def test_the_secret_of_the_command_line_does_not_show() -> None:
    asked = Asked(client_secret=Secret("canary"))
    assert "canary" not in repr(asked) + "".join(repr(getattr(asked, one.name)) for one in fields(asked))
