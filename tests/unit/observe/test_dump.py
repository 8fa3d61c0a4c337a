"""What SIGUSR1 logs: every route, destination and task, where it waits, and no value of any variable."""

from __future__ import annotations

import asyncio

from fakes import VirtualClock, breathe
from statuses import a_meter, a_status
from structlog.testing import capture_logs

from mailsyncd.observe import dump


async def _inner(password: str) -> None:
    await asyncio.sleep(3600)


async def _outer(password: str) -> None:
    secret = password.upper()
    await _inner(secret)


async def test_a_dump_tells_where_each_task_waits_and_nothing_that_it_holds() -> None:
    clock = VirtualClock()
    status = a_status(a_meter(clock), clock.now())
    task = asyncio.create_task(_outer("swordfish"), name="the waiting one")
    await breathe()
    with capture_logs() as lines:
        dump.dump(status)
    task.cancel()
    (of_task,) = [line for line in lines if line.get("name") == "the waiting one"]
    calls = [call.partition(" ")[2] for call in of_task["waits_in"].split(" > ")]
    assert calls == ["_outer", "_inner", "sleep"]
    assert "swordfish" not in str(lines).lower()
    assert [line["event"] for line in lines].count("dump.route") == len(status.routes)
    assert [line["event"] for line in lines].count("dump.destination") == len(status.writers)
    assert (lines[0]["event"], lines[-1]["event"]) == ("dump.began", "dump.ended")
    assert lines[0]["health"] == status.health.name.lower()


async def test_however_many_tasks_there_are_a_dump_is_bounded() -> None:
    clock = VirtualClock()
    tasks = [asyncio.create_task(asyncio.sleep(3600)) for _ in range(dump.MOST_TASKS + 50)]
    await breathe(1)
    with capture_logs() as lines:
        dump.dump(a_status(a_meter(clock), clock.now()))
    for task in tasks:
        task.cancel()
    assert [line["event"] for line in lines].count("dump.task") == dump.MOST_TASKS
    assert lines[-1]["tasks_left_out"] >= 50
