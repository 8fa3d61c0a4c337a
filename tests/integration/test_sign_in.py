"""`mailsyncd auth gmail` and `auth microsoft` against the simulated provider, browser and all."""

from __future__ import annotations

import asyncio
import base64
import logging
import os
import re
import socket
import stat
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
import structlog
from sign_in_bed import BROWSER, SECRET, USER, Bed, free_port, run, until

from mailsyncd.auth.consent import of_file
from mailsyncd.auth.providers import GOOGLE, MICROSOFT, Provider
from mailsyncd.commands.auth import How, sign_in
from mailsyncd.errors import MailsyncError
from mailsyncd.observe.clock import SystemClock
from mailsyncd.sim import Reply, TokenEndpoint, invalid_grant


@pytest.fixture
async def bed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Bed]:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "browser.py").write_text(BROWSER)
    async with TokenEndpoint(SystemClock()) as endpoint:
        yield Bed(endpoint, tmp_path)


@pytest.fixture
def microsoft(bed: Bed) -> Bed:
    bed.provider, bed.path = MICROSOFT, "microsoft"
    return bed


@pytest.fixture(autouse=True)
def _own_logs() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:], root.level = handlers, level
    logging.captureWarnings(False)
    structlog.reset_defaults()


# ------------------------------------------------------------------- by the browser


@pytest.mark.parametrize("provider", [GOOGLE, MICROSOFT])
async def test_a_sign_in_in_the_browser_ends_with_a_token_that_works(bed: Bed, provider: Provider) -> None:
    bed.provider, bed.path = provider, provider.name.lower()
    assert await bed.sign_in() == 0
    assert f'refresh_token = {{ file = "{bed.token}" }}' in bed.out.getvalue()
    assert "Signed in" in await bed.page()
    token = bed.token.read_text().strip()
    form = {"grant_type": "refresh_token", "client_id": "client", "refresh_token": token}
    async with httpx.AsyncClient() as client:
        answer = await client.post(bed.endpoint.url(bed.path, "token"), data=form)
    assert bed.endpoint.seconds_left(USER, answer.json()["access_token"])


async def test_the_token_is_for_its_owner_alone_whatever_the_umask(bed: Bed) -> None:
    before = os.umask(0)
    try:
        await bed.sign_in()
    finally:
        os.umask(before)
    assert stat.S_IMODE(bed.token.stat().st_mode) == 0o600
    assert stat.S_IMODE(bed.token.parent.stat().st_mode) == 0o700
    assert sorted(os.listdir(bed.token.parent)) == [USER, f"{USER}.consent"]


@pytest.mark.parametrize("in_testing", [False, True])
async def test_when_its_user_consented_is_noted_beside_it(bed: Bed, in_testing: bool) -> None:
    before = int(time.time())
    await bed.sign_in(in_testing=in_testing)
    found = of_file(bed.token)
    assert found is not None
    assert before <= found.at <= time.time()
    assert found.in_testing is in_testing


async def test_a_new_token_takes_the_place_of_the_old(bed: Bed) -> None:
    await bed.sign_in()
    first = bed.token.read_text()
    await bed.sign_in()
    assert bed.token.read_text() != first


async def test_a_directory_that_is_open_to_others_is_refused_before_anybody_signs_in(bed: Bed) -> None:
    bed.token.parent.mkdir()
    bed.token.parent.chmod(0o755)
    assert await bed.failure() == f"{bed.token.parent} is open to other users: chmod 700 {bed.token.parent}"
    assert not bed.endpoint.requests
    assert bed.out.getvalue() == ""


async def test_a_place_that_can_not_be_written_is_told_before_anybody_signs_in(bed: Bed) -> None:
    (bed.home / "file").write_text("")
    asked = replace(bed.asked, file=bed.home / "file" / "token")
    assert "can't be stored in" in await bed.failure(asked)
    assert not bed.endpoint.requests


async def test_a_user_who_cancels_is_told_so_here_and_there(bed: Bed) -> None:
    bed.endpoint.consents.denies = True
    assert await bed.failure() == f"{USER}: access was refused in the browser: nothing was stored"
    assert "Not signed in" in await bed.page()


