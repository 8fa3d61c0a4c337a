"""Twenty destinations, three daemons, one table: shared out evenly, and again when one is killed on
another machine and one is added; nothing lost, nothing copied twice."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace

import pytest
from bed import Bed, Daemon, until
from corpus import varied
from engines import moto
from mailboxes import SAME, Comparison, Plain

pytestmark = pytest.mark.real
COUNT = 20
LEASE = 10.0  # seconds, the shortest there is
RUN = [sys.executable, "-m", "mailsyncd", "run", "--config", "config.toml"]
ELSEWHERE = ["unshare", "--pid", "--fork", "--kill-child"]


def configuration(bed: Bed, url: str) -> str:
    """One route into each destination, all from one inbox."""
    lines = ['daemon = { socket = "d.sock", settle_window = "1s" }', 'http = { listen = "off" }']
    lines += [
        "[state]",
        'backend = "dynamodb"',
        'region = "us-west-2"',
        f'endpoint_url = "{url}"',
        f'lease = "{LEASE:.0f}s"',
    ]
    sign_in = 'host = "localhost"\ntls = false\nauth = "password"\npassword = "pw"'
    for n in range(COUNT):
        lines += ["[[destinations]]", f'name = "d{n}"', f'email = "dst{n}@example.com"', sign_in]
        lines += [f'username = "dst{n}"', f"port = {bed.destination.port}"]
        lines += ["[[routes]]", 'gmail = "src1@example.com"', 'username = "src1"', 'folder = "F"', sign_in]
        lines += [f'destination = "d{n}"', 'start = "all"', f"port = {bed.source.port}"]
    return "\n".join(lines) + "\n"


@dataclass
class Site:
    """A bed, and a directory for each daemon."""

    bed: Bed
    text: str
    stack: ExitStack

    @contextmanager
    def _running(self, bed: Bed, command: list[str]) -> Iterator[Daemon]:
        with (bed.directory / "daemon.log").open("ab") as log:
            process = subprocess.Popen(command, cwd=bed.directory, env=bed.environ, stdout=log, stderr=log)
        try:
            yield Daemon(process, bed.directory / "daemon.log")
        finally:
            process.kill()
            process.wait()

    def start(self, name: str, *, elsewhere: bool = False) -> tuple[Bed, Daemon]:
        """A daemon; `elsewhere`: nobody here can tell whether its process still runs."""
        bed = replace(self.bed, directory=self.bed.directory / name)
        bed.directory.mkdir()
        (bed.directory / "config.toml").write_text(self.text)
        command = [*ELSEWHERE, *RUN] if elsewhere else RUN
        return bed, self.stack.enter_context(self._running(bed, command))


def held(*beds: Bed) -> list[int]:
    """How many destinations each daemon says it holds, where all agree on their number."""
    answers = []
    for bed in beds:
        said = bed.cli("check", "--json", "--config", "config.toml")
        sharing = json.loads(said.stdout).get("sharing") if said.stdout else None
        if not sharing or sharing["daemons"] != len(beds) or sharing["held"] != sharing["share"]:
            return []
        assert sharing["destinations"] == COUNT
        answers.append(sharing["held"])
    return sorted(answers)


def copies(bed: Bed) -> list[Comparison]:
    sent = bed.sent("src1")
    compared = []
    for n in range(COUNT):
        with Plain(bed.destination.port, f"dst{n}") as box:
            compared.append(Comparison.of(sent, box.messages("F")))
    return compared


def can_run_elsewhere() -> bool:
    return (
        os.geteuid() == 0
        and shutil.which("unshare") is not None
        and subprocess.run([*ELSEWHERE, "true"], capture_output=True, check=False).returncode == 0
    )


def test_three_daemons_share_twenty_destinations_whoever_dies_or_comes(bed: Bed) -> None:
    bed.environ |= {"AWS_ACCESS_KEY_ID": "T" + secrets.token_hex(4), "AWS_SECRET_ACCESS_KEY": "x"}
    bed.deliver("src1", varied(1, 3))
    elsewhere = can_run_elsewhere()
    with moto() as url, ExitStack() as stack:
        site = Site(bed, configuration(bed, url), stack)
        (bed.directory / "config.toml").write_text(site.text)
        assert bed.cli("state", "init", "--config", "config.toml").returncode == 0
        one = site.start("one")
        two = site.start("two")
        three = site.start("three", elsewhere=elsewhere)
        until(lambda: held(one[0], two[0], three[0]) == [6, 7, 7], 60)
        bed.deliver("src1", varied(2, 3))
        three[1].kill()
        until(lambda: held(one[0], two[0]) == [10, 10], LEASE + 5 + 3)  # and what two checks take
        bed.deliver("src1", varied(3, 3))
        four = site.start("four")
        until(lambda: held(one[0], two[0], four[0]) == [6, 7, 7], 60)
        bed.deliver("src1", varied(4, 3))
        until(lambda: copies(bed) == [SAME] * COUNT, 90)
        assert one[1].stop() == 0
        until(lambda: held(two[0], four[0]) == [10, 10], 15)
        bed.deliver("src1", varied(5, 3))
        until(lambda: copies(bed) == [SAME] * COUNT, 60)
        assert [two[1].stop(), four[1].stop()] == [0, 0]
    assert copies(bed) == [SAME] * COUNT
