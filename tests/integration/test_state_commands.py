"""`mailsyncd state init` and `state show`, on the embedded store."""

from __future__ import annotations

import asyncio
import io
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from mailsyncd.commands import state
from mailsyncd.errors import FailureKind, MailsyncError
from mailsyncd.model import Claimant, Failure, Record, Route, Status, Watermark
from mailsyncd.observe.clock import SystemClock
from mailsyncd.state.sqlite import SqliteStore

CONFIG = """
[state]
path = "deep/state.db"

[outlook]
email = "me@outlook.example"
auth = "password"
password = "hush"

[[routes]]
gmail = "ann@gmail.example"
folder = "Gmail/ann"
auth = "password"
password = "hush"

[[routes]]
gmail = "bob@gmail.example"
folder = "Gmail/bob"
auth = "password"
password = "hush"
"""
ANN = Route("ann@gmail.example", "me@outlook.example", "Gmail/ann")


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "config.toml"
    path.write_text(CONFIG)
    path.chmod(0o600)
    return path


async def init(config: Path) -> str:
    out = io.StringIO()
    assert await state.init(config, {}, out, point_in_time_recovery=False, deletion_protection=False) == 0
    return out.getvalue()


async def shown(config: Path, out: io.StringIO, *, only: str | None = None, as_json: bool = False) -> str:
    assert await state.show(config, {}, out, only=only, as_json=as_json) == 0
    return out.getvalue()


async def fill(path: Path) -> None:
    """Three claims: one copied, one failed, one under way."""
    store = SqliteStore(path, clock=SystemClock())
    await store.open()
    for uid in (1, 2, 3):
        mine = Record(
            7,
            uid,
            Status.PENDING,
            Claimant(1, f"a{uid}"),
            1.0,
            "ab" * 32,
            9,
            "17-Jul-2019 09:40:08 +0000",
            "cd",
        )
        await store.claim(ANN.key, mine)
        if uid == 1:
            await store.finish(ANN.key, replace(mine, status=Status.DONE, dest_uid=5))
        if uid == 2:
            await store.fail(ANN.key, Failure(7, 2, FailureKind.REJECTED, "no", 1, 1.0), mine)
    await store.advance(ANN.key, Watermark(7, 2, 1_700_000_000.0), expected=None)
    await store.close()


async def test_init_makes_the_file_and_may_be_repeated(config: Path) -> None:
    path = config.parent / "deep" / "state.db"
    assert await init(config) == f"{path} is ready\n"
    assert path.stat().st_mode & 0o777 == 0o600
    await fill(path)
    await init(config)
    (ann, _) = json.loads(await shown(config, io.StringIO(), as_json=True))["routes"]
    assert ann["done"] == 1


async def test_show_tells_of_every_route(config: Path) -> None:
    await init(config)
    await fill(config.parent / "deep" / "state.db")
    assert json.loads(await shown(config, io.StringIO(), as_json=True))["routes"] == [
        {
            "route": "ann@gmail.example > Gmail/ann",
            "uidvalidity": 7,
            "last_uid": 2,
            "updated_at": "2023-11-14T22:13:20+00:00",
            "done": 1,
            "pending": 1,
            "failed": 1,
        },
        {
            "route": "bob@gmail.example > Gmail/bob",
            "uidvalidity": None,
            "last_uid": None,
            "updated_at": None,
            "done": 0,
            "pending": 0,
            "failed": 0,
        },
    ]


async def test_show_is_plain_lines_in_a_pipe_and_a_table_on_a_terminal(config: Path) -> None:
    await init(config)
    await fill(config.parent / "deep" / "state.db")
    (line,) = (await shown(config, io.StringIO(), only="ann@gmail.example > Gmail/ann")).splitlines()
    assert line.startswith(
        "route=ann@gmail.example > Gmail/ann  uidvalidity=7  last_uid=2  updated_at=2023-11-14"
    )
    assert line.endswith("done=1  pending=1  failed=1")
    table = await shown(config, Terminal())
    assert "last_uid" in table
    assert "│" in table


async def test_show_makes_no_state_where_there_is_none(config: Path) -> None:
    assert "there is no state yet" in await shown(config, io.StringIO())
    assert not (config.parent / "deep").exists()


async def test_show_with_json_is_json_even_where_there_is_no_state(config: Path) -> None:
    found = json.loads(await shown(config, io.StringIO(), as_json=True))
    assert [one["done"] for one in found["routes"]] == [0, 0]


async def test_show_refuses_a_route_that_is_not_configured(config: Path) -> None:
    with pytest.raises(MailsyncError):
        await state.show(config, {}, io.StringIO(), only="carol@gmail.example", as_json=False)


def test_an_unusable_file_is_one_line_and_a_failing_exit(config: Path) -> None:
    (config.parent / "deep").mkdir()
    (config.parent / "deep" / "state.db").write_bytes(b"this is no database, as anyone can see" * 100)
    for what in ("init", "show"):
        ended = subprocess.run(
            [sys.executable, "-m", "mailsyncd", "state", what, "--config", str(config)],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert ended.returncode != 0
        assert "state.db" in ended.stderr
        assert len(ended.stderr.splitlines()) == 1
        assert "hush" not in ended.stderr + ended.stdout


async def test_show_reads_while_the_daemon_writes(config: Path) -> None:
    await init(config)
    path = config.parent / "deep" / "state.db"
    store = SqliteStore(path, clock=SystemClock())
    await store.open()
    try:
        await store.advance(ANN.key, Watermark(7, 9, 1.0), expected=None)
        async with asyncio.timeout(10):
            found = json.loads(await shown(config, io.StringIO(), as_json=True))
    finally:
        await store.close()
    assert found["routes"][0]["last_uid"] == 9