async def test_without_a_browser_the_address_is_there_to_be_opened(bed: Bed) -> None:
    environ = bed.environ | {"BROWSER": "/nonexistent/browser %s"}
    work = asyncio.create_task(sign_in(bed.provider, bed.asked, How(port=bed.port), environ, bed.out))
    await until(lambda: "or stop, and run this again with --no-browser" in bed.out.getvalue())
    async with httpx.AsyncClient(follow_redirects=True) as client:
        assert "Signed in" in (await client.get(bed.address())).text
    assert await work == 0


async def test_a_port_that_is_taken_names_the_option(bed: Bed) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        assert await bed.failure(port=port) == f"port {port} is taken: choose another with --port"


async def test_after_five_minutes_it_is_over_and_says_what_was_turned_away(bed: Bed) -> None:
    (bed.home / "browser.py").write_text(
        "import sys, urllib.request as u, urllib.parse as p\n"
        "r = p.parse_qs(p.urlsplit(sys.argv[1]).query)['redirect_uri'][0]\n"
        "for end in ('?state=forged&code=x', '?state=forged&code=y', '/other'):\n"
        "    try: u.urlopen(r + end)\n"
        "    except OSError: pass\n"
    )
    assert How().patience == 300
    text = await bed.failure(patience=2.0)
    assert "nothing was stored. Turned away: " in text
    assert "its state is another (2)" in text
    assert "a request for another path (1)" in text


@pytest.mark.parametrize(
    ("answer", "sentence"),
    [
        (Reply(502, "<html>bad gateway</html>"), "HTTP 502: nothing was stored; try again"),
        (Reply(200, "<html>log in to the hotel</html>"), "other than JSON: nothing was stored; try again"),
        (invalid_grant("Bad Request"), "begin again"),
        (Reply(401, {"error": "invalid_client"}), "check client_id and client_secret"),
        (Reply(400, {"error": "redirect_uri_mismatch"}), "register the redirect address"),
        (Reply(200, {"access_token": "a", "scope": "https://mail.google.com/"}), "sent no refresh token"),
    ],
)
async def test_what_goes_wrong_after_the_browser_is_told_in_the_terminal(
    bed: Bed, answer: Reply, sentence: str
) -> None:
    bed.endpoint.answer_next(answer)
    assert sentence in await bed.failure()
    assert "Not signed in" in await bed.page()


async def test_a_network_that_is_gone_half_way_is_told(bed: Bed) -> None:
    asked = replace(bed.asked, token_url=f"http://127.0.0.1:{free_port()}/token")
    assert re.search("could not be asked: .*: nothing was stored; try again", await bed.failure(asked))


@pytest.mark.parametrize("provider", [GOOGLE, MICROSOFT])
async def test_a_consent_without_mail_gets_a_sentence(bed: Bed, provider: Provider) -> None:
    bed.provider, bed.path = provider, provider.name.lower()
    bed.endpoint.scope = "openid https://graph.microsoft.com/IMAP.AccessAsUser.All"
    text = await bed.failure()
    assert "the token has the wrong scope" in text
    assert "allow access to mail" in text


# ------------------------------------------------------------- pasted, and by device


async def pasted(bed: Bed, *lines: str) -> str | int:
    """Signs in by pasting; in `lines` {} is the address that the browser ended at."""
    read, write = os.pipe()
    try:
        work = asyncio.create_task(bed.sign_in(no_browser=True, stdin=read))
        await until(lambda: "Paste" in bed.out.getvalue() or work.done())
        async with httpx.AsyncClient() as client:
            went = await client.get(bed.address())
        for line in lines:
            os.write(write, line.format(went.headers["Location"]).encode() + b"\n")
            await asyncio.sleep(0.02)
        os.close(write)
        with suppress(MailsyncError):
            return await work
        return str(work.exception())
    finally:
        os.close(read)


async def test_the_address_of_another_machines_browser_can_be_pasted(bed: Bed) -> None:
    assert await pasted(bed, "", "{}") == 0
    assert bed.token.exists()


