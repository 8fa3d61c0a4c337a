"""Logs: one line an event, JSON for machines or text for people, libraries' lines included.

Every line, whoever wrote it, goes through the same pipeline and so through redact.py.
"""

from __future__ import annotations

import logging
import sys
import traceback
from collections.abc import MutableMapping
from contextlib import suppress
from typing import Any, Literal, TextIO

import structlog
from structlog.typing import Processor

from mailsyncd.observe import redact

Format = Literal["auto", "json", "text"]
Event = MutableMapping[str, Any]

OURS = frozenset({"timestamp", "level", "run_id"})  # written by the pipeline, over whatever was given

# Libraries that talk too much. aioimaplib logs credentials in base64, so nothing of it is let through;
# aiohttp's server logs as errors what strangers send, and quotes it.
_OFF = logging.CRITICAL + 1
_FLOORS = {
    "aioimaplib": _OFF,
    "aiohttp.server": _OFF,
    "httpx": logging.WARNING,
    "httpcore": logging.WARNING,
    "botocore": logging.WARNING,
    "aiobotocore": logging.WARNING,
    "boto3": logging.WARNING,
    "urllib3": logging.WARNING,
    "asyncio": logging.WARNING,
}


def configure(level: str, format: Format, stream: TextIO, run_id: str) -> None:
    """Send everything at or above `level` (a name: "debug", "info", ...) to `stream`."""
    threshold = logging.getLevelNamesMapping()[level.upper()]
    for_people = format == "text" or (format == "auto" and stream.isatty())
    structlog.configure(
        processors=_pipeline(run_id, for_people, stream.isatty(), tracebacks=threshold <= logging.DEBUG),
        wrapper_class=structlog.make_filtering_bound_logger(threshold),
        logger_factory=lambda *_: _Lines(stream),
        cache_logger_on_first_use=False,
    )
    root = logging.getLogger()
    root.handlers[:] = [_IntoTheSamePipeline()]
    root.setLevel(threshold)
    for name, floor in _FLOORS.items():
        logging.getLogger(name).setLevel(max(floor, threshold))
    logging.captureWarnings(True)


def _pipeline(run_id: str, for_people: bool, colours: bool, *, tracebacks: bool) -> list[Processor]:
    def stamp(_logger: object, _method: str, event: Event) -> Event:
        event["run_id"] = run_id
        return event

    def exception(_logger: object, _method: str, event: Event) -> Event:
        return _name_exception(event, tracebacks=tracebacks)

    first: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        exception,
    ]
    if for_people:
        renderer = structlog.dev.ConsoleRenderer(
            colors=colours, sort_keys=False, exception_formatter=structlog.dev.plain_traceback
        )
        return [*first, _redacted, _printable, renderer]
    return [*first, stamp, _redacted, structlog.processors.JSONRenderer()]


def _name_exception(event: Event, *, tracebacks: bool) -> Event:
    """One line of class and message; where it came from only for those who debug."""
    given = event.pop("exc_info", None)
    failure = given[1] if isinstance(given, tuple) else sys.exc_info()[1] if given is True else given
    if isinstance(failure, BaseException):
        event.setdefault("error", " ".join(f"{type(failure).__name__}: {failure}".split()))
        if tracebacks:
            event["exception"] = "".join(traceback.format_exception(failure))
    return event


def _redacted(_logger: object, _method: str, event: Event) -> Event:
    first = {key: event[key] for key in ("timestamp", "level", "event") if key in event}
    return {
        key: value if key in OURS else redact.value(value, key=key)
        for key, value in {**first, **event}.items()
    }


def _printable(_logger: object, _method: str, event: Event) -> Event:
    """No control character reaches a terminal: names of folders come from servers."""
    for key, value in event.items():
        if isinstance(value, str) and not value.isprintable():
            lines = value.split("\n") if key == "exception" else [value]
            event[key] = "\n".join(line.encode("unicode_escape").decode("ascii") for line in lines)
    return event


class _Lines:
    """The end of the pipeline. A log that can't be written must not stop the mail."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def msg(self, line: str) -> None:
        with suppress(OSError, ValueError):
            try:
                self._stream.write(line + "\n")
            except UnicodeEncodeError:
                self._stream.write(line.encode("ascii", "backslashreplace").decode() + "\n")
            self._stream.flush()

    debug = info = warning = warn = error = critical = fatal = exception = log = msg


class _IntoTheSamePipeline(logging.Handler):
    """Hands what libraries log to structlog, as the event `library.logged`."""

    def emit(self, record: logging.LogRecord) -> None:
        if record.levelno < _FLOORS.get(record.name.partition(".")[0], logging.NOTSET):
            return
        try:
            message = record.getMessage()
        except Exception:  # noqa: BLE001 - a library's bad format string is no reason to fail
            message = str(record.msg)
        level = min(max(record.levelno // 10 * 10, logging.DEBUG), logging.CRITICAL)
        log = structlog.get_logger()
        log.log(level, "library.logged", logger=record.name, message=message, exc_info=record.exc_info)
