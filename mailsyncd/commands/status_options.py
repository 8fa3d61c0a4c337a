"""The arguments of `mailsyncd status`."""

from __future__ import annotations

import argparse
import sys

from mailsyncd.commands.arguments import socket_of, takes_config, takes_socket


def add_status(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    status = commands.add_parser(
        "status",
        help="what the running daemon does, once or live",
        description="Routes with their backlogs, destinations, sign-ins, and what was set aside and why. "
        "The exit status is that of `check`.",
    )
    takes_config(status)
    takes_socket(status)
    status.add_argument("--watch", action="store_true", help="live, until Ctrl-C; with --json a line a look")
    status.add_argument("--json", action="store_true", help="everything the daemon says, as JSON")
    status.add_argument(
        "--interval", type=_interval, default=1.0, metavar="S", help="seconds between looks (default 1)"
    )
    status.set_defaults(command=_status)


def _interval(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0.1 <= seconds <= 3600:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds from 0.1 to 3600")
    return seconds


def _status(arguments: argparse.Namespace) -> int:
    from mailsyncd.commands.status import Look, once, watch

    look = Look(socket_of(arguments), arguments.json, sys.stdout, sys.stderr)
    return watch(look, arguments.interval) if arguments.watch else once(look)
