"""A certified OAuth 2 server in a process of its own, and people who sign in there: by plain HTTP, or with
a real browser."""

from __future__ import annotations

import html
import json
import os
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urljoin

import httpx
from needs import browser

ENGINES = Path(__file__).parent / "engines"
GOOGLE_CLIENT, GOOGLE_SECRET = "google-like", "google-like-secret-canary"
MICROSOFT_CLIENT = "microsoft-like"
OLDEST_NODE = 20
START_SECONDS = 20.0


def lacking(*, a_browser: bool = False) -> str | None:
    """What this machine lacks, if anything."""
    node = shutil.which("node")
    version = (
        subprocess.run([node, "--version"], capture_output=True, text=True, check=False) if node else None
    )
    number = re.match(r"v(\d+)", version.stdout) if version else None
    if number is None or int(number[1]) < OLDEST_NODE:
        return f"needs node {OLDEST_NODE} or newer"
    if not (ENGINES / "node_modules" / "oidc-provider").exists():
        return "needs oidc-provider: npm ci --ignore-scripts --prefix tests/engines"
    if a_browser and browser() is None:
        return "needs Chromium (Debian: apt install chromium)"
    return None


@dataclass(frozen=True, slots=True)
class OAuthServer:
    port: int

    def url(self, what: str) -> str:
        """Of an endpoint: `auth`, `token`, `device/auth`, `token/revocation`."""
        return f"http://127.0.0.1:{self.port}/{what}"

    @property
    def introspection(self) -> str:
        return f"http://dovecot:dovecot-secret@127.0.0.1:{self.port}/token/introspection"

    def active(self, token: str) -> dict[str, object]:
        """What the server says of a token."""
        return dict(httpx.post(self.introspection, data={"token": token}).json())

    @classmethod
    @contextmanager
    def run(cls, **environ: str) -> Iterator[OAuthServer]:
        with subprocess.Popen(
            ["node", str(ENGINES / "oauth.mjs")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={"PATH": os.environ["PATH"], **environ},
        ) as process:
            try:
                yield cls(_port(process))
            finally:
                process.kill()


def _port(process: subprocess.Popen[bytes]) -> int:
    """Notices of the server come before the line with its port."""
    ends = time.monotonic() + START_SECONDS
    while process.stdout is not None and time.monotonic() < ends:
        line = process.stdout.readline()
        if line.startswith(b"{"):
            return int(json.loads(line)["port"])
        if not line:
            break
    raise RuntimeError("the OAuth server did not start")


class Person:
    """Somebody with as much of a browser as forms need."""

    def __init__(self, name: str, *, refuses: bool = False) -> None:
        self._name = name
        self._refuses = refuses
        self._client = httpx.Client()

    def __enter__(self) -> Person:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    def follow(self, address: str, home: str) -> str:
        """Signs in and consents, or refuses, from `address` on; the address at `home` that it ends at.
        An answer that leads nowhere is given as its text."""
        answer = self._client.get(address)
        for _ in range(12):
            if answer.is_redirect:
                address = urljoin(str(answer.url), answer.headers["Location"])
                if address.startswith(home):
                    return address
                answer = self._client.get(address)
            elif 'name="login"' in answer.text:
                answer = self._submit(answer, login=self._name, password="any")
            elif 'value="consent"' in answer.text and self._refuses:
                answer = self._client.get(
                    urljoin(str(answer.url), _found(r'href="([^"]+/abort)"', answer.text))
                )
            elif 'value="consent"' in answer.text:
                answer = self._submit(answer)
            else:
                return answer.text
        raise AssertionError("the way has no end")

    def enter(self, address: str, user_code: str) -> str:
        """Types a device's code at the address, signs in, and consents or refuses; the last page's text."""
        answer = self._submit(self._client.get(address), user_code=user_code)
        answer = self._submit(answer)
        return self.follow_on(answer)

    def follow_on(self, answer: httpx.Response) -> str:
        address = urljoin(str(answer.url), answer.headers["Location"])
        return self.follow(address, "nowhere:")

    def _submit(self, page: httpx.Response, **typed: str) -> httpx.Response:
        form = _found(r"(?s)<form.*?</form>", page.text)
        hidden = re.findall(r'<input[^>]*type="hidden"[^>]*name="([^"]+)"[^>]*value="([^"]*)"', form)
        to = re.search(r'action="([^"]+)"', form)
        fields = {name: html.unescape(value) for name, value in hidden} | typed
        return self._client.post(urljoin(str(page.url), html.unescape(to[1]) if to else ""), data=fields)


def _found(pattern: str, text: str) -> str:
    found = re.search(pattern, text)
    assert found, f"the page is another than it was: {text[:2000]}"
    return html.unescape(found[1] if found.re.groups else found[0])
