"""What a command does not need is not imported: half of a short run is its start."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

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


DYNAMODB = """
import sys
from pathlib import Path
from mailsyncd.assemble import make_store
from mailsyncd.config.values import Backend, StateSettings
from mailsyncd.observe.clock import SystemClock
make_store(StateSettings(Path("unused"), Backend.DYNAMODB), SystemClock())
assert "aiobotocore" in sys.modules
assert "httpx" not in sys.modules
import httpx  # there for those who want it
"""


def test_the_sdk_does_not_bring_another_way_to_send() -> None:
    program = [sys.executable, "-c", DYNAMODB]
    done = subprocess.run(program, check=False, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


def test_no_plugin_of_pydantic_gets_to_see_the_configuration(tmp_path: Path) -> None:
    plugin = tmp_path / "curious-1.dist-info"
    plugin.mkdir()
    (plugin / "METADATA").write_text("Metadata-Version: 2.1\nName: curious\nVersion: 1\n")
    (plugin / "entry_points.txt").write_text("[pydantic]\ncurious = curious:plugin\n")
    (tmp_path / "curious.py").write_text("print('curious')\nplugin = None\n")
    environ = {"PATH": os.environ["PATH"], "PYTHONPATH": str(tmp_path)}
    for code, said in (("import pydantic_settings", "curious\n"), ("import mailsyncd.config.load", "")):
        program = [sys.executable, "-c", code]
        done = subprocess.run(program, check=False, capture_output=True, text=True, timeout=60, env=environ)
        assert done.stdout == said, done.stderr
