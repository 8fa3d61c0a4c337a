"""What was aimed at, beside what was measured. A benchmark reports; it fails nobody."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from bench.results import Results, Row

Measured = tuple[str, bool]  # the figure, and whether it is good enough


@dataclass(frozen=True, slots=True)
class Target:
    """`measure` raises LookupError where the results don't have what it takes."""

    what: str
    aim: str
    measure: Callable[[Results], Measured]


def rate(row: Row) -> float:
    """Messages a second, from the start of the program to its end."""
    return float(row["messages"] / row["seconds"])


def _backlog(results: Results, peer: str, rtt: float, state: str = "") -> float:
    return rate(results.best("backlog", peer=peer, rtt_ms=rtt, state=state))


def _against(peer: str, rtt: float, least: float) -> Callable[[Results], Measured]:
    def measure(results: Results) -> Measured:
        ours, theirs = _backlog(results, "mailsyncd", rtt, "sqlite"), _backlog(results, peer, rtt)
        return f"{ours / theirs:.2f} x ({ours:,.0f}/s against {theirs:,.0f}/s)", ours / theirs >= least

    return measure


def _engine(results: Results) -> Measured:
    dynamo, sqlite = (_backlog(results, "mailsyncd", 40, state) for state in ("dynamodb", "sqlite"))
    return f"{dynamo / sqlite:.2f} x ({dynamo:,.0f}/s against {sqlite:,.0f}/s)", dynamo / sqlite >= 0.8


def _nothing_new(results: Results) -> Measured:
    row = results.best("later", peer="mailsyncd", rtt_ms=40, new=0)
    trips = sum(row["round_trips"])
    text = f"{trips} round trips to both servers, {row['seconds']:.2f} s"
    return text, trips <= 8 and row["seconds"] <= 0.5


def _ten_new(results: Results) -> Measured:
    row = results.best("later", peer="mailsyncd", rtt_ms=40, new=10)
    return f"{row['done_s']:.2f} s, {row['seconds']:.2f} s to the end of the program", row["done_s"] < 0.6


def _push(results: Results, rtt: float, routes: int, *, backlog: bool = False) -> Row:
    return results.best("push", "p50_ms", peer="mailsyncd", rtt_ms=rtt, routes=routes, backlog=backlog)


def _push_here(results: Results) -> Measured:
    row = _push(results, 0, 100)
    return f"p50 {row['p50_ms']:.1f} ms, p99 {row['p99_ms']:.1f} ms", row["p50_ms"] < 10 and row[
        "p99_ms"
    ] < 50


def _push_far(results: Results) -> Measured:
    row = _push(results, 40, 1)
    return f"p50 {row['p50_ms']:.0f} ms", row["p50_ms"] <= 130


def _fair(rtt: float) -> Callable[[Results], Measured]:
    def measure(results: Results) -> Measured:
        busy, idle = (_push(results, rtt, 100, backlog=backlog)["p99_ms"] for backlog in (True, False))
        return f"{busy / idle:.1f} x ({busy:.0f} ms against {idle:.0f} ms)", busy <= 5 * idle

    return measure


def _cpu(results: Results) -> Measured:
    rows = results.rows("backlog", peer="mailsyncd", state="sqlite", rtt_ms=0)
    each = min(1000 * row["cpu_s"] / row["messages"] for row in rows)
    return f"{each:.2f} ms", each <= 0.6


def _idle_memory(results: Results) -> Measured:
    row = results.best("routes", "idle_mb", routes=10)
    return f"{row['idle_mb']:.0f} MiB", row["idle_mb"] < 80


def _memory_a_route(results: Results) -> Measured:
    few, many = (results.best("routes", "idle_mb", routes=count) for count in (10, 1000))
    each = 1024 * (many["idle_mb"] - few["idle_mb"]) / (many["routes"] - few["routes"])
    return f"{each:,.0f} KiB", each <= 100


def _backlog_memory(results: Results) -> Measured:
    rows = results.rows("backlog", peer="mailsyncd")
    largest = 25_000_000 / 2**20
    most = max(row["peak_mb"] for row in rows)
    return f"{most:.0f} MiB with one of {largest:.0f} MiB", most < 120 + 2 * largest


def _known(results: Results) -> Measured:
    row = results.best("known", peer="mailsyncd", known=100_000, new=0, rtt_ms=0)
    text = f"{row['seconds']:.2f} s, {row['received']:,} bytes read"
    return text, row["seconds"] < 2 and row["received"] < 2_000_000


def _idle_units(results: Results) -> Measured:
    row = results.best("state", "written", case="idle")
    return f"{row['written'] / row['minutes']:.1f}", row["written"] / row["minutes"] <= 3


TARGETS = (
    Target("backlog at 40 ms, SQLite, to mbsync", "at least 2 x", _against("mbsync", 40, 2)),
    Target("backlog at 40 ms, SQLite, to the raw copier", "at least 0.75 x", _against("raw", 40, 0.75)),
    Target("backlog at 0 ms, SQLite, to mbsync", "at least 0.5 x", _against("mbsync", 0, 0.5)),
    Target("backlog at 40 ms, DynamoDB to SQLite", "at least 0.8 x", _engine),
    Target("nothing new, 2,000 known, 40 ms", "at most 8 round trips and 0.5 s", _nothing_new),
    Target("10 new among 2,000, 40 ms", "under 0.6 s from start to DONE", _ten_new),
    Target("push at 0 ms, 100 routes", "p50 under 10 ms, p99 under 50 ms", _push_here),
    Target("push at 40 ms", "p50 at most 130 ms", _push_far),
    Target("push beside a backlog, p99, 0 ms", "at most 5 x that of an idle daemon", _fair(0)),
    Target("push beside a backlog, p99, 40 ms", "at most 5 x that of an idle daemon", _fair(40)),
    Target("CPU for a message, SQLite, 0 ms", "at most 0.6 ms", _cpu),
    Target("memory, idle, 10 routes over TLS", "under 80 MiB", _idle_memory),
    Target("memory of each further route over TLS", "at most 100 KiB", _memory_a_route),
    Target("memory in a backlog", "under 120 MiB and twice the largest message", _backlog_memory),
    Target("second run over 100,000 known", "under 2 s, no message read", _known),
    Target("idle daemon, write units a minute", "at most 3", _idle_units),
)
