"""The tests are tested: each protection is taken out in turn, in a copy of the tree, and at least one
test must fail. `make mutants` shows the table."""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
SIDE_BY_SIDE = 2
LONGEST = 240.0  # seconds for the tests of one mutant: one that hangs has been noticed too
FLOW = "tests/unit/flow/"


@dataclass(frozen=True, slots=True)
class Mutant:
    """`old` stands in `file` exactly once, and becomes `new`; one of `tests` must notice."""

    protection: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...]

    def applied(self, text: str) -> str:
        """The mutated source. Raises ValueError if it is not as it was."""
        if text.count(self.old) != 1:
            raise ValueError(f"{self.file} holds {self.old!r} {text.count(self.old)} times, not once")
        return text.replace(self.old, self.new)


PATH = (FLOW + "test_path_of_a_message.py",)
HISTORY = (FLOW + "test_any_history.py",)
OUTLIVED = (FLOW + "test_no_connection_outlives_it.py",)
STATE = ("tests/contract/state/test_state_stores.py", "-k", "memory")
MUTANTS = (
    Mutant(
        "settle window",
        "mailsyncd/flow/recover.py",
        "wait = self.settle_window if settle else 0.0",
        "wait = 0.0",
        PATH,
    ),
    Mutant(
        "own-write check",
        "mailsyncd/state/rules.py",
        "return there is not None and (there.claimed_by, there.status) == (new.claimed_by, new.status)",
        "return False",
        STATE,
    ),
    Mutant(
        "own-write check of a claim, DynamoDB",
        "mailsyncd/state/dynamodb.py",
        "return None if found.claimed_by == record.claimed_by else Refused(found)",
        "return Refused(found)",
        ("tests/contract/state/test_dynamodb_faults.py",),
    ),
    Mutant(
        "a shared request that is refused has done none of its writes",
        "mailsyncd/state/dynamo_group.py",
        "again.append(unit)",
        "unit.answer(None)",
        ("tests/unit/state/test_dynamo_group.py",),
    ),
    Mutant(
        "recovery scan",
        "mailsyncd/flow/recover.py",
        "for record in await self._gate.call(lambda: self._store.pending(route.key)):",
        "for record in list[Record]():",
        (FLOW + "test_lease.py",),
    ),
    Mutant(
        "fencing: the lease is asked before each APPEND",
        "mailsyncd/flow/lease.py",
        "if self._lease is None or not self.held:",
        "if self._lease is None:",
        (FLOW + "test_lease.py", FLOW + "test_frozen_daemons.py"),
    ),
    Mutant(
        "fencing: a record that was taken over is not finished",
        "mailsyncd/state/rules.py",
        "there.status is not Status.PENDING or there.claimed_by != old.claimed_by:",
        "there.status is not Status.PENDING:",
        STATE,
    ),
    Mutant(
        "EXAMINE",
        "mailsyncd/imap/gmail.py",
        'await self._session.command("EXAMINE", quoted(name), during=During.OPEN)',
        'await self._session.command("SELECT", quoted(name), during=During.OPEN)',
        ("tests/dialogue/test_source_dialogues.py",),
    ),
    Mutant(
        "PEEK",
        "mailsyncd/imap/gmail.py",
        '"(UID BODY.PEEK[])"',
        '"(UID BODY[])"',
        ("tests/dialogue/test_source_dialogues.py", "tests/contract/imap_servers"),
    ),
    Mutant(
        "PEEK, of what comes with a listing",
        "mailsyncd/imap/early.py",
        'f"(UID BODY.PEEK[]<0.{self._whole}>)"',
        'f"(UID BODY[]<0.{self._whole}>)"',
        ("tests/dialogue/test_reading_dialogues.py",),
    ),
    Mutant(
        "literal length check",
        "mailsyncd/imap/responses.py",
        "self._missing = missing - taken\n",
        "self._missing = 0\n",
        ("tests/unit/imap/test_responses.py",),
    ),
    Mutant(
        "contiguous watermark",
        "mailsyncd/flow/progress.py",
        "contiguous = self._heap[0] - 1 if self._heap else self.listed_to",
        "contiguous = self.listed_to",
        PATH,
    ),
    Mutant(
        "one copy stands for one record",
        "mailsyncd/matching.py",
        "self._used.add(min(uids))",
        "pass",
        ("tests/unit/test_matching.py",),
    ),
    Mutant(
        "who else may own a copy, by way of others",
        "mailsyncd/matching.py",
        "if more == names:",
        "if more:",
        ("tests/unit/test_matching.py", "-k", "however"),
    ),
    Mutant(
        "a newer form of the state is refused",
        "mailsyncd/state/dynamo_table.py",
        'if (version := int(word.get("format", FORMAT))) > FORMAT:',
        'if (version := int(word.get("format", FORMAT))) > 99:',
        ("tests/contract/state/test_format_1.py",),
    ),
    Mutant(
        "what needs no sending is not kept by a pause",
        "mailsyncd/flow/standstill.py",
        "return isinstance(ready.item, Message) and self.left([ready]) > 0",
        "return self.left([ready]) > 0",
        (FLOW + "test_renumbered.py", "-k", "suspicion"),
    ),
    Mutant(
        "no queueing twice",
        "mailsyncd/flow/queue.py",
        "if self._closed or ref.key in self._keys:",
        "if self._closed:",
        (FLOW + "test_queue.py",),
    ),
    Mutant(
        "a lease is waited out by a daemon",
        "mailsyncd/flow/share.py",
        "return now - self.since >= max(self.what.life, life)",
        "return True",
        (FLOW + "test_lease.py",),
    ),
    Mutant(
        "a lease is waited out by a command",
        "mailsyncd/flow/lease.py",
        "if asked - seen[1] < max(current.life, self._life):",
        "if False:",
        (FLOW + "test_lease.py",),
    ),
    Mutant(
        "no early literal where a refused one is read as commands",
        "mailsyncd/imap/outlook.py",
        'return not odd and refused.status.kind == "NO" and after.status.kind == "OK"',
        "return True",
        ("tests/dialogue/test_probing_dialogues.py", "tests/contract/imap_servers"),
    ),
    Mutant(
        "the source's list of allowed commands",
        "mailsyncd/imap/gmail.py",
        "max_literal=self.max_literal, allowed=ALLOWED",
        "max_literal=self.max_literal, allowed=None",
        ("tests/dialogue/test_source_dialogues.py",),
    ),
    Mutant(
        "any history: settle window",
        "mailsyncd/flow/recover.py",
        "wait = self.settle_window if settle else 0.0",
        "wait = 0.0",
        HISTORY,
    ),
    Mutant(
        "any history: recovery scan",
        "mailsyncd/flow/recover.py",
        "for record in await self._gate.call(lambda: self._store.pending(route.key)):",
        "for record in list[Record]():",
        HISTORY,
    ),
    Mutant(
        "any history: the lease is asked before each APPEND",
        "mailsyncd/flow/lease.py",
        "if self._lease is None or not self.held:",
        "if self._lease is None:",
        HISTORY,
    ),
    Mutant(
        "any history: contiguous watermark",
        "mailsyncd/flow/progress.py",
        "contiguous = self._heap[0] - 1 if self._heap else self.listed_to",
        "contiguous = self.listed_to",
        HISTORY,
    ),
    Mutant(
        "any history: twins are counted one by one",
        "mailsyncd/matching.py",
        "self._left.setdefault(twin.like, []).append(twin)",
        "self._left.setdefault(twin.like, [twin])",
        HISTORY,
    ),
    Mutant(
        "any history: an outdated UID is not copied",
        "mailsyncd/flow/renumbered.py",
        "return progress is not None and progress.uidvalidity != ref.uidvalidity",
        "return False",
        HISTORY,
    ),
    Mutant(
        "a reload leaves alone what waits for another try",
        "mailsyncd/flow/writer.py",
        "return self.in_flight | self.later.keys",
        "return self.in_flight",
        OUTLIVED,
    ),
    Mutant(
        "a UID that means another message now is noticed",
        "mailsyncd/flow/oddities.py",
        "if not _same(known[one.uid], one):",
        "if False:",
        (FLOW + "test_odd_sources.py",),
    ),
    Mutant(
        "connections that a message ends are counted",
        "mailsyncd/flow/stragglers.py",
        "self._known[key].losses += 1",
        "pass",
        OUTLIVED,
    ),
    Mutant(
        "one copy a folder: what the folder holds",
        "mailsyncd/flow/duplicates.py",
        "if index is not None and mark in index.uids:",
        "if index is not None and False:",
        (FLOW + "test_one_copy_a_folder.py",),
    ),
    Mutant(
        "one copy a folder: what is under way",
        "mailsyncd/flow/duplicates.py",
        "if others != {message.ref.key}:",
        "if False:",
        (FLOW + "test_one_copy_a_folder.py",),
    ),
    Mutant(
        "a DONE that was cut short is no doubt about the copy",
        "mailsyncd/flow/writer.py",
        "if record is not None and appended is not None:",
        "if False:",
        (FLOW + "test_renumbered.py",),
    ),
    Mutant(
        "a later lease's claim is not taken over",
        "mailsyncd/flow/recover.py",
        "if record.claimed_by.epoch > adopted.claimed_by.epoch:",
        "if False:",
        (FLOW + "test_frozen_daemons.py", "-k", "slept"),
    ),
    Mutant(
        "a claim that was cut short is asked for again",
        "mailsyncd/flow/writer.py",
        "            self._recovery.unanswered(ref, record)\n",
        "",
        (FLOW + "test_renumbered.py",),
    ),
    Mutant(
        "a claim that was taken over is void",
        "mailsyncd/flow/recover.py",
        "return ref.record is not None and ref.record.claimed_by in self._void",
        "return False",
        (FLOW + "test_restarted_routes.py",),
    ),
    Mutant(
        "what a source has counted and not listed yet",
        "mailsyncd/flow/progress.py",
        "contiguous = min(contiguous, self.unlisted.lowest - 1)",
        "pass",
        (FLOW + "test_odd_sources.py",),
    ),
    Mutant(
        "what is settled while a route is loaded",
        "mailsyncd/flow/watch.py",
        "self._settled.append((uidvalidity, uid))",
        "pass",
        (FLOW + "test_restarted_routes.py",),
    ),
)


