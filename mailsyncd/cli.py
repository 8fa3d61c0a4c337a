"""Arguments -> command -> exit status; the one place where errors become sentences.

Commands are imported when they are called, so that `check` stays fast.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import os
import resource
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial

from mailsyncd import __version__
from mailsyncd.commands.arguments import socket_of, takes_config, takes_socket
from mailsyncd.commands.auth_options import add_auth
from mailsyncd.commands.config_options import add_config, add_reload
from mailsyncd.commands.failures_options import add_failures
from mailsyncd.commands.lambda_options import add_lambda
from mailsyncd.commands.status_options import add_status
from mailsyncd.errors import ConfigError, LeaseLost, MailsyncError, SecretsUnavailable, StateUnavailable
from mailsyncd.libraries import hidden

EXIT_OK = 0
EXIT_FAILURES = 1
EXIT_TEMPORARY = 75  # EX_TEMPFAIL of sysexits.h: a supervisor may try again
EXIT_CONFIG = 78  # EX_CONFIG: trying again will not help
OBJECTS = 20_000  # new ones between looks for garbage

EPILOG = """\
exit statuses:
  0   all went well (check: healthy)
  1   finished, with failures; or failed, and a line says why (check: degraded)
  2   wrong arguments (check: failing)
  3   check, status, reload, config diff: no daemon is running
  75  the state store or AWS can't be had, or another daemon holds the lease: try again later
  78  the configuration is wrong
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; returns its exit status."""
    given = sys.argv[1:] if argv is None else argv
    arguments = _parser(given).parse_args(given)
    _leave_no_core()
    try:
        return int(arguments.command(arguments))
    except (ConfigError, SecretsUnavailable) as error:
        for problem in error.problems:
            print(f"mailsyncd: {problem}", file=sys.stderr)
        return EXIT_CONFIG if isinstance(error, ConfigError) else EXIT_TEMPORARY
    except (StateUnavailable, LeaseLost) as error:
        print(f"mailsyncd: {error}", file=sys.stderr)
        return EXIT_TEMPORARY
    except MailsyncError as error:
        print(f"mailsyncd: {error}", file=sys.stderr)
        return EXIT_FAILURES
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_FAILURES
    except KeyboardInterrupt:
        return 130


def _leave_no_core() -> None:
    """A core dump would have every token in it. systemd-coredump and apport keep to the limit, too."""
    with suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _parser(given: Sequence[str] = ()) -> argparse.ArgumentParser:
    """Of the command that is given, or of all: to describe them all takes 10 ms, at every start."""
    parser = argparse.ArgumentParser(
        prog="mailsyncd",
        description="Copies new Gmail mail into Outlook.com: now, once, unchanged.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"mailsyncd {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    adders: dict[str, Callable[[Commands[argparse.ArgumentParser]], None]] = {
        "run": _add_run,
        "run-once": _add_run_once,
        "lambda": partial(add_lambda, command=_lambda),
        "check": _add_check,
        "status": add_status,
        "reload": add_reload,
        "config": add_config,
        "state": _add_state,
        "failures": add_failures,
        "auth": add_auth,
        "secrets": _add_secrets,
        "demo": _add_demo,
    }
    for name in [given[0]] if given and given[0] in adders else adders:
        adders[name](commands)
    return parser


Commands = argparse._SubParsersAction  # argparse has no public name for it


def _add_run(commands: Commands[argparse.ArgumentParser]) -> None:
    run = commands.add_parser("run", help="the daemon: watch every route and copy what arrives")
    takes_config(run)
    run.set_defaults(command=_run)


def _add_run_once(commands: Commands[argparse.ArgumentParser]) -> None:
    once = commands.add_parser("run-once", help="bring every route up to date once, then stop")
    takes_config(once)
    once.add_argument("--dry-run", action="store_true", help="list what would be copied; write nothing")
    once.add_argument("--route", metavar="R", help="only this route: its Gmail address, folder or name")
    once.add_argument("--json", action="store_true", help="the summary as one JSON object")
    once.set_defaults(command=_run_once)


def _add_check(commands: Commands[argparse.ArgumentParser]) -> None:
    check = commands.add_parser("check", help="ask the running daemon how it is")
    takes_config(check)
    takes_socket(check)
    check.add_argument("--json", action="store_true", help="everything the daemon says, as JSON")
    how = check.add_mutually_exclusive_group()
    how.add_argument("--fast", action="store_true", help="one word, and next to nothing loaded for it")
    how.add_argument(
        "--deep",
        action="store_true",
        help="sign in everywhere, read and write state, and append and find a probe in the folder --folder",
    )
    check.add_argument(
        "--folder",
        metavar="F",
        default="mailsyncd-check",
        help="for the probes of --deep (default: %(default)s)",
    )
    check.set_defaults(command=_check)


def _add_state(commands: Commands[argparse.ArgumentParser]) -> None:
    state = commands.add_parser("state", help="create, show or rebuild the state store")
    what = state.add_subparsers(metavar="init|show|rebuild", required=True)
    init = what.add_parser("init", help="create the table or file; safe to repeat")
    takes_config(init)
    init.add_argument("--point-in-time-recovery", action="store_true", help="DynamoDB: continuous backups")
    init.add_argument("--deletion-protection", action="store_true", help="DynamoDB: no accidental deletion")
    init.set_defaults(command=_state_init)
    show = what.add_parser("show", help="watermarks and counts of every route")
    takes_config(show)
    show.add_argument("--route", metavar="R", help="only this route")
    show.add_argument("--json", action="store_true", help="as JSON")
    show.set_defaults(command=_state_show)
    rebuild = what.add_parser(
        "rebuild",
        help="after the store was emptied or restored: write what source and destination show",
        description="Compares source and destination and writes what the state store forgot. It copies "
        "nothing: what is found to be missing is copied by the next run.",
    )
    takes_config(rebuild)
    rebuild.add_argument("--route", metavar="R", help="only this route")
    rebuild.add_argument("--dry-run", action="store_true", help="compare only; write nothing")
    rebuild.add_argument(
        "--skip-missing", action="store_true", help="do not copy later what is missing at the destination"
    )
    rebuild.add_argument("--json", action="store_true", help="as JSON")
    rebuild.set_defaults(command=_state_rebuild)


def _add_secrets(commands: Commands[argparse.ArgumentParser]) -> None:
    secrets = commands.add_parser("secrets", help="move secrets from one of AWS's stores to the other")
    what = secrets.add_subparsers(metavar="migrate", required=True)
    migrate = what.add_parser(
        "migrate",
        help="copy JSON secrets of Secrets Manager to SSM parameters",
        description="Copies each secret whole to a SecureString. Shows the names of keys, never a value.",
    )
    migrate.add_argument("--region", metavar="R", help="of both stores (default: AWS_REGION)")
    migrate.add_argument(
        "--mapping",
        metavar="SECRET=/PARAMETER",
        action="append",
        required=True,
        help="what to copy where; may be repeated",
    )
    migrate.add_argument("--overwrite", action="store_true", help="replace parameters that exist")
    migrate.add_argument("--dry-run", action="store_true", help="say what would be done; write nothing")
    migrate.set_defaults(command=_secrets_migrate)


def _add_demo(commands: Commands[argparse.ArgumentParser]) -> None:
    demo = commands.add_parser("demo", help="the main job on embedded servers, before your eyes")
    demo.add_argument("--messages", type=_count, default=60, metavar="N", help="how many (default 60)")
    demo.add_argument("--routes", type=_count, default=3, metavar="M", help="how many routes (default 3)")
    demo.add_argument("--seed", type=int, default=1, metavar="S", help="of the mail and its timing")
    demo.add_argument("--json", action="store_true", help="only the result, as one JSON object")
    demo.set_defaults(command=_demo)


def _count(text: str) -> int:
    if not text.isdigit() or not 1 <= int(text) <= 100_000:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 1 to 100000")
    return int(text)


# ------------------------------------------------------------------- the commands


def _spare_rich() -> None:
    """structlog imports rich for tracebacks that are never shown here: a seventh of the time to start, and
    4 MiB of a daemon."""
    with hidden("rich"):
        import structlog.dev  # noqa: F401


def _all_is_loaded() -> None:
    """From here on there is garbage, with messages in it: looks for it come often, and spare what stays."""
    gc.freeze()
    gc.set_threshold(OBJECTS, 20, 20)


def _run(arguments: argparse.Namespace) -> int:
    _spare_rich()
    from mailsyncd.commands.run import run

    _all_is_loaded()
    return asyncio.run(run(arguments.config, os.environ))


def _run_once(arguments: argparse.Namespace) -> int:
    _spare_rich()
    if arguments.dry_run:
        from mailsyncd.commands.dry_run import dry_run as once
    else:
        from mailsyncd.commands.run_once import run_once as once

    _all_is_loaded()
    return asyncio.run(once(arguments.config, os.environ, only=arguments.route, as_json=arguments.json))


def _lambda(arguments: argparse.Namespace) -> int:
    _spare_rich()
    import json

    from mailsyncd.commands.lambda_options import event_of
    from mailsyncd.lambda_handler import LocalContext, handler

    print(json.dumps(handler(event_of(arguments), LocalContext(arguments.timeout))))
    return EXIT_OK


def _check(arguments: argparse.Namespace) -> int:
    if arguments.deep:
        return _deep_check(arguments)
    from mailsyncd.commands.check import check

    return check(socket_of(arguments), as_json=arguments.json, out=sys.stdout, err=sys.stderr)


def _deep_check(arguments: argparse.Namespace) -> int:
    from mailsyncd.commands.deep import deep_check, tell

    where = (arguments.config, os.environ, socket_of(arguments), arguments.folder)
    code, found = asyncio.run(deep_check(*where))
    tell(found, sys.stdout, as_json=arguments.json)
    return code


def _state_init(arguments: argparse.Namespace) -> int:
    from mailsyncd.commands.state import init

    return asyncio.run(
        init(
            arguments.config,
            os.environ,
            sys.stdout,
            point_in_time_recovery=arguments.point_in_time_recovery,
            deletion_protection=arguments.deletion_protection,
        )
    )


def _state_show(arguments: argparse.Namespace) -> int:
    from mailsyncd.commands.state import show

    return asyncio.run(
        show(arguments.config, os.environ, sys.stdout, only=arguments.route, as_json=arguments.json)
    )


def _state_rebuild(arguments: argparse.Namespace) -> int:
    from mailsyncd.commands.rebuild import rebuild

    return asyncio.run(
        rebuild(
            arguments.config,
            os.environ,
            sys.stdout,
            only=arguments.route,
            dry_run=arguments.dry_run,
            skip_missing=arguments.skip_missing,
            as_json=arguments.json,
        )
    )


def _secrets_migrate(arguments: argparse.Namespace) -> int:
    from mailsyncd.commands.secrets import copy
    from mailsyncd.vault.migrate import Wish

    wish = Wish(arguments.overwrite, arguments.dry_run)
    streams = (sys.stdout, sys.stderr)
    return asyncio.run(copy(arguments.mapping, arguments.region, os.environ, streams, wish))


def _demo(arguments: argparse.Namespace) -> int:
    from mailsyncd.commands.demo import demo

    return asyncio.run(demo(arguments.messages, arguments.routes, arguments.seed, arguments.json, sys.stdout))
