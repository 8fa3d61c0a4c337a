"""`mailsyncd auth service-account`, and copies by it: the real program, a strict provider, Dovecot."""

from __future__ import annotations

import base64
import json
import logging
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import structlog
from bed import Bed, Route
from service_provider import (
    APPLICATION,
    CERTIFICATE,
    ELLIPTIC,
    NUMBER,
    SECRET,
    STRANGER,
    ServiceProvider,
    google_key,
    pem,
)

from mailsyncd.cli import main
from mailsyncd.sim.corpus import corpus

USER = "me@company.example"
MICROSOFT = ("microsoft", "--email", USER, "--client-id", APPLICATION, "--tenant", "company.example")


@pytest.fixture
def provider() -> Iterator[ServiceProvider]:
    with ServiceProvider().serve() as serving:
        yield serving


Auth = Callable[..., tuple[int, str, str]]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def auth(here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Auth]:
    """The command line, in this process; variables stay set."""

    def run(*arguments: str, **environ: str) -> tuple[int, str, str]:
        for name, value in environ.items():
            monkeypatch.setenv(name, value)
        status = main(["auth", "service-account", *arguments])
        said = capsys.readouterr()
        return status, said.out, said.err

    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield run
    root.handlers[:], root.level = handlers, level
    logging.captureWarnings(False)
    structlog.reset_defaults()


def private(path: Path, text: str) -> str:
    path.write_text(text)
    path.chmod(0o600)
    return path.name


def google(here: Path, auth: Auth, provider: ServiceProvider, key: str) -> tuple[int, str, str]:
    name = private(here / "key.json", key)
    return auth("google", "--email", USER, "--key", name, "--token-url", f"{provider.url}/google")


# ----------------------------------------------------------------------------- it works


def test_a_delegated_key_is_tried_and_the_configuration_told(
    provider: ServiceProvider, here: Path, auth: Auth
) -> None:
    status, out, err = google(here, auth, provider, google_key())
    assert (status, err) == (0, "")
    assert out.startswith(
        f"A token for {USER}, with the scope https://mail.google.com/, good for 60 minutes."
    )
    assert '    auth = "service-account"\n' in out
    assert f'    service_key = {{ file = "{here}/key.json" }}\n' in out
    assert f"token-of-{USER}" not in out


@pytest.mark.parametrize("by", ["secret", "certificate"])
def test_an_application_is_tried_by_secret_or_certificate(
    provider: ServiceProvider, here: Path, auth: Auth, by: str
) -> None:
    more: tuple[str, ...] = ()
    environ: dict[str, str] = {}
    if by == "secret":
        environ, told = {"MS_CLIENT_SECRET": SECRET}, 'client_secret = { env = "MS_CLIENT_SECRET" }'
    else:
        more = ("--key", private(here / "app.pem", pem() + CERTIFICATE))
        told = f'service_key = {{ file = "{here}/app.pem" }}'
    url = f"{provider.url}/microsoft"
    status, out, err = auth(*MICROSOFT, "--token-url", url, *more, **environ)
    assert (status, err) == (0, "")
    assert f"A token for {USER}, with the scope https://outlook.office365.com/.default" in out
    assert told in out
    assert 'tenant = "company.example"' in out


@pytest.mark.parametrize("source", ["env", "credential", "file"])
def test_the_key_comes_from_wherever_a_secret_may(
    provider: ServiceProvider, here: Path, auth: Auth, source: str
) -> None:
    private(here / "KEY", google_key())
    config = "\n".join(
        [
            *("[[routes]]", f'gmail = "{USER}"', 'folder = "F"', 'auth = "service-account"'),
            *(f'service_key = {{ {source} = "KEY" }}', f'token_url = "{provider.url}/google"'),
        ]
    )
    (here / "c.toml").write_text(config)
    environ = {"KEY": google_key(), "CREDENTIALS_DIRECTORY": str(here)}
    status, out, err = auth("--config", "c.toml", **environ)
    assert (status, err) == (0, "")
    assert f"A token for {USER}" in out
    assert "In the configuration" not in out


