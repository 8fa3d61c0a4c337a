"""A daemon's loop tells, twice a minute, what only its own process can count."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections import Counter
from collections.abc import Callable

MakeLoop = Callable[[], asyncio.AbstractEventLoop]
SECONDS = 30.0


def with_pulse(make: MakeLoop, path: str, struck: Counter[str]) -> MakeLoop:
    """Loops as `make` makes them, which write to `path`; also what `struck` counts."""

    def beat(loop: asyncio.AbstractEventLoop) -> None:
        tasks, blocks = len(asyncio.all_tasks(loop)), sys.getallocatedblocks()
        with open(path + ".new", "w") as file:
            json.dump({"tasks": tasks, "blocks": blocks, "struck": struck}, file)
        os.replace(path + ".new", path)
        loop.call_later(SECONDS, beat, loop)

    def made() -> asyncio.AbstractEventLoop:
        loop = make()
        loop.call_soon(beat, loop)
        return loop

    return made
