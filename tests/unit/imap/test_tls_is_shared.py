"""One TLS context serves all connections that trust the same authorities."""

from __future__ import annotations

import os
import ssl
from pathlib import Path

import pytest

from mailsyncd.account import Endpoint
from mailsyncd.errors import RouteBlocked
from mailsyncd.imap.dial import tls_context


def authorities(path: Path) -> Path:
    """Some certificate in PEM, of this system's own."""
    (first, *_) = ssl.create_default_context().get_ca_certs(binary_form=True)
    path.write_text(ssl.DER_cert_to_PEM_cert(first))
    return path


def test_endpoints_that_trust_the_same_share_a_context(tmp_path: Path) -> None:
    one = authorities(tmp_path / "one.pem")
    assert tls_context(Endpoint("a.example")) is tls_context(Endpoint("b.example"))
    assert tls_context(Endpoint("a.example", ca_file=one)) is tls_context(Endpoint("b.example", ca_file=one))
    assert tls_context(Endpoint("a.example", ca_file=one)) is not tls_context(Endpoint("a.example"))
    assert tls_context(Endpoint("a.example", tls=False)) is None


def test_a_shared_context_verifies() -> None:
    context = tls_context(Endpoint("a.example"))
    assert context is not None
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.check_hostname
    assert context.minimum_version is ssl.TLSVersion.TLSv1_2


def test_a_file_that_was_changed_is_read_again(tmp_path: Path) -> None:
    endpoint = Endpoint("a.example", ca_file=authorities(tmp_path / "one.pem"))
    before = tls_context(endpoint)
    os.utime(endpoint.ca_file or "", ns=(1, 1))
    assert tls_context(endpoint) is not before
    (tmp_path / "one.pem").write_text("no certificate")
    with pytest.raises(RouteBlocked, match=r"one\.pem: can't be used as ca_file"):
        tls_context(endpoint)
