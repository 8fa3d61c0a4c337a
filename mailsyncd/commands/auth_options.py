"""The arguments of `mailsyncd auth`."""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mailsyncd.auth.providers import Provider

_WHY_NOT_HERE = (
    "better in the configuration or in {variable}: a command line can be read by others, and is kept in "
    "the shell's history"
)
_ROUTE = "its Gmail address or folder; needed where several accounts are configured"


def add_auth(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    auth = commands.add_parser("auth", help="sign in, and have the refresh token stored; or try all sign-ins")
    what = auth.add_subparsers(metavar="gmail|microsoft|service-account|test|status", required=True)
    gmail = what.add_parser(
        "gmail",
        help="sign in to a Gmail account, in the browser",
        description="Signs in to a Gmail account in the browser and stores its refresh token.",
    )
    gmail.add_argument("--route", metavar="R", help=_ROUTE)
    _takes_the_rest(gmail, "GMAIL", "8765")
    gmail.add_argument(
        "--device", action="store_true", help="not to be had: Google's device codes give no access to mail"
    )
    gmail.add_argument(
        "--testing",
        action="store_true",
        help="note that the app's publishing status is Testing, where the token dies after seven days",
    )
    gmail.set_defaults(command=_gmail)
    microsoft = what.add_parser(
        "microsoft",
        help="sign in to an Outlook.com account, in the browser or by a device code",
        description="Signs in to a Microsoft account and stores its refresh token.",
    )
    microsoft.add_argument("--destination", metavar="D", help="its name or email, where there are several")
    microsoft.add_argument("--tenant", metavar="T", help="whose accounts (default: consumers)")
    microsoft.add_argument(
        "--device",
        action="store_true",
        help="show a code to enter in a browser anywhere (Google has no such)",
    )
    microsoft.add_argument("--device-url", metavar="URL", help="where to ask for that code")
    _takes_the_rest(microsoft, "MS", "8766")
    microsoft.set_defaults(command=_microsoft)
    _add_service_account(what)
    test = what.add_parser("test", help="sign in to every server as the daemon would, and say what is there")
    test.add_argument("--config", type=Path, metavar="F", help="the TOML file")
    test.add_argument("--route", metavar="R", help="only this route: its Gmail address, folder or name")
    test.set_defaults(command=_test)
    status = what.add_parser(
        "status",
        help="which sign-ins are good, which need their user, and when the others will end",
        description="Asks the running daemon; without one, tells what was noted. Nobody signs in for it.",
    )
    status.add_argument("--config", type=Path, metavar="F", help="the TOML file")
    status.add_argument("--json", action="store_true", help="as JSON")
    status.set_defaults(command=_status)


def _add_service_account(what: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    service = what.add_parser(
        "service-account",
        help="try a service account's key or an application's secret, where no person signs in",
        description="Asks for a token as the daemon would: for every route and destination configured with "
        'auth = "service-account"; or, with the options below, for one that is not configured yet.',
    )
    service.add_argument(
        "provider",
        nargs="?",
        choices=["google", "microsoft"],
        help="domain-wide delegation of a Google Workspace, or client credentials of a Microsoft tenant, by "
        "options (default: what is configured)",
    )
    service.add_argument("--config", type=Path, metavar="F", help="the TOML file, if there is one already")
    chosen = service.add_mutually_exclusive_group()
    chosen.add_argument(
        "--route", metavar="R", help="of what is configured, only this: Gmail address or folder"
    )
    chosen.add_argument("--destination", metavar="D", help="of what is configured, only this: name or email")
    service.add_argument("--email", metavar="E", help="whose mailbox")
    service.add_argument(
        "--key",
        metavar="SOURCE",
        help="Google's JSON key or Microsoft's certificate: a path, or as in the configuration, such as "
        """'{ ssm = "/name" }'""",
    )
    service.add_argument("--client-id", metavar="ID", help="of the application (default: MS_CLIENT_ID)")
    service.add_argument(
        "--client-secret", metavar="S", help=_WHY_NOT_HERE.format(variable="MS_CLIENT_SECRET")
    )
    service.add_argument("--tenant", metavar="T", help="the directory's name or id")
    service.add_argument("--token-url", metavar="URL", help="the token endpoint of a server of one's own")
    service.add_argument("--scope", metavar="SCOPE", help="what to ask for (default: mail)")
    service.set_defaults(command=_service_account)


def _takes_the_rest(parser: argparse.ArgumentParser, prefix: str, port: str) -> None:
    parser.add_argument("--config", type=Path, metavar="F", help="the TOML file, if there is one already")
    parser.add_argument("--email", metavar="E", help="who signs in (default: as configured)")
    parser.add_argument(
        "--client-id",
        metavar="ID",
        help=f"default: as configured, else {prefix}_CLIENT_ID of the environment",
    )
    parser.add_argument(
        "--client-secret", metavar="S", help=_WHY_NOT_HERE.format(variable=f"{prefix}_CLIENT_SECRET")
    )
    parser.add_argument(
        "--port", type=_port, metavar="N", help=f"of the page that the browser comes back to (default {port})"
    )
    parser.add_argument(
        "--no-browser",
        action="store_true",
        help="print the address, and read the one that the browser ends at from standard input",
    )
    _takes_a_place(parser)
    parser.add_argument("--authorize-url", metavar="URL", help="where to sign in, of a server of one's own")
    parser.add_argument("--token-url", metavar="URL", help="its token endpoint")
    parser.add_argument("--scope", metavar="SCOPE", help="what to ask for (default: mail)")


def _takes_a_place(parser: argparse.ArgumentParser) -> None:
    place = parser.add_mutually_exclusive_group()
    place.add_argument("--store", choices=["file"], help="to a file, as without any --write option")
    place.add_argument("--write-parameter-name", metavar="NAME", help="to a SecureString parameter of SSM")
    place.add_argument("--write-secret-id", metavar="ID", help="to a secret of Secrets Manager")
    parser.add_argument(
        "--file",
        type=Path,
        metavar="PATH",
        help="which file (default: as configured, else refresh-tokens/EMAIL beside the TOML file)",
    )
    for option, noun in (("--write-parameter-key", "parameter"), ("--write-secret-key", "secret")):
        what = f"which key of the JSON object in the {noun}; all others are kept"
        parser.add_argument(option, metavar="KEY", help=what)


def _port(text: str) -> int:
    if not text.isdigit() or not 1 <= int(text) <= 65_535:
        raise argparse.ArgumentTypeError(f"{text!r} is not a port; write 1 to 65535")
    return int(text)


def _gmail(arguments: argparse.Namespace) -> int:
    from mailsyncd.auth.providers import GOOGLE

    return _sign_in(GOOGLE, arguments, arguments.route)


def _microsoft(arguments: argparse.Namespace) -> int:
    from mailsyncd.auth.providers import MICROSOFT

    return _sign_in(MICROSOFT, arguments, arguments.destination)


def _service_account(arguments: argparse.Namespace) -> int:
    from mailsyncd.commands.auth_service import Wish, try_out

    names = (
        "config",
        "provider",
        "email",
        "key",
        "client_id",
        "client_secret",
        "tenant",
        "token_url",
        "scope",
    )
    given = {name: getattr(arguments, name) for name in names}
    wish = Wish(only=arguments.route or arguments.destination, **given)
    return asyncio.run(try_out(wish, os.environ, sys.stdout))


def _test(arguments: argparse.Namespace) -> int:
    from mailsyncd.commands.auth_test import test

    return asyncio.run(test(arguments.config, os.environ, sys.stdout, only=arguments.route))


def _status(arguments: argparse.Namespace) -> int:
    from mailsyncd.commands.auth_status import status

    return asyncio.run(status(arguments.config, os.environ, sys.stdout, as_json=arguments.json))


def _sign_in(provider: Provider, arguments: argparse.Namespace, only: str | None) -> int:
    from mailsyncd.account import Secret
    from mailsyncd.commands.auth import How, sign_in
    from mailsyncd.commands.auth_account import Asked
    from mailsyncd.commands.auth_store import Where

    asked = Asked(
        config=arguments.config,
        only=only,
        email=arguments.email,
        client_id=arguments.client_id,
        client_secret=Secret(arguments.client_secret) if arguments.client_secret else None,
        authorize_url=arguments.authorize_url,
        token_url=arguments.token_url,
        device_url=getattr(arguments, "device_url", None),
        scope=arguments.scope,
        tenant=getattr(arguments, "tenant", None),
        file=arguments.file,
    )
    where = Where(
        arguments.write_parameter_name,
        arguments.write_parameter_key,
        arguments.write_secret_id,
        arguments.write_secret_key,
    )
    testing = getattr(arguments, "testing", False)
    how = How(arguments.port, arguments.no_browser, arguments.device, in_testing=testing, where=where)
    return asyncio.run(sign_in(provider, asked, how, os.environ, sys.stdout))
