"""RefreshingTokens against a real HTTP server that misbehaves in every way tokens endpoints do (R21)."""

from __future__ import annotations

import asyncio
import gc
import io
import json
import logging
import os
import ssl
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any
from urllib.parse import parse_qs

import httpx
import pytest
import structlog
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID
from service_provider import CERTIFICATE

from mailsyncd.account import Account, AuthKind, Secret
from mailsyncd.assemble import Accounts
from mailsyncd.auth import grant
from mailsyncd.auth.grant import token_client
from mailsyncd.auth.homes import FileHome, FixedHome
from mailsyncd.auth.keeper import Keeper
from mailsyncd.auth.tokens import RefreshingTokens
from mailsyncd.errors import MailsyncError, RouteBlocked, SignInNeeded, Throttled, Transient
from mailsyncd.imap.session import TokenLogin
from mailsyncd.observe import logs
from mailsyncd.observe.clock import SystemClock
from mailsyncd.state.memory import MemoryStore

CONFIGURED = "configured-canary-refresh"
GOOD = b'{"access_token": "access-canary", "expires_in": 3600, "token_type": "Bearer"}'
SILENCE = b""


def http(status: str, body: bytes = b"", *headers: str) -> bytes:
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", "Connection: close", *headers, "", ""]
    return "\r\n".join(lines).encode() + body


@dataclass
class TokenServer:
    """Sends `answers` in turn, the last one for ever, byte for byte; SILENCE keeps the caller waiting."""

    answers: list[bytes]
    url: str = ""
    forms: list[dict[str, str]] = field(default_factory=list)
    asked: asyncio.Event = field(default_factory=asyncio.Event)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
            length = int(head.partition("content-length:")[2].split()[0])
            form = parse_qs((await reader.readexactly(length)).decode())
            self.forms.append({name: values[0] for name, values in form.items()})
            answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
            self.asked.set()
            if answer is SILENCE:
                await reader.read()
            writer.write(answer)
            await writer.drain()
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()


@asynccontextmanager
async def token_server(*answers: bytes) -> AsyncIterator[TokenServer]:
    server = TokenServer(list(answers))
    listener = await asyncio.start_server(server.serve, "127.0.0.1", 0)
    server.url = f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}/token"
    async with listener:
        yield server


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    async with token_client() as made:
        yield made


def tokens(
    server: TokenServer, client: httpx.AsyncClient, file: Path | None = None, **changes: Any
) -> RefreshingTokens:
    given: dict[str, Any] = {
        "user": "me@example.org",
        "kind": AuthKind.OAUTH,
        "client_id": "client",
        "refresh_token": Secret(CONFIGURED),
        "token_url": server.url,
    }
    account = Account(**(given | changes))
    home = FileHome(file) if file else FixedHome(account.home, Secret(CONFIGURED))
    keeper = Keeper(account, home, MemoryStore(), SystemClock())
    return RefreshingTokens(account, keeper, client, clock=SystemClock(), rng=Random(1))


async def test_twenty_parallel_callers_cost_one_request(client: httpx.AsyncClient) -> None:
    async with token_server(http("200 OK", GOOD)) as server:
        source = tokens(server, client)
        assert set(await asyncio.gather(*(source.token() for _ in range(20)))) == {"access-canary"}
    assert len(server.forms) == 1
    assert server.forms[0]["refresh_token"] == CONFIGURED


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (http("400 Bad Request", b'{"error": "invalid_grant"}'), SignInNeeded),
        (http("401 Unauthorized", b'{"error": "invalid_client"}'), RouteBlocked),
        (http("429 Too Many Requests", b"", "Retry-After: 17"), Throttled),
        (http("500 Internal Server Error"), Transient),
        (http("200 OK", b"<html>sign in to the hotel's network</html>"), Transient),
        (http("302 Found", b"", "Location: http://127.0.0.1:1/elsewhere"), Transient),
        (http("200 OK", b'{"token_type": "Bearer"}'), Transient),
        (http("200 OK", b'{"access_token": "' + b"x" * 100_000 + b'"}'), Transient),
        (http("200 OK", b"\x1f\x8bnot gzip", "Content-Encoding: gzip"), Transient),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n" + GOOD, Transient),
        (b"220 smtp.example.org ESMTP\r\n", Transient),
        (b"\r\n", Transient),
    ],
    ids=["dead grant", "bad client", "throttled", "broken", "html", "redirect", "no token", "huge", "gzip",
         "cut short", "not http", "hung up"],
)  # fmt: skip
async def test_each_fault_has_its_error(
    client: httpx.AsyncClient, answer: bytes, error: type[MailsyncError]
) -> None:
    async with token_server(answer) as server:
        with pytest.raises(error, match=r"^me@example\.org: ") as raised:
            await tokens(server, client).token()
    assert type(raised.value) is error
    assert "canary" not in str(raised.value)
    assert len(server.forms) == 1


