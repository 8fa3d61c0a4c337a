"""docs/benchmarks.md and its pictures, from the results."""

from __future__ import annotations

from bench.results import DIRECTORY, Results
from bench.sections import SECTIONS, table_of
from bench.targets import TARGETS

PAGE = DIRECTORY.with_suffix(".md")
QUIET = 0.25  # of the cores may have other work

INTRODUCTION = """# Benchmarks

Written by `make bench`, which measures all of this anew; `make bench BENCH=backlog` does one part of it. The
parts are {parts}.

What is compared was measured in one run, on one machine, the copiers in turn; the best of several
repetitions counts, because whatever else a machine does only slows a copier down. Absolute figures are those
of a small machine: take ratios from here, not rates.

{machines}

The mail servers are two Dovecots with Maildir in memory, without fsync and without TLS, unless it says
otherwise; the round-trip time is that of a line of its own to each of them. mailsyncd has its state on the
same machine: SQLite with a real file, or a light DynamoDB engine of our own that answers 5 ms later.
"raw copier" is the limit: FETCH passed on as pipelined APPENDs, without state or a second look.
"""


def _machines(results: Results) -> str:
    """One sentence, if all was measured in one place; else one for each job."""
    said: dict[str, list[str]] = {}
    for name, job in results.jobs.items():
        cores, memory, load = (job["machine"][key] for key in ("cores", "memory_gib", "load"))
        where = f"mailsyncd {job['version']} on {cores} cores with {memory} GiB of memory, {job['when']}"
        if loop := job["machine"].get("loop_ns"):
            where += f", a step of a loop in Python taking {loop} ns"
        if load > QUIET * cores:
            where += f" (a busy machine: load {load:.0f} before it began)"
        said.setdefault(where, []).append(name)
    if len(said) == 1:
        return f"Measured with {next(iter(said))}."
    return "\n".join(f"- {', '.join(jobs)}: {where}" for where, jobs in said.items())


def targets(results: Results) -> list[tuple[str, str, str, str]]:
    """What, aim, measured, holds."""
    rows = []
    for target in TARGETS:
        try:
            text, good = target.measure(results)
        except LookupError:
            text, good = "not measured", None
        rows.append((target.what, target.aim, text, {True: "yes", False: "**no**", None: ""}[good]))
    return rows


def report() -> None:
    """Write the page of what there is, and print how the targets are met."""
    results = Results.load()
    there = [job for job in SECTIONS if job in results.jobs]
    met = targets(results)
    head = INTRODUCTION.format(parts=", ".join(f"`{job}`" for job in SECTIONS), machines=_machines(results))
    aims = "## Targets\n\n" + table_of(("what", "target", "measured", "holds"), met, words=True)
    PAGE.write_text("\n".join((head, aims, *(SECTIONS[job](results) for job in there))))
    for what, aim, text, holds in met:
        print(f"{holds.strip('*') or '-':4} {what}: {text} (target: {aim})", flush=True)


if __name__ == "__main__":
    report()
