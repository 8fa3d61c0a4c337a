"""How fast a backlog goes over: mailsyncd and its peers on the same mail, one after the other."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench import daemon
from bench.child import Usage, measure
from bench.corpus import corpus
from bench.engine import engine
from bench.line import Line, Traffic
from bench.peers import FOLDER, PEERS, Task, installed
from bench.results import Row, save
from bench.servers import Servers, servers

SLOW_PEERS = ("imapfilter",)  # a round trip and more for each message: 7 minutes at 40 ms
STATES = ("sqlite", "dynamodb")


@dataclass(frozen=True, slots=True)
class Lines:
    """Where a copier reaches the two servers, and the lines between, where there are any."""

    source_port: int
    port: int
    both: tuple[Line, ...] = ()

    @property
    def traffic(self) -> list[Traffic]:
        """To the source and to the destination, so far."""
        return [line.traffic() for line in self.both]


@contextmanager
def lines(at: Servers, rtt: float, *, always: bool = False) -> Iterator[Lines]:
    """Lines of that round-trip time in milliseconds; none at 0, unless `always`, to count."""
    if not rtt and not always:
        yield Lines(at.source.port, at.destination.port)
        return
    with Line.to(at.source.port, rtt) as source, Line.to(at.destination.port, rtt) as destination:
        yield Lines(source.port, destination.port, (source, destination))


def task(
    at: Servers,
    between: Lines,
    count: int,
    *,
    size: int | None = None,
    url: str = "",
    profile: daemon.Profile | None = None,
) -> Task:
    """A source with `count` messages, and nothing at the destination. With `url`, state is in DynamoDB."""
    user = at.user("dst")
    directory = at.directory / user
    directory.mkdir()
    state = daemon.dynamodb(url, user) if url else daemon.SQLITE
    source_user = at.mailbox(count, size)
    made = Task(directory, between.source_port, source_user, between.port, user, state, profile)
    if url:
        PEERS["mailsyncd"](made)
        init = daemon.command("state", "init")
        done = measure(init, log=log(made), cwd=directory, environ=daemon.environment(directory))
        assert done.status == 0, log(made).read_text()
    return made


def log(one: Task) -> Path:
    return one.directory / "log"


def run(peer: str, one: Task) -> Usage:
    """Bring it up to date, which must go well."""
    argv = PEERS[peer](one)
    log(one).write_text("")
    usage = measure(argv, log=log(one), cwd=one.directory, environ=daemon.environment(one.directory))
    if usage.status:
        raise RuntimeError(f"{peer} ended with {usage.status}: {log(one).read_text()[-2000:]}")
    return usage


def verified(at: Servers, peer: str, one: Task, count: int) -> str:
    """What came of it: the count for all, and for mailsyncd every byte."""
    copies = at.count(one.user, FOLDER)
    if copies != count:
        return f"{copies} of {count} copied"
    if peer != "mailsyncd":
        return "all"
    found = at.compare(one.source_user, one.user, FOLDER)
    return "exact" if found.lost == found.added == 0 else f"{found.lost} lost, {found.added} added"


def _one(at: Servers, peer: str, rtt: float, count: int, url: str = "") -> Row:
    with lines(at, rtt) as between:
        one = task(at, between, count, url=url)
        usage = run(peer, one)
        trips = [line.turns for line in between.traffic]
    row: Row = {
        "peer": peer,
        "state": "" if peer != "mailsyncd" else "dynamodb" if url else "sqlite",
        "rtt_ms": rtt,
        "messages": count,
        "seconds": usage.seconds,
        "copying_s": copying(peer, one),
        "cpu_s": usage.cpu_s,
        "peak_mb": usage.peak_mb,
        "round_trips": trips,
        "copies": verified(at, peer, one, count),
    }
    if peer == "mailsyncd":
        row["phases_s"] = daemon.phases(log(one), usage.began, usage.began + usage.seconds)
    at.forget(one.source_user, one.user)
    return row


def copying(peer: str, one: Task) -> float | None:
    """Without the start of the program and the sign-in, where that is known."""
    if peer == "mailsyncd":
        return daemon.seconds_at_work(log(one))
    if peer == "raw":
        return float(json.loads(log(one).read_text())["seconds"])
    return None


def backlog(
    peers: Sequence[str],
    rtts: Sequence[float],
    states: Sequence[str],
    count: int,
    reps: int,
) -> list[Row]:
    """Every combination, `reps` times in turn, so that a busy minute of the machine hits all alike."""
    rows: list[Row] = []
    size = sum(len(mail.raw) for mail in corpus(count))
    with ExitStack() as stack:
        at = stack.enter_context(servers())
        url = stack.enter_context(engine()) if "dynamodb" in states and "mailsyncd" in peers else ""
        if url:
            _one(at, "mailsyncd", 0, min(count, 300), url)  # Java is slow until it is warm
        for rtt in rtts:
            for rep in range(reps):
                for peer in peers:
                    if peer in SLOW_PEERS and (rtt or rep):
                        continue
                    for state in states if peer == "mailsyncd" else states[:1]:
                        used = url if state == "dynamodb" and peer == "mailsyncd" else ""
                        row = {"rep": rep, "bytes": size, **_one(at, peer, rtt, count, used)}
                        rows.append(row)
                        print(_line(row), flush=True)
    return rows


def _line(row: Row) -> str:
    rate, cpu = row["messages"] / row["seconds"], 1000 * row["cpu_s"] / row["messages"]
    copying = f" ({row['messages'] / row['copying_s']:,.0f} net)" if row["copying_s"] else ""
    name = f"{row['peer']} {row['state']}".strip()
    return (
        f"{name:20} {row['rtt_ms']:3.0f} ms {row['seconds']:7.2f} s {rate:7,.0f}/s{copying:14}"
        f" {row['bytes'] / row['seconds'] / 1e6:6.1f} MB/s {cpu:6.3f} ms CPU each"
        f" {row['peak_mb']:6.1f} MB  {row['round_trips']}  {row['copies']}"
    )


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="bench.backlog", description=__doc__)
    parser.add_argument("--rtt", default="0,40,100", help="milliseconds, with commas (%(default)s)")
    parser.add_argument("--only", default=",".join(PEERS), help="of these copiers (%(default)s)")
    parser.add_argument("--state", default=",".join(STATES), help="of these stores (%(default)s)")
    parser.add_argument("--count", type=int, default=2000, help="messages (%(default)s)")
    parser.add_argument("--reps", type=int, default=5, help="the quickest counts (%(default)s)")
    parser.add_argument("--save", action="store_true", help="for docs/benchmarks.md")
    given = parser.parse_args(arguments)
    rows = backlog(
        installed(given.only.split(",")),
        [float(rtt) for rtt in given.rtt.split(",")],
        given.state.split(","),
        given.count,
        given.reps,
    )
    if given.save:
        save("backlog", rows)


if __name__ == "__main__":
    main()
