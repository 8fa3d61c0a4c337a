"""The running daemon shows no token, key or secret by any way of looking at it: log, metrics, page, status,
dump, command line, or the state that it leaves."""

from __future__ import annotations

import os
import re
import signal
from pathlib import Path

import httpx
import pytest
from bed import Bed, Daemon, Route, until
from canaries import shown
from dovecot import free_port
from service_provider import APPLICATION, SECRET, ServiceProvider, google_key, pem

from mailsyncd.sim.corpus import corpus

pytestmark = pytest.mark.real

SERVICE = 'auth = "service-account"\n'
VISITOR = "visitor-token-canary-of-the-page"
PATHS = ("/", "/page.js", "/plot.js", "/metrics", "/healthz", "/readyz", "/status.json", "/none")


def catches(daemon: Daemon, number: int) -> bool:
    """Or the signal would end it."""
    status = Path(f"/proc/{daemon.process.pid}/status").read_text()
    (mask,) = re.findall(r"^SigCgt:\s+([0-9a-f]+)", status, re.MULTILINE)
    return bool(int(mask, 16) >> (number - 1) & 1)


def configured(bed: Bed, provider: ServiceProvider, at: int) -> None:
    """Two routes by delegation, of which one is refused, and an application as the destination."""
    for name, text in (("key.json", google_key()), ("app", SECRET), ("visitor", VISITOR)):
        (bed.directory / name).write_text(text)
        (bed.directory / name).chmod(0o600)
    daemon = 'log_level = "debug"\nlog_format = "json"\n'
    http = f'listen = "127.0.0.1:{at}"\ntoken = {{ file = "visitor" }}\n'
    path = bed.configure(Route("src1", "Good"), Route("src2", "Refused"), daemon=daemon, http=http)
    head, *routes = path.read_text().split("[[routes]]")
    head = head.replace(bed.tokens, f"{provider.url}/microsoft").replace('"tests"', f'"{APPLICATION}"')
    head = head.replace('refresh_token = "r-dst"', 'client_secret = { file = "app" }')
    whole = f'{head}tenant = "company.example"\n{SERVICE}'
    for route in routes:
        route = route.replace(bed.tokens, f"{provider.url}/google")
        route = re.sub(r'refresh_token = "r-src\d"', 'service_key = { file = "key.json" }', route)
        whole += f"[[routes]]{route}{SERVICE}"
    path.write_text(whole)


def test_a_daemon_with_service_accounts_shows_nothing_by_any_way(bed: Bed) -> None:
    tokens: list[str] = []

    def mint(user: str) -> str:
        tokens.append((bed.source if user == "src1" else bed.destination).token(user))
        return tokens[-1]

    bed.deliver("src1", list(corpus(3, 2)))
    at = free_port()
    with ServiceProvider(mint, mailboxes={"src1"}, application_user="dst").serve() as provider:
        configured(bed, provider, at)
        with bed.daemon() as daemon:
            daemon.await_event("message.copied", 2)
            daemon.await_event("route.blocked")
            places = {
                f"http {path} {'with' if head else 'without'}": _page(f"http://127.0.0.1:{at}{path}", head)
                for path in PATHS
                for head in ({}, {"Authorization": f"Bearer {VISITOR}"})
            }
            for command in (("check",), ("config", "show")):
                for more in ((), ("--json",)):
                    done = bed.cli(*command, "--config", "config.toml", *more)
                    places[" ".join((*command, *more))] = done.stdout + done.stderr
            places["ps"] = Path(f"/proc/{daemon.process.pid}/cmdline").read_bytes().decode()
            if catches(daemon, signal.SIGUSR1):
                size = daemon.log.stat().st_size
                os.kill(daemon.process.pid, signal.SIGUSR1)
                until(lambda: daemon.log.stat().st_size > size)
            assert daemon.stop() == 0
    places["log"] = daemon.log.read_text()
    private = {"key.json", "app", "visitor"}
    kept = [one for one in bed.directory.rglob("*") if one.is_file() and one.name not in private]
    places |= {one.name: one.read_bytes().decode("latin-1") for one in kept}
    assert "src1" in places["http /status.json with"]
    assert "mailsyncd_" in places["http /metrics with"]
    assertions = [form["assertion"] for form in provider.forms if "assertion" in form]
    assert len(tokens) >= 2
    assert len(assertions) >= 2
    secrets = [*tokens, *(part for one in [*tokens, *assertions] for part in one.split(".")[1:])]
    secrets += [*assertions, SECRET, VISITOR, *(line for line in pem().splitlines() if len(line) > 40)]
    assert shown(secrets, places) == []


def _page(url: str, head: dict[str, str]) -> str:
    answer = httpx.get(url, headers=head)
    return f"{answer.status_code} {dict(answer.headers)} {answer.text}"
