"""The status socket and `check`, over a real Unix-domain socket."""

from __future__ import annotations

import asyncio
import io
import json
import socket
import stat
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mailsyncd.commands import check as command
from mailsyncd.commands.check import check
from mailsyncd.errors import MailsyncError
from mailsyncd.observe import control
from mailsyncd.observe.ask import NoAnswer, ask
from mailsyncd.observe.control import ControlServer
from mailsyncd.status import (
    DaemonStatus,
    Health,
    Reload,
    ReloadOutcome,
    RouteState,
    RouteStatus,
    Sharing,
    WriterState,
    WriterStatus,
)

ROUTE = RouteStatus(
    name="me@example.org > [INBOX]\x1b[2J",
    destination="outlook",
    state=RouteState.WATCHING,
    detail="",
    last_uid=4711,
    unsettled=2,
    oldest_age=75.4,
    copied=12,
    skipped=3,
    failed=1,
    listed_age=None,
)
WRITER = WriterStatus("outlook", WriterState.WRITING, "", queued=5, in_flight=2, settling=0, epoch=9)
RELOADED = Reload(1_790_000_000.0, ReloadOutcome.APPLIED, "", "1 route added", applied=1)
STATUS = DaemonStatus(
    Health.HEALTHY, "run-1", "0.1.0", 93784.2, RELOADED, (ROUTE,), (WRITER,), Sharing(1, 1, 1, 1)
)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "control.sock"


async def checked(
    path: Path, *, as_json: bool = False, out: io.StringIO | None = None
) -> tuple[int, str, str]:
    out, err = out or io.StringIO(), io.StringIO()
    code = await asyncio.to_thread(check, path, as_json=as_json, out=out, err=err)
    return code, out.getvalue(), err.getvalue()


async def spoken(path: Path, request: bytes) -> bytes:
    reader, writer = await asyncio.open_unix_connection(path)
    try:
        writer.write(request)
        await writer.drain()
        return await reader.read()
    except ConnectionError:
        return b""
    finally:
        writer.close()


async def test_the_answer_is_the_daemons_status(path: Path) -> None:
    async with ControlServer(path, lambda: STATUS):
        answer = await asyncio.to_thread(ask, path, 5.0)
    assert answer["health"] == "healthy"
    assert (answer["run_id"], answer["version"], answer["uptime"]) == ("run-1", "0.1.0", 93784.2)
    assert answer["routes"][0]["state"] == "watching"
    assert answer["routes"][0]["name"] == ROUTE.name
    assert answer["routes"][0]["listed_age"] is None
    assert answer["writers"] == [
        {
            "name": "outlook",
            "state": "writing",
            "detail": "",
            "queued": 5,
            "in_flight": 2,
            "settling": 0,
            "epoch": 9,
            "holder": "",
            "pause": 0.0,
        }
    ]


async def test_only_the_owner_may_connect_and_the_file_goes_when_the_server_does(path: Path) -> None:
    async with ControlServer(path, lambda: STATUS):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert stat.S_ISSOCK(path.stat().st_mode)
        assert [entry.name for entry in path.parent.iterdir()] == ["control.sock"]
    assert list(path.parent.iterdir()) == []


