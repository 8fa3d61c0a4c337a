"""The sections of docs/benchmarks.md, each with its table and pictures, from the results."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress

from bench.daemon import PHASES
from bench.plot import OTHERS, OURS, Series, bars, curves, write
from bench.results import DIRECTORY, Results, Row
from bench.targets import rate

COPIERS = (
    ("raw copier", OTHERS[0], {"peer": "raw"}),
    ("mbsync", OTHERS[1], {"peer": "mbsync"}),
    ("mailsyncd, SQLite", OURS[0], {"peer": "mailsyncd", "state": "sqlite"}),
    ("mailsyncd, DynamoDB", OURS[1], {"peer": "mailsyncd", "state": "dynamodb"}),
    ("imapfilter", OTHERS[2], {"peer": "imapfilter"}),
)
PEERS = {"raw": OTHERS[0], "mbsync": OTHERS[1], "mailsyncd": OURS[0], "imapfilter": OTHERS[2]}
MONTHS = (1_000, 100_000, 10_000_000)
WRITE_PRICE, READ_PRICE = 0.625, 0.125  # dollars for a million units, on demand, us-east-1, November 2024
MINUTES_A_MONTH = 60 * 24 * 30

BACKLOG = """## A backlog

2,000 messages, 140 MB: the median is 13.7 KB, 23 have 1 to 5 MB, one 25 MB. Time is from the start of the
program to its end. "Exact" means that every message is there once with its bytes and its INTERNALDATE;
mbsync adds a header to each, and imapfilter flags the source. imapfilter needs a round trip and more for
every message, and is measured without a delay only.
"""

SECONDS = """Where the seconds of mailsyncd with SQLite go. The start is Python's, with the libraries that
read the configuration. Before the first copy come the round trips that have to follow each other: greeting,
sign-in, EXAMINE, the look at the folder before a first watermark is stored, search, listing, bodies, APPEND.
"""

LIMIT = """What stands between it and the raw copier is, at 40 ms, first what comes before the first copy
and after the last: the raw copier spends 0.2 s on that, mailsyncd 0.7 s, for it takes a lease, looks at the
folder before a first watermark is stored, proves that a refused literal is thrown away, and says goodbye to
one server after the other. Three quarters of the raw copier's rate would leave half a second for the
copying, in which the raw copier itself does not get it done. The next steps are the first UID SEARCH in one
flight with EXAMINE, both LOGOUTs at once, and a start without pydantic: a tenth of the time together, and
the last would cost clear words about a bad configuration.

Then there is its own work for each message: claimed, parsed, hashed, appended under a right to write that
is asked for before the last byte, finished, logged, settled. Under "Where the time goes" that is spread
over a hundred functions, of which SHA-256 is the only one with more than a few percent. Two cores do it
beside the work of both servers and of the lines between, and are all but busy while it copies, at 0 ms as
at 40 ms; mbsync needs a sixth of the CPU time for a message. Beyond a faster event loop the next step is
the writer's path in another language. With DynamoDB a fifth more of the time goes to AWS's SDK, half of
that to its start.
"""

LATER = """## A later run

The same mailbox again, at 40 ms to each server, with nothing new and with ten new messages. mailsyncd does
this only for `run-once`: the daemon keeps its connections.
"""

PUSH = """## New mail

From EXISTS to the OK of APPEND, as the daemon sees it, which is also from INTERNALDATE to visible at the
destination: the simulated source tells at the moment of delivery. New messages of 12 KB come at random,
{rates} a second. "Old mail" is a backlog on another route, of which 20,000 messages and more are left at the
end.
Dovecot would add half a second of its own, for which it holds each notification back. The raw copier is the
limit: one flight to end IDLE and fetch, one to append, no state. Beside a backlog new mail overtakes all that
waits, but nothing that is on its way already. The simulated servers are a process of Python each, with the
daemon on the same cores; "source late" is by how much the source's own event loop was late, at p99 (1 ms of
it is the grain of its timer), and as much of the latency may be the benchmark's at each turn of a message.
"""

ROUTES = """## Many routes

