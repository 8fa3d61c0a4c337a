"""`mailsyncd config check` and `config show`, as a user runs them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
SECRETS = {"MS_REFRESH_TOKEN": "C4N4RY", "GMAIL_CLIENT_SECRET": "C4N4RY", "GMAIL_REFRESH_TOKEN": "C4N4RY"}


def mailsyncd(*arguments: str, cwd: Path, **environ: str) -> subprocess.CompletedProcess[str]:
    base = {"PATH": os.environ["PATH"], "HOME": str(cwd)}
    return subprocess.run(
        [sys.executable, "-m", "mailsyncd", "config", *arguments],
        cwd=cwd,
        env={**base, **environ},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def example(directory: Path) -> Path:
    path = directory / "config.toml"
    path.write_bytes((ROOT / "config.example.toml").read_bytes())
    return path


def test_a_good_configuration_is_summed_up_in_one_line(tmp_path: Path) -> None:
    example(tmp_path)
    done = mailsyncd("check", "--config", "config.toml", cwd=tmp_path, **SECRETS)
    where = tmp_path / ".local/state/mailsyncd/state.db"
    said = f"config.toml is good: 1 route, 1 destination, state sqlite at {where}\n"
    assert (done.returncode, done.stdout, done.stderr) == (0, said, "")


def test_every_mistake_is_a_line_and_the_status_is_78(tmp_path: Path) -> None:
    path = example(tmp_path)
    text = path.read_text().replace("[state]", "[state]\nlease = 1\nbackned = 1")
    path.write_text(text)
    done = mailsyncd("check", "--config", "config.toml", cwd=tmp_path)
    lines = done.stderr.splitlines()
    assert done.returncode == 78
    assert done.stdout == ""
    assert len(lines) == 5
    assert all(line.startswith("mailsyncd: config.toml:") for line in lines)
    number = text.splitlines().index("backned = 1") + 1
    assert (
        lines[1] == f"mailsyncd: config.toml:{number}: state.backned: is no known key; did you mean backend?"
    )


def test_show_masks_secrets_and_tells_where_settings_came_from(tmp_path: Path) -> None:
    path = example(tmp_path)
    plain = mailsyncd("show", "--config", str(path), cwd=tmp_path, LOG_LEVEL="debug", **SECRETS)
    as_json = mailsyncd("show", "--json", "--config", str(path), cwd=tmp_path, LOG_LEVEL="debug", **SECRETS)
    assert plain.returncode == as_json.returncode == 0
    assert "C4N4RY" not in plain.stdout + plain.stderr + as_json.stdout + as_json.stderr
    level = json.loads(as_json.stdout)["daemon.log_level"]
    assert level == {"value": "debug", "from": "environment LOG_LEVEL"}
    (line,) = [line for line in plain.stdout.splitlines() if line.startswith("daemon.log_level ")]
    assert line.split() == ["daemon.log_level", "=", '"debug"', "#", "environment", "LOG_LEVEL"]


def test_a_missing_file_is_told_and_the_status_is_78(tmp_path: Path) -> None:
    done = mailsyncd("check", "--config", "none.toml", cwd=tmp_path)
    said = "mailsyncd: none.toml: can't be read: No such file or directory\n"
    assert (done.returncode, done.stderr) == (78, said)


def test_without_a_file_the_environment_is_named(tmp_path: Path) -> None:
    routes = [
        {
            "GMAIL_EMAIL": "me@gmail.com",
            "GMAIL_CLIENT_ID": "c",
            "GMAIL_REFRESH_TOKEN": "t",
            "OUTLOOK_TARGET_FOLDER": "Gmail",
        }
    ]
    given = {
        "OUTLOOK_EMAIL": "me@outlook.com",
        "MS_CLIENT_ID": "c",
        "MS_REFRESH_TOKEN": "t",
        "DYNAMODB_TABLE": "mail",
        "AWS_REGION": "us-west-2",
        "SYNC_ROUTES_JSON": json.dumps(routes),
    }
    done = mailsyncd("check", cwd=tmp_path, **given)
    said = "the environment is good: 1 route, 1 destination, state dynamodb table mail\n"
    assert (done.returncode, done.stdout) == (0, said)
