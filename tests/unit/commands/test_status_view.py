"""A status in a terminal: what is wrong comes first, and nothing steers the terminal."""

from __future__ import annotations

import io
import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from statuses import Shown

from mailsyncd.commands.columns import shortened
from mailsyncd.commands.status import Look, once, watch
from mailsyncd.commands.status_view import BLOCKS, LETTERS, age, bars, view
from mailsyncd.observe.control import as_json

NOW = 1_700_000_000.0


def drawn(status: dict[str, Any], *, rows: int | None = None, plain: bool = False, width: int = 200) -> str:
    out = io.StringIO()
    picture = view(status, NOW, rows=rows, width=width, plain=plain)
    Console(file=out, width=width, force_terminal=False).print(picture)
    return out.getvalue()


def told(*, well: bool = False) -> dict[str, Any]:
    status: dict[str, Any] = json.loads(json.dumps(as_json(Shown(well=well).status())))
    return status


def test_everything_that_is_wrong_is_in_sight() -> None:
    lines = drawn(told(), width=300).splitlines()
    text = "\n".join(lines)
    for words in (
        "degraded",
        "needs sign in",
        "again in 3m30s",
        "throttled",
        "41s",
        "term 4 (vm-1, process 812)",
    ):
        assert words in text
    for words in ("oversize", "in 58m20s", "7-43", "by hand", "run: mailsyncd auth gmail"):
        assert words in text
    ann = next(line for line in lines if line.startswith("ann@"))
    assert "3m10s" in ann
    assert "142" in ann
    assert "▅█" in ann


def test_what_has_trouble_comes_first_and_the_rest_is_counted() -> None:
    status = told()
    status["routes"] += [status["routes"][1] | {"name": f"user{n}@gmail.example > F"} for n in range(500)]
    lines = drawn(status, rows=40).splitlines()
    assert len(lines) <= 40
    names = [line.split()[0] for line in lines if "@gmail.example >" in line]
    assert names[:2] == ["eve@gmail.example", "cleo@gmail.example"]
    assert any("more" in line and line.startswith("and 4") for line in lines)


@pytest.mark.parametrize(("width", "rows"), [(60, 24), (80, 24), (140, 40), (200, 60), (40, 10)])
@pytest.mark.parametrize("many", [False, True])
def test_it_fits_the_terminal_and_what_is_wrong_can_be_read(width: int, rows: int, many: bool) -> None:
    status = told()
    long = "bob.the.builder.with.a.long.name@googlemail.example > Gmail/Imported mail/bob the builder"
    status["routes"][1]["name"] = long
    if many:
        status["routes"] += [status["routes"][1] | {"name": f"{long} {n}"} for n in range(100)]
        status["accounts"] += [status["accounts"][0] | {"name": f"{n}@x.example"} for n in range(100)]
    lines = drawn(status, rows=rows, width=width).splitlines()
    assert len(lines) <= rows
    assert max(map(len, lines)) <= width
    text = " ".join(" ".join(lines).split())
    for words in ("eve@gmail.example", "needs sign in", "sign in again (again in 3m30s)", "throttled"):
        assert words in text or rows == 10
    (heading,) = [line for line in lines if line.startswith("ROUTE")]
    eve = lines[lines.index(heading) + 1]
    assert heading.index("STATE") == eve.index("needs sign in")
    if rows > 10:
        assert "run: mailsyncd auth gmail --account" in text
        assert "2 set aside: mailsyncd failures list" in text if rows < 40 else "36,800,000 bytes" in text
    if many:
        assert any(line.startswith("and ") and line.endswith(" more") for line in lines)


def test_a_name_that_is_too_long_keeps_both_its_ends() -> None:
    assert shortened("ann@gmail.example > Gmail/ann", 40) == "ann@gmail.example > Gmail/ann"
    assert shortened("bob.the.builder@gmail.example > Gmail/bob", 20) == "bob.the.bu…Gmail/bob"


def test_nothing_that_is_told_steers_the_terminal() -> None:
    status = told()
    status["routes"][0]["name"] = "a@b > \x1b[31m[bold]evil[/bold]\x07"
    status["routes"][0]["detail"] = "x\x1b]0;title\x07"
    status["set_aside"][0]["error"] = "\x1b[2Jgone"
    text = drawn(status)
    assert "\x1b" not in text
    assert "\x07" not in text
    assert "[bold]evil[/bold]" in text


def test_a_status_of_an_older_daemon_is_shown_as_far_as_it_goes() -> None:
    assert "healthy" in drawn(
        {"health": "healthy", "routes": [{"name": "r", "state": "watching"}], "writers": [{}]}
    )


@pytest.mark.parametrize("blocks", [BLOCKS, LETTERS])
def test_bars_are_there_for_whoever_waits(blocks: str) -> None:
    assert bars((), blocks) == bars((0, 0), blocks) == ""
    drawn_bars = bars((1, 0, 100_000), blocks)
    assert drawn_bars == blocks[1] + blocks[0] + blocks[-1]


def test_without_block_elements_letters_do() -> None:
    assert drawn(told(), plain=True).isascii()


def test_ages_are_told_in_two_units() -> None:
    assert [age(s) for s in (None, 0, 59.9, 61, 3600, 90_061)] == [
        "-",
        "0s",
        "59s",
        "1m01s",
        "1h00m",
        "1d01h",
    ]


# ------------------------------------------------------------------ the command


@contextmanager
def answering(path: Path, status: dict[str, Any]) -> Iterator[None]:
    """A daemon's socket that says this to everybody."""
    with socket.socket(socket.AF_UNIX) as line:
        line.bind(str(path))
        line.listen()

        def serve() -> None:
            while True:
                caller, _ = line.accept()
                with caller:
                    if caller.recv(4096) == b"end\n":
                        return
                    caller.sendall(json.dumps(status).encode() + b"\n")

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield
        finally:
            with socket.socket(socket.AF_UNIX) as last:
                last.connect(str(path))
                last.sendall(b"end\n")
            thread.join()


@pytest.fixture
def look(tmp_path: Path) -> Look:
    return Look(tmp_path / "s", False, io.StringIO(), io.StringIO(), now=lambda: NOW)


def test_the_exit_status_is_that_of_check(look: Look) -> None:
    with answering(look.socket, told()):
        assert once(look) == 1
    assert "needs sign in" in look.out.getvalue()  # type: ignore[attr-defined]


def test_without_a_daemon_it_says_so(look: Look) -> None:
    assert once(look) == 3
    assert "not running" in look.err.getvalue()  # type: ignore[attr-defined]


def test_watching_looks_again_until_it_is_interrupted(look: Look) -> None:
    slept = []

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        if len(slept) == 3:
            raise KeyboardInterrupt

    with answering(look.socket, told(well=True)):
        assert watch(replace(look, as_json=True, sleep=sleep), 2.0) == 0
    lines = look.out.getvalue().splitlines()  # type: ignore[attr-defined]
    assert slept == [2.0] * 3
    assert [json.loads(line)["health"] for line in lines] == ["healthy"] * 3
