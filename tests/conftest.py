"""Fixtures for every test: nothing of the machine's own settings reaches them."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import hypothesis
import pytest

# Who runs the tests in the background has these ignored, and so would every program that they start.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGQUIT, signal.SIG_DFL)

# A machine may be busy; pytest-timeout is what bounds a test.
hypothesis.settings.register_profile("mailsyncd", deadline=None)
hypothesis.settings.load_profile("mailsyncd")

SECTIONS = ("MAILSYNCD_DAEMON", "MAILSYNCD_STATE", "MAILSYNCD_HTTP", "MAILSYNCD_OUTLOOK")
OURS = (*SECTIONS, "AWS_", "MS_", "GMAIL_")


@pytest.fixture
def tmp_path() -> Iterator[Path]:
    """Short, unlike pytest's own under xdist: sockets lie in it, and a socket's path has to be."""
    with TemporaryDirectory(prefix="t-", ignore_cleanup_errors=True) as directory:
        yield Path(directory).resolve()


@pytest.fixture(autouse=True)
def _own_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No variable that mailsyncd or the AWS SDK would read leaks in from outside."""
    for name in list(os.environ):
        if name.startswith(OURS):
            monkeypatch.delenv(name)
    for name in ("OUTLOOK_EMAIL", "SYNC_ROUTES_JSON", "DYNAMODB_TABLE", "DYNAMODB_ENDPOINT_URL", "LOG_LEVEL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
