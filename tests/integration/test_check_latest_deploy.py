"""deploy/check_latest_deploy.py, with an executable `gh` of our own on the path that answers from files."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

SCRIPT = Path(__file__).parents[2] / "deploy/check_latest_deploy.py"
GH = """#!{python}
import json, pathlib, sys
here = pathlib.Path(__file__).parent
with (here / "asked").open("a") as asked:
    asked.write(json.dumps(sys.argv[1:]) + "\\n")
answers = json.loads((here / "answers").read_text())
kind = "list" if sys.argv[2] == "list" else "log" if set(sys.argv) & {{"--log", "--log-failed"}} else "view"
answer = answers[kind]
if isinstance(answer, dict) and "stderr" in answer:
    print(answer["stderr"], file=sys.stderr)
    sys.exit(1)
print(answer if isinstance(answer, str) else json.dumps(answer))
"""
RUN = {
    "databaseId": 42,
    "status": "completed",
    "conclusion": "success",
    "displayTitle": "deploy to production",
    "headBranch": "main",
    "headSha": "c0ffee",
    "event": "push",
    "createdAt": "2026-11-21T17:00:00Z",
    "url": "https://github.example/runs/42",
    "jobs": [
        {"name": "deploy", "conclusion": "success", "steps": [{"name": "Deploy", "conclusion": "success"}]}
    ],
}
FAILED = {
    **RUN,
    "conclusion": "failure",
    "jobs": [
        {"name": "deploy", "conclusion": "failure", "steps": [{"name": "Deploy", "conclusion": "failure"}]}
    ],
}
LOG = "\n".join(f"deploy\tDeploy\tline {number}" for number in range(1, 201))


class Gh:
    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def install(self, **answers: Any) -> None:
        given = {"list": [{"databaseId": 42}], "view": RUN, "log": LOG, **answers}
        (self.directory / "answers").write_text(json.dumps(given))
        (self.directory / "gh").write_text(GH.format(python=sys.executable))
        (self.directory / "gh").chmod(0o755)

    @property
    def asked(self) -> list[list[str]]:
        return [json.loads(line) for line in (self.directory / "asked").read_text().splitlines()]

    def check(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, str(SCRIPT), *arguments],
            env={"PATH": str(self.directory)},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )


@pytest.fixture
def gh(tmp_path: Path) -> Gh:
    return Gh(tmp_path)


def test_a_deployment_that_succeeded(gh: Gh) -> None:
    gh.install()
    done = gh.check()
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("success: deploy to production\n")
    assert "line 1" not in done.stdout
    assert gh.asked[0][:2] == ["run", "list"]
    assert {"--workflow", "deploy.yml"} <= set(gh.asked[0])
    assert gh.asked[1][:3] == ["run", "view", "42"]


def test_one_that_failed_shows_the_end_of_what_failed(gh: Gh) -> None:
    gh.install(view=FAILED)
    done = gh.check("--tail-lines", "3")
    assert done.returncode == 2
    assert "    failure: Deploy" in done.stdout
    assert "the last 3 of 200 lines" in done.stdout
    assert done.stdout.splitlines()[-3:] == LOG.splitlines()[-3:]
    assert "--log-failed" in gh.asked[-1]


def test_the_full_log_is_whole_also_of_one_that_succeeded(gh: Gh) -> None:
    gh.install()
    done = gh.check("--full-log")
    assert done.returncode == 0
    assert done.stdout.endswith(LOG + "\n")
    assert "--log" in gh.asked[-1]


def test_a_run_and_a_repository_by_name(gh: Gh) -> None:
    gh.install()
    assert gh.check("--run-id", "7", "--repo", "me/mailsyncd").returncode == 0
    assert [asked[:5] for asked in gh.asked] == [["run", "view", "7", "--repo", "me/mailsyncd"]]


@pytest.mark.parametrize("state", ["queued", "in_progress", "waiting"])
def test_one_that_has_not_ended_has_not_succeeded(gh: Gh, state: str) -> None:
    gh.install(view={**RUN, "status": state, "conclusion": ""})
    done = gh.check()
    assert done.returncode == 2
    assert done.stdout.startswith(f"{state}: ")
    assert "it has not ended" in done.stdout


@pytest.mark.parametrize("conclusion", ["cancelled", "skipped", "timed_out", "action_required"])
def test_only_success_is_success(gh: Gh, conclusion: str) -> None:
    gh.install(view={**RUN, "conclusion": conclusion})
    assert gh.check().returncode == 2


@pytest.mark.parametrize(
    ("answers", "says"),
    [
        ({"list": []}, "there is no run of deploy.yml yet"),
        ({"list": {"stderr": "To get started with GitHub CLI, please run:  gh auth login"}}, "gh auth login"),
        ({"view": {"stderr": "HTTP 404: Not Found"}}, "gh run view failed: HTTP 404: Not Found"),
        ({"view": "<html>"}, "did not answer in JSON"),
    ],
)
def test_what_can_not_be_told_is_a_third_thing(gh: Gh, answers: dict[str, Any], says: str) -> None:
    gh.install(**answers)
    done = gh.check()
    assert done.returncode == 3
    assert says in done.stderr
    assert "Traceback" not in done.stderr


def test_without_gh_it_says_so(gh: Gh) -> None:
    done = gh.check()
    assert (done.returncode, done.stdout) == (3, "")
    assert "gh is not installed" in done.stderr