One daemon, TLS to simulated servers, one message in each INBOX at the start.
"""

KNOWN = """## Many known messages

A later `run-once` over so many messages, all of them copied before, nothing new; on simulated servers.
"""

WHERE = """## Where the time goes

Profiles of the hot paths: CPU by area, the program's start and end included. cProfile makes a call several
times as dear as it is, so take shares from here and no sums. "before" is mailsyncd as it was when it had its
guarantees and nothing had yet been done for its speed.
"""

SIZES = """## Large messages

One message. 145 MB is about what mailsyncd takes without being told to take more. Less than 14 MiB can't be
told: so large is the program that starts and measures the copiers.
"""

STATE = """## What DynamoDB is asked

Requests and units, counted between the daemon and the engine. A write in a transaction counts twice, as it is
billed.
"""


def table_of(head: Sequence[str], rows: Iterable[Sequence[str]], *, words: bool = False) -> str:
    """Figures to the right of their columns, unless it is `words`."""
    rule = "|---" + ("|---" if words else "|---:") * (len(head) - 1) + "|"
    return (
        "\n".join(("| " + " | ".join(head) + " |", rule, *("| " + " | ".join(row) + " |" for row in rows)))
        + "\n"
    )


def _picture(name: str, what: str, svg: str) -> str:
    write(DIRECTORY / f"{name}.svg", svg)
    return f"![{what}](benchmarks/{name}.svg)\n"


def _found(results: Results, job: str, key: str = "seconds", **where: object) -> Row | None:
    with suppress(LookupError):
        return results.best(job, key, **where)
    return None


def _distinct(rows: Iterable[Row], key: str) -> list[float]:
    return sorted({row[key] for row in rows})


def _backlog(results: Results) -> str:
    rtts = _distinct(results.rows("backlog"), "rtt_ms")
    raws = {rtt: _found(results, "backlog", peer="raw", rtt_ms=rtt) for rtt in rtts}
    peers = {rtt: _found(results, "backlog", peer="mbsync", rtt_ms=rtt) for rtt in rtts}
    table: list[Sequence[str]] = []
    rates: dict[str, list[float | None]] = {name: [] for name, _, _ in COPIERS}
    for rtt in rtts:
        for name, _, where in COPIERS:
            row = _found(results, "backlog", rtt_ms=rtt, **where)
            rates[name].append(rate(row) if row else None)
            if row:
                ratios = [f"{rate(row) / rate(one):.2f}" if one else "" for one in (peers[rtt], raws[rtt])]
                table.append(
                    (
                        f"{name}, {rtt:.0f} ms",
                        f"{row['seconds']:.2f}",
                        f"{rate(row):,.0f}",
                        f"{row['bytes'] / row['seconds'] / 1e6:.1f}",
                        *ratios,
                        f"{1000 * row['cpu_s'] / row['messages']:.2f}",
                        f"{row['peak_mb']:.0f}",
                        row["copies"],
                    )
                )
    head = ("copier", "s", "messages/s", "MB/s", "x mbsync", "x raw", "CPU ms each", "MiB at most", "copies")
    series = [Series(name, colour, rates[name]) for name, colour, _ in COPIERS if any(rates[name])]
    groups = [f"{rtt:.0f} ms" for rtt in rtts]
    picture = bars("A backlog of 2,000 messages: messages a second, by round-trip time", "/s", groups, series)
    shown = _picture("backlog", "messages a second", picture)
    return "\n".join((BACKLOG, shown, table_of(head, table), SECONDS, _phases(results, rtts), LIMIT))


def _phases(results: Results, rtts: Sequence[float]) -> str:
    """The quickest run of each round-trip time."""
    table = []
    for rtt in rtts:
        row = _found(results, "backlog", peer="mailsyncd", state="sqlite", rtt_ms=rtt)
        raw = _found(results, "backlog", peer="raw", rtt_ms=rtt)
        if row and raw:
            rates = (row["messages"] / row["phases_s"]["copying"], raw["messages"] / raw["copying_s"])
            seconds = (f"{row['phases_s'][name]:.2f}" for name in PHASES)
            table.append((f"{rtt:.0f} ms: seconds", *seconds, *(f"{one:,.0f}" for one in rates)))
    return table_of(("", *PHASES, "messages/s while copying", "raw copier's"), table)


def _later(results: Results) -> str:
    table = []
    for peer in PEERS:
        for new in _distinct(results.rows("later"), "new"):
            if row := _found(results, "later", peer=peer, rtt_ms=40, new=new):
                trips = " + ".join(map(str, row["round_trips"]))
                table.append((peer, f"{new}", f"{row['seconds']:.2f}", trips, f"{row['cpu_s']:.2f}"))
    return LATER + "\n" + table_of(("copier", "new", "s", "round trips", "CPU s"), table)


def _push(results: Results) -> str:
    rows, pictures = results.rows("push"), []
    table = [
        (
            _case(row),
            f"{row['rtt_ms']:.0f}",
            *(f"{row[key]:,.1f}" for key in ("p50_ms", "p99_ms", "max_ms")),
            f"{row['simulator_late_ms']:.1f}" if "simulator_late_ms" in row else "",
            f"{row['messages']:,}",
            f"{row['backlog_rate']:,}/s" if row["backlog"] else "",
        )
        for row in rows
    ]
    for rtt in _distinct(rows, "rtt_ms"):
        shown = zip([row for row in rows if row["rtt_ms"] == rtt], (OTHERS[0], *OURS), strict=False)
        series = [
            Series(_case(row), colour, points=[(ms, at + 1) for at, ms in enumerate(row["quantiles_ms"])])
            for row, colour in shown
        ]
        title = f"New mail at {rtt:.0f} ms: how much of it is there after how long"
        svg = curves(title, "milliseconds from EXISTS to the OK of APPEND", "%", series, dots=False)
        pictures.append(_picture(f"push-{rtt:.0f}", title, svg))
    times = ("p50 ms", "p99 ms", "max ms", "source late, p99 ms")
    head = ("routes", "round trip ms", *times, "messages", "backlog meanwhile")
    rates = " or ".join(f"{one:.0f}" for one in _distinct(rows, "rate"))
    return "\n".join((PUSH.format(rates=rates), *pictures, table_of(head, table)))


def _case(row: Row) -> str:
    if row["peer"] == "raw":
        return "raw copier, 1 route"
    return f"{row['routes']} route{'s' * (row['routes'] > 1)}{', and old mail' * row['backlog']}"


def _routes(results: Results) -> str:
    rows = results.rows("routes")
    table = [
        (
            f"{row['routes']:,}",
            *(f"{row[key]:.1f}" for key in ("idle_mb", "peak_mb")),
            f"{100 * row['cpu_idle']:.2f}",
            *(f"{row[key]:.1f}" for key in ("watching_s", "copied_s", "cpu_start_s")),
        )
        for row in rows
    ]
    points = [(row["routes"], row["idle_mb"]) for row in rows]
    svg = curves(
        "Memory of an idle daemon", "routes", "MiB", [Series("mailsyncd, TLS", OURS[0], points=points)]
    )
    head = ("routes", "MiB idle", "MiB at most", "CPU % idle", "s until all watch", "s until copied", "CPU s")
    return "\n".join((ROUTES, _picture("routes", "memory by routes", svg), table_of(head, table)))


def _curves(
    results: Results, job: str, x: str, y: str, x_name: str, y_name: str, title: str, **where: object
) -> str:
    """The same measurement of several copiers."""
    series = []
    for peer, colour in PEERS.items():
        rows = [
            _found(results, job, y, peer=peer, **{x: at}, **where) for at in _distinct(results.rows(job), x)
        ]
        if points := [(row[x], row[y]) for row in rows if row]:
            series.append(Series(peer, colour, points=points))
    return _picture(job, title, curves(title, x_name, y_name, series))


def _known(results: Results) -> str:
    table = [
        (
            row["peer"],
            f"{row['known']:,}",
            f"{row['rtt_ms']:.0f}",
            f"{row['seconds']:.2f}",
            " + ".join(map(str, row["round_trips"])),
            f"{row['received']:,}",
            f"{row['cpu_s']:.2f}",
            f"{row['peak_mb']:.0f}",
        )
        for row in results.rows("known", new=0)
    ]
    title = "A later run with nothing new, at 0 ms"
    plot = _curves(
        results, "known", "known", "seconds", "messages known", "seconds", title, new=0, rtt_ms=0.0
    )
    head = ("copier", "known", "round trip ms", "s", "round trips", "bytes read", "CPU s", "MiB at most")
    return "\n".join((KNOWN, plot, table_of(head, table)))


def _sizes(results: Results) -> str:
    peers = list(dict.fromkeys(row["peer"] for row in results.rows("sizes")))
    table = []
    for size in _distinct(results.rows("sizes"), "size"):
        found = [_found(results, "sizes", "peak_mb", peer=peer, size=size) for peer in peers]
        table.append((f"{size:,.0f}", *(f"{row['peak_mb']:.0f}" if row else "" for row in found)))
    title = "Memory at most, by the size of the message"
    plot = _curves(results, "sizes", "size", "peak_mb", "bytes", "MiB", title)
    return "\n".join((SIZES, plot, table_of(("bytes", *(f"{peer}, MiB" for peer in peers)), table)))


def _state(results: Results) -> str:
    rows = results.rows("state")
    table = []
    for row in rows:
        per = row["messages"] or row["minutes"]
        what = f"{row['case']}, a {'message' if row['messages'] else 'minute'}"
        table.append((what, *(f"{row[key] / per:.2f}" for key in ("requests", "written", "read"))))
    head = ("", "requests", "write units", "read units")
    alone, idle = (
        results.best("state", "written", case="alone"),
        results.best("state", "written", case="idle"),
    )
    idling = _price(idle) / idle["minutes"] * MINUTES_A_MONTH
    prices = [
        (f"{count:,}", f"{idling:.2f}", f"{_price(alone) / alone['messages'] * count:,.2f}")
        for count in MONTHS
    ]
    said = (
        f"At {WRITE_PRICE} and {READ_PRICE} dollars for a million write and read units (on demand, us-east-1,"
        "\nNovember 2024), a month of one destination, if every message comes alone:\n"
    )
    priced = table_of(("messages a month", "dollars for being there", "dollars for the messages"), prices)
    return "\n".join((STATE, table_of(head, table), said, priced))


def _price(row: Row) -> float:
    return float(row["written"] * WRITE_PRICE + row["read"] * READ_PRICE) / 1e6


def _where(results: Results) -> str:
    tables = []
    for path in dict.fromkeys(row["path"] for row in results.rows("where")):
        found = (_found(results, "where", "cpu_s", path=path, label=one) for one in ("before", "now"))
        columns = [row for row in found if row]
        areas = dict.fromkeys(area for row in reversed(columns) for area in row["us"])
        table = [(area, *(f"{row['us'].get(area, 0):,.0f}" for row in columns)) for area in areas]
        whole = [f"{1e6 * row['cpu_s'] / row['messages']:,.0f}" for row in columns]
        head = (f"{path}: microseconds a message", *(row["label"] for row in columns))
        tables.append(table_of(head, [*table, ("all", *whole)]))
    return "\n".join((WHERE, "\n".join(tables)))


SECTIONS: dict[str, Callable[[Results], str]] = {
    "backlog": _backlog,
    "later": _later,
    "push": _push,
    "routes": _routes,
    "known": _known,
    "sizes": _sizes,
    "state": _state,
    "where": _where,
}
