"""What routes cost that wait for mail, over TLS: memory, CPU, and the time until all of them watch."""

from __future__ import annotations

import argparse
import asyncio
import resource
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory

from bench.results import Row, save
from bench.sims import Child, Sims, sims

COUNTS = "1,10,100,1000"
START = 300.0  # seconds that the start may take
REST = 5.0  # seconds after it, until it counts as idle
IDLE = 30.0  # seconds of idling that are measured
DELIVERED = b"Subject: here before\r\n\r\nOne message was there before.\r\n"


async def routes(directory: Path, count: int, idle: float) -> Row:
    """Start the daemon, wait, deliver nothing."""
    users = [f"user{number}" for number in range(count)]
    async with sims(directory, users, tls=True) as at:
        for user in users:
            at.gmail.deliver(user, DELIVERED)
        with ExitStack() as stack:
            at.configure(0, stack)
        began = time.monotonic()
        async with at.daemon() as child:
            first = await _first(at, child, began)
            await child.until(lambda: child.events("route.connected") >= count, START)
            watching = time.monotonic() - began
            await child.until(lambda: child.events("message.copied") >= count, START)
            copied, cpu_start = time.monotonic() - began, child.cpu()
            await asyncio.sleep(REST)
            cpu = child.cpu()
            await asyncio.sleep(idle)
            seen = await at.outlook.seen()
            return {
                "routes": count,
                "first_s": round(first, 2),
                "watching_s": round(watching, 2),
                "copied_s": round(copied, 2),
                "cpu_start_s": round(cpu_start, 2),
                "cpu_idle": round((child.cpu() - cpu) / idle, 5),
                "idle_mb": round(child.memory(), 2),
                "peak_mb": round(child.memory("VmHWM"), 2),
                "connections": at.gmail.most_at_once + seen.most_at_once,
                "accepted": at.gmail.accepted + seen.accepted,
            }


async def _first(at: Sims, child: Child, began: float) -> float:
    await child.until(lambda: at.gmail.accepted > 0, START)
    return time.monotonic() - began


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="bench.routes", description=__doc__)
    parser.add_argument("--counts", default=COUNTS, help="of routes, with commas (%(default)s)")
    parser.add_argument("--idle", type=float, default=IDLE, help="seconds that are measured (%(default)s)")
    parser.add_argument("--save", action="store_true", help="for docs/benchmarks.md")
    given = parser.parse_args(arguments)
    _open_files()
    rows: list[Row] = []
    for count in map(int, given.counts.split(",")):
        with TemporaryDirectory(prefix="mb-") as temporary:
            rows.append(asyncio.run(routes(Path(temporary), count, given.idle)))
        row = rows[-1]
        print(
            f"{count:5} routes: first connection after {row['first_s']:.2f} s, all watch after"
            f" {row['watching_s']:.2f} s, one message each copied after {row['copied_s']:.2f} s,"
            f" {row['cpu_start_s']:.1f} s CPU; idle {100 * row['cpu_idle']:.2f} % of a core,"
            f" {row['idle_mb']:.1f} MiB (at most {row['peak_mb']:.1f})",
            flush=True,
        )
    if given.save:
        save("routes", rows)


def _open_files() -> None:
    """A socket for each route here, and one more in the daemon, which inherits the limit."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(most, 65_536), most))


if __name__ == "__main__":
    main()
