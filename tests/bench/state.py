"""What a message costs on DynamoDB, in requests and units: alone, in a backlog, and what a daemon costs
to which nothing happens."""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from bench import daemon
from bench.child import measure
from bench.engine import available, real_engine
from bench.meter import READS, Bill, Meter
from bench.push import OLD, mail
from bench.results import Row, save
from bench.sims import Child, Sims, sims

SINGLE = 100  # messages that come alone
BACKLOG = 2000  # messages that come all at once
PAUSE = 1.5  # seconds between those that come alone: longer than a watermark may wait
IDLE = 180.0  # seconds


async def state(meter: Meter, directory: Path, single: int, backlog: int, idle: float) -> list[Row]:
    url = f"http://127.0.0.1:{meter.port}"
    async with sims(directory, ["user"]) as at:
        with ExitStack() as stack:
            at.configure(0, stack, state=daemon.dynamodb(url, "units"))
        init = daemon.command("state", "init")
        log, environ = directory / "init", daemon.environment(directory)
        done = await asyncio.to_thread(measure, init, log=log, cwd=directory, environ=environ)
        if done.status:
            raise RuntimeError(log.read_text())
        at.store("user", OLD, backlog)
        async with at.daemon() as child:
            await _copied(at, child, backlog)
            rows = [_row("backlog", backlog, meter.bill())]
            for number in range(single):
                at.gmail.deliver("user", mail(number))
                await _copied(at, child, backlog + number + 1)
                await asyncio.sleep(PAUSE)
            seconds = single * PAUSE
            rows.append(_row("alone", single, meter.bill()))
            await asyncio.sleep(idle)
            rows.append({**_row("idle", 0, meter.bill()), "minutes": idle / 60})
    rows[1]["minutes"] = seconds / 60
    return rows


async def _copied(at: Sims, child: Child, count: int) -> None:
    await child.until(lambda: child.events("message.copied") >= count, 30 + count / 20)
    await asyncio.sleep(PAUSE)


def _row(case: str, messages: int, bill: Bill) -> Row:
    written = sum(entry["units"] for operation, entry in bill.items() if operation not in READS)
    read = sum(entry["units"] for operation, entry in bill.items() if operation in READS)
    requests = sum(entry["requests"] for entry in bill.values())
    row = {"case": case, "messages": messages, "requests": requests, "written": written, "read": read}
    return {**row, "bill": bill}


@contextmanager
def _metered() -> Iterator[Meter]:
    with real_engine() as url, Meter.to(int(url.rpartition(":")[2])) as meter:
        yield meter


def _line(row: Row) -> str:
    per, what = (row["messages"], "message") if row["messages"] else (row["minutes"], "minute")
    units = f"{row['written'] / per:.3f} write units, {row['read'] / per:.3f} read units"
    bill = (f"{entry['requests']:g} {operation}" for operation, entry in sorted(row["bill"].items()))
    return f"{row['case']:8} {row['requests'] / per:.3f} requests, {units} a {what} ({', '.join(bill)})"


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="bench.state", description=__doc__)
    parser.add_argument("--single", type=int, default=SINGLE, help="messages (%(default)s)")
    parser.add_argument("--backlog", type=int, default=BACKLOG, help="messages (%(default)s)")
    parser.add_argument("--idle", type=float, default=IDLE, help="seconds (%(default)s)")
    parser.add_argument("--save", action="store_true", help="for docs/benchmarks.md")
    given = parser.parse_args(arguments)
    if not available():
        return
    with _metered() as meter, TemporaryDirectory(prefix="mb-") as temporary:
        rows = asyncio.run(state(meter, Path(temporary), given.single, given.backlog, given.idle))
    for row in rows:
        print(_line(row), flush=True)
    if given.save:
        save("state", rows)


if __name__ == "__main__":
    main()
