"""The program: a process that is set up to start and end quickly, and then the command."""

from __future__ import annotations

import gc
import sys

OBJECTS = 100_000  # new ones between looks for garbage: more than are made by loading, and those stay


def program() -> int:
    """`mailsyncd`, or `python -m mailsyncd`."""
    if "--fast" in sys.argv and (code := _fast()) is not None:
        return code
    gc.set_threshold(OBJECTS, 20, 20)
    from mailsyncd.cli import main

    try:
        return main()
    finally:
        gc.freeze()  # or Python would look through all of it once more before it ends


def _fast() -> int | None:
    """`check --fast`, before anything is loaded that it can do without."""
    import os

    from mailsyncd.commands.fast import fast_check

    return fast_check(sys.argv[1:], os.environ)


if __name__ == "__main__":
    raise SystemExit(program())
