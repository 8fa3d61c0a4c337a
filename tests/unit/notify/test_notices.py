"""What is told, and how often: once when it begins, once when it is over, and never in a flood."""

from __future__ import annotations

from dataclasses import replace

from fakes import VirtualClock
from statuses import a_meter, a_status

from mailsyncd.notify.notices import MOST, Kind, Limits, Notice, Notices
from mailsyncd.status import DaemonStatus, RouteState, SetAside, WriterState

CLOCK = VirtualClock()
WELL = a_status(a_meter(CLOCK), CLOCK.now(), well=True)
WELL = replace(
    WELL,
    set_aside=(),
    routes=tuple(replace(one, state=RouteState.WATCHING, oldest_age=None) for one in WELL.routes),
    writers=tuple(replace(one, state=WriterState.WRITING) for one in WELL.writers),
)
NAME = WELL.routes[0].name


def having(**fields: object) -> DaemonStatus:
    """All is well but for the first route."""
    first = replace(WELL.routes[0], **fields)  # type: ignore[arg-type]
    return replace(WELL, routes=(first, *WELL.routes[1:]))


def aside(uid: int) -> SetAside:
    return SetAside(NAME, 7, uid, "rejected", "the destination refused it", 1.0, None)


def kinds(told: list[Notice]) -> list[Kind]:
    return [one.kind for one in told]


def test_where_all_is_well_there_is_nothing_to_tell() -> None:
    notices = Notices(Limits())
    assert [notices.look(WELL, float(second)) for second in range(0, 7200, 5)] == [[]] * 1440


def test_a_route_that_needs_its_user_is_told_once_and_its_recovery_once() -> None:
    notices = Notices(Limits())
    blocked = having(state=RouteState.NEEDS_SIGN_IN, detail="sign in again")
    assert notices.look(blocked, 0) == [Notice(Kind.NEEDS_USER, NAME, "sign in again")]
    assert notices.look(blocked, 5) == []
    (over,) = notices.look(WELL, 10)
    assert (over.kind, over.subject) == (Kind.RECOVERED, NAME)
    assert notices.look(WELL, 15) == []


def test_another_try_is_no_recovery() -> None:
    notices = Notices(Limits())
    notices.look(having(state=RouteState.BLOCKED, detail="no"), 0)
    assert notices.look(having(state=RouteState.CONNECTING), 300) == []
    assert notices.look(having(state=RouteState.BLOCKED, detail="no"), 305) == []
    assert kinds(notices.look(WELL, 600)) == [Kind.RECOVERED]


def test_a_full_mailbox_needs_its_user_at_once() -> None:
    full = replace(WELL.writers[0], state=WriterState.FULL, detail="no room")
    (told,) = Notices(Limits()).look(replace(WELL, writers=(full, *WELL.writers[1:])), 0)
    assert (told.kind, told.subject, told.text) == (Kind.NEEDS_USER, full.name, "no room")


def test_many_routes_that_are_slow_at_once_are_one_notice_and_so_is_their_recovery() -> None:
    notices = Notices(Limits(objective=60))
    many = tuple(replace(WELL.routes[0], name=f"route {n}", late=61.0, unsettled=2) for n in range(100))
    (slow,) = notices.look(replace(WELL, routes=many), 0)
    assert (slow.kind, slow.text) == (
        Kind.SLOW,
        "100 like this: 2 messages wait, and nothing has moved for 61 s",
    )
    assert slow.subject.startswith("route 0, route 1, ")
    assert notices.look(replace(WELL, routes=many), 5) == []
    (over,) = notices.look(replace(WELL, routes=tuple(replace(one, late=0.0) for one in many)), 10)
    assert (over.kind, over.text) == (Kind.RECOVERED, "100 like this: is well again: slow no more")


def test_what_another_daemon_copies_now_has_not_recovered() -> None:
    notices = Notices(Limits())
    notices.look(having(state=RouteState.BLOCKED, detail="no"), 0)
    writers = tuple(replace(one, state=WriterState.STANDBY) for one in WELL.writers)
    assert notices.look(replace(WELL, writers=writers), 5) == []


