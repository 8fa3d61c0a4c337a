"""The arguments of `mailsyncd config` and `mailsyncd reload`."""

from __future__ import annotations

import argparse
import os
import sys

from mailsyncd.commands.arguments import socket_of, takes_config, takes_socket


def add_reload(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    reload = commands.add_parser(
        "reload",
        help="have the running daemon read its configuration again, and say what came of it",
        description="As SIGHUP, but waits for the outcome. Statuses: 0 in force, 78 refused (the old one "
        "stays in force), 75 a secret could not be had for now, 3 no daemon is running.",
    )
    takes_config(reload)
    takes_socket(reload)
    reload.add_argument("--json", action="store_true", help="the outcome as one JSON object")
    reload.set_defaults(command=_reload)


def add_config(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    config = commands.add_parser("config", help="check, show or compare the configuration")
    what = config.add_subparsers(metavar="check|show|diff", required=True)
    check = what.add_parser("check", help="say whether it is good, or list every mistake")
    takes_config(check)
    check.set_defaults(command=_config_check)
    show = what.add_parser("show", help="every setting and where it came from, secrets masked")
    takes_config(show)
    show.add_argument("--json", action="store_true", help="as JSON")
    show.set_defaults(command=_config_show)
    diff = what.add_parser(
        "diff",
        help="what a reload would change of the running daemon",
        description="Compares with what the running daemon goes by. Statuses: 0 a reload would take it, "
        "1 it needs a restart, 3 no daemon is running, 78 the configuration is wrong.",
    )
    takes_config(diff)
    takes_socket(diff)
    diff.add_argument("--json", action="store_true", help="as one JSON object")
    diff.set_defaults(command=_config_diff)


def _reload(arguments: argparse.Namespace) -> int:
    from mailsyncd.commands.reload import reload

    return reload(socket_of(arguments), as_json=arguments.json, out=sys.stdout, err=sys.stderr)


def _config_check(arguments: argparse.Namespace) -> int:
    import asyncio

    from mailsyncd.commands.config import check

    return asyncio.run(check(arguments.config, os.environ, sys.stdout))


def _config_show(arguments: argparse.Namespace) -> int:
    from mailsyncd.commands.config import show

    return show(arguments.config, os.environ, sys.stdout, as_json=arguments.json)


def _config_diff(arguments: argparse.Namespace) -> int:
    from mailsyncd.commands.reload import diff

    socket, streams = socket_of(arguments), (sys.stdout, sys.stderr)
    import asyncio

    return asyncio.run(diff(arguments.config, os.environ, socket, streams, arguments.json))
