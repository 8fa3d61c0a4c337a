"""Whichever awaited call fails, once or for ever, or is the one at which the daemon is cancelled: nothing
is lost, doubled or altered, and no task and no session is left behind (I1, I2, I3, I8, I10).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator

import pytest
import structlog
from fakes import mail
from turmoil.destination import Reply
from turmoil.failing import FailingMailbox, FailingStore, Faults, How, Port
from turmoil.world import ANN, BEA, Daemon, World

from mailsyncd.errors import MessageRejected, StateUnavailable

LONG = 200.0  # seconds: more than the grace time, the lease and the settle window


class Life:
    """A short one: mail that is there and mail that comes, a refusal, a lost answer, a lost connection."""

    def __init__(self, faults: Faults) -> None:
        self.faults = faults
        self.world = World(ANN, BEA)
        self.world.wrap_store = lambda store: FailingStore(store, faults)
        self.world.wrap_source = lambda source: FailingMailbox(source, Port.SOURCE, faults)
        self.world.wrap_sink = lambda sink: FailingMailbox(sink, Port.SINK, faults)
        for n in (1, 2, 3):
            self.world.deliver(ANN, mail(n))
            self.world.deliver(BEA, mail(n))
        self.daemon = self.world.start()
        assert self.daemon.main is not None
        self.main = self.daemon.main
        self.faults.cancel = self.main.cancel

    def play(self, until: float) -> None:
        there = self.world.destination
        there.replies.append(Reply(MessageRejected("not now"), stored=False))
        self._pass(1.0)
        self.world.deliver(ANN, mail(4))
        self._pass(0.3)  # under way
        there.late.append(0.5)
        there.cut()
        self.world.boxes[BEA].cut()
        self.world.deliver(BEA, mail(5))
        self._pass(until)

    def _pass(self, seconds: float) -> None:
        self.world.run(asyncio.wait([self.main], timeout=seconds))
        self.world.check()

    def end(self) -> None:
        """Whether by itself or by being cancelled: nothing of it is left."""
        self.main.cancel()
        self.world.run(asyncio.wait([self.main]))
        left = [task for task in self.daemon.tasks if not task.done()]
        assert not left, f"tasks are left: {left}"
        assert not self.world.destination.sessions, "a destination session is left"
        assert not any(box.sessions for box in self.world.boxes.values()), "a source session is left"

    def end_well(self) -> None:
        """After a new run has gone until quiet."""
        self.end()
        self.faults.over()
        self._replace(self.daemon)
        self.world.settle()

    def _replace(self, daemon: Daemon) -> None:
        self.world.run(self.world.kill(daemon))
        self.world.known_dead.add(daemon.owner)
        self.world.start()


def one_life(faults: Faults) -> None:
    life = Life(faults)
    try:
        life.play(LONG if faults.how is How.FOR_EVER else 5.0)
        if faults.how in (How.BEFORE, How.AFTER):
            assert not life.main.done(), "a single failure has ended the daemon"
        if life.main.done() and not life.main.cancelled():
            assert isinstance(life.main.exception(), StateUnavailable)
        life.end_well()
    finally:
        life.world.close()


@pytest.fixture(autouse=True)
def _silence() -> Iterator[None]:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    yield
    structlog.reset_defaults()


def test_every_kind_of_call_is_among_those_that_fail() -> None:
    faults = Faults()
    one_life(faults)
    ports = {site.split(".")[0] for site in faults.sites}
    assert ports == {port.value for port in Port}
    assert {"sink.append", "sink.tail", "source.read", "store.claim", "store.finish"} <= set(faults.sites)


@pytest.mark.parametrize("how", How)
def test_whichever_call_fails_all_is_well_in_the_end(how: How) -> None:
    whole = Faults()
    life = Life(whole)
    life.play(5.0)
    life.world.close()
    ailing = []
    for nth, site in enumerate(whole.sites, 1):
        try:
            one_life(Faults(nth, how))
        except AssertionError as wrong:
            ailing.append(f"{nth}, {site}: {wrong}")
    assert not ailing, "\n".join(ailing)