def test_the_daemons_own_way_copies_by_it_and_leaks_nothing(bed: Bed) -> None:
    """Source by delegation, destination by certificate, and Dovecot believes what both give."""
    mail = list(corpus(1, 3))
    bed.deliver("src1", mail)
    tokens: list[str] = []

    def mint(user: str) -> str:
        server = bed.source if user == "src1" else bed.destination
        tokens.append(server.token(user))
        return tokens[-1]

    with ServiceProvider(mint, mailboxes={"src1"}, application_user="dst").serve() as provider:
        private(bed.directory / "key.json", google_key())
        private(bed.directory / "app.pem", pem() + CERTIFICATE)
        path = bed.configure(Route("src1", "Copies"), daemon='log_level = "debug"\nlog_format = "json"')
        head, route = path.read_text().split("[[routes]]")
        head = head.replace(bed.tokens, f"{provider.url}/microsoft").replace('"tests"', f'"{APPLICATION}"')
        head = head.replace('refresh_token = "r-dst"', 'service_key = { file = "app.pem" }')
        route = route.replace(bed.tokens, f"{provider.url}/google")
        route = route.replace('refresh_token = "r-src1"', 'service_key = { file = "key.json" }')
        service = 'auth = "service-account"\n'
        path.write_text(f'{head}tenant = "company.example"\n{service}[[routes]]{route}{service}')
        tried = bed.cli("auth", "test", "--config", "config.toml")
        assert tried.returncode == 0, tried.stdout + tried.stderr
        done = bed.cli("run-once", "--config", "config.toml", "--json")
    assert done.returncode == 0, done.stderr
    assert sorted(one.body for one in bed.copies("Copies")) == sorted(one.raw for one in mail)
    seen = tried.stdout + tried.stderr + done.stdout + done.stderr
    assert "token.renewed" in seen
    secrets = [*tokens, *(form.get("assertion", form.get("client_assertion", "")) for form in provider.forms)]
    assert len(secrets) == 8
    assert not [one for one in secrets if one in seen or base64.b64encode(one.encode())[:60].decode() in seen]
    assert not [line for line in pem().splitlines()[1:-1] if line in seen]


# -------------------------------------------------------------------------- it does not


def test_what_was_not_delegated_names_client_and_scope(
    provider: ServiceProvider, here: Path, auth: Auth
) -> None:
    provider.scopes.clear()
    status, out, err = google(here, auth, provider, google_key())
    assert (status, err) == (1, "")
    (line,) = out.splitlines()
    assert line.startswith(f"{USER}: the token endpoint refused: unauthorized_client")
    assert "delegation is not granted: an administrator has to enter client ID" in line
    assert f"{NUMBER} with the scope https://mail.google.com/" in line


def test_a_user_of_another_domain_is_one_line(provider: ServiceProvider, here: Path, auth: Auth) -> None:
    provider.mailboxes.clear()
    status, out, _ = google(here, auth, provider, google_key())
    (line,) = out.splitlines()
    assert status == 1
    assert "invalid_grant (Invalid email or User ID): check that me@company.example is a mailbox" in line


@pytest.mark.parametrize(("ahead", "words"), [(4000, "67 minutes behind"), (-7200, "120 minutes ahead")])
def test_a_wrong_clock_is_told_as_that(
    provider: ServiceProvider, here: Path, auth: Auth, ahead: float, words: str
) -> None:
    provider.ahead = ahead
    private(here / "app.pem", pem() + CERTIFICATE)
    url = f"{provider.url}/microsoft"
    for answer in (
        google(here, auth, provider, google_key()),
        auth(*MICROSOFT, "--token-url", url, "--key", "app.pem"),
    ):
        (line,) = answer[1].splitlines()
        assert answer[0] == 1
        assert f"and this machine's clock is {words}: set it" in line


def test_a_key_that_was_deleted_is_one_line(provider: ServiceProvider, here: Path, auth: Auth) -> None:
    status, out, _ = google(here, auth, provider, google_key(STRANGER))
    assert status == 1
    assert "invalid_grant (Invalid JWT Signature.): " in out
    assert "that the key was not deleted" in out


@pytest.mark.parametrize(
    ("key", "sentence"),
    [
        (google_key()[:400], "is broken JSON (line "),
        ("{}", 'its "type" is another; make a key of type JSON for the service account'),
        (google_key(type="authorized_user"), "what gcloud keeps of a user's own sign-in"),
        (google_key(type="external_account"), "workload identity federation, which has no key"),
        (json.dumps({"installed": {"client_id": "x"}}), "is the file of an OAuth client"),
        (google_key(private_key=""), "lacks client_email, client_id, private_key_id or private_key"),
        (google_key(private_key="hush"), "has no private key"),
        (pem(), "has a private key and no certificate"),
        (pem() + CERTIFICATE, "is a key for Microsoft, and the token comes from Google here"),
        ("hush-hush", "has no private key"),
    ],
)
def test_a_key_that_is_none_is_one_line_without_it(here: Path, auth: Auth, key: str, sentence: str) -> None:
    private(here / "key.json", key)
    status, out, err = auth("google", "--email", USER, "--key", "key.json")
    (line,) = err.splitlines()
    assert (status, out) == (78, "")
    assert line.startswith("mailsyncd: --key: ")
    assert sentence in line
    assert "hush" not in line
    assert "MII" not in line