def test_what_fails_is_told_when_it_has_failed_for_long_enough() -> None:
    notices = Notices(Limits(failing_after=60))
    failing = having(state=RouteState.RETRYING, detail="no route to host")
    assert [kinds(notices.look(failing, at)) for at in (0, 30, 59, 60, 65)] == [
        [],
        [],
        [],
        [Kind.FAILING],
        [],
    ]
    notices.look(WELL, 70)
    assert notices.look(failing, 75) == []  # it has only begun again


def test_mail_that_waits_longer_than_the_objective_is_told() -> None:
    notices = Notices(Limits(objective=60))
    assert notices.look(having(late=59.0, unsettled=1), 0) == []
    (slow,) = notices.look(having(late=61.0, unsettled=2), 5)
    assert (slow.kind, slow.text) == (Kind.SLOW, "2 messages wait, and nothing has moved for 61 s")
    assert kinds(notices.look(WELL, 10)) == [Kind.RECOVERED]


def test_a_backlog_that_moves_is_no_cause_for_alarm() -> None:
    notices = Notices(Limits(objective=60))
    assert notices.look(having(oldest_age=7200.0, unsettled=90_000, late=3.0), 0) == []


def test_what_waits_for_a_cause_that_was_told_is_not_told_as_well() -> None:
    notices = Notices(Limits(objective=600))
    full = replace(WELL.writers[0], state=WriterState.FULL, detail="no room")
    waiting = tuple(replace(one, late=900.0, unsettled=1) for one in WELL.routes)
    stopped = replace(WELL, writers=(full, *WELL.writers[1:]), routes=waiting)
    assert kinds(notices.look(stopped, 0)) == [Kind.NEEDS_USER]
    assert notices.look(stopped, 5000) == []
    mended = replace(WELL, routes=waiting)
    assert kinds(notices.look(mended, 5005)) == [Kind.RECOVERED]
    assert notices.look(mended, 5600) == [], "it has its time to catch up"
    assert {one.kind for one in notices.look(mended, 5606)} == {Kind.SLOW}


def test_mail_that_was_told_to_be_late_is_not_well_because_a_cause_is_found() -> None:
    notices = Notices(Limits(objective=60, failing_after=100))
    slow = having(late=61.0, unsettled=1, state=RouteState.RETRYING, detail="no route to host")
    assert kinds(notices.look(slow, 0)) == [Kind.SLOW]
    assert kinds(notices.look(slow, 101)) == [Kind.FAILING]


def test_messages_set_aside_are_told_singly_or_together() -> None:
    notices = Notices(Limits())
    one = replace(WELL, set_aside=(aside(1),))
    assert notices.look(one, 0) == [
        Notice(Kind.PARKED, NAME, "message 7-1 was set aside (rejected): the destination refused it")
    ]
    assert notices.look(one, 5) == []
    (many,) = notices.look(replace(WELL, set_aside=tuple(map(aside, range(1, 40)))), 10)
    assert many.text == "38 messages were set aside: see mailsyncd failures list"


def test_what_flaps_is_told_once_in_the_time_set_for_that() -> None:
    notices = Notices(Limits(repeat=3600))
    blocked = having(state=RouteState.BLOCKED, detail="no")
    told = [
        kind for at in range(0, 3600, 10) for kind in kinds(notices.look(blocked if at % 20 else WELL, at))
    ]
    assert told == [Kind.NEEDS_USER, Kind.RECOVERED]
    assert kinds(notices.look(blocked, 3620)) == [Kind.NEEDS_USER]


def test_there_are_never_more_than_so_many_an_hour_and_the_rest_are_counted() -> None:
    notices = Notices(Limits())
    told = []
    for at in range(100):
        told += notices.look(replace(WELL, set_aside=(aside(at),)), at)
    assert len(told) == MOST
    (after,) = notices.look(replace(WELL, set_aside=(aside(1000),)), 3700)
    assert after.left_out == 100 - MOST


def test_a_route_that_is_gone_has_not_recovered() -> None:
    notices = Notices(Limits())
    notices.look(having(state=RouteState.BLOCKED, detail="no"), 0)
    assert notices.look(replace(WELL, routes=WELL.routes[1:]), 5) == []


def test_where_another_daemon_copies_that_one_tells() -> None:
    standing_by = replace(
        having(state=RouteState.BLOCKED, detail="no"),
        writers=tuple(replace(one, state=WriterState.STANDBY) for one in WELL.writers),
    )
    assert Notices(Limits()).look(standing_by, 0) == []
