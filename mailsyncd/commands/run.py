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
from mailsyncd.observe.logs import configure


async def run(config: Path | None, environ: Mapping[str, str]) -> int:
    """0 when it was stopped as asked. Raises ConfigError and StateUnavailable."""

    async def reread() -> Configuration:
        return await load(config, environ)

    configuration = await reread()
    run_id = uuid4().hex[:12]
    configure(configuration.daemon.log_level, configuration.daemon.log_format, sys.stdout, run_id)
    parts = Assembly(configuration)
    try:
        await Daemon(configuration, parts, reread, environ, run_id).run()
    finally:
        await parts.close()
    return 0
