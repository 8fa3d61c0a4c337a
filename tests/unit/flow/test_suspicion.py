"""Whose fault a refusal is: the rules alone, with nothing around them."""

from __future__ import annotations

from mailsyncd.flow.suspicion import DIFFERENT, LONG_PAUSES, QUICK_PROBES, Key, Suspicion


def key(uid: int) -> Key:
    return ("route", 7, uid)


def suspected(count: int = DIFFERENT) -> Suspicion:
    """After so many different messages were refused in a row."""
    suspicion = Suspicion()
    for uid in range(count):
        suspicion.refused(key(uid))
    return suspicion


def test_one_message_refused_again_and_again_is_to_blame_itself() -> None:
    suspicion = Suspicion()
    assert [suspicion.refused(key(1)) for _ in range(10)] == [1] * 10
    assert not suspicion.active


def test_four_different_messages_in_a_row_are_a_sign_and_none_of_them_is_counted() -> None:
    suspicion = Suspicion()
    assert [suspicion.refused(key(uid)) for uid in (1, 2, 1, 3)] == [1, 1, 1, 1]
    assert suspicion.refused(key(4)) == 0
    assert suspicion.active
    assert [suspicion.refused(key(uid)) for uid in (1, 2, 3, 4, 1)] == [-2, -1, -1, 0, 0]


def test_a_success_between_means_the_messages() -> None:
    suspicion = suspected(DIFFERENT - 1)
    assert not suspicion.accepted(key(99))
    assert [suspicion.refused(key(uid)) for uid in range(DIFFERENT - 1)] == [1] * (DIFFERENT - 1)
    assert not suspicion.active


def test_refusals_that_blame_no_message_count_for_none_and_raise_suspicion_all_the_same() -> None:
    suspicion = Suspicion()
    assert [suspicion.refused(key(uid), counts=False) for uid in range(DIFFERENT)] == [0] * DIFFERENT
    assert suspicion.active


def test_a_message_that_was_refused_and_is_taken_clears_all_others() -> None:
    suspicion = suspected()
    assert suspicion.accepted(key(0))
    assert not suspicion.active
    for uid in range(1, DIFFERENT):
        suspicion.refused(key(uid))
    assert not suspicion.active
    suspicion.refused(key(50))
    assert suspicion.active


def test_another_message_that_is_taken_puts_the_blame_on_the_refused_ones_until_one_of_them_passes() -> None:
    suspicion = suspected(10)
    assert suspicion.accepted(key(99))
    assert [suspicion.refused(key(uid)) for uid in range(10)] == [1] * 10
    assert not suspicion.active
    suspicion.accepted(key(0))
    for uid in range(1, 1 + DIFFERENT):
        suspicion.refused(key(uid))
    assert suspicion.active


def test_nothing_is_counted_against_blamed_messages_either_while_the_destination_is_suspected_anew() -> None:
    suspicion = suspected()
    suspicion.accepted(key(99))
    for uid in range(50, 50 + DIFFERENT):
        suspicion.refused(key(uid))
    assert suspicion.refused(key(0)) == 0
    assert suspicion.holds(key(0))
    assert not suspicion.holds(key(99))


def test_new_messages_may_be_tried_soon_a_few_times() -> None:
    suspicion = suspected()
    assert not suspicion.may_probe_soon(key(0))
    for uid in range(100, 100 + QUICK_PROBES):
        assert suspicion.may_probe_soon(key(uid))
        suspicion.refused(key(uid))
    assert not suspicion.may_probe_soon(key(999))
    suspicion.long_pause()
    assert suspicion.may_probe_soon(key(999))


def test_the_long_pauses_grow_to_a_quarter_of_an_hour_and_begin_anew() -> None:
    suspicion = suspected()
    assert [suspicion.long_pause() for _ in range(6)] == [60, 120, 240, 480, 900, 900]
    suspicion.accepted(key(0))
    for uid in range(DIFFERENT):
        suspicion.refused(key(uid))
    assert suspicion.long_pause() == LONG_PAUSES[0]


def test_what_is_remembered_is_bounded() -> None:
    suspicion = suspected(100_000)
    assert len(suspicion) == 1000
    assert suspicion.active
