"""The arguments of `mailsyncd failures`."""

from __future__ import annotations

import argparse
import asyncio
import os
import re
import sys

from mailsyncd.commands.arguments import takes_config

_ID = "as `failures list` shows it, or its UID alone"


def add_failures(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    failures = commands.add_parser("failures", help="what was set aside: list, retry, discard, export")
    what = failures.add_subparsers(metavar="list|show|retry|discard|export", required=True)
    listing = what.add_parser("list", help="every message that was set aside and is not dealt with")
    listing.add_argument("--all", action="store_true", help="those that are dealt with, too")
    listing.add_argument("--json", action="store_true", help="as JSON")
    show = what.add_parser("show", help="all that is known of one")
    retry = what.add_parser("retry", help="have one, or all, tried again")
    discard = what.add_parser("discard", help="call one dealt with, without copying it")
    export = what.add_parser("export", help="write the message to a file, byte for byte")
    one_or_all = retry.add_mutually_exclusive_group(required=True)
    one_or_all.add_argument("--all", action="store_true", help="all that are not dealt with")
    one_or_all.add_argument("id", metavar="ID", nargs="?", type=_failure_id, help=_ID)
    for one in (show, discard, export):
        one.add_argument("id", metavar="ID", type=_failure_id, help=_ID)
    export.add_argument("file", metavar="FILE", help="must not exist; - for standard output")
    for one, command in (
        (listing, _list),
        (show, _show),
        (retry, _retry),
        (discard, _discard),
        (export, _export),
    ):
        takes_config(one)
        one.add_argument("--route", metavar="R", help="only this route: its Gmail address, folder or name")
        one.set_defaults(command=command)


def _failure_id(text: str) -> str:
    if not re.fullmatch(r"[0-9]{1,10}(-[0-9]{1,10})?", text):
        raise argparse.ArgumentTypeError(
            f"{text!r} is not an id; write it as `failures list` shows it, or a UID"
        )
    return text


def _list(arguments: argparse.Namespace) -> int:
    from mailsyncd.commands.failures import show_list

    flags = {"only": arguments.route, "resolved_too": arguments.all, "as_json": arguments.json}
    return asyncio.run(show_list(arguments.config, os.environ, sys.stdout, **flags))


def _show(arguments: argparse.Namespace) -> int:
    from mailsyncd.commands.failures import show_one

    return asyncio.run(
        show_one(arguments.config, os.environ, sys.stdout, wanted=arguments.id, only=arguments.route)
    )


def _retry(arguments: argparse.Namespace) -> int:
    from mailsyncd.commands.failures import retry

    return asyncio.run(
        retry(arguments.config, os.environ, sys.stdout, wanted=arguments.id, only=arguments.route)
    )


def _discard(arguments: argparse.Namespace) -> int:
    from mailsyncd.commands.failures import discard

    return asyncio.run(
        discard(arguments.config, os.environ, sys.stdout, wanted=arguments.id, only=arguments.route)
    )


def _export(arguments: argparse.Namespace) -> int:
    from mailsyncd.commands.export import export

    name = {"wanted": arguments.id, "target": arguments.file, "only": arguments.route}
    return asyncio.run(export(arguments.config, os.environ, sys.stdout.buffer, **name))
