"""The arguments that several commands have in common."""

from __future__ import annotations

import argparse
import os
from pathlib import Path


def takes_config(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--config",
        type=Path,
        metavar="F",
        help="the TOML file; without it, the environment alone must suffice",
    )


def takes_socket(parser: argparse.ArgumentParser) -> None:
    """For what asks the running daemon."""
    parser.add_argument("--socket", type=Path, help="the daemon's socket (default: as configured)")


def socket_of(arguments: argparse.Namespace) -> Path:
    """The daemon's, as told or as configured."""
    if arguments.socket is not None:
        return Path(arguments.socket)
    from mailsyncd.config import load

    return load.socket(arguments.config, os.environ)
