"""The demo shows plain lines to a file, a table on a terminal, and nothing for --json."""

from __future__ import annotations

import io

from mailsyncd.commands.demo_show import Copy, Progress, RouteCount, open_show

ROUTES = (RouteCount("ann > Gmail/ann", 5, 3), RouteCount("bob > Gmail/bob", 2, 2))
PROGRESS = Progress(ROUTES, (Copy("Gmail/ann", 12_345, 0.0421),), 3.5, "mail is arriving")


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_file_gets_one_line_a_message_and_each_phase_once() -> None:
    out = io.StringIO()
    with open_show(out, silent=False) as show:
        show.update(PROGRESS)
        show.update(PROGRESS)
    lines = out.getvalue().splitlines()
    assert lines[0] == "mail is arriving"
    assert [line.split() for line in lines[1:]] == [["Gmail/ann", "12,345", "bytes", "42", "ms"]] * 2


def test_a_terminal_gets_a_table_with_what_is_in_flight() -> None:
    out = Terminal()
    with open_show(out, silent=False) as show:
        show.update(PROGRESS)
    text = out.getvalue()
    for part in ("ann > Gmail/ann", "in flight", "12,345 bytes", "42 ms", "3.5 messages/s"):
        assert part in text


def test_json_gets_nothing_on_the_way() -> None:
    out = io.StringIO()
    with open_show(out, silent=True) as show:
        show.update(PROGRESS)
    assert out.getvalue() == ""