async def test_what_is_pasted_wrong_may_be_pasted_again(bed: Bed) -> None:
    assert await pasted(bed, "hello", "{}x", "{}") == 0
    said = bed.out.getvalue()
    assert f"that is not the address to paste: it begins with http://127.0.0.1:{bed.port}/callback?" in said
    assert "the redirect is not the answer to this sign-in: its state is another. Once more:" in said


async def test_a_paste_that_does_not_come_is_told(bed: Bed) -> None:
    assert await pasted(bed, "hello") == "no address was pasted: nothing was stored"
    assert not bed.token.exists()


async def test_a_paste_may_come_from_a_file(bed: Bed) -> None:
    (bed.home / "empty").write_text("\n")
    with (bed.home / "empty").open() as file:
        text = await bed.failure(no_browser=True, stdin=file.fileno())
    assert text == "no address was pasted: nothing was stored"


async def test_nobody_pastes_for_five_minutes(bed: Bed) -> None:
    read, write = os.pipe()
    try:
        text = await bed.failure(no_browser=True, stdin=read, patience=0.1)
    finally:
        os.close(read)
        os.close(write)
    assert text.startswith("nobody signed in within")


async def test_a_device_code_is_shown_and_waited_for(microsoft: Bed) -> None:
    microsoft.endpoint.consents.interval = 0.2
    work = asyncio.create_task(microsoft.sign_in(device=True))
    await until(lambda: "enter the code" in microsoft.out.getvalue())
    (code,) = re.findall(r"enter the code (\w+) there", microsoft.out.getvalue())
    microsoft.endpoint.consents.approve(code, USER)
    assert await work == 0
    assert microsoft.token.exists()


async def test_googles_device_codes_are_not_for_mail(bed: Bed) -> None:
    assert "give no access to mail" in await bed.failure(device=True)
    assert not bed.endpoint.requests


# ---------------------------------------------------------------------------- leaks


def forms(secret: str) -> list[str]:
    """A secret as it may turn up: plain, in base64 at any of the three offsets, percent-encoded."""
    encoded = [base64.b64encode(b"x" * n + secret.encode())[4 if n else 0 :].decode() for n in range(3)]
    return [secret, *(one.rstrip("=")[:-2] for one in encoded)]


@pytest.mark.parametrize("goes_well", [True, False])
async def test_no_code_token_verifier_or_secret_shows_anywhere(
    bed: Bed, capfd: pytest.CaptureFixture[str], goes_well: bool
) -> None:
    (bed.home / "c.toml").write_text('[daemon]\nlog_level = "debug"\n')
    if not goes_well:
        bed.endpoint.answer_next(invalid_grant("no"))
    said = ""
    try:
        await bed.sign_in(replace(bed.asked, config=bed.home / "c.toml"))
    except MailsyncError as failure:
        said = f"{failure!r} {failure.__cause__!r} {failure.__context__!r}"
    page = await bed.page()
    (form,) = [form for path, form in bed.endpoint.requests if path.endswith("/token")]
    secrets = [form["code"], form["code_verifier"], form["client_secret"]]
    assert form["client_secret"] == SECRET
    if goes_well:
        secrets.append(bed.token.read_text().strip())
    captured = capfd.readouterr()
    argv = (bed.home / "argv").read_text()
    for name, text in (
        ("stdout", bed.out.getvalue() + captured.out),
        ("stderr", captured.err),
        ("error", said),
        ("page", page),
        ("browser", argv),
    ):
        for secret in secrets:
            assert not [one for one in forms(secret) if one in text], name
    assert bed.address() in argv.replace("\\u0026", "&")


async def test_the_state_comes_back_and_the_challenge_fits(bed: Bed) -> None:
    """The simulator would refuse another verifier or redirect; here it is seen to."""
    await bed.sign_in()
    asked = {name: value for name, (value,) in parse_qs(urlsplit(bed.address()).query).items()}
    (form,) = [form for path, form in bed.endpoint.requests if path.endswith("/token")]
    async with httpx.AsyncClient() as client:
        for change in (
            {"code_verifier": "another"},
            {"redirect_uri": "http://127.0.0.1:1/"},
            {"client_id": "x"},
        ):
            went = await client.get(bed.address())
            code = parse_qs(urlsplit(went.headers["Location"]).query)["code"][0]
            answer = await client.post(bed.asked.token_url or "", data={**form, "code": code, **change})
            assert answer.json()["error"] == "invalid_grant"
        again = await client.post(bed.asked.token_url or "", data=form)  # a code is good once
    assert again.json()["error"] == "invalid_grant"
    assert parse_qs(urlsplit(went.headers["Location"]).query)["state"] == [asked["state"]]


