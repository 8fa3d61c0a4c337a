"""A command and a webhook: what they get, what they may not have, and that no trouble of theirs is ours."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import pytest
from fakes import VirtualClock, breathe
from statuses import OWN, REFUSAL, STRANGER, SUBJECT, a_meter, a_status
from structlog.testing import capture_logs

from mailsyncd.account import Secret
from mailsyncd.notify import notifier, webhook
from mailsyncd.notify.command import HookFailed, run
from mailsyncd.notify.notifier import Hooks, Notifications
from mailsyncd.observe.clock import SystemClock
from mailsyncd.observe.shown import shown
from mailsyncd.status import DaemonStatus, RouteState

ENVIRON = {"PATH": os.environ["PATH"], "MS_REFRESH_TOKEN": "top secret"}
TELL = "import os, sys; open(sys.argv[1], 'w').write(sys.stdin.read() + repr(sorted(os.environ.items())))"


def python(program: str, *arguments: object) -> list[str]:
    return [sys.executable, "-c", program, *map(str, arguments)]


async def test_a_command_gets_the_event_and_none_of_our_secrets(tmp_path: Path) -> None:
    told = tmp_path / "told"
    await run(python(TELL, told), b'{"event":"slow"}\n', {"MAILSYNCD_EVENT": "slow"}, ENVIRON, 20)
    text = told.read_text()
    assert text.startswith('{"event":"slow"}\n')
    assert "('MAILSYNCD_EVENT', 'slow')" in text
    assert "top secret" not in text


async def test_no_shell_has_a_part_in_it(tmp_path: Path) -> None:
    odd = f"$(touch {tmp_path}/made); `x`"
    await run(python("import sys; assert sys.argv[1].startswith('$(touch')", odd), b"", {}, ENVIRON, 20)
    assert not (tmp_path / "made").exists()


async def test_a_command_that_hangs_is_killed_with_all_it_began(tmp_path: Path) -> None:
    child = f"import time; time.sleep(2); open({str(tmp_path / 'alive')!r}, 'w')"
    program = (
        "import subprocess, sys, time; subprocess.Popen([sys.executable, '-c', sys.argv[1]]); time.sleep(60)"
    )
    began = time.monotonic()
    with pytest.raises(HookFailed, match=r"took longer than 1 s and was killed"):
        await run(python(program, child), b"x" * 1_000_000, {}, ENVIRON, 1)
    assert time.monotonic() - began < 20
    await asyncio.sleep(3)
    assert not (tmp_path / "alive").exists()


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["/no/such/program"], "No such file"),
        (["/"], "Permission denied"),
        ([sys.executable, "-c", "raise SystemExit(3)"], "ended with status 3"),
        ([sys.executable, "-c", "import os; os.kill(os.getpid(), 15)"], "ended by signal 15"),
        (["a\0b"], "can't be run"),
    ],
)
async def test_what_goes_wrong_with_a_command_is_one_line(arguments: list[str], why: str) -> None:
    with pytest.raises(HookFailed, match=why):
        await run(arguments, b"{}\n", {}, ENVIRON, 20)


async def test_a_file_that_is_no_program_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "hook").write_text("#!/bin/sh\n")
    (tmp_path / "hook").chmod(0o644)
    with pytest.raises(HookFailed, match=r"^it can't be run: Permission denied$"):
        await run([str(tmp_path / "hook")], b"{}\n", {}, ENVIRON, 20)


async def test_output_goes_nowhere_and_never_fills_a_pipe(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    flood = "import sys; [(sys.stdout.write('x' * 65536), sys.stderr.write('y' * 65536)) for _ in range(200)]"
    done = tmp_path / "done"
    await run(python(f"{flood}; open(sys.argv[1], 'w')", done), b"{}\n", {}, ENVIRON, 20)
    assert done.exists()
    assert capfd.readouterr() == ("", "")


async def test_a_command_need_not_read_what_it_is_told(tmp_path: Path) -> None:
    done = tmp_path / "done"
    program = "import sys; sys.stdin.close(); open(sys.argv[1], 'w')"
    await run(python(program, done), b"x" * 1_000_000, {}, ENVIRON, 20)
    assert done.exists()


async def test_what_is_let_go_of_in_the_midst_of_a_command_leaves_nothing_behind(tmp_path: Path) -> None:
    alive = tmp_path / "alive"
    program = "import sys, time; open(sys.argv[1], 'w').close(); time.sleep(60)"
    task = asyncio.create_task(run(python(program, alive), b"", {}, ENVIRON, 60))
    async with asyncio.timeout(20):
        while not alive.exists():  # noqa: ASYNC110 - looking is all there is
            await asyncio.sleep(0.01)
    task.cancel()
    began = time.monotonic()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert time.monotonic() - began < 5


# --------------------------------------------------------------------- the webhook


@asynccontextmanager
async def server(*statuses: int) -> AsyncIterator[tuple[Secret, list[bytes]]]:
    """Answers one request a connection with these statuses, then hangs."""
    requests: list[bytes] = []
    left = list(statuses)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
        requests.append(await reader.readexactly(length))
        if not left:
            await reader.read()
        else:
            writer.write(b"HTTP/1.1 %d X\r\nContent-Length: 0\r\nConnection: close\r\n\r\n" % left.pop(0))
            await writer.drain()
        writer.close()

    listening = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with listening:
        port = listening.sockets[0].getsockname()[1]
        yield Secret(f"http://127.0.0.1:{port}/hook/s3cret"), requests


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webhook, "PAUSES", (0.01, 0.01))


async def test_a_webhook_gets_json_once() -> None:
    async with server(204) as (address, requests):
        await webhook.post(address, b"{}\n", 5, SystemClock())
    assert requests == [b"{}\n"]


async def test_a_webhook_is_tried_three_times_and_no_more() -> None:
    async with server(500, 429, 200) as (address, requests):
        await webhook.post(address, b"{}\n", 5, SystemClock())
    assert len(requests) == 3
    async with server(500, 500, 500, 200) as (address, requests):
        with pytest.raises(HookFailed, match=r"^it answered 500$"):
            await webhook.post(address, b"{}\n", 5, SystemClock())
    assert len(requests) == 3


@pytest.mark.parametrize("status", [302, 400, 404])
async def test_what_will_not_change_is_not_tried_again(status: int) -> None:
    async with server(status, 200) as (address, requests):
        with pytest.raises(HookFailed, match=f"^it answered {status}$"):
            await webhook.post(address, b"{}\n", 5, SystemClock())
    assert len(requests) == 1


async def test_a_webhook_that_hangs_or_is_not_there_is_given_up_and_its_address_not_told() -> None:
    async with server() as (address, requests):
        with pytest.raises(HookFailed, match=r"^no answer in time$"):
            await webhook.post(address, b"{}\n", 1.5, SystemClock())  # making ready for TLS is part of it
        assert len(requests) == 3
    with pytest.raises(HookFailed) as failure:
        await webhook.post(Secret("http://127.0.0.1:1/s3cret"), b"{}\n", 5, SystemClock())
    assert "s3cret" not in str(failure.value)


# -------------------------------------------------------------------- the notifier


def blocked(clock: VirtualClock) -> DaemonStatus:
    status = a_status(a_meter(clock), clock.now(), well=True)
    first = replace(status.routes[0], state=RouteState.BLOCKED, detail="sign in again")
    return replace(status, routes=(first, *status.routes[1:]), set_aside=())


async def test_a_hook_that_fails_is_a_line_in_the_log_and_no_notice(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, told = VirtualClock(), []

    async def failing(arguments: object, body: bytes, *rest: object) -> None:
        told.append(json.loads(body))
        raise HookFailed("it ended with status 1")

    monkeypatch.setattr(notifier, "run", failing)
    hooks = Hooks(command=("x",))
    notifications = Notifications(hooks, lambda: blocked(clock), str, clock, {})
    with capture_logs() as lines:
        task = asyncio.create_task(notifications.run())
        for _ in range(100):
            await clock.advance(10)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    assert [one["event"] for one in told] == ["needs_user"]
    assert told[0]["text"] == "sign in again"
    assert [line["event"] for line in lines] == ["notify.failed"]


async def test_a_slow_hook_holds_up_nothing_and_leaves_nothing_behind(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock, held = VirtualClock(), asyncio.Event()

    async def slow(*rest: object) -> None:
        await held.wait()

    monkeypatch.setattr(notifier, "run", slow)
    monkeypatch.setattr(notifier, "MOST_WAITING", 3)
    notifications = Notifications(Hooks(command=("x",)), lambda: blocked(clock), str, clock, {})
    task = asyncio.create_task(notifications.run())
    await clock.advance(20)
    assert not task.done()
    task.cancel()
    await breathe()
    assert task.cancelled()
    assert [one for one in asyncio.all_tasks() if one.get_name().startswith("notify")] == []


async def test_no_word_of_a_message_is_told_and_the_time_is_that_of_the_event(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock, told, release = VirtualClock(), [], asyncio.Event()

    async def tell(arguments: object, body: bytes, variables: Mapping[str, str], *rest: object) -> None:
        told.append(body.decode() + str(variables))
        await release.wait()

    monkeypatch.setattr(notifier, "run", tell)
    began = clock.now()
    meter = a_meter(clock)
    status = replace(a_status(meter, began, well=True), set_aside=tuple(meter.aside))
    assert any(one.error == REFUSAL for one in status.set_aside)
    notifications = Notifications(
        Hooks(command=("x",)), lambda: status, lambda text: shown(text, OWN), clock, {}
    )
    task = asyncio.create_task(notifications.run())
    await clock.advance(600)
    release.set()
    await clock.advance(5)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert len(told) >= 2
    for one in told:
        assert STRANGER not in one
        assert SUBJECT not in one
        at = datetime.fromisoformat(json.loads(one.partition("\n")[0])["at"])
        assert at.timestamp() - began < 10


async def test_nobody_to_tell_is_nothing_to_do_until_there_is_somebody(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock, told = VirtualClock(), []

    async def tell(*rest: object) -> None:
        told.append(rest)

    monkeypatch.setattr(notifier, "run", tell)
    notifications = Notifications(Hooks(), lambda: blocked(clock), str, clock, {})
    task = asyncio.create_task(notifications.run())
    await clock.advance(100)
    assert told == []
    notifications.move(Hooks(command=("x",)))
    await clock.advance(10)
    assert len(told) == 1
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
