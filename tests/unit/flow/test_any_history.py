"""Any history at all: whatever happens to servers, daemons, clocks and the state store, in whatever
order, nothing is lost, doubled or altered (I1, I2, I3, I5, I6, I8).

Ordinarily the same few are played each time, and what fails is shown as it is; `make histories` plays
as many others as one likes, and shrinks what fails to what it takes.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections import Counter
from collections.abc import Iterator
from typing import ClassVar

import pytest
import structlog
from fakes import mail
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from turmoil.destination import Reply
from turmoil.world import ANN, BEA, SHARED, Daemon, World

from mailsyncd.errors import (
    AuthRejected,
    DestinationFull,
    FailureKind,
    MailsyncError,
    MessageRejected,
    RouteBlocked,
    Throttled,
    Transient,
)
from mailsyncd.model import Route

HISTORIES = int(os.environ.get("HISTORIES", "0"))  # 0: the ordinary ones
ORDINARY, STEPS = 120, 30
DAY = 86_400.0

pytestmark = pytest.mark.timeout(0 if HISTORIES else 600)

numbers = st.integers(0, 7)
routes = st.sampled_from([0, 1])
# Most of what happens is over in an instant; the rest waits for leases and settle windows.
moments = st.sampled_from([0.0, 0.1, 0.17, 0.21, 0.26, 0.3, 0.35, 0.5, 2.0, 31.0, 65.0, 95.0])
# What becomes of the messages that a cut leaves in the server's hands: stored so late, or never.
fates = st.lists(st.none() | st.sampled_from([0.0, 0.5, 30.0, 89.0]), max_size=4)
refusals = st.sampled_from(
    [
        Transient("try again"),
        Throttled("slowly", 2.0),
        Throttled("far too many", 700.0),
        DestinationFull("no room"),
        MessageRejected("no", vague=True),
        MessageRejected("not this one"),
        MessageRejected("too large", FailureKind.OVERSIZE),
    ]
)
hindrances = st.sampled_from(
    [
        Transient("not now"),
        Throttled("too many connections", 20.0),
        AuthRejected("the token has expired"),
        RouteBlocked("consent was revoked"),
    ]
)


class History(RuleBasedStateMachine):
    """The model is the mail that was ever in either source; the judge is tests/turmoil/world.py."""

    world: World
    played: ClassVar[Counter[str]] = Counter()

    @initialize(shared=st.booleans(), has_uidplus=st.booleans(), daemons=st.integers(1, 2), then=moments)
    def begin(self, shared: bool, has_uidplus: bool, daemons: int, then: float) -> None:
        self.world = World(ANN, SHARED if shared else BEA)
        self.world.destination.has_uidplus = has_uidplus
        self.sent = 0
        for _ in range(daemons):
            self.world.start()
        self.deliver(0, 3, False, 0.0)
        self.deliver(1, 3, False, then)

    def _route(self, number: int) -> Route:
        return self.world.routes[number]

    def _pass(self, seconds: float) -> None:
        if seconds:
            self.world.run(asyncio.sleep(seconds))
            self.world.supervise()

    def _daemon(self, number: int) -> Daemon:
        return self.world.daemons[number % len(self.world.daemons)]

    # ---------------------------------------------------------------------- mail

    @rule(route=routes, count=st.integers(1, 12), silently=st.booleans(), then=moments)
    def deliver(self, route: int, count: int, silently: bool, then: float) -> None:
        for _ in range(count):
            self.sent += 1
            self.world.deliver(self._route(route), mail(self.sent), silently=silently)
        self._pass(then)

    @precondition(lambda self: self.sent)
    @rule(route=routes, which=numbers, then=moments)
    def deliver_a_twin(self, route: int, which: int, then: float) -> None:
        """Byte for byte what some route got before: a mailing list, or a copy to oneself."""
        self.world.deliver(self._route(route), mail(self.sent - which % self.sent))
        self._pass(then)

    @rule(route=routes, why=refusals, then=moments)
    def deliver_what_the_destination_never_takes(self, route: int, why: MailsyncError, then: float) -> None:
        self.sent += 1
        if isinstance(why, MessageRejected):
            self.world.destination.poison[mail(self.sent)] = why
        self.world.deliver(self._route(route), mail(self.sent))
        self._pass(then)

    @rule(route=routes, which=numbers, then=moments)
    def expunge_at_the_source(self, route: int, which: int, then: float) -> None:
        box = self.world.boxes[self._route(route)]
        if uids := list(box.messages):
            box.expunge(uids[-1 - which % len(uids)])
        self._pass(then)

    @rule(which=numbers, then=moments)
    def archive(self, which: int, then: float) -> None:
        box = self.world.boxes[ANN]
        if uids := list(box.messages):
            box.archive_one(uids[-1 - which % len(uids)])
        self._pass(then)

    @precondition(lambda self: self.world.boxes[ANN].archive)
    @rule(then=moments)
    def inbox_again(self, then: float) -> None:
        self.world.boxes[ANN].inbox_again()
        self._pass(then)

    # ------------------------------------------------------------------- servers

    @rule(route=routes, hindrance=st.none() | hindrances, then=moments)
    def cut_the_source(self, route: int, hindrance: MailsyncError | None, then: float) -> None:
        box = self.world.boxes[self._route(route)]
        box.refuse_connect += [hindrance] if hindrance else []
        box.cut()
        self._pass(then)

    @rule(late=fates, hindrance=st.none() | hindrances, then=moments)
    def cut_the_destination(
        self, late: list[float | None], hindrance: MailsyncError | None, then: float
    ) -> None:
        there = self.world.destination
        there.refuse_connect += [hindrance] if hindrance else []
        there.late.extend(late)
        there.cut()
        self._pass(then)

    @rule(why=refusals, stored=st.booleans(), count=st.integers(1, 5), then=moments)
    def refuse(self, why: MailsyncError, stored: bool, count: int, then: float) -> None:
        """Perhaps after having stored it all the same."""
        self.world.destination.replies.extend([Reply(why, stored)] * count)
        self._pass(then)

    @rule(stored=st.booleans(), late=fates, then=moments)
    def never_answer(self, stored: bool, late: list[float | None], then: float) -> None:
        self.world.destination.late.extend(late)
        self.world.destination.replies.append(Reply(stored=stored, silent=True))
        self._pass(then)

    @rule(slow=st.sampled_from([1.0, 20.0, 400.0, 3000.0]), then=moments)
    def be_slow(self, slow: float, then: float) -> None:
        self.world.destination.slow = slow
        self._pass(then)

    @rule(full=st.booleans(), then=moments)
    def fill_up_or_make_room(self, full: bool, then: float) -> None:
        self.world.destination.full = DestinationFull("no room") if full else None
        self._pass(then)

    @rule(route=routes, count=st.integers(1, 4), then=moments)
    def refuse_to_read(self, route: int, count: int, then: float) -> None:
        refusal = MessageRejected("cannot be read", FailureKind.SOURCE_UNREADABLE)
        self.world.boxes[self._route(route)].refuse_read += [refusal] * count
        self._pass(then)

    @rule(route=routes, lives=st.sampled_from([None, 15.0, 100.0]), then=moments)
    def let_sessions_expire(self, route: int, lives: float | None, then: float) -> None:
        self.world.boxes[self._route(route)].lives = lives
        self.world.destination.lives = lives
        self._pass(then)

    @rule(route=routes, doubled=st.booleans(), then=moments)
    def renumber_the_source(self, route: int, doubled: bool, then: float) -> None:
        """Perhaps when it has one message twice."""
        box = self.world.boxes[self._route(route)]
        if doubled and box.messages:
            self.world.deliver(self._route(route), next(reversed(box.messages.values())).body)
            self._pass(2.0)
        box.renumber()
        self._pass(then)

    @rule(route=routes, cut=st.booleans(), then=moments)
    def renumber_the_folder(self, route: int, cut: bool, then: float) -> None:
        self.world.destination.renumber(self._route(route).folder)
        if cut:
            self.world.destination.cut()
        self._pass(then)

    # --------------------------------------------------------- daemons and their state

    @rule(by=st.sampled_from([0.0, 3600.0, -3600.0, 400 * DAY, -400 * DAY]), then=moments)
    def set_the_wall_clock(self, by: float, then: float) -> None:
        self.world.clock.jumped = by
        self._pass(then)

    @precondition(lambda self: self.world.daemons)
    @rule(which=numbers, away=st.booleans(), then=moments)
    def part_from_the_store(self, which: int, away: bool, then: float) -> None:
        self._daemon(which).store.away = away
        self._pass(then)

    @precondition(lambda self: self.world.daemons)
    @rule(which=numbers, count=st.integers(0, 3), latency=st.sampled_from([0.0, 0.03, 3.0]), then=moments)
    def lose_answers_of_the_store(self, which: int, count: int, latency: float, then: float) -> None:
        store = self._daemon(which).store
        store.lost_answers, store.latency = count, latency
        self._pass(then)

    @precondition(lambda self: self.world.daemons)
    @rule(which=numbers, late=fates, is_known=st.booleans(), then=moments)
    def kill(self, which: int, late: list[float | None], is_known: bool, then: float) -> None:
        daemon = self._daemon(which)
        self.world.destination.late.extend(late)
        self.world.run(self.world.kill(daemon))
        if is_known:
            self.world.known_dead.add(daemon.owner)
        self._pass(then)

    @precondition(lambda self: len(self.world.daemons) < 2)
    @rule(then=moments)
    def start(self, then: float) -> None:
        self.world.start()
        self._pass(then)

    @precondition(lambda self: self.world.daemons)
    @rule(which=numbers, then=moments)
    def stop(self, which: int, then: float) -> None:
        if not (daemon := self._daemon(which)).frozen:
            self.world.run(self.world.stop(daemon))
        self._pass(then)

    @precondition(lambda self: self.world.daemons)
    @rule(which=numbers, without=st.none() | routes, changed=st.none() | routes, then=moments)
    def reload(self, which: int, without: int | None, changed: int | None, then: float) -> None:
        ends = [None if one is None else self._route(one) for one in (without, changed)]
        self.world.reload(self._daemon(which), without=ends[0], changed=ends[1])
        self._pass(then)

    @precondition(lambda self: self.world.daemons)
    @rule(which=numbers, then=moments)
    def freeze(self, which: int, then: float) -> None:
        self._daemon(which).wire.thawed.clear()
        self._pass(then)

    @rule(then=moments)
    def thaw(self, then: float) -> None:
        for daemon in self.world.daemons:
            daemon.wire.thawed.set()
        self._pass(then)

    @precondition(lambda self: self.world.daemons)
    @rule(which=numbers, count=st.integers(4, 12), at=st.sampled_from([0.1, 0.17, 0.21, 0.26, 0.3, 0.4]))
    def freeze_past_the_lease(self, which: int, count: int, at: float) -> None:
        """In the middle of writing, beside another daemon, which goes on meanwhile."""
        if len(self.world.daemons) < 2:
            self.world.start()
        self.deliver(which % 2, count, False, at)
        if not self.world.daemons:
            return
        self.freeze(which, 130.0)
        self.deliver(which % 2, count, False, 0.1)
        self.thaw(2.0)

    @rule(then=st.sampled_from([31.0, 95.0, 320.0, 1000.0]))
    def wait_for_long(self, then: float) -> None:
        self._pass(then)

    # ---------------------------------------------------------------------- the judge

    @invariant()
    def holds(self) -> None:
        self.played["steps"] += 1
        self.world.check()

    def teardown(self) -> None:
        if not hasattr(self, "world"):
            return
        self.played["histories"] += 1
        try:
            self.world.settle()
        finally:
            self.world.close()


@pytest.fixture(autouse=True)
def _silence() -> Iterator[None]:
    """Logs of a hundred thousand lives are read by nobody."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    yield
    structlog.reset_defaults()
    print(f"\n{History.played['histories']} histories of {History.played['steps']} steps were played")


TestHistory = History.TestCase
TestHistory.settings = settings(
    max_examples=HISTORIES or ORDINARY,
    stateful_step_count=STEPS,
    derandomize=not HISTORIES,
    phases=[Phase.generate, Phase.shrink] if HISTORIES else [Phase.generate],
    database=None,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