@dataclass(frozen=True, slots=True)
class Result:
    mutant: Mutant
    killed_by: str | None
    seconds: float


def try_out(mutant: Mutant) -> Result:
    """Run its tests on a mutated copy of the tree."""
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="mutant-") as directory:
        copy = Path(directory)
        for name in ("mailsyncd", "tests"):
            leave = shutil.ignore_patterns("node_modules", "__pycache__", "*.pyc")
            shutil.copytree(ROOT / name, copy / name, ignore=leave)
        for name in ("pyproject.toml", "config.example.toml"):
            shutil.copy(ROOT / name, copy)
        path = copy / mutant.file
        path.write_text(mutant.applied(path.read_text("utf-8")), "utf-8")
        command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", *mutant.tests]
        try:
            ended = subprocess.run(
                command,
                cwd=copy,
                env=os.environ | {"PYTHONPATH": str(copy)},
                capture_output=True,
                text=True,
                timeout=LONGEST,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return Result(mutant, "(it hung)", time.monotonic() - began)
    failed = re.search(r"^(?:FAILED|ERROR) (.+?)(?: - .*)?$", ended.stdout, re.MULTILINE)
    if ended.returncode not in (0, 1) or ended.returncode != bool(failed):
        raise RuntimeError(
            f"{mutant.protection}: pytest ended with {ended.returncode}\n{ended.stdout[-2000:]}"
        )
    return Result(mutant, failed[1] if failed else None, time.monotonic() - began)


def table(results: Sequence[Result]) -> str:
    width = max(len(one.mutant.protection) for one in results)
    return "\n".join(
        f"{one.mutant.protection:{width}}  {one.seconds:4.0f} s  {one.killed_by or 'NOBODY NOTICED'}"
        for one in results
    )


def main() -> int:
    parser = argparse.ArgumentParser(prog="mutants", description=__doc__)
    parser.add_argument("--only", default="", help="protections whose name holds this")
    wanted = parser.parse_args().only
    chosen = [one for one in MUTANTS if wanted in one.protection]
    with ThreadPoolExecutor(SIDE_BY_SIDE) as pool:
        results = list(pool.map(try_out, chosen))
    print(table(results))
    return int(any(one.killed_by is None for one in results))


if __name__ == "__main__":
    sys.exit(main())