async def test_retry_after_reaches_the_caller(client: httpx.AsyncClient) -> None:
    async with token_server(http("429 Too Many Requests", b"", "Retry-After: 17")) as server:
        with pytest.raises(Throttled) as raised:
            await tokens(server, client).token()
    assert raised.value.pause == 17


async def test_an_endpoint_that_says_nothing_has_a_deadline(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(grant, "EXCHANGE_DEADLINE", 0.5)
    async with token_server(SILENCE) as server:
        with pytest.raises(Transient, match="did not answer in time"):
            await tokens(server, client).token()
        assert server.asked.is_set()


async def test_an_endpoint_that_trickles_has_the_same_deadline(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(grant, "EXCHANGE_DEADLINE", 0.2)

    async def trickle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\n")
        try:
            while not await asyncio.sleep(0.02, writer.transport.is_closing()):
                writer.write(b"{")
                await writer.drain()
        except OSError:
            pass
        finally:
            writer.close()

    listener = await asyncio.start_server(trickle, "127.0.0.1", 0)
    async with listener:
        url = f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}/"
        with pytest.raises(Transient, match="did not answer in time"):
            await tokens(TokenServer([], url), client).token()


async def test_an_endpoint_that_is_not_there_is_tried_again_later(client: httpx.AsyncClient) -> None:
    async with token_server(GOOD) as server:
        pass
    with pytest.raises(Transient, match="could not be asked"):
        await tokens(server, client).token()


async def test_a_cancelled_caller_leaves_the_way_free_for_the_next(client: httpx.AsyncClient) -> None:
    async with token_server(SILENCE, http("200 OK", GOOD)) as server:
        source = tokens(server, client)
        impatient = asyncio.create_task(source.token())
        await server.asked.wait()
        impatient.cancel()
        with pytest.raises(asyncio.CancelledError):
            await impatient
        assert await source.token() == "access-canary"


async def test_a_rotated_refresh_token_outlives_the_process(
    client: httpx.AsyncClient, tmp_path: Path
) -> None:
    rotated = json.dumps({"access_token": "one", "refresh_token": "rotated"}).encode()
    file = tmp_path / "token"
    file.touch(0o600)
    file.write_text(f"{CONFIGURED}\n")
    async with token_server(http("200 OK", rotated), http("200 OK", GOOD)) as server:
        assert await tokens(server, client, file).token() == "one"
        assert await tokens(server, client, file).token() == "access-canary"
    assert file.read_text() == "rotated\n"
    assert [form["refresh_token"] for form in server.forms] == [CONFIGURED, "rotated"]


@pytest.fixture
def log_stream() -> Iterator[io.StringIO]:
    root = logging.getLogger()
    before = root.handlers[:], root.level
    stream = io.StringIO()
    yield stream
    root.handlers[:], root.level = before
    logging.captureWarnings(False)
    structlog.reset_defaults()


@pytest.mark.parametrize("answer", [http("200 OK", GOOD), http("400 No", b'{"error": "invalid_grant"}')])
async def test_at_the_most_talkative_level_no_token_is_logged(
    client: httpx.AsyncClient, log_stream: io.StringIO, answer: bytes
) -> None:
    logs.configure("debug", "json", log_stream, "run")
    async with token_server(answer) as server:
        source = tokens(server, client, client_secret=Secret("client-canary"))
        try:
            await source.token()
        except RouteBlocked:
            structlog.get_logger().exception("route.blocked")
    written = log_stream.getvalue()
    assert written
    assert "canary" not in written
    assert "httpx" not in written
    assert "httpcore" not in written


# ------------------------------------------------------------------------- TLS


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A key and a certificate for localhost, signed by itself, in one file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    path = tmp_path_factory.mktemp("tls") / "localhost.pem"
    path.write_bytes(private + made.public_bytes(Encoding.PEM))
    return path


@asynccontextmanager
async def tls_token_server(certificate: Path, *answers: bytes) -> AsyncIterator[TokenServer]:
    server = TokenServer(list(answers))
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(certificate)
    listener = await asyncio.start_server(server.serve, "127.0.0.1", 0, ssl=tls)
    server.url = f"https://localhost:{listener.sockets[0].getsockname()[1]}/token"
    async with listener:
        yield server


async def test_a_server_that_cannot_prove_who_it_is_gets_no_token(
    client: httpx.AsyncClient, certificate: Path
) -> None:
    async with tls_token_server(certificate, http("200 OK", GOOD)) as server:
        with pytest.raises(Transient, match="CERTIFICATE_VERIFY_FAILED"):
            await tokens(server, client).token()
    assert server.forms == []


async def test_a_configured_authority_is_trusted_for_its_own_names_only(certificate: Path) -> None:
    async with (
        tls_token_server(certificate, http("200 OK", GOOD)) as server,
        token_client(certificate) as client,
    ):
        assert await tokens(server, client).token() == "access-canary"
        with pytest.raises(Transient, match="CERTIFICATE_VERIFY_FAILED"):
            await tokens(server, client, token_url=server.url.replace("localhost", "127.0.0.1")).token()
    assert len(server.forms) == 1


async def test_an_authority_that_is_trusted_by_now_is_trusted_by_tokens_after_a_reload(
    certificate: Path, tmp_path: Path
) -> None:
    authorities = tmp_path / "ca.pem"
    authorities.write_text(CERTIFICATE)
    async with tls_token_server(certificate, http("200 OK", GOOD)) as server, AsyncExitStack() as stack:
        account = Account(
            "a@example.org",
            AuthKind.OAUTH,
            client_id="id",
            refresh_token=Secret(CONFIGURED),
            token_url=server.url,
        )
        accounts = Accounts(MemoryStore(), SystemClock(), Random(1), stack)
        login = accounts.login(account, authorities)
        assert isinstance(login, TokenLogin)
        with pytest.raises(Transient, match="CERTIFICATE_VERIFY_FAILED"):
            await login.tokens.token()
        authorities.write_bytes(CERTIFICATE.encode() + certificate.read_bytes())
        accounts.keep([(account, authorities)])
        assert await login.tokens.token() == "access-canary"


async def test_authorities_that_change_again_and_again_or_go_cost_a_reload_nothing(tmp_path: Path) -> None:
    authorities = tmp_path / "ca.pem"
    authorities.write_text(CERTIFICATE)
    account = Account(
        "a@example.org",
        AuthKind.OAUTH,
        client_id="id",
        refresh_token=Secret(CONFIGURED),
        token_url="https://localhost/token",
    )
    before = clients()
    async with AsyncExitStack() as stack:
        accounts = Accounts(MemoryStore(), SystemClock(), Random(1), stack)
        accounts.login(account, authorities)
        for written in range(1, 6):
            os.utime(authorities, (written, written))
            accounts.keep([(account, authorities)])
        assert clients() == before + 1
        authorities.unlink()
        accounts.keep([(account, authorities)])
        assert len(accounts.sources()) == 1


def clients() -> int:
    gc.collect()
    return sum(isinstance(one, httpx.AsyncClient) for one in gc.get_objects())
