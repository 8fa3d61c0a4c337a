"""The program: a process that is set up to start and end quickly, and then the command."""

from __future__ import annotations

import gc
import sys
from typing import cast

OBJECTS = 20_000  # new ones between looks for garbage: what is loaded at the start would be seen 100 times


def program() -> int:
    """`mailsyncd`, or `python -m mailsyncd`."""
    if "--fast" in sys.argv and (code := _fast()) is not None:
        return code
    gc.set_threshold(OBJECTS, 20, 20)
    _load_structlog_alone()
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


def _load_structlog_alone() -> None:
    """Without rich, which it loads where it can, for tracebacks in colour: a sixth of the whole start."""
    modules = cast("dict[str, object]", sys.modules)
    modules["rich"] = None
    try:
        import structlog  # noqa: F401
    finally:
        del modules["rich"]


if __name__ == "__main__":
    raise SystemExit(program())
