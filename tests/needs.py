"""What a test needs of the machine: a laptop without it skips the test, CI fails, for there it must be."""

from __future__ import annotations

import os
import shutil
from typing import NoReturn

import pytest

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")


def lack(what: str) -> NoReturn:
    """`what` is missing here."""
    if os.environ.get("CI"):
        pytest.fail(what)
    pytest.skip(what)


def browser() -> str | None:
    """The path of a Chromium: that of the environment's CHROMIUM, if it is set."""
    return os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, BROWSERS)), None)
