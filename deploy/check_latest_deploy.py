#!/usr/bin/env python3
"""How the latest deployment went: by GitHub's own command line, `gh`, which has to be signed in.

Exit statuses: 0 it succeeded; 2 it did not, or has not ended; 3 it can't be told (no gh, no access, no run).
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

SUCCEEDED, DID_NOT, TOOLING = 0, 2, 3
WORKFLOW = "deploy.yml"
DEADLINE = 120.0  # seconds for each call of gh
FIELDS = "databaseId,status,conclusion,displayTitle,headBranch,headSha,event,createdAt,url,jobs"


class GhFailed(Exception):
    """gh is not there, or did not answer as it should."""


def main(argv: Sequence[str] | None = None) -> int:
    arguments = _parser().parse_args(argv)
    try:
        number = arguments.run_id or _latest(arguments)
        run = _json(["run", "view", str(number), *_repository(arguments), "--json", FIELDS])
        _show(run)
        well = run.get("status") == "completed" and run.get("conclusion") == "success"
        if arguments.full_log or not well:
            _show_log(number, run, arguments)
    except GhFailed as error:
        print(f"check_latest_deploy: {error}", file=sys.stderr)
        return TOOLING
    return SUCCEEDED if well else DID_NOT


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--run-id", type=_number, metavar="N", help="this run, not the latest one")
    parser.add_argument("--branch", metavar="B", help="the latest run of this branch")
    parser.add_argument("--repo", metavar="OWNER/NAME", help="default: that of the working directory")
    parser.add_argument(
        "--tail-lines", type=_number, default=80, metavar="N", help="of the log of what failed (default 80)"
    )
    parser.add_argument("--full-log", action="store_true", help="the whole log, whether it failed or not")
    return parser


def _number(text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number above 0")
    return int(text)


def _repository(arguments: argparse.Namespace) -> list[str]:
    return ["--repo", arguments.repo] if arguments.repo else []


def _latest(arguments: argparse.Namespace) -> int:
    asked = ["run", "list", *_repository(arguments), "--workflow", WORKFLOW, "--limit", "1"]
    asked += ["--branch", arguments.branch] if arguments.branch else []
    runs = _json([*asked, "--json", "databaseId"])
    if not runs:
        raise GhFailed(f"there is no run of {WORKFLOW} yet")
    return int(runs[0]["databaseId"])


def _show(run: dict[str, Any]) -> None:
    verdict = run.get("conclusion") or run.get("status")
    print(f"{verdict}: {run.get('displayTitle')}")
    where = f"{run.get('event')} of {run.get('headBranch')} at {run.get('createdAt')}"
    print(f"  run {run.get('databaseId')}, {where}")
    print(f"  commit {run.get('headSha')}")
    print(f"  {run.get('url')}")
    for job in run.get("jobs") or ():
        print(f"  {job.get('conclusion') or job.get('status')}: {job.get('name')}")
        for step in job.get("steps") or ():
            if step.get("conclusion") not in ("success", "skipped", "", None):
                print(f"    {step.get('conclusion')}: {step.get('name')}")


def _show_log(number: int, run: dict[str, Any], arguments: argparse.Namespace) -> None:
    if run.get("status") != "completed":
        print("\nit has not ended: there is no log yet")
        return
    which = "--log" if arguments.full_log else "--log-failed"
    lines = _gh(["run", "view", str(number), *_repository(arguments), which]).splitlines()
    shown = lines if arguments.full_log else lines[-arguments.tail_lines :]
    if not arguments.full_log:
        print(f"\nthe last {len(shown)} of {len(lines)} lines of what failed:")
    print("\n".join(shown))


def _json(arguments: Sequence[str]) -> Any:
    answer = _gh(arguments)
    try:
        return json.loads(answer)
    except ValueError:
        raise GhFailed(f"gh {arguments[0]} {arguments[1]} did not answer in JSON") from None


def _gh(arguments: Sequence[str]) -> str:
    try:
        done = subprocess.run(  # noqa: S603 - an argument list, no shell
            ["gh", *arguments],  # noqa: S607 - wherever the user has it
            capture_output=True,
            text=True,
            timeout=DEADLINE,
            check=False,
        )
    except OSError:
        raise GhFailed("gh is not installed: see cli.github.com") from None
    except subprocess.TimeoutExpired:
        raise GhFailed(f"gh gave no answer within {DEADLINE:.0f} seconds") from None
    if done.returncode != 0:
        said = done.stderr.strip().splitlines() or ["it gave no reason"]
        raise GhFailed(f"gh {arguments[0]} {arguments[1]} failed: {said[-1]}")
    return done.stdout


if __name__ == "__main__":
    sys.exit(main())
