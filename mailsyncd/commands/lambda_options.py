"""The arguments of `mailsyncd lambda`."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path

from mailsyncd.errors import InvocationFailed

DESCRIPTION = """\
Calls the AWS Lambda function's handler here, with this environment, and prints what it answers. An event
may name a route: {"route": "me@gmail.com"}. Its logs, too, go to standard output.
"""


def add_lambda(
    commands: argparse._SubParsersAction[argparse.ArgumentParser],
    command: Callable[[argparse.Namespace], int],
) -> None:
    parser = commands.add_parser(
        "lambda", help="run the AWS Lambda function's handler once, here", description=DESCRIPTION
    )
    parser.add_argument("--event", type=Path, metavar="FILE", help="its event, as JSON; - for standard input")
    parser.add_argument(
        "--timeout", type=_seconds, default=240.0, metavar="S", help="its time, in seconds (default 240)"
    )
    parser.set_defaults(command=command)


def event_of(arguments: argparse.Namespace) -> object:
    """That of a schedule where none is given. Raises InvocationFailed."""
    path = arguments.event
    if path is None:
        return {"source": "aws.events", "detail-type": "Scheduled Event", "detail": {}}
    try:
        return json.loads(sys.stdin.read() if str(path) == "-" else path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise InvocationFailed(f"{path}: is not JSON: {error}") from None
    except OSError as error:
        raise InvocationFailed(f"{path}: {error.strerror}") from None


def _seconds(text: str) -> float:
    if not text.isdigit() or not 1 <= int(text) <= 900:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds from 1 to 900")
    return float(text)