def test_a_key_of_another_kind_than_rsa_is_one_line(
    provider: ServiceProvider, here: Path, auth: Auth
) -> None:
    status, out, _ = google(here, auth, provider, google_key(ELLIPTIC))
    assert status == 1
    assert "is not RSA with 2048 bits or more" in out
    status, out, _ = google(here, auth, provider, google_key(private_key=pem()[:300] + pem()[-60:]))
    assert status == 1
    assert "the private key of service_key is broken" in out
    assert not provider.forms


def test_microsofts_refusals_are_a_line_each(provider: ServiceProvider, here: Path, auth: Auth) -> None:
    url = f"{provider.url}/microsoft"
    for change, environ, words in (
        ((), {"MS_CLIENT_SECRET": "wrong"}, "invalid_client (AADSTS7000215): check client_id, that client_s"),
        (("--client-id", "other"), {"MS_CLIENT_SECRET": SECRET}, "unauthorized_client (AADSTS700016): check"),
        (
            ("--scope", "x"),
            {"MS_CLIENT_SECRET": SECRET},
            "invalid_scope (AADSTS1002012): check scope: it ends in /.default",
        ),
    ):
        status, out, err = auth(*MICROSOFT, "--token-url", url, *change, **environ)
        assert (status, err) == (1, "")
        assert words in out
        assert len(out.splitlines()) == 1
        assert SECRET not in out


def application_token(**claims: object) -> str:
    parts = ({"alg": "none"}, claims)
    encoded = (base64.urlsafe_b64encode(json.dumps(one).encode()).rstrip(b"=").decode() for one in parts)
    return ".".join((*encoded, "c2lnbmF0dXJl"))


@pytest.mark.parametrize(
    ("claims", "sentence"),
    [
        ({"aud": "https://outlook.office365.com"}, "add the application permission IMAP.AccessAsApp"),
        ({"aud": "https://outlook.office365.com", "roles": ["Mail.Read"]}, "gives no right to IMAP"),
        (
            {"aud": "https://graph.microsoft.com", "roles": ["IMAP.AccessAsApp"]},
            "is for another service than",
        ),
        ({"aud": "00000002-0000-0ff1-ce00-000000000000"}, "gives no right to IMAP"),
        ({"aud": "https://outlook.office365.com", "roles": ["IMAP.AccessAsApp"]}, "A token for"),
    ],
)
def test_a_token_without_the_right_gets_a_sentence(
    provider: ServiceProvider, here: Path, auth: Auth, claims: dict[str, object], sentence: str
) -> None:
    """Microsoft gives it all the same, and IMAP would refuse it an hour later without a reason."""
    provider.mint = lambda user: application_token(**claims)
    url = f"{provider.url}/microsoft"
    status, out, _ = auth(*MICROSOFT, "--token-url", url, MS_CLIENT_SECRET=SECRET)
    assert status == (0 if sentence == "A token for" else 1)
    assert sentence in out


def test_what_is_missing_is_a_line_each_and_the_status_is_78(here: Path, auth: Auth) -> None:
    status, out, err = auth("microsoft")
    assert (status, out) == (78, "")
    assert sorted(line.split(": ")[1] for line in err.splitlines()) == [
        "--client-id",
        "--client-secret",
        "--email",
        "--tenant",
    ]
    status, _, err = auth("google")
    assert status == 78
    assert sorted(line.split(": ")[1] for line in err.splitlines()) == ["--email", "--key"]


def test_without_a_configured_one_it_says_how_to_begin(here: Path, auth: Auth) -> None:
    status, _, err = auth()
    assert status == 1
    assert 'no route or destination is configured with auth = "service-account"' in err


def test_a_plain_address_is_for_loopback_only(here: Path, auth: Auth) -> None:
    private(here / "key.json", google_key())
    options = ("google", "--email", USER, "--key", "key.json", "--token-url", "http://tokens.example/token")
    status, _, err = auth(*options)
    assert status == 78
    assert "--token-url: must begin with https://" in err