async def test_a_socket_left_by_a_crash_is_replaced(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as crashed:
        crashed.bind(str(path))
    async with ControlServer(path, lambda: STATUS):
        assert (await checked(path))[0] == 0


async def test_a_socket_in_use_is_left_to_its_daemon(path: Path) -> None:
    async with ControlServer(path, lambda: STATUS):
        with pytest.raises(MailsyncError, match="another mailsyncd is running"):
            await ControlServer(path, lambda: STATUS).__aenter__()
        assert (await checked(path))[0] == 0


async def test_a_file_that_is_no_socket_is_not_removed(path: Path) -> None:
    path.write_text("precious")
    with pytest.raises(MailsyncError, match="not a socket"):
        await ControlServer(path, lambda: STATUS).__aenter__()
    assert path.read_text() == "precious"


@pytest.mark.parametrize("place", ["missing/control.sock", "x" * 200])
async def test_a_place_where_no_socket_can_be_is_said_in_one_sentence(path: Path, place: str) -> None:
    with pytest.raises(MailsyncError, match="can't be made"):
        await ControlServer(path.parent / place, lambda: STATUS).__aenter__()


async def test_a_closing_server_does_not_remove_its_successors_socket(path: Path) -> None:
    async with ControlServer(path, lambda: STATUS):
        path.unlink()
        successor = ControlServer(path, lambda: replace(STATUS, run_id="run-2"))
        await successor.__aenter__()
    assert (await asyncio.to_thread(ask, path, 5.0))["run_id"] == "run-2"
    await successor.__aexit__(None, None, None)


@pytest.mark.parametrize(
    "request_line", [b"{}\n", b"\n", b"[]\n", b"status\n", b'{"ask":"stop"}\n', b"[" * 4000 + b"\n"]
)
async def test_anything_but_a_question_for_the_status_is_an_error(path: Path, request_line: bytes) -> None:
    async with ControlServer(path, lambda: STATUS):
        assert set(json.loads(await spoken(path, request_line))) == {"error"}


async def test_an_endless_request_is_cut_off(path: Path) -> None:
    async with ControlServer(path, lambda: STATUS):
        assert await spoken(path, b"x" * 100_000) == b""
        assert (await checked(path))[0] == 0


async def test_a_caller_that_says_nothing_is_shown_out(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(control, "REQUEST_DEADLINE", 0.05)
    async with ControlServer(path, lambda: STATUS):
        assert await spoken(path, b"") == b""


async def test_callers_beyond_the_bound_are_turned_away_and_the_rest_are_served(path: Path) -> None:
    async with ControlServer(path, lambda: STATUS):
        silent = [await asyncio.open_unix_connection(path) for _ in range(control.MOST_CALLERS)]
        assert await spoken(path, b'{"ask":"status"}\n') == b""
        for _, writer in silent:
            writer.write(b'{"ask":"status"}\n')
        for reader, writer in silent:
            assert json.loads(await reader.read())["health"] == "healthy"
            writer.close()


async def test_closing_does_not_wait_for_callers(path: Path) -> None:
    async with asyncio.timeout(1), ControlServer(path, lambda: STATUS):
        reader, writer = await asyncio.open_unix_connection(path)
        await spoken(path, b"{}\n")  # served after the silent one was let in
    async with asyncio.timeout(1):
        assert await reader.read() == b""
    writer.close()


@pytest.mark.parametrize(("health", "code"), [(Health.HEALTHY, 0), (Health.DEGRADED, 1), (Health.FAILING, 2)])
@pytest.mark.parametrize("as_json", [True, False])
async def test_the_exit_code_is_the_verdict(path: Path, health: Health, code: int, as_json: bool) -> None:
    async with ControlServer(path, lambda: replace(STATUS, health=health)):
        exit_code, out, err = await checked(path, as_json=as_json)
    assert exit_code == code
    assert health.name.lower() in out
    assert err == ""


async def test_json_is_the_whole_answer_in_one_line(path: Path) -> None:
    async with ControlServer(path, lambda: STATUS):
        _, out, _ = await checked(path, as_json=True)
        assert json.loads(out) == await asyncio.to_thread(ask, path, 5.0)
    assert out.count("\n") == 1


@pytest.mark.parametrize("stream", [io.StringIO, Terminal])
async def test_people_get_a_table_in_which_names_are_only_names(
    path: Path, stream: Callable[[], io.StringIO], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    async with ControlServer(path, lambda: STATUS):
        _, out, _ = await checked(path, out=stream())
    assert "healthy: mailsyncd 0.1.0, up 1d02h, run run-1" in out
    assert "last reload: applied at 2026-09-21 14:13:20 UTC: 1 route added" in out
    [route] = [line for line in out.splitlines() if line.startswith("me@example.org")]
    assert "me@example.org > [INBOX]?[2J" in route
    for cell in ("watching", "4711", "1m15s", "12", "3", "1", "-"):
        assert cell in route
    [writer] = [line for line in out.splitlines() if line.startswith("outlook")]
    assert "writing" in writer
    assert "\x1b[2J" not in out


async def test_columns_of_the_plain_table_are_aligned(path: Path) -> None:
    rows = (ROUTE, replace(ROUTE, name="a > b", last_uid=None))
    async with ControlServer(path, lambda: replace(STATUS, routes=rows)):
        _, out, _ = await checked(path)
    heads, first, second = [line for line in out.splitlines() if "STATE" in line or "watching" in line][:3]
    assert heads.index("STATE") == first.index("watching") == second.index("watching")


# ---------------------------------------------------------------- nobody answers


@pytest.fixture
def impostor(path: Path) -> Iterator[Callable[[bytes | None], None]]:
    """A server on the socket that answers with the given bytes; None keeps callers waiting."""
    listener = socket.socket(socket.AF_UNIX)
    ended = threading.Event()
    threads: list[threading.Thread] = []

    def serve(answer: bytes | None) -> None:
        caller, _ = listener.accept()
        with caller:
            caller.recv(4096)
            if answer is None:
                ended.wait(10)
            else:
                caller.sendall(answer)

    def start(answer: bytes | None) -> None:
        listener.bind(str(path))
        listener.listen()
        threads.append(threading.Thread(target=serve, args=(answer,)))
        threads[0].start()

    yield start
    ended.set()
    for thread in threads:
        thread.join()
    listener.close()


async def test_without_a_daemon_the_code_is_three(path: Path) -> None:
    code, out, err = await checked(path)
    assert (code, out) == (3, "")
    assert err == f"mailsyncd is not running: there is no socket at {path}\n"


async def test_a_socket_without_a_listener_is_three(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as crashed:
        crashed.bind(str(path))
    code, _, err = await checked(path)
    assert code == 3
    assert "nobody listens" in err


async def test_in_json_too_it_is_said_that_nobody_is_there(path: Path) -> None:
    code, out, err = await checked(path, as_json=True)
    assert (code, err) == (3, "")
    assert json.loads(out)["health"] == "not_running"


async def test_a_daemon_that_hangs_is_three_within_the_deadline(
    path: Path, impostor: Callable[[bytes | None], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(command, "ANSWER_DEADLINE", 0.05)
    impostor(None)
    code, _, err = await checked(path)
    assert code == 3
    assert "did not answer" in err


@pytest.mark.parametrize(
    "answer", [b"", b"hello\n", b"[]\n", b'{"error": "?"}\n', b'{"health": "splendid"}\n', b"\xff\n"]
)
async def test_an_answer_that_makes_no_sense_is_three(
    path: Path, impostor: Callable[[bytes | None], None], answer: bytes
) -> None:
    impostor(answer)
    code, out, err = await checked(path)
    assert (code, out) == (3, "")
    assert err.count("\n") == 1


async def test_an_answer_without_tables_is_still_a_verdict(
    path: Path, impostor: Callable[[bytes | None], None]
) -> None:
    impostor(b'{"health": "degraded"}\n')
    assert (await checked(path))[0] == 1


def test_a_path_that_no_socket_can_have_is_no_answer(path: Path) -> None:
    with pytest.raises(NoAnswer, match="can't be asked"):
        ask(path.parent / ("x" * 200), 1.0)


def test_check_imports_nothing_heavy() -> None:
    program = "import sys, mailsyncd.commands.check; print(*sys.modules)"
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    heavy: set[Any] = {"asyncio", "rich", "structlog", "httpx", "pydantic", "aioimaplib", "botocore"}
    assert not heavy & set(ran.stdout.split())