# ------------------------------------------------------- the real thing, as a process


NO_CLIENT = (
    "mailsyncd: client_id: is missing: write it in the configuration, or set GMAIL_CLIENT_ID "
    "(docs/sign-in.md tells how to get one)"
)
CONFIG = """\
[outlook]
email = "{user}"
client_id = "client"
authorize_url = "{at}/microsoft/authorize"
token_url = "{at}/microsoft/token"
refresh_token = {{ file = "tokens/outlook" }}

[[routes]]
gmail = "{user}"
folder = "Gmail/me"
authorize_url = "{at}/google/authorize"
token_url = "{at}/google/token"
"""


async def test_both_commands_as_a_user_runs_them_with_a_configuration_that_has_no_tokens_yet(
    bed: Bed,
) -> None:
    at = f"http://127.0.0.1:{bed.endpoint.port}"
    (bed.home / "c.toml").write_text(CONFIG.format(user=USER, at=at))
    common = ("--config", "c.toml", "--port", str(bed.port))
    status, out, err = await run(bed, "microsoft", *common)
    assert (status, err) == (0, "")
    assert f"Signed in, and stored where the configuration of {USER} has it." in out
    assert "refresh_token" not in out
    assert out.endswith("Try it by: mailsyncd auth test --config c.toml\n")
    status, out, err = await run(bed, "gmail", "--route", "Gmail/me", *common, GMAIL_CLIENT_ID="client")
    assert (status, err) == (0, "")
    assert f'refresh_token = {{ file = "{bed.home}/refresh-tokens/{USER}" }}' in out
    assert (bed.home / "refresh-tokens" / USER).read_text().startswith("1//")


async def test_what_is_missing_is_a_line_each_and_the_status_is_78(bed: Bed) -> None:
    status, out, err = await run(bed, "gmail", "--token-url", "http://tokens.example.org/")
    assert (status, out) == (78, "")
    assert err.splitlines() == [
        "mailsyncd: --token-url: must begin with https:// (http:// is for loopback addresses only)",
        NO_CLIENT,
    ]


async def test_a_refusal_is_one_line_and_the_status_is_1(bed: Bed) -> None:
    bed.endpoint.consents.denies = True
    options = ("--client-id", "client", "--port", str(bed.port), "--email", USER)
    urls = ("--authorize-url", bed.asked.authorize_url or "", "--token-url", bed.asked.token_url or "")
    status, _, err = await run(bed, "gmail", *options, *urls)
    assert (status, err) == (1, f"mailsyncd: {USER}: access was refused in the browser: nothing was stored\n")


@pytest.mark.parametrize(("file", "is_there"), [("credentials/ms", True), ("credentials/another", False)])
async def test_a_file_that_systemd_will_hand_on_needs_no_other_word_in_the_configuration(
    bed: Bed, file: str, is_there: bool
) -> None:
    at = f"http://127.0.0.1:{bed.endpoint.port}"
    text = CONFIG.format(user=USER, at=at).replace('{ file = "tokens/outlook" }', '{ credential = "ms" }')
    (bed.home / "c.toml").write_text(text)
    (bed.home / "credentials").mkdir(mode=0o700)
    common = ("--config", "c.toml", "--port", str(bed.port), "--file", file)
    credentials = {"CREDENTIALS_DIRECTORY": str(bed.home / "credentials")}
    status, out, err = await run(bed, "microsoft", *common, **credentials)
    assert (status, err) == (0, "")
    assert ("stored where the configuration" in out) is is_there
    assert (f'refresh_token = {{ file = "{bed.home}/{file}" }}' in out) is not is_there
