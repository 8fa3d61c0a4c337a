"""Cells in columns, as many as a terminal has room for, and below each row what there is to say of it."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass

from rich.cells import cell_len
from rich.text import Text

from mailsyncd.commands.tables import printable

GAP = 2  # blanks between two columns
NARROWEST = 12  # of the first column
FEW_LINES = 2  # of a remark, where lines are scarce


@dataclass(frozen=True, slots=True)
class Column:
    """`wide`: how wide a terminal has to be for it to be shown."""

    head: str
    right: bool = False
    wide: int = 0


@dataclass(frozen=True, slots=True)
class Row:
    cells: Sequence[Text]
    remark: str = ""
    style: str = "dim"


@dataclass(frozen=True, slots=True)
class Room:
    """Of a terminal; `scarce`: whether what is long is to be cut, rather than shown whole."""

    width: int
    scarce: bool = False


def laid_out(columns: Sequence[Column], rows: Sequence[Row], room: Room) -> list[list[Text]]:
    """The lines of the heading, then those of each row. The first column gives way to the others."""
    seen = [n for n, column in enumerate(columns) if room.width >= column.wide]
    heads = [Text(column.head, "bold") for column in columns]
    widths = {
        n: max(cell_len(cells[n].plain) for cells in (heads, *(row.cells for row in rows))) for n in seen
    }
    others = sum(widths[n] + GAP for n in seen[1:])
    widths[0] = min(widths[0], max(NARROWEST, room.width - others))

    def line(cells: Sequence[Text]) -> Text:
        return Text(" " * GAP).join(_cell(cells[n], widths[n], right=columns[n].right) for n in seen)

    return [[_trimmed(line(heads))], *([_trimmed(line(row.cells)), *remark(row, room)] for row in rows)]


def remark(row: Row, room: Room) -> list[Text]:
    """What is to be said of a row, on lines of its own."""
    return [Text(f"  {one}", row.style) for one in wrapped(row.remark, room.width - 2, room)]


def wrapped(text: str, width: int, room: Room) -> list[str]:
    most = FEW_LINES if room.scarce else None
    return textwrap.wrap(
        printable(text), max(width, NARROWEST), max_lines=most, placeholder=" …", break_on_hyphens=False
    )


def shortened(text: str, width: int) -> str:
    """Without its middle, where it is too long: both ends tell names apart."""
    if cell_len(text) <= width:
        return text
    tail = (width - 1) // 2
    cut = Text(text)
    cut.truncate(width - 1 - tail)
    return f"{cut.plain}…{text[-tail:]}"


def _cell(text: Text, width: int, *, right: bool) -> Text:
    shown = Text(shortened(text.plain, width), text.style)
    blanks = " " * max(0, width - cell_len(shown.plain))
    return Text(blanks).append_text(shown) if right else shown.append(blanks)


def _trimmed(line: Text) -> Text:
    line.rstrip()
    line.no_wrap, line.overflow = True, "crop"
    return line
