"""`mailsyncd run`: the daemon, until a signal ends it."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from uuid import uuid4

from mailsyncd.assemble import Assembly
from mailsyncd.commands.load import load
from mailsyncd.config.values import Configuration
from mailsyncd.daemon import Daemon
from mailsyncd.errors import ConfigError, Problem
from mailsyncd.observe.logs import configure


async def run(config: Path | None, environ: Mapping[str, str]) -> int:
    """0 when it was stopped as asked. Raises ConfigError and StateUnavailable."""

    async def reread() -> Configuration:
        _must_be_a_file(config)
        return await load(config, environ)

    configuration = await load(config, environ)
    run_id = uuid4().hex[:12]
    configure(configuration.daemon.log_level, configuration.daemon.log_format, sys.stdout, run_id)
    parts = Assembly(configuration)
    try:
        await Daemon(configuration, parts, reread, environ, run_id).run()
    finally:
        await parts.close()
    return 0


def _must_be_a_file(config: Path | None) -> None:
    """A named pipe, say, would never be read to its end."""
    if config is not None and config.exists() and not config.is_file():
        raise ConfigError(Problem("", "is not a file", source=str(config)))
