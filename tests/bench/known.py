"""What a later run costs, by how many messages are known already: on simulated servers, because an APPEND
into a Maildir takes Dovecot the longer, the more there is."""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory

from bench import daemon
from bench.child import Usage, measure
from bench.daemon import seconds_at_work
from bench.push import OLD, mail
from bench.results import Row, save
from bench.sims import Sims, sims

NEW = 10


async def known(directory: Path, count: int, rtts: Sequence[float]) -> list[Row]:
    """All are copied at once; then come runs with nothing new, and with ten new messages."""
    rows: list[Row] = []
    async with sims(directory, ["user"]) as at:
        at.store("user", OLD, count)
        await _run(at, 0)
        for rtt in rtts:
            for new in (0, NEW):
                for number in range(new):
                    at.gmail.deliver("user", mail(number))
                case = {"peer": "mailsyncd", "known": count, "rtt_ms": rtt, "new": new}
                rows.append({**case, **await _run(at, rtt)})
                print(_line(rows[-1]), flush=True)
    return rows


async def _run(at: Sims, rtt: float) -> Row:
    """`run-once`, after which everything must be there."""
    log = at.directory / "log"
    log.write_text("")
    with ExitStack() as stack:
        at.configure(rtt, stack, counted=True)
        usage: Usage = await asyncio.to_thread(
            measure,
            daemon.command("run-once"),
            log=log,
            cwd=at.directory,
            environ=daemon.environment(at.directory),
        )
        traffic = [line.traffic() for line in at.lines]
    missing = len(at.gmail.messages("user")) - await at.copies("user")
    if usage.status or missing:
        raise RuntimeError(f"it ended with {usage.status}, {missing} missing: {log.read_text()[-2000:]}")
    return {
        "seconds": usage.seconds,
        "working_s": seconds_at_work(log),
        "cpu_s": usage.cpu_s,
        "peak_mb": usage.peak_mb,
        "round_trips": [one.turns for one in traffic],
        "received": traffic[0].received,
    }


def _line(row: Row) -> str:
    source, destination = row["round_trips"]
    return (
        f"{row['rtt_ms']:3.0f} ms {row['new']:3} new among {row['known']:7,}: {row['seconds']:.2f} s"
        f" ({row['working_s']:.2f} from the lease on), {source} + {destination} round trips,"
        f" {row['received']:,} bytes read, {row['cpu_s']:.2f} s CPU, {row['peak_mb']:.0f} MiB"
    )


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="bench.known", description=__doc__)
    parser.add_argument("--known", default="1000,10000,100000", help="messages, with commas (%(default)s)")
    parser.add_argument("--rtt", default="0,40", help="milliseconds, with commas (%(default)s)")
    parser.add_argument("--save", action="store_true", help="for docs/benchmarks.md")
    given = parser.parse_args(arguments)
    rtts = [float(rtt) for rtt in given.rtt.split(",")]
    rows: list[Row] = []
    for count in map(int, given.known.split(",")):
        with TemporaryDirectory(prefix="mb-") as temporary:
            rows += asyncio.run(known(Path(temporary), count, rtts))
    if given.save:
        save("known", rows)


if __name__ == "__main__":
    main()
