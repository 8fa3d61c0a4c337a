"""The configuration with all that AWS's stores hold of it, read once."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

from mailsyncd.config import load as config
from mailsyncd.config.parameters import Wanted
from mailsyncd.config.values import Configuration
from mailsyncd.errors import ConfigError, Problem
from mailsyncd.stored import Held

T = TypeVar("T")
ROUNDS = 4  # nothing, the environment's share, the references; and one for a file that changed meanwhile


async def load(path: Path | None, environ: Mapping[str, str]) -> Configuration:
    """Raises ConfigError, SecretsUnavailable."""
    return (await with_all_held(lambda held: config.load(path, environ, held))).configuration


async def with_all_held(read_config: Callable[[Held], T]) -> T:
    """What `read_config` makes of what it wants of the stores. Raises what it raises but for Wanted."""
    held: Held = {}
    for _ in range(ROUNDS):
        try:
            # In a thread, for it reads files: a daemon that reloads has other things to do.
            return await asyncio.to_thread(read_config, held)
        except Wanted as wanted:
            # Here, because the SDK takes memory that a configuration without AWS has no use for.
            from mailsyncd.vault.read import read

            held = {**held, **await read(wanted.references, wanted.region)}
            gc.collect()  # the SDK leaves its descriptions of AWS in circles: 15 MiB for each reading
    raise ConfigError(Problem("", "the configuration changes again and again while it is read"))
