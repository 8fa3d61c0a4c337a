"""The real daemon tells a command of the user's that a route needs them, and that it is well again; and hooks
that hang or fail are no trouble of its own."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import pytest
from between_sims import OUTLOOK_USER, Between, Child, between

pytestmark = pytest.mark.real

ANN, BOB = "ann@gmail.example", "bob@gmail.example"
SECRET, SUBJECT = "hook-address-canary", "What nobody but she shall read"
TELL = "import sys; open('told', 'a').write(sys.stdin.read())"


async def test_a_route_that_needs_its_user_is_told_and_so_is_its_recovery(tmp_path: Path) -> None:
    async with between(tmp_path, {ANN: "Gmail/ann"}) as stage:
        write, told = stage.write_configuration, tmp_path / "told"

        def with_a_hook() -> Path:
            path = write()
            path.write_text(
                path.read_text().replace("[[routes]]\n", "[[routes]]\ncreate_folder = false\n")
                + f"[notify]\ncommand = {json.dumps([sys.executable, '-c', TELL])}\n"
            )
            return path

        stage.write_configuration = with_a_hook  # type: ignore[method-assign]
        async with stage.daemon() as child:
            stage.gmail.deliver(ANN, b"Subject: x\r\n\r\nx\r\n")
            await child.until(told.exists)
            await child.until(lambda: told.read_text().endswith("\n"))
            first = json.loads(told.read_text().splitlines()[0])
            assert (first["event"], first["subject"]) == ("needs_user", f"{ANN} > Gmail/ann")
            assert "Gmail/ann" in first["text"]
            stage.outlook.account(OUTLOOK_USER).create("Gmail/ann")
            await child.until(lambda: "recovered" in told.read_text(), 100)
            assert stage.missing == 0
            assert child.events("notify.failed") == []


async def test_a_digest_is_in_its_folder_once_however_often_the_daemon_starts(tmp_path: Path) -> None:
    async with between(tmp_path, {ANN: "Gmail/ann"}) as stage:
        write = stage.write_configuration

        def with_a_digest() -> Path:
            path = write()
            path.write_text(
                path.read_text() + '[notify]\ndigest_folder = "mailsyncd/daily"\ndigest_hour = 0\n'
            )
            return path

        stage.write_configuration = with_a_digest  # type: ignore[method-assign]
        for number in range(3):
            async with stage.daemon() as child:
                stage.gmail.deliver(ANN, b"Subject: %d\r\n\r\nx\r\n" % number)
                await child.until(lambda: stage.missing == 0)
                await child.until(lambda: len(stage.outlook.messages(OUTLOOK_USER, "mailsyncd/daily")) == 1)
        (digest,) = stage.outlook.messages(OUTLOOK_USER, "mailsyncd/daily")
        assert f"{ANN} > Gmail/ann: " in digest.raw.decode()
        assert len(child.events("digest.written")) == 1
        assert stage.verdict(ANN).is_clean


HANG = "import sys, time; open('hung', 'a').write(sys.stdin.read()); print('x' * 1_000_000); time.sleep(600)"


@asynccontextmanager
async def with_a_blocked_route(directory: Path, *notify: str) -> AsyncIterator[tuple[Between, Child]]:
    """Ann's mail flows, and Bob's has no folder, of which a command that hangs has been told."""
    async with between(directory, {ANN: "Gmail/ann", BOB: "Gmail/bob"}) as stage:
        write = stage.write_configuration

        def written() -> Path:
            path = write()
            text = path.read_text().replace(f'gmail = "{BOB}"\n', f'gmail = "{BOB}"\ncreate_folder = false\n')
            lines = ["[notify]", f"command = {json.dumps([sys.executable, '-c', HANG])}", *notify]
            path.write_text(text + "\n".join(lines) + "\n")
            return path

        stage.write_configuration = written  # type: ignore[method-assign]
        async with stage.daemon() as child:
            stage.gmail.deliver(BOB, b"Subject: x\r\n\r\nx\r\n")
            await child.until((directory / "hung").exists)
            yield stage, child


async def test_hooks_that_hang_or_fail_hold_up_no_mail_and_tell_no_secret(tmp_path: Path) -> None:
    posted: list[bytes] = []

    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        posted.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(b"HTTP/1.1 500 no\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        await writer.drain()
        writer.close()

    listening = await asyncio.start_server(refuse, "127.0.0.1", 0)
    address = f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}/{SECRET}"
    hooks = (f"webhook = {json.dumps(address)}", 'timeout = "6s"')
    async with listening, with_a_blocked_route(tmp_path, *hooks) as (stage, child):
        for number in range(1, 21):
            stage.gmail.deliver(ANN, b"Subject: %s\r\n\r\n%d\r\n" % (SUBJECT.encode(), number))
            await child.until(partial(lambda wanted: stage.copied(ANN) == wanted, number))
        await child.until(lambda: len(child.events("notify.failed")) == 2)
        assert [one["to"] for one in child.events("notify.failed")] == ["command", "webhook"]
        assert len(posted) == 3
        waits = [float(str(one["ms_since_seen"])) for one in child.events("message.copied")]
        assert max(waits) < 5000
    for words in (SECRET, SUBJECT):
        assert words not in child.log.read_text() + (tmp_path / "hung").read_text()


async def test_a_hook_that_hangs_holds_up_no_stop(tmp_path: Path) -> None:
    async with with_a_blocked_route(tmp_path, 'timeout = "5m"'):
        began = time.monotonic()
    assert time.monotonic() - began < 10
