"""A certificate for simulated servers, which whoever finds it may trust."""

from __future__ import annotations

import ssl
import subprocess
from pathlib import Path

_KEY = "key.pem"


def certify(directory: Path) -> Path:
    """Make one there, and its key."""
    names = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]
    kind = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "30"]
    certificate = directory / "cert.pem"
    out = ["-keyout", str(certificate.with_name(_KEY)), "-out", str(certificate)]
    subprocess.run(["openssl", "req", "-x509", *kind, *names, *out], check=True, capture_output=True)
    return certificate


def serving(certificate: Path) -> ssl.SSLContext:
    """What a server needs to show it."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, certificate.with_name(_KEY))
    return context
