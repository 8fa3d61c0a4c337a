"""From nothing to copied mail with nothing made up: a certified OAuth 2 server, a real browser, the real
program, and Dovecot that asks the server whose each token is."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from bed import Bed, environment, until
from canaries import ProcessList, shown
from dovecot import Dovecot, available, free_port
from needs import browser, lack
from oauth_server import (
    ENGINES,
    GOOGLE_CLIENT,
    GOOGLE_SECRET,
    MICROSOFT_CLIENT,
    OAuthServer,
    lacking,
)

from mailsyncd.config import schema
from mailsyncd.sim.corpus import corpus

# One browser at a time is enough for two cores.
pytestmark = pytest.mark.xdist_group("browser")

MICROSOFT_SCOPE = schema.MICROSOFT_SCOPE.split()[0]


@dataclass
class There:
    """Servers, and a configuration that has everything but refresh tokens."""

    bed: Bed
    server: OAuthServer

    def configure(self) -> None:
        (self.bed.directory / "secret").write_text(GOOGLE_SECRET)
        (self.bed.directory / "secret").chmod(0o600)
        source, destination = self.bed.source, self.bed.destination
        lines = [
            *("[daemon]", 'log_level = "debug"', 'log_format = "json"', "[state]", 'path = "state.db"'),
            *("[outlook]", 'email = "dst@example.com"', 'username = "dst"'),
            *(f'client_id = "{MICROSOFT_CLIENT}"', f'device_url = "{self.server.url("device/auth")}"'),
            *self._place(destination, "dst"),
            *("[[routes]]", 'gmail = "src1@example.com"', 'username = "src1"', 'folder = "Copies"'),
            *('start = "all"', f'client_id = "{GOOGLE_CLIENT}"', 'client_secret = { file = "secret" }'),
            *self._place(source, "src1"),
        ]
        (self.bed.directory / "config.toml").write_text("\n".join(lines) + "\n")

    def _place(self, imap: Dovecot, user: str) -> list[str]:
        return [
            *('host = "localhost"', f"port = {imap.tls_port}", f'ca_file = "{imap.ca_file}"'),
            *(f'token_url = "{self.server.url("token")}"', f'authorize_url = "{self.server.url("auth")}"'),
            f'refresh_token = {{ file = "tokens-of/{user}" }}',
        ]

    def token(self, user: str) -> str:
        return (self.bed.directory / "tokens-of" / user).read_text().strip()

    def sign_in(self, kind: str, person: str, *more: str, refuses: bool = False) -> SignedIn:
        """`mailsyncd auth`, with a person who sits before the browser that it opens."""
        saw = self.bed.directory / f"saw-{kind}"
        saw.unlink(missing_ok=True)
        environ = self.bed.environ | {
            "BROWSER": f"node {ENGINES / 'browser.mjs'} %s",
            "CHROMIUM": str(browser()),
            "PERSON": person,
            "PERSON_SAW": str(saw),
            **({"PERSON_REFUSES": "1"} if refuses else {}),
        }
        command = ["auth", kind, "--config", "config.toml", "--port", str(free_port()), *more]
        with ProcessList() as processes:
            done = subprocess.run(
                [sys.executable, "-m", "mailsyncd", *command],
                cwd=self.bed.directory,
                env=environ,
                capture_output=True,
                text=True,
                timeout=60,
                check=False,
            )
            until(saw.exists, 20)
        person_saw = json.loads(saw.read_text())
        assert person_saw["error"] is None, person_saw
        return SignedIn(done.returncode, done.stdout, done.stderr, person_saw, processes.seen)


@dataclass
class SignedIn:
    """What came of it. `person`: what the browser showed; `processes`: all command lines meanwhile."""

    status: int
    out: str
    err: str
    person: dict[str, object]
    processes: set[str]

    @property
    def end(self) -> dict[str, Any]:
        end = self.person["end"]
        assert isinstance(end, dict)
        return end

    @property
    def came_back_with(self) -> dict[str, list[str]]:
        return parse_qs(urlsplit(self.end["address"]).query)


@pytest.fixture(scope="module")
def there() -> Iterator[There]:
    if why := lacking(a_browser=True) or (None if available() else "needs Dovecot 2.3 and openssl"):
        lack(why)
    with OAuthServer.run() as server, TemporaryDirectory(prefix="ms-") as temporary:
        here = Path(temporary).resolve()
        for name in ("src", "dst", "home", "work"):
            (here / name).mkdir()
        google, microsoft = (
            (server.introspection, scope) for scope in (schema.GOOGLE_SCOPE, MICROSOFT_SCOPE)
        )
        with (
            Dovecot.run(here / "src", profile="gmail", tls=True, introspection=google) as source,
            Dovecot.run(here / "dst", profile="outlook", tls=True, introspection=microsoft) as destination,
        ):
            bed = Bed(here / "work", source, destination, "", environment(here / "home"))
            made = There(bed, server)
            made.configure()
            yield made


def test_signed_in_by_a_browser_tested_copied_rotated_and_revoked(there: There) -> None:
    bed = there.bed
    mail = list(corpus(7, 4))
    bed.deliver("src1", mail[:2])
    google = there.sign_in("gmail", "src1")
    microsoft = there.sign_in("microsoft", "dst")
    for one, user in ((google, "src1"), (microsoft, "dst")):
        assert one.status == 0, one.out + one.err
        assert f"stored where the configuration of {user} has it" in one.out
        assert one.end["text"].split("\n")[0] == "Signed in"
        assert one.end["storage"]["cookies"], "the provider's own; the page on loopback sets none"

    # The very tokens, judged by the server that gave them.
    tested = bed.cli("auth", "test", "--config", "config.toml")
    assert tested.returncode == 0, tested.stdout + tested.stderr
    assert tested.stdout.count(": signed in\n") == 2
    assert "INBOX: 2 messages" in tested.stdout
    first = there.token("dst")
    assert bed.once()["copied"] == 2

    # Each run redeems the token of the run before, which the server took for dead if it came twice.
    bed.deliver("src1", mail[2:])
    assert bed.once()["copied"] == 2
    assert sorted(one.body for one in bed.copies("Copies")) == sorted(one.raw for one in mail)
    assert there.server.active(first)["active"] is False
    assert there.server.active(there.token("dst"))["active"] is True
    assert there.server.active(there.token("src1"))["active"] is True

    secrets = [GOOGLE_SECRET, there.token("src1"), there.token("dst")]
    secrets += [one.came_back_with["code"][0] for one in (google, microsoft)]
    assert all(len(one) > 20 for one in secrets)
    for one in (google, microsoft):
        kept = f"{one.end['text']} {one.end['html']} {one.end['title']} {one.end['storage']}"
        places = {"terminal": one.out, "log": one.err, "browser": kept, "ps": "\n".join(one.processes)}
        assert "browser.mjs" in places["ps"]
        assert shown(secrets, places) == []

    # What its user takes back is told with what to do, and nothing is copied by what is left.
    form = {"token": there.token("src1"), "client_id": GOOGLE_CLIENT, "client_secret": GOOGLE_SECRET}
    assert httpx.post(there.server.url("token/revocation"), data=form).status_code == 200
    failed = bed.cli("run-once", "--config", "config.toml", "--json")
    assert failed.returncode == 1
    assert "invalid_grant" in failed.stderr
    assert f"Run: mailsyncd auth gmail --config {bed.directory}/config.toml --route src1@" in failed.stdout


def test_who_cancels_in_the_browser_is_told_here_and_there(there: There) -> None:
    (there.bed.directory / "tokens-of" / "other").unlink(missing_ok=True)
    one = there.sign_in("gmail", "src1", "--file", "tokens-of/other", refuses=True)
    assert one.status == 1
    assert one.err == "mailsyncd: src1: access was refused in the browser: nothing was stored\n"
    assert one.end["text"].split("\n")[0] == "Not signed in"
    assert not (there.bed.directory / "tokens-of" / "other").exists()


def test_a_device_code_is_typed_into_a_browser_elsewhere(there: There) -> None:
    command = ["auth", "microsoft", "--config", "config.toml", "--device", "--file", "tokens-of/by-device"]
    saw = there.bed.directory / "saw-device"
    with subprocess.Popen(
        [sys.executable, "-u", "-m", "mailsyncd", *command],
        cwd=there.bed.directory,
        env=there.bed.environ,
        stdout=subprocess.PIPE,
        text=True,
    ) as waiting:
        assert waiting.stdout is not None
        address = waiting.stdout.readline().split()[-1]
        code = waiting.stdout.readline().split("the code ")[1].split()[0]
        person = {"PERSON": "dst", "PERSON_CODE": code, "PERSON_SAW": str(saw), "CHROMIUM": str(browser())}
        began = time.monotonic()
        subprocess.run(
            ["node", str(ENGINES / "browser.mjs"), address],
            env=there.bed.environ | person,
            timeout=60,
            check=True,
        )
        assert json.loads(saw.read_text())["error"] is None
        said = waiting.stdout.read()
        assert waiting.wait(30) == 0, said
    assert time.monotonic() - began < 30
    token = (there.bed.directory / "tokens-of" / "by-device").read_text().strip()
    assert there.server.active(token)["sub"] == "dst"
    assert token not in said
