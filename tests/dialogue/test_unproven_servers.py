"""Servers that don't prove who they are, or aren't mail servers at all: nothing is ever said to them."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID
from scripts import LOGIN

from mailsyncd.account import Endpoint
from mailsyncd.errors import RouteBlocked, Transient
from mailsyncd.imap.gmail import GmailSource
from mailsyncd.imap.outlook import OutlookSink
from mailsyncd.imap.pace import Pace
from mailsyncd.imap.profiles import choose
from mailsyncd.observe.clock import SystemClock

HOUR = timedelta(hours=1)
Certify = Callable[..., Path]


@pytest.fixture(scope="module")
def certify(tmp_path_factory: pytest.TempPathFactory) -> Certify:
    """A key and a certificate, signed by itself, in one file."""

    def make(name: str = "localhost", age: timedelta = HOUR, life: timedelta = 2 * HOUR) -> Path:
        key, began = ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC) - age
        who = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        made = (
            x509.CertificateBuilder(who, who, key.public_key(), x509.random_serial_number())
            .not_valid_before(began)
            .not_valid_after(began + life)
            .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .sign(key, hashes.SHA256())
        )
        private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        path = tmp_path_factory.mktemp("tls") / "server.pem"
        path.write_bytes(private + made.public_bytes(Encoding.PEM))
        return path

    return make


@dataclass
class Listener:
    """What it was told, after TLS where there is TLS."""

    greeting: bytes = b"* OK [CAPABILITY IMAP4rev1 STARTTLS AUTH=PLAIN] ready\r\n"
    port: int = 0
    heard: bytearray = field(default_factory=bytearray)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            writer.write(self.greeting)
            while data := await reader.read(1 << 16):
                self.heard += data
        except (OSError, ssl.SSLError):
            pass
        finally:
            writer.close()


@asynccontextmanager
async def listening(listener: Listener, context: ssl.SSLContext | None) -> AsyncIterator[Listener]:
    server = await asyncio.start_server(listener.serve, "127.0.0.1", 0, ssl=context)
    listener.port = server.sockets[0].getsockname()[1]
    try:
        yield listener
    finally:
        server.close()


def serving(certificate: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    return context


def both(port: int, ca_file: Path | None) -> tuple[GmailSource, OutlookSink]:
    endpoint, clock = Endpoint("localhost", port, ca_file=ca_file), SystemClock()
    source = GmailSource(
        endpoint, LOGIN, "INBOX", clock=clock, rng=Random(1), pace=Pace(clock), max_literal=10_000
    )
    return source, OutlookSink(endpoint, LOGIN, choose("localhost"), clock=clock, rng=Random(1))


async def refused(port: int, ca_file: Path | None, match: str) -> None:
    """Neither side gets as far as a session."""
    for end in both(port, ca_file):
        with pytest.raises(Transient, match=match):
            async with end.session():
                pass


@pytest.mark.parametrize(
    ("name", "age", "trusted", "match"),
    [
        ("localhost", HOUR, False, "not to be trusted.*nothing was sent"),
        ("elsewhere.example", HOUR, True, "not to be trusted.*[Hh]ostname mismatch.*nothing was sent"),
        ("localhost", 3 * HOUR, True, "not to be trusted.*expired.*nothing was sent"),
        ("localhost", -HOUR, True, "not to be trusted.*not yet valid.*nothing was sent"),
    ],
    ids=["unknown authority", "another name", "expired", "of the future"],
)
async def test_a_certificate_that_proves_nothing_ends_the_talk_before_a_word(
    certify: Certify, name: str, age: timedelta, trusted: bool, match: str
) -> None:
    certificate = certify(name, age)
    async with listening(Listener(), serving(certificate)) as listener:
        await refused(listener.port, certificate if trusted else None, match)
    assert listener.heard == b""


async def test_tls_of_before_1_2_is_not_spoken(certify: Certify) -> None:
    certificate = certify()
    context = serving(certificate)
    context.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.warns(DeprecationWarning, match="TLSv1 is deprecated"):
        context.minimum_version = ssl.TLSVersion.TLSv1
    with pytest.warns(DeprecationWarning, match="TLSv1_1 is deprecated"):
        context.maximum_version = ssl.TLSVersion.TLSv1_1
    async with listening(Listener(), context) as listener:
        await refused(listener.port, certificate, "nothing was sent|Connection")
    assert listener.heard == b""


@pytest.mark.parametrize(
    "greeting",
    [
        b"* OK [CAPABILITY IMAP4rev1 STARTTLS AUTH=PLAIN] ready\r\n",
        b"HTTP/1.1 302 Found\r\nLocation: http://hotel.example/login\r\n\r\n",
    ],
    ids=["IMAP without TLS", "captive portal"],
)
async def test_a_server_without_tls_hears_no_credentials(certify: Certify, greeting: bytes) -> None:
    async with listening(Listener(greeting), None) as listener:
        await refused(listener.port, certify(), "nothing was sent|connection|Connection")
    assert LOGIN.user.encode() not in listener.heard
    assert b"LOGIN" not in listener.heard
    assert b"AUTHENTICATE" not in listener.heard


async def test_a_portal_with_a_good_certificate_that_is_no_mail_server_hears_nothing(
    certify: Certify,
) -> None:
    certificate = certify()
    portal = Listener(b"HTTP/1.1 400 Bad Request\r\n\r\n")
    async with listening(portal, serving(certificate)):
        await refused(portal.port, certificate, "greeting|HTTP|IMAP|lost|closed")
    assert b"LOGIN" not in portal.heard


async def test_a_name_that_can_not_be_resolved_is_tried_again_later() -> None:
    endpoint = Endpoint("mail.invalid")
    source = GmailSource(
        endpoint,
        LOGIN,
        "INBOX",
        clock=SystemClock(),
        rng=Random(1),
        pace=Pace(SystemClock()),
        max_literal=10_000,
    )
    with pytest.raises(Transient, match=r"^mail\.invalid:993: "):
        async with source.session():
            pass


async def test_a_file_of_authorities_that_has_gone_is_told_to_the_user(tmp_path: Path) -> None:
    for end in both(1, tmp_path / "gone.pem"):
        with pytest.raises(RouteBlocked, match=r"gone\.pem: can't be used as ca_file"):
            async with end.session():
                pass
