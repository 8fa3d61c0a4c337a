"""What the size of a message costs in memory: one of each size, by every copier."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from bench.backlog import lines, run, task, verified
from bench.peers import PEERS, installed
from bench.results import Row, save
from bench.servers import Servers, servers

SIZES = "1000,10000,100000,1000000,10000000,36000000,145000000"


def sizes(peers: Sequence[str], octets: Sequence[int]) -> list[Row]:
    rows: list[Row] = []
    with servers() as at:
        for size in octets:
            for peer in peers:
                rows.append(_one(at, peer, size))
                row = rows[-1]
                print(
                    f"{peer:12} {size:12,} bytes: {row['peak_mb']:6.1f} MiB, {row['seconds']:.2f} s,"
                    f" {row['cpu_s']:.2f} s CPU  {row['copies']}",
                    flush=True,
                )
    return rows


def _one(at: Servers, peer: str, size: int) -> Row:
    with lines(at, 0) as between:
        one = task(at, between, 1, size=size)
        usage = run(peer, one)
    copies = verified(at, peer, one, 1)
    at.forget(one.source_user, one.user)
    return {
        "peer": peer,
        "size": size,
        "peak_mb": usage.peak_mb,
        "seconds": usage.seconds,
        "cpu_s": usage.cpu_s,
        "copies": copies,
    }


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="bench.sizes", description=__doc__)
    parser.add_argument("--only", default=",".join(PEERS), help="of these copiers (%(default)s)")
    parser.add_argument("--sizes", default=SIZES, help="bytes, with commas (%(default)s)")
    parser.add_argument("--save", action="store_true", help="for docs/benchmarks.md")
    given = parser.parse_args(arguments)
    rows = sizes(installed(given.only.split(",")), [int(one) for one in given.sizes.split(",")])
    if given.save:
        save("sizes", rows)


if __name__ == "__main__":
    main()
