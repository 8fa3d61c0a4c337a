"""Rows of text as a table: aligned columns in a pipe, ruled and coloured on a terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import TextIO

Row = tuple[str, ...]

NO_COLOURS: Mapping[str, str] = MappingProxyType({})


def printable(text: str) -> str:
    """Folder names and details come from servers: nothing of theirs may steer the terminal."""
    return "".join(c if c.isprintable() else "?" for c in text)


def show_table(
    heads: Sequence[str], rows: Sequence[Row], out: TextIO, *, colours: Mapping[str, str] = NO_COLOURS
) -> None:
    """`colours` are those of words in the second column."""
    if out.isatty():
        _rich_table(heads, rows, out, colours)
    else:
        _plain_table(heads, rows, out)


def _plain_table(heads: Sequence[str], rows: Sequence[Row], out: TextIO) -> None:
    widths = [max(len(row[n]) for row in (heads, *rows)) for n in range(len(heads))]
    for row in (heads, *rows):
        print(
            "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip(), file=out
        )


def _rich_table(heads: Sequence[str], rows: Sequence[Row], out: TextIO, colours: Mapping[str, str]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold")
    for head in heads:
        table.add_column(head, overflow="fold")
    for row in rows:
        # Text, not str: brackets in a folder's name are not markup.
        table.add_row(
            *(Text(cell, style=colours.get(cell, "") if n == 1 else "") for n, cell in enumerate(row))
        )
    Console(file=out).print(table)
