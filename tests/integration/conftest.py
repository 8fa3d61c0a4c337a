"""A bed of real servers for each test that asks for one."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from bed import Bed, environment
from dovecot import Dovecot, available, token_endpoint

USERS = ("src1", "src2", "src3")


@pytest.fixture
def bed() -> Iterator[Bed]:
    if not available():
        if os.environ.get("CI"):
            pytest.fail("Dovecot 2.3 and openssl must be installed in CI")
        pytest.skip("Dovecot 2.3 and openssl are not installed")
    # Short names: Dovecot's own sockets lie below, and a socket's path has to be short.
    with TemporaryDirectory(prefix="ms-") as temporary:
        here = Path(temporary).resolve()
        for name in ("src", "dst", "home", "work"):
            (here / name).mkdir()
        with (
            Dovecot.run(here / "src", profile="gmail", tls=True) as source,
            Dovecot.run(here / "dst", profile="outlook", tls=True) as destination,
            token_endpoint({**dict.fromkeys(USERS, source), "dst": destination}) as tokens,
        ):
            yield Bed(here / "work", source, destination, tokens, environment(here / "home"))
