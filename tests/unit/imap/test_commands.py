"""When a command is overdue, and how much it may collect."""

from __future__ import annotations

import asyncio

import pytest

from mailsyncd.errors import ConnectionLost, Sent
from mailsyncd.imap.commands import Command, Pulse, Wish
from mailsyncd.imap.responses import HostileInput, Response


async def a_command(wish: Wish | None = None, *, since: float = 100.0, received: int = 0) -> Command:
    answer = asyncio.get_running_loop().create_future()
    return Command(b"A1", "UID FETCH", wish or Wish(("FETCH",)), answer, 60.0, since, received)


async def test_silence_is_waited_for_once() -> None:
    command = await a_command()
    assert command.overdue_at(Pulse(last_byte=50.0, last_answer=50.0)) == 160.0


async def test_bytes_that_keep_coming_are_progress() -> None:
    command = await a_command()
    assert command.overdue_at(Pulse(last_byte=150.0, last_answer=50.0, received=10_000_000)) == 210.0


async def test_bytes_that_trickle_are_none() -> None:
    command = await a_command()
    assert command.overdue_at(Pulse(last_byte=155.0, last_answer=50.0, received=20)) == pytest.approx(160.02)


async def test_what_came_before_the_command_does_not_count() -> None:
    command = await a_command(received=9_000_000)
    pulse = Pulse(last_byte=155.0, last_answer=50.0, received=9_000_020)
    assert command.overdue_at(pulse) == pytest.approx(160.02)


async def test_answers_to_the_commands_before_it_are_progress() -> None:
    command = await a_command()
    assert command.overdue_at(Pulse(last_byte=155.0, last_answer=155.0)) == 215.0


async def test_idle_has_no_deadline_while_it_lasts() -> None:
    command = await a_command()
    command.open_ended = True
    assert command.overdue_at(Pulse(0.0, 0.0)) == float("inf")


@pytest.mark.parametrize("take", [None, lambda response: None])
async def test_an_answer_without_end_is_hostile(take: object) -> None:
    command = await a_command(Wish(("FETCH",), take, most=1_000))  # type: ignore[arg-type]
    for _ in range(8):
        command.keep(Response((b"* 1 FETCH (FLAGS ())",)))
    with pytest.raises(HostileInput, match="more than 1,000 bytes in answer to one UID FETCH"):
        command.keep(Response((b"* 1 FETCH (FLAGS ())",)))


async def test_a_forgotten_command_keeps_nothing() -> None:
    command = await a_command()
    command.keep(Response((b"* 1 FETCH (FLAGS ())",)))
    command.forget()
    command.keep(Response((b"* 2 FETCH (FLAGS ())",)))
    assert command.kept == []


async def test_loss_tells_how_much_was_sent() -> None:
    command = await a_command()
    command.sent = Sent.EVERYTHING
    command.fail("gone")
    with pytest.raises(ConnectionLost, match="gone") as caught:
        await command.answer
    assert caught.value.sent is Sent.EVERYTHING
