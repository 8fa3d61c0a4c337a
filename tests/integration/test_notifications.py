"""The real daemon tells a command of the user's that a route needs them, and that it is well again."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from between_sims import OUTLOOK_USER, between

pytestmark = pytest.mark.real

ANN = "ann@gmail.example"
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
