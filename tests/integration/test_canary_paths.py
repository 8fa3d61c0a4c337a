"""No token, secret, code or key shows on any way to sign in: not on the terminal, in the log at debug
level with the libraries' own, in the list of processes, or in what a crash leaves."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import httpx
import pytest
from bed import environment
from canaries import ProcessList, shown
from service_provider import (
    APPLICATION,
    CERTIFICATE,
    SECRET,
    STRANGER,
    ServiceProvider,
    google_key,
    pem,
)

from mailsyncd.observe.clock import SystemClock
from mailsyncd.sim import TokenEndpoint

USER = "me@example.org"
CLIENT_SECRET = "GOCSPX-canary-client-secret"
# The program with the libraries' logs let through, which it holds back otherwise.
PROGRAM = """\
import sys
from mailsyncd.observe import logs
logs._FLOORS.clear()
from mailsyncd.cli import main
sys.exit(main(sys.argv[1:]))
"""


@pytest.fixture
async def endpoint() -> AsyncIterator[TokenEndpoint]:
    async with TokenEndpoint(SystemClock()) as serving:
        serving.consents.interval = 0.2
        yield serving


async def started(here: Path, *arguments: str, **environ: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-u", "-c", PROGRAM, "auth", *arguments),
        cwd=here,
        env=environment(here) | {"LOG_LEVEL": "debug"} | environ,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )


def urls(endpoint: TokenEndpoint, provider: str) -> list[str]:
    names = ["authorize", "token", *(["device"] if provider == "microsoft" else [])]
    return [text for name in names for text in (f"--{name}-url", endpoint.url(provider, name))]


async def line(stream: asyncio.StreamReader | None, pattern: str, said: list[str]) -> str:
    """What is looked for, as soon as it is said."""
    assert stream is not None
    async with asyncio.timeout(20):
        while text := (await stream.readline()).decode():
            said.append(text)
            if found := re.search(pattern, text):
                return found[1]
    raise AssertionError("it was not said")


def secrets_of(endpoint: TokenEndpoint, token: Path) -> list[str]:
    """All that went over the wire, and what was stored."""
    names = ("code", "code_verifier", "client_secret", "device_code")
    found = [form[name] for _, form in endpoint.requests for name in names if name in form]
    return [*found, *endpoint._access, *([token.read_text().strip()] if token.exists() else [])]


@pytest.mark.parametrize("goes_well", [True, False])
async def test_a_pasted_redirect(endpoint: TokenEndpoint, tmp_path: Path, goes_well: bool) -> None:
    token, said = tmp_path / "tokens" / "t", list[str]()
    options = ("--email", USER, "--client-id", "c", "--no-browser", "--file", str(token))
    with ProcessList() as processes:
        work = await started(
            tmp_path, "gmail", *options, *urls(endpoint, "google"), GMAIL_CLIENT_SECRET=CLIENT_SECRET
        )
        address = await line(work.stdout, r"^(http://\S+/authorize\?\S+)", said)
        async with httpx.AsyncClient() as client:
            back = (await client.get(address)).headers["Location"]
        if not goes_well:
            endpoint.revoke(USER)
            endpoint.consents._codes.clear()
        async with asyncio.timeout(20):
            out, err = await work.communicate(f"{back}x\n{back}\n".encode())
    assert work.returncode == (0 if goes_well else 1)
    secrets = secrets_of(endpoint, token)
    assert len(secrets) == (5 if goes_well else 3)
    assert CLIENT_SECRET in secrets
    log = err.decode()
    assert "library.logged" in log, "the libraries must have been heard"
    places = {"terminal": "".join(said) + out.decode(), "log": log, "ps": "\n".join(processes.seen)}
    assert shown(secrets, places) == []


@pytest.mark.parametrize("goes_well", [True, False])
async def test_a_device_code(endpoint: TokenEndpoint, tmp_path: Path, goes_well: bool) -> None:
    token, said = tmp_path / "tokens" / "t", list[str]()
    options = ("--email", USER, "--client-id", "c", "--device", "--file", str(token))
    with ProcessList() as processes:
        work = await started(
            tmp_path, "microsoft", *options, *urls(endpoint, "microsoft"), MS_CLIENT_SECRET=CLIENT_SECRET
        )
        user_code = await line(work.stdout, r"enter the code (\w+) there", said)
        if goes_well:
            endpoint.consents.approve(user_code, USER)
        else:
            endpoint.consents.deny(user_code)
        async with asyncio.timeout(20):
            out, err = await work.communicate()
    assert work.returncode == (0 if goes_well else 1)
    secrets = secrets_of(endpoint, token)
    assert len(secrets) >= (4 if goes_well else 2)
    places = {"terminal": "".join(said) + out.decode(), "log": err.decode(), "ps": "\n".join(processes.seen)}
    assert shown(secrets, places) == []


@pytest.fixture
def provider() -> Iterator[ServiceProvider]:
    with ServiceProvider(lambda user: f"ya29.access-canary-of-{user}").serve() as serving:
        yield serving


@pytest.mark.parametrize(
    ("by", "goes_well"),
    [("delegation", True), ("delegation", False), ("secret", False), ("certificate", True)],
)
async def test_a_service_account(provider: ServiceProvider, tmp_path: Path, by: str, goes_well: bool) -> None:
    user, key, environ = "me@company.example", STRANGER if not goes_well else None, dict[str, str]()
    made = google_key(key) if key else google_key()
    options = ["google", "--key", '{ env = "KEY" }', "--token-url", f"{provider.url}/google"]
    if by != "delegation":
        made = (pem(key) if key else pem()) + CERTIFICATE
        options = ["microsoft", "--client-id", APPLICATION, "--tenant", "company.example"]
        options += ["--token-url", f"{provider.url}/microsoft"]
        options += ["--key", '{ env = "KEY" }'] if by == "certificate" else []
    secret = SECRET if goes_well else "wrong~but-a-secret-canary"
    environ = {"MS_CLIENT_SECRET": secret} if by == "secret" else {"KEY": made}
    with ProcessList() as processes:
        work = await started(tmp_path, "service-account", *options, "--email", user, **environ)
        async with asyncio.timeout(20):
            out, err = await work.communicate()
    assert work.returncode == (0 if goes_well else 1), err.decode()
    (form,) = provider.forms
    names = ("assertion", "client_assertion", "client_secret")
    secrets = [form[name] for name in names if name in form]
    assert len(secrets) == 1
    secrets += [part for part in secrets[0].split(".") if len(part) > 40]
    secrets += [part for part in (pem(key) if key else pem()).splitlines()[1:-1] if len(part) > 20]
    secrets.append(f"ya29.access-canary-of-{user}")
    assert b"library.logged" in err
    places = {"terminal": out.decode(), "log": err.decode(), "ps": "\n".join(processes.seen)}
    assert shown(secrets, places) == []


def test_what_a_broken_key_is_told_with_holds_nothing_of_it(tmp_path: Path) -> None:
    command = ("auth", "service-account", "google", "--email", USER, "--key", '{ env = "KEY" }')
    for whole in (google_key()[:-200], google_key(type="other"), pem() + "x", CERTIFICATE):
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM, *command],
            cwd=tmp_path,
            env=environment(tmp_path) | {"LOG_LEVEL": "debug", "KEY": whole},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 78
        lines = [part for part in (pem() + CERTIFICATE).splitlines() if len(part) > 40]
        assert shown(lines, {"terminal": done.stdout, "log": done.stderr}) == []


def test_a_crash_leaves_no_core(tmp_path: Path) -> None:
    """Even where whoever started it would have one."""
    command = ("-m", "mailsyncd", "auth", "gmail", "--no-browser", "--email", USER, "--client-id", "c")
    with subprocess.Popen(
        ["sh", "-c", 'ulimit -c "$(ulimit -Hc)"; exec "$@"', "sh", sys.executable, *command],
        cwd=tmp_path,
        env=environment(tmp_path),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as work:
        assert work.stdout is not None
        assert b"Sign in as" in work.stdout.readline()
        (limit,) = re.findall(
            r"^Max core file size +(\S+) +(\S+)", Path(f"/proc/{work.pid}/limits").read_text(), re.MULTILINE
        )
        assert limit == ("0", "0")
        work.send_signal(signal.SIGQUIT)
        assert work.wait(10) == -signal.SIGQUIT
    time.sleep(0.1)
    assert not [name for name in os.listdir(tmp_path) if "core" in name]
