"""A service account's key, from wherever a secret may be."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from service_provider import google_key

from mailsyncd.account import AuthKind, Secret
from mailsyncd.config import schema
from mailsyncd.config.load import load
from mailsyncd.stored import Reference, Vault

TEXT = """\
[outlook]
email = "me@company.example"
auth = "service-account"
client_id = "c"
client_secret = "s"
tenant = "company.example"
[[routes]]
gmail = "me@company.example"
folder = "F"
auth = "service-account"
service_key = {source}
"""


@pytest.mark.parametrize(
    "source",
    [
        '{ env = "KEY" }',
        '{ file = "KEY" }',
        '{ credential = "KEY" }',
        '{ ssm = "/key" }',
        '{ ssm = "/keys", key = "K" }',
        '{ secretsmanager = "key" }',
    ],
)
def test_a_key_may_be_wherever_a_secret_may_line_breaks_and_all(tmp_path: Path, source: str) -> None:
    whole = google_key()
    assert "\n" in whole
    (tmp_path / "KEY").write_text(whole)
    (tmp_path / "KEY").chmod(0o600)
    path = tmp_path / "config.toml"
    path.write_text(TEXT.format(source=source))
    held = {
        Reference(Vault.SSM, "/key"): Secret(whole),
        Reference(Vault.SSM, "/keys"): Secret(json.dumps({"K": whole})),
        Reference(Vault.SECRETS_MANAGER, "key"): Secret(whole),
    }
    environ = {"HOME": str(tmp_path), "KEY": whole, "CREDENTIALS_DIRECTORY": str(tmp_path)}
    found = load(path, environ, held).configuration
    account = found.routes[0].account
    assert account.kind is AuthKind.SERVICE_ACCOUNT
    assert account.service_key is not None
    assert account.service_key.reveal().strip() == whole.strip()
    assert account.scope == schema.GOOGLE_SCOPE
    target = found.destinations[0].account
    assert target.scope == schema.MICROSOFT_SERVICE_SCOPE
    assert target.token_url == "https://login.microsoftonline.com/company.example/oauth2/v2.0/token"


def test_a_scope_that_is_set_stays(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text(TEXT.format(source='{ env = "KEY" }') + 'scope = "other"\n')
    assert load(path, {"KEY": google_key()}).configuration.routes[0].account.scope == "other"
