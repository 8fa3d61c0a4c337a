"""Two daemons on one state: one copies, the other waits; and a frozen one that wakes up too late
finds itself shut out (I3)."""

from __future__ import annotations

import secrets
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from bed import Bed, Daemon, Route, until
from corpus import varied
from engines import light, moto
from mailboxes import SAME, Comparison

from mailsyncd.sim.corpus import Mail

pytestmark = pytest.mark.real
ANN = Route("src1", "Gmail/src1")
LEASE = 10.0  # seconds, the shortest there is
TAKEOVER = 5.0  # seconds beyond a lease's life
AT_WORK = 3.0  # seconds to connect, look around, list and read, on a machine that is busy
HANDOVER = 1.0  # seconds from one daemon's end to the other's beginning


@contextmanager
def pair(
    bed: Bed, engine: Callable[[], AbstractContextManager[str]] = moto, **outlook: str
) -> Iterator[tuple[Bed, Bed]]:
    """Two directories with a configuration each, and one table. Not one file: whoever is frozen in
    the middle of a transaction would keep that locked."""
    other = bed.directory.parent / "other"
    other.mkdir()
    bed.environ |= {"AWS_ACCESS_KEY_ID": "T" + secrets.token_hex(4), "AWS_SECRET_ACCESS_KEY": "x"}
    with engine() as url:
        state = f'backend = "dynamodb"\nregion = "us-west-2"\nendpoint_url = "{url}"\nlease = "{LEASE:.0f}s"'
        beds = (bed, replace(bed, directory=other))
        for one in beds:
            one.configure(ANN, state=state, daemon='settle_window = "1s"', **outlook)
        assert bed.cli("state", "init", "--config", "config.toml").returncode == 0
        yield beds


def same(bed: Bed) -> bool:
    return Comparison.of(bed.sent("src1"), bed.copies("Gmail/src1")) == SAME


def copied(*daemons: Daemon) -> int:
    return sum(len(daemon.events("message.copied")) for daemon in daemons)


def test_the_second_waits_and_takes_over_at_once_when_the_first_is_stopped(bed: Bed) -> None:
    bed.deliver("src1", varied(1, 60))
    with pair(bed) as (first, second), first.daemon() as one, second.daemon() as two:
        until(lambda: copied(one, two) >= 10)
        writing, waiting = (one, two) if copied(one) else (two, one)
        waiting.await_event("writer.standby")
        assert copied(waiting) == 0
        assert writing.stop() == 0
        released = time.monotonic()
        waiting.await_event("lease.taken")
        assert time.monotonic() - released < HANDOVER
        until(lambda: copied(one, two) == 60)
        assert waiting.stop() == 0
    assert same(bed)


def at(event: dict[str, object]) -> float:
    return datetime.fromisoformat(str(event["timestamp"])).timestamp()


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_daemons_replace_each_other_in_the_middle_of_a_backlog(bed: Bed, how: signal.Signals) -> None:
    """A rolling replacement, and back again: each new one starts while the old one copies (R50)."""
    bed.deliver("src1", varied(5, 600))
    with pair(bed, light, per_second="30") as beds, ExitStack() as stack:
        old = stack.enter_context(beds[0].daemon())
        old.await_event("lease.taken")
        for number in (1, 2):  # in the other directory, and in the first one again
            new = stack.enter_context(beds[number % 2].daemon(f"{number}.log"))
            new.await_event("writer.standby")
            wanted = bed.count("Gmail/src1") + 40
            until(lambda wanted=wanted: bed.count("Gmail/src1") >= wanted)  # type: ignore[misc]
            old.process.send_signal(how)
            asked = time.time()
            old.process.wait(30)
            new.await_event("lease.taken")
            new.await_event("message.copied")
            gap = at(new.events("message.copied")[0]) - max(asked, at(old.events("message.copied")[-1]))
            assert gap < (HANDOVER if how is signal.SIGTERM else LEASE + TAKEOVER) + AT_WORK
            old = new
        assert bed.count("Gmail/src1") < 600  # or this was no replacement in the middle
        until(lambda: bed.count("Gmail/src1") >= 600)
        assert old.stop() == 0
    assert same(bed)


def large(count: int) -> Iterator[Mail]:
    """So large that a daemon that is frozen at any moment is in the middle of one."""
    for number in range(count):
        body = b"%d and a line to fill it\r\n" % number * 200_000
        yield Mail(
            b"Message-ID: <%d@large.example>\r\n\r\n" % number + body,
            datetime(2024, 7, 1, tzinfo=UTC) + timedelta(hours=number),
        )


def test_a_frozen_daemon_is_replaced_and_writes_nothing_when_it_wakes_up(bed: Bed) -> None:
    bed.deliver("src1", large(12))
    with pair(bed) as (first, second), first.daemon() as frozen:
        until(lambda: bed.count("Gmail/src1") >= 2)
        frozen.process.send_signal(signal.SIGSTOP)
        with second.daemon() as heir:
            until(lambda: bed.count("Gmail/src1") >= 12)
            frozen.process.send_signal(signal.SIGCONT)
            frozen.await_event("writer.standby")
            bed.deliver("src1", varied(3, 3))
            until(lambda: copied(heir) >= 3 and bed.count("Gmail/src1") >= 15)
            assert frozen.stop() == 0
            assert heir.stop() == 0
    assert same(bed)
