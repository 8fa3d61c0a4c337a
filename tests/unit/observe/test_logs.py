"""One pipeline for every line, ours and the libraries'."""

from __future__ import annotations

import io
import json
import logging
import sys
import warnings
from collections.abc import Iterator
from typing import Any

import pytest
import structlog

from mailsyncd.observe import logs


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class AsciiTerminal(io.TextIOWrapper):
    def __init__(self) -> None:
        super().__init__(io.BytesIO(), encoding="ascii", write_through=True)

    def written(self) -> bytes:
        assert isinstance(self.buffer, io.BytesIO)
        return self.buffer.getvalue()


class BrokenPipe(io.StringIO):
    tried = 0

    def write(self, text: str) -> int:
        self.tried += 1
        raise BrokenPipeError(32, "Broken pipe")


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    logging.captureWarnings(False)
    structlog.contextvars.clear_contextvars()
    structlog.reset_defaults()


def lines(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_an_event_is_one_json_line_with_its_data_as_keys() -> None:
    stream = io.StringIO()
    logs.configure("info", "json", stream, "run-1")
    structlog.get_logger().info("message.copied", uid=7, route="a > b", ms_since_received=812.5)
    [line] = lines(stream)
    assert list(line)[:3] == ["timestamp", "level", "event"]
    assert line | {"timestamp": ""} == {
        "timestamp": "",
        "level": "info",
        "event": "message.copied",
        "uid": 7,
        "route": "a > b",
        "ms_since_received": 812.5,
        "run_id": "run-1",
    }


def test_route_and_cycle_come_from_the_context() -> None:
    stream = io.StringIO()
    logs.configure("info", "json", stream, "r")
    with structlog.contextvars.bound_contextvars(route="a > b", cycle_id="c1"):
        structlog.get_logger().info("mailbox.listed")
    structlog.get_logger().info("daemon.stopped")
    inside, outside = lines(stream)
    assert (inside["route"], inside["cycle_id"]) == ("a > b", "c1")
    assert "route" not in outside


def test_auto_is_text_on_a_terminal_and_json_elsewhere() -> None:
    terminal, file = Terminal(), io.StringIO()
    for stream in (terminal, file):
        logs.configure("info", "auto", stream, "r")
        structlog.get_logger().info("daemon.started", version="1")
    assert "daemon.started" in terminal.getvalue()
    assert "{" not in terminal.getvalue()
    assert lines(file)[0]["event"] == "daemon.started"


def test_text_in_a_file_has_no_colours() -> None:
    stream = io.StringIO()
    logs.configure("info", "text", stream, "r")
    structlog.get_logger().warning("route.retrying", route="a > b")
    assert "\x1b" not in stream.getvalue()
    assert "route='a > b'" in stream.getvalue()


@pytest.mark.parametrize(("level", "seen"), [("debug", 4), ("info", 3), ("warning", 2), ("error", 1)])
def test_a_level_hides_what_is_below_it_for_us_and_for_libraries(level: str, seen: int) -> None:
    stream = io.StringIO()
    logs.configure(level, "json", stream, "r")
    for log in (structlog.get_logger(), logging.getLogger("some.library")):
        for name in ("debug", "info", "warning", "error"):
            getattr(log, name)("said")
    assert len(lines(stream)) == 2 * seen


def test_a_librarys_line_becomes_an_event() -> None:
    stream = io.StringIO()
    logs.configure("info", "json", stream, "r")
    logging.getLogger("some.library").warning("took %d s", 3)
    [line] = lines(stream)
    assert (line["event"], line["logger"], line["message"]) == ("library.logged", "some.library", "took 3 s")
    assert line["level"] == "warning"


def test_aioimaplib_is_never_heard() -> None:
    stream = io.StringIO()
    logs.configure("debug", "json", stream, "r")
    for name in ("aioimaplib", "aioimaplib.aioimaplib"):
        logging.getLogger(name).setLevel(logging.DEBUG)
        logging.getLogger(name).critical("AUTHENTICATE XOAUTH2 canary")
    assert stream.getvalue() == ""


@pytest.mark.parametrize("name", ["httpx", "httpcore.http11", "botocore.endpoint", "aiobotocore", "asyncio"])
def test_talkative_libraries_are_heard_from_warning_on(name: str) -> None:
    stream = io.StringIO()
    logs.configure("debug", "json", stream, "r")
    logging.getLogger(name).info("chatter")
    logging.getLogger(name).warning("trouble")
    assert [line["message"] for line in lines(stream)] == ["trouble"]


def test_an_exception_is_one_line_of_class_and_message() -> None:
    stream = io.StringIO()
    logs.configure("info", "json", stream, "r")
    for log in (structlog.get_logger(), logging.getLogger("lib")):
        try:
            raise OSError("first\nsecond")
        except OSError:
            log.exception("it.failed")
    assert [line["error"] for line in lines(stream)] == ["OSError: first second"] * 2
    assert "Traceback" not in stream.getvalue()


@pytest.mark.parametrize("form", ["json", "text"])
def test_at_debug_there_is_a_traceback_too(form: logs.Format) -> None:
    stream = io.StringIO()
    logs.configure("debug", form, stream, "r")
    try:
        raise OSError("gone\x1b[2J")
    except OSError:
        structlog.get_logger().exception("it.failed")
    assert "Traceback (most recent call last)" in stream.getvalue()
    assert "\x1b" not in stream.getvalue()


@pytest.mark.parametrize("evil", ["a\nforged=1", "a\x1b[2Jb", "a\rb", "a\u2028b", "a\x9bb"])
@pytest.mark.parametrize("form", ["json", "text"])
def test_no_value_forges_a_line_or_steers_the_terminal(form: logs.Format, evil: str) -> None:
    stream = io.StringIO()
    logs.configure("info", form, stream, "r")
    structlog.get_logger().info("mailbox.listed", folder=evil, nested={"k": [evil]})
    assert stream.getvalue().endswith("\n")
    assert stream.getvalue()[:-1].isprintable()


def test_python_warnings_go_the_same_way() -> None:
    stream = io.StringIO()
    logs.configure("info", "json", stream, "r")
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        logging.captureWarnings(True)
        warnings.warn("old and tired", DeprecationWarning, stacklevel=1)
    assert [line["logger"] for line in lines(stream)] == ["py.warnings"]


def test_a_stream_that_is_gone_does_not_stop_the_mail() -> None:
    for stream in (BrokenPipe(), io.StringIO()):
        logs.configure("info", "json", stream, "r")
        stream.close()
        structlog.get_logger().info("message.copied")
        logging.getLogger("lib").error("trouble")
        assert not isinstance(stream, BrokenPipe) or stream.tried == 2


def test_a_terminal_without_unicode_still_gets_its_line() -> None:
    stream = AsciiTerminal()
    logs.configure("info", "text", stream, "r")
    structlog.get_logger().info("mailbox.listed", folder="Entwürfe")
    assert b"Entw\\xfcrfe" in stream.written()


def test_a_librarys_broken_format_is_logged_as_it_stands(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure("info", "json", sys.stdout, "r")
    logging.getLogger("lib").error("%d items", "three")
    assert json.loads(capsys.readouterr().out)["message"] == "%d items"


def test_an_unknown_level_is_an_error_at_once() -> None:
    with pytest.raises(KeyError):
        logs.configure("loud", "json", io.StringIO(), "r")
