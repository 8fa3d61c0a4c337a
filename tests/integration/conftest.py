"""A bed of real servers for each test that asks for one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from bed import Bed, environment
from cloud import Cloud
from dovecot import Dovecot, available, token_endpoint
from engines import moto, reset
from needs import lack

USERS = ("src1", "src2", "src3")


@pytest.fixture
def bed() -> Iterator[Bed]:
    if not available():
        lack("Dovecot 2.3 and openssl are not installed")
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


@pytest.fixture(scope="module")
def moto_server() -> Iterator[str]:
    with moto() as url:
        yield url


@pytest.fixture
def cloud(moto_server: str, monkeypatch: pytest.MonkeyPatch) -> Cloud:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "x")
    reset(moto_server)
    return Cloud(moto_server)
