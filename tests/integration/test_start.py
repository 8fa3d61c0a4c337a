"""What a command does not need is not imported: half of a short run is its start."""

from __future__ import annotations

import subprocess
import sys

import pytest

PROGRAM = """
import sys
from mailsyncd.cli import main
assert main([{command!r}, "--config", "nowhere.toml"]) == 78
taken = [name for name in ("rich", "httpx", "aiobotocore", "mailsyncd.sim") if name in sys.modules]
assert "structlog" in sys.modules
import rich.console  # there for those who want it
print(*taken)
"""


@pytest.mark.parametrize("command", ["run", "run-once"])
def test_what_a_run_has_no_use_for_is_not_imported(command: str) -> None:
    program = [sys.executable, "-c", PROGRAM.format(command=command)]
    done = subprocess.run(program, check=False, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "\n"
