"""The operator's page names every event that the code can log."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
EVENT = re.compile(r'\blog\.(?:debug|info|warning|error|critical|exception)\(\s*"([a-z_]+\.[a-z_]+)"')


def test_every_event_in_the_code_is_on_the_page() -> None:
    page = set(re.findall(r"`([a-z_]+\.[a-z_]+)`", (ROOT / "docs" / "operations.md").read_text()))
    code = {event for file in (ROOT / "mailsyncd").rglob("*.py") for event in EVENT.findall(file.read_text())}
    assert {"message.copied", "token.not_kept", "daemon.started"} <= code
    assert code - page == set()


def test_every_event_on_the_page_is_in_the_code() -> None:
    table = (ROOT / "docs" / "operations.md").read_text().partition("### Events")[2].partition("\n## ")[0]
    documented = {
        event
        for row in re.findall(r"^\| (`[^|]+)\|", table, re.M)
        for event in re.findall(r"`([a-z_]+\.[a-z_]+)`", row)
    }
    code = "\n".join(file.read_text() for file in (ROOT / "mailsyncd").rglob("*.py"))
    states = ("retrying", "throttled", "full", "blocked", "needs_sign_in")
    composed = {f"{who}.{state}" for who in ("writer", "route") for state in states}  # f"writer.{state}"
    assert len(documented) > 30
    assert {event for event in documented - composed if f'"{event}"' not in code} == set()
