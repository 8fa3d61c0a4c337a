"""The servers that the protocol suite runs against: the three simulators, and a real Dovecot."""

from __future__ import annotations

import ssl
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from itertools import count

import pytest
from dovecot import Dovecot, available
from imap_targets import SIMULATORS, Connected, Target
from needs import lack
from raw_imap import RawImap

from mailsyncd.observe.clock import SystemClock
from mailsyncd.sim import ImapServer, OutlookServer, TokenEndpoint

_numbers = count(1)


@pytest.fixture(scope="session")
def dovecot(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dovecot]:
    if not available():
        lack("Dovecot is not installed")
    with Dovecot.run(tmp_path_factory.mktemp("dovecot"), profile="full") as server:
        yield server


@pytest.fixture(params=["gmail", "outlook", "plain", pytest.param("dovecot", marks=pytest.mark.real)])
async def server(request: pytest.FixtureRequest) -> AsyncIterator[Target]:
    user = f"user{next(_numbers)}"
    connections: list[RawImap] = []
    async with AsyncExitStack() as stack:
        if request.param == "dovecot":
            real = request.getfixturevalue("dovecot")
            target = Target("dovecot", real.host, real.port, user, real.token(user), connections)
        else:
            clock = SystemClock()
            tokens = await stack.enter_async_context(TokenEndpoint(clock))
            simulator = await stack.enter_async_context(SIMULATORS[request.param](clock, tokens=tokens))
            target = Target(request.param, "127.0.0.1", simulator.port, user, tokens.issue(user), connections)
        yield target
        for imap in connections:
            await imap.close()


@pytest.fixture
async def tokens() -> AsyncIterator[TokenEndpoint]:
    async with TokenEndpoint(SystemClock()) as endpoint:
        yield endpoint


@pytest.fixture
async def outlook(tokens: TokenEndpoint) -> AsyncIterator[OutlookServer]:
    async with OutlookServer(SystemClock(), tokens=tokens) as server:
        yield server


@pytest.fixture
async def signed_in(tokens: TokenEndpoint) -> AsyncIterator[Connected]:
    """Connect to a simulator and sign in with a token of the endpoint's."""
    connections: list[RawImap] = []

    async def connect(server: ImapServer, user: str) -> RawImap:
        imap = await RawImap.connect("127.0.0.1", server.port)
        connections.append(imap)
        answer = await imap.xoauth2(user, tokens.issue(user))
        assert answer.status == "OK", answer
        return imap

    yield connect
    for imap in connections:
        await imap.close()


@pytest.fixture(scope="session")
def tls(tmp_path_factory: pytest.TempPathFactory) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """A context to serve with as localhost, and one that trusts it."""
    directory = tmp_path_factory.mktemp("tls")
    key, certificate = directory / "key.pem", directory / "cert.pem"
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"),
            *("-days", "2", "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"),
            *("-keyout", str(key), "-out", str(certificate)),
        ],
        check=True,
        capture_output=True,
        timeout=30,
    )
    serving = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    serving.load_cert_chain(certificate, key)
    return serving, ssl.create_default_context(cafile=str(certificate))
