"""When its user consented, written down beside a refresh token: "2026-07-17T09:40:08Z", with the word
"testing" after it if the app's consent screen is in Testing."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from mailsyncd.account import Home
from mailsyncd.auth.private import LONGEST_FILE

SUFFIX = ".consent"  # of the file beside a file
KEY_SUFFIX = "_CONSENT"  # of the key beside a key


@dataclass(frozen=True, slots=True)
class Consent:
    at: float  # seconds since the epoch
    in_testing: bool = False

    def text(self) -> str:
        when = datetime.fromtimestamp(int(self.at), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        return f"{when} testing" if self.in_testing else when


def parse(text: str) -> Consent | None:
    """None for what no mailsyncd wrote."""
    when, _, more = text.strip().partition(" ")
    try:
        at = datetime.strptime(when, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
    except ValueError:
        return None
    return Consent(at.timestamp(), more == "testing") if more in ("", "testing") else None


def beside_file(path: Path) -> Path:
    return path.with_name(path.name + SUFFIX)


def of_file(path: Path) -> Consent | None:
    """None where none was written, by whom the file was put there."""
    try:
        with open(beside_file(path), "rb") as file:
            return parse(file.read(LONGEST_FILE).decode("ascii", "replace"))
    except OSError:
        return None


def key_beside(home: Home) -> str:
    return f"{home.key}{KEY_SUFFIX}"
