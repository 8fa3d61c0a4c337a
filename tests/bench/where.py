"""Where the CPU time of a message goes, by hot path: the backlog with either state, and new mail.

cProfile makes calls dearer than they are, and so what consists of many: take shares from here. A
function of the standard library, or one in C, counts for whoever called it."""

from __future__ import annotations

import argparse
import asyncio
import pstats
from collections import defaultdict
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from bench import daemon
from bench.backlog import lines, run, task
from bench.engine import engine
from bench.push import mail
from bench.results import Results, Row, save
from bench.servers import servers
from bench.sims import sims

HERE = str(Path(__file__).parents[2])
COUNT = 2000
PUSHED, EVERY = 500, 0.02  # messages, and seconds between them

Function = tuple[str, int, str]
# The first that fits a function's file, or its name.
AREAS = (
    ("start of the program", ("<frozen importlib", "<module>")),
    ("hashes", ("openssl_sha256", "openssl_md5")),
    ("system calls for sockets", ("_socket.socket", "_ssl._SSLSocket", "select.epoll")),
    ("log", ("/structlog/", "mailsyncd/observe/", "flow/outcome.py")),
    (
        "AWS's SDK and its HTTP",
        ("/aiobotocore/", "/botocore/", "/aiohttp/", "/yarl/", "/multidict/", "/urllib3/"),
    ),
    ("state: the rest of it", ("mailsyncd/state/", "flow/gate.py")),
    (
        "IMAP: reading",
        ("imap/responses.py", "imap/fetches.py", "imap/gmail.py", "imap/early.py", "imap/marks.py"),
    ),
    ("IMAP: both ways", ("mailsyncd/imap/",)),
    ("headers and dates", ("mailsyncd/policy.py", "flow/preflight.py")),
    ("flow", ("mailsyncd/flow/", "mailsyncd/model.py")),
    ("event loop", ("/asyncio/",)),
)


def shares(stats: dict[Function, Any]) -> dict[str, float]:
    """Seconds by area. stats: pstats' own: function -> calls, calls, seconds, with callees, callers."""
    found: defaultdict[str, float] = defaultdict(float)
    for function, (_, _, seconds, _, callers) in stats.items():
        _charge(stats, function, seconds, callers, found, 0)
    return dict(found)


def _charge(
    stats: dict[Function, Any],
    function: Function,
    seconds: float,
    callers: dict[Function, Any],
    found: defaultdict[str, float],
    depth: int,
) -> None:
    if seconds < 1e-6:
        return
    if area := _area(function):
        found[area] += seconds
    elif not callers or depth > 6:
        found["the rest"] += seconds
    else:
        whole = sum(one[2] for one in callers.values()) or 1.0
        for caller, one in callers.items():
            above = stats[caller][4] if caller in stats else {}
            _charge(stats, caller, seconds * one[2] / whole, above, found, depth + 1)


def _area(function: Function) -> str | None:
    text = f"{function[0]} {function[2]}"
    return next((area for area, parts in AREAS if any(part in text for part in parts)), None)


def _row(path: str, label: str, count: int, out: Path) -> Row:
    main, whole = (float(one) for one in Path(f"{out}.cpu").read_text().split())
    seconds = shares(pstats.Stats(str(out)).stats)  # type: ignore[attr-defined]
    seconds["state's thread"] = whole - main
    each = {
        area: round(1e6 * one / count, 1) for area, one in sorted(seconds.items(), key=lambda one: -one[1])
    }
    return {"path": path, "label": label, "messages": count, "cpu_s": whole, "us": each}


def backlogs(label: str, tree: str, directory: Path) -> list[Row]:
    rows = []
    with ExitStack() as stack:
        at, url = stack.enter_context(servers()), stack.enter_context(engine())
        for path, used in (("backlog, SQLite", ""), ("backlog, DynamoDB", url)):
            with lines(at, 0) as between:
                out = directory / f"profile{bool(used)}"
                run("mailsyncd", task(at, between, COUNT, url=used, profile=(out, tree)))
            rows.append(_row(path, label, COUNT, out))
    return rows


async def new_mail(label: str, tree: str, directory: Path) -> Row:
    out = directory / "profile"
    async with sims(directory, ["user"]) as at:
        with ExitStack() as stack:
            at.configure(0, stack)
        async with at.running(daemon.command("run", profile=(out, tree))) as child:
            await child.until(lambda: child.events("route.connected") >= 1, 60)
            for number in range(PUSHED):
                at.gmail.deliver("user", mail(number))
                await asyncio.sleep(EVERY)
            await child.until(lambda: child.events("message.copied") >= PUSHED, 60)
    return _row("new mail", label, PUSHED, out)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="bench.where", description=__doc__)
    parser.add_argument("--tree", default=HERE, help="another checkout, of which the package is taken")
    parser.add_argument("--label", default="now", help="what to call it (%(default)s)")
    parser.add_argument("--save", action="store_true", help="for docs/benchmarks.md")
    parser.add_argument("--old", action="store_true", help="it has no [http]")
    given = parser.parse_args(arguments)
    if given.old:
        daemon.NEWER.clear()
    with TemporaryDirectory(prefix="mb-") as one, TemporaryDirectory(prefix="mb-") as other:
        rows = backlogs(given.label, given.tree, Path(one))
        rows.append(asyncio.run(new_mail(given.label, given.tree, Path(other))))
    for row in rows:
        print(
            f"{row['path']}, {row['label']}: {1e6 * row['cpu_s'] / row['messages']:.0f} us a message",
            flush=True,
        )
        for area, us in row["us"].items():
            print(f"  {area:26} {us:8.1f}", flush=True)
    if given.save:
        others = [
            row for row in Results.load().jobs.get("where", {}).get("rows", ()) if row["label"] != given.label
        ]
        save("where", [*others, *rows])


if __name__ == "__main__":
    main()
