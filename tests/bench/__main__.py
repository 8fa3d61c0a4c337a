"""All benchmarks, or those that are named, and then the page: `python -m bench [PART ...]`, from tests/."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence

from bench import backlog, known, later, push, routes, sizes, state, where
from bench.report import report

PARTS: dict[str, Callable[[Sequence[str]], None]] = {
    "backlog": backlog.main,
    "later": later.main,
    "push": push.main,
    "routes": routes.main,
    "known": known.main,
    "sizes": sizes.main,
    "state": state.main,
    "where": where.main,
}


def main() -> None:
    parser = argparse.ArgumentParser(prog="bench", description=__doc__)
    parser.add_argument("part", nargs="*", help=f"of {', '.join(PARTS)} (all of them)")
    chosen = parser.parse_args().part or list(PARTS)
    if wrong := set(chosen) - set(PARTS):
        parser.error(f"no such part: {', '.join(sorted(wrong))}; there are {', '.join(PARTS)}")
    for name in chosen:
        print(f"== {name}", flush=True)
        PARTS[name](["--save"])
    print("== targets", flush=True)
    report()


if __name__ == "__main__":
    main()
