"""All benchmarks, or those that are named, and then the page: `python -m bench [PART ...]`, from tests/."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence

from bench import backlog, later, push, routes, sizes, state
from bench.report import report

KNOWN = ["--known", "1000,10000,100000", "--size", "1000", "--only", "mbsync,mailsyncd", "--save", "known"]

PARTS: dict[str, tuple[Callable[[Sequence[str]], None], list[str]]] = {
    "backlog": (backlog.main, ["--save"]),
    "later": (later.main, ["--save", "later"]),
    "push": (push.main, ["--save"]),
    "routes": (routes.main, ["--save"]),
    "known": (later.main, KNOWN),
    "sizes": (sizes.main, ["--save"]),
    "state": (state.main, ["--save"]),
}


def main() -> None:
    parser = argparse.ArgumentParser(prog="bench", description=__doc__)
    parser.add_argument("part", nargs="*", help=f"of {', '.join(PARTS)} (all of them)")
    chosen = parser.parse_args().part or list(PARTS)
    if wrong := set(chosen) - set(PARTS):
        parser.error(f"no such part: {', '.join(sorted(wrong))}; there are {', '.join(PARTS)}")
    for name in chosen:
        print(f"== {name}", flush=True)
        run, arguments = PARTS[name]
        run(arguments)
    print("== targets", flush=True)
    report()


if __name__ == "__main__":
    main()
