"""What a later run costs, from start to end: with nothing new, and with ten new messages."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace

from bench.backlog import Lines, lines, log, run, task, verified
from bench.corpus import corpus
from bench.daemon import finished
from bench.peers import PEERS, STATELESS, Task, installed
from bench.results import Row, save
from bench.servers import Servers, servers

NEW = 10
KNOWN = 2000
KEEPERS = [name for name in PEERS if name not in STATELESS]


def later(peers: Sequence[str], rtts: Sequence[float], known: int, size: int | None, reps: int) -> list[Row]:
    """Every copier takes the backlog over at once, and is then run again over a line."""
    rows: list[Row] = []
    with servers() as at:
        for peer in peers:
            one = task(at, Lines(at.source.port, at.destination.port), known, size=size)
            run(peer, one)
            there = known
            for rtt in rtts:
                for rep in range(reps):
                    for new in (0, NEW):
                        at.deliver(one.source_user, corpus(new, first=there, size=size))
                        there += new
                        case = {"peer": peer, "rtt_ms": rtt, "known": known, "new": new, "rep": rep}
                        rows.append({**case, **_again(at, peer, one, rtt)})
                        print(_line(rows[-1]), flush=True)
            rows[-1]["copies"] = verified(at, peer, one, there)
            print(f"{peer:12} {rows[-1]['copies']}", flush=True)
            at.forget(one.source_user, one.user)
    return rows


def _again(at: Servers, peer: str, one: Task, rtt: float) -> Row:
    with lines(at, rtt, always=True) as between:
        usage = run(peer, replace(one, source_port=between.source_port, port=between.port))
        traffic = between.traffic
    return {
        "seconds": usage.seconds,
        "done_s": round(finished(log(one)) - usage.began, 3) if peer == "mailsyncd" else None,
        "cpu_s": usage.cpu_s,
        "peak_mb": usage.peak_mb,
        "round_trips": [line.turns for line in traffic],
        "connections": [line.connections for line in traffic],
        "received": traffic[0].received,
    }


def _line(row: Row) -> str:
    source, destination = row["round_trips"]
    working = f" ({row['done_s']:.2f} to the last DONE)" if row["done_s"] and row["new"] else ""
    return (
        f"{row['peer']:12} {row['rtt_ms']:3.0f} ms {row['new']:3} new among {row['known']:,}:"
        f" {row['seconds']:6.2f} s{working}, {source} + {destination} round trips over {row['connections']}"
        f" connections, {row['received']:,} bytes read, {row['cpu_s']:.2f} s CPU, {row['peak_mb']:.0f} MB"
    )


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="bench.later", description=__doc__)
    parser.add_argument("--rtt", default="0,40", help="milliseconds, with commas (%(default)s)")
    parser.add_argument("--only", default=",".join(KEEPERS), help="of these copiers (%(default)s)")
    parser.add_argument("--known", type=int, default=KNOWN, help="messages copied before (%(default)s)")
    parser.add_argument("--size", type=int, help="bytes of each; as of a real mailbox, if not given")
    parser.add_argument("--reps", type=int, default=3, help="the quickest counts (%(default)s)")
    parser.add_argument("--save", action="store_true", help="for docs/benchmarks.md")
    given = parser.parse_args(arguments)
    rtts = [float(rtt) for rtt in given.rtt.split(",")]
    rows = later(installed(given.only.split(",")), rtts, given.known, given.size, given.reps)
    if given.save:
        save("later", rows)


if __name__ == "__main__":
    main()
