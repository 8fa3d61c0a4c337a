"""How soon one new message is at the destination, beside none, 99 and a saturated other route.

The simulated source sends EXISTS at the moment of delivery, and the simulated destination its OK at that
of storing; both take half a round trip to the daemon. So the time between the two moments is that from
EXISTS to APPEND OK as the daemon sees it, and that from INTERNALDATE to visible at the destination."""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from random import Random
from signal import SIGTERM
from statistics import quantiles
from tempfile import TemporaryDirectory

from bench.lateness import lateness
from bench.outlook import SUBJECT, USER
from bench.results import Row, save
from bench.sims import Child, Sims, sims

TESTS = Path(__file__).parents[1]
SIZE = 12_000  # bytes of a new message
OLD = b"Subject: old\r\n\r\n" + b"This one has waited for long.\r\n" * 60
BUSY, CALM = 20.0, 5.0  # messages a second
BACKLOG = 20_000  # messages that still wait when the last is measured
FASTEST = 3000  # messages of a backlog that go over in a second, at most
LOST = 60.0  # seconds


@dataclass
class Stopwatch:
    """Messages by their number: when each was delivered, and how long it took."""

    began: dict[int, float] = field(default_factory=dict)
    took: dict[int, float] = field(default_factory=dict)

    def arrived(self, number: int, moment: float) -> None:
        self.took[number] = moment - self.began[number]

    def spread(self, count: int) -> Row:
        """How long those from 0 on took, in ms."""
        took = [1000 * self.took[number] for number in range(count)]
        of = quantiles(took, n=100, method="inclusive")
        return {
            "p50_ms": round(of[49], 2),
            "p99_ms": round(of[98], 2),
            "max_ms": round(max(took), 2),
            "quantiles_ms": [round(one, 2) for one in of],
        }


def mail(number: int) -> bytes:
    head = b"%s%d\r\nMessage-ID: <%d@example.org>\r\n\r\n" % (SUBJECT, number, number)
    return head + b"It is told how long this line takes from here to there.\r\n" * (SIZE // 57)


async def push(directory: Path, peer: str, rtt: float, routes: int, backlog: bool, count: int) -> Row:
    """`count` messages at random moments, in turn to each route, none waiting for another."""
    rate = CALM if routes == 1 and rtt and not backlog else BUSY
    live = [f"live{number}" for number in range(routes)]
    watch = Stopwatch()
    async with sims(directory, [*live, "old"] if backlog else live) as at:
        await at.watch(live, watch.arrived)
        if backlog:
            at.store("old", OLD, BACKLOG + round(FASTEST * (count / rate + 10)))
        with ExitStack() as stack:
            at.configure(rtt, stack)
            async with at.daemon() if peer == "mailsyncd" else at.running(raw(at), -SIGTERM) as child:
                if peer == "mailsyncd":
                    await child.until(lambda: child.events("route.connected") >= len(at.users), 120)
                await child.until(lambda: not backlog or child.events("message.copied") > 200, 60)
                await _warm(at, child, watch, live)
                before, cpu, began = await at.copies("old"), child.cpu(), time.monotonic()
                async with lateness() as late:
                    await _deliver(at, watch, live, count, rate)
                    await child.until(lambda: len(watch.took) == len(watch.began), LOST)
                seconds, cpu = time.monotonic() - began, child.cpu() - cpu
                old, peak = await at.copies("old"), child.memory("VmHWM")
    return {
        "peer": peer,
        "rtt_ms": rtt,
        "routes": routes,
        "messages": count,
        "rate": rate,
        "backlog": backlog,
        **watch.spread(count),
        "backlog_left": len(at.gmail.messages("old")) - old,
        "backlog_rate": round((old - before) / seconds),
        "simulator_late_ms": round(1000 * quantiles(late, n=100)[98], 2),
        "cpu": round(cpu / seconds, 3),
        "peak_mb": round(peak, 1),
    }


def raw(at: Sims) -> list[str]:
    """The limit; of one route."""
    ports = ["--source-port", str(at.ports[0]), "--port", str(at.ports[1])]
    users = ["--source-user", at.users[0], "--user", USER, "--folder", f"Gmail/{at.users[0]}"]
    # It runs in another directory, with an environment that holds little.
    program = ["env", f"PYTHONPATH={TESTS}", sys.executable, "-m", "bench.raw_push"]
    return [*program, *ports, *users]


async def _warm(at: Sims, child: Child, watch: Stopwatch, live: Sequence[str]) -> None:
    """The first message of each route opens its folder, once: not what is measured."""
    for number, user in enumerate(live, -len(live)):
        watch.began[number] = time.monotonic()
        at.gmail.deliver(user, mail(number))
    await child.until(lambda: len(watch.took) == len(live), LOST)
    await asyncio.sleep(1.0)  # the watermarks


async def _deliver(at: Sims, watch: Stopwatch, live: Sequence[str], count: int, rate: float) -> None:
    rng, due = Random(1), time.monotonic()
    for number in range(count):
        due += rng.expovariate(rate)
        await asyncio.sleep(max(0.0, due - time.monotonic()))
        watch.began[number] = time.monotonic()
        at.gmail.deliver(live[number % len(live)], mail(number))


def _line(row: Row) -> str:
    old = f"; backlog {row['backlog_rate']}/s, {row['backlog_left']:,} left" if row["backlog_left"] else ""
    return (
        f"{row['peer']:10} {row['rtt_ms']:3.0f} ms {row['routes']:4} routes{', old mail' if old else '':10}"
        f" p50 {row['p50_ms']:8.2f} ms, p99 {row['p99_ms']:8.2f}, max {row['max_ms']:8.2f}"
        f"  source late {row['simulator_late_ms']:.1f} ms,"
        f" {row['cpu']:.2f} cores, {row['peak_mb']:.0f} MiB{old}"
    )


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="bench.push", description=__doc__)
    parser.add_argument("--rtt", default="0,40", help="milliseconds, with commas (%(default)s)")
    parser.add_argument("--routes", default="1,100", help="numbers of routes (%(default)s)")
    parser.add_argument("--backlog", default="no,yes", help="with one on another route (%(default)s)")
    parser.add_argument("--only", default="raw,mailsyncd", help="of these copiers (%(default)s)")
    parser.add_argument("--count", type=int, default=1000, help="messages (%(default)s)")
    parser.add_argument("--save", action="store_true", help="for docs/benchmarks.md")
    given = parser.parse_args(arguments)
    rows: list[Row] = []
    cases = product(*(one.split(",") for one in (given.rtt, given.backlog, given.routes, given.only)))
    for rtt, backlog, routes, peer in cases:
        if peer == "raw" and (routes != "1" or backlog == "yes"):
            continue
        with TemporaryDirectory(prefix="mb-") as temporary:
            case = float(rtt), int(routes), backlog == "yes", given.count
            rows.append(asyncio.run(push(Path(temporary), peer, *case)))
        print(_line(rows[-1]), flush=True)
    if given.save:
        save("push", rows)


if __name__ == "__main__":
    main()
