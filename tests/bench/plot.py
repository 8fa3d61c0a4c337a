"""Pictures for docs/benchmarks.md: bars and curves as SVG, and as PNG where a program for that is there."""

from __future__ import annotations

import math
import shutil
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from html import escape
from pathlib import Path

WIDTH = 760
FONT = "font-family=\"Helvetica, Arial, 'DejaVu Sans', sans-serif\""
INK, PALE, GRID = "#1f2933", "#66727f", "#dfe4ea"
OURS = ("#1565c0", "#64a5e8", "#00897b", "#7cc7bd")
OTHERS = ("#9aa5b1", "#c9a227", "#b0503c", "#cbd2d9")
Scale = Callable[[float], float]


@dataclass(frozen=True, slots=True)
class Series:
    """A name in the legend. A bar for each group (None: not measured), or the points of a curve."""

    name: str
    colour: str
    values: Sequence[float | None] = ()
    points: Sequence[tuple[float, float]] = ()


@dataclass(slots=True)
class Canvas:
    height: float
    parts: list[str] = field(default_factory=list)

    def text(
        self,
        x: float,
        y: float,
        what: str,
        *,
        size: int = 12,
        anchor: str = "start",
        colour: str = INK,
        bold: bool = False,
    ) -> None:
        weight = ' font-weight="bold"' if bold else ""
        self.parts.append(
            f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" text-anchor="{anchor}" fill="{colour}"'
            f"{weight}>{escape(what)}</text>"
        )

    def line(self, x1: float, y1: float, x2: float, y2: float, colour: str = GRID) -> None:
        self.parts.append(
            f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{colour}"/>'
        )

    def bar(self, x: float, y: float, width: float, height: float, colour: str) -> None:
        self.parts.append(
            f'<rect x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}" fill="{colour}"/>'
        )

    def curve(self, points: Sequence[tuple[float, float]], colour: str, *, dots: bool) -> None:
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        self.parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2.2"/>')
        if dots:
            self.parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3.2" fill="{colour}"/>' for x, y in points]

    def legend(self, series: Sequence[Series], y: float) -> None:
        x = 20.0
        for one in series:
            self.bar(x, y - 9, 10, 10, one.colour)
            self.text(x + 15, y, one.name, size=11)
            x += 34 + 6.2 * len(one.name)

    def __str__(self) -> str:
        size = f'width="{WIDTH}" height="{self.height:.0f}" viewBox="0 0 {WIDTH} {self.height:.0f}"'
        head = f'<svg xmlns="http://www.w3.org/2000/svg" {size} {FONT}>'
        ground = f'<rect width="{WIDTH}" height="{self.height:.0f}" fill="#ffffff"/>'
        return "\n".join((head, ground, *self.parts, "</svg>")) + "\n"


def bars(title: str, unit: str, groups: Sequence[str], series: Sequence[Series]) -> str:
    """Bars to the right, group by group, each with its figure."""
    known = [value for one in series for value in one.values if value is not None]
    left, thick, gap = 110, 17, 16
    rows = sum(one.values[at] is not None for one in series for at in range(len(groups)))
    canvas = Canvas(74 + rows * thick + len(groups) * gap)
    canvas.text(20, 26, title, size=15, bold=True)
    canvas.legend(series, 48)
    scale = (WIDTH - left - 90) / max(known)
    y = 64.0
    for at, group in enumerate(groups):
        shown = [one for one in series if one.values[at] is not None]
        canvas.text(left - 10, y + thick * len(shown) / 2 + 4, group, anchor="end")
        for one in shown:
            value = one.values[at] or 0.0
            canvas.bar(left, y + 1.5, max(value * scale, 1.0), thick - 3, one.colour)
            canvas.text(left + value * scale + 6, y + 12.5, f"{figure(value)} {unit}", size=11, colour=PALE)
            y += thick
        y += gap
    return str(canvas)


def curves(
    title: str, x_name: str, y_name: str, series: Sequence[Series], *, log_y: bool = False, dots: bool = True
) -> str:
    """Lines over a logarithmic x axis."""
    left, right, top, bottom = 70, WIDTH - 30, 88, 338
    canvas = Canvas(bottom + 52)
    canvas.text(20, 26, title, size=15, bold=True)
    canvas.legend(series, 48)
    xs = [x for one in series for x, _ in one.points]
    ys = [y for one in series for _, y in one.points]
    x_at, x_marks = _logarithmic(xs, left, right)
    y_at, y_marks = _logarithmic(ys, bottom, top) if log_y else _linear(ys, bottom, top)
    for mark in x_marks:
        canvas.line(x_at(mark), top, x_at(mark), bottom)
        canvas.text(x_at(mark), bottom + 17, figure(mark), size=11, anchor="middle", colour=PALE)
    for mark in y_marks:
        canvas.line(left, y_at(mark), right, y_at(mark))
        canvas.text(left - 8, y_at(mark) + 4, figure(mark), size=11, anchor="end", colour=PALE)
    canvas.text((left + right) / 2, bottom + 38, x_name, anchor="middle")
    canvas.text(left - 8, top - 16, y_name, size=11, anchor="middle")
    for one in series:
        canvas.curve([(x_at(x), y_at(y)) for x, y in one.points], one.colour, dots=dots)
    return str(canvas)


def _logarithmic(values: Sequence[float], begin: float, end: float) -> tuple[Scale, list[float]]:
    """Whole powers of ten at the edges, and a mark at each."""
    low = math.floor(math.log10(min(values)) + 1e-9)
    high = max(math.ceil(math.log10(max(values)) - 1e-9), low + 1)
    step = (end - begin) / (high - low)
    return lambda value: begin + (math.log10(value) - low) * step, [10.0**n for n in range(low, high + 1)]


def _linear(values: Sequence[float], begin: float, end: float) -> tuple[Scale, list[float]]:
    """From 0, in four to eight round steps."""
    most = max(values)
    step = 10 ** math.floor(math.log10(most / 4))
    step *= next(factor for factor in (1, 2, 5) if most / (step * factor) <= 8)
    top = math.ceil(most / step) * step
    return lambda value: begin + value / top * (end - begin), [n * step for n in range(round(top / step) + 1)]


def figure(value: float) -> str:
    """Three digits that mean something."""
    if value >= 1e6:
        return f"{value / 1e6:,.3g} million"
    if value == 0 or abs(value) >= 100:
        return f"{value:,.0f}"
    digits = max(0, 2 - math.floor(math.log10(abs(value))))
    text = f"{value:.{digits}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def write(path: Path, svg: str) -> None:
    """The picture, and the same as PNG by rsvg-convert; says so where that is not installed."""
    path.write_text(svg)
    if shutil.which("rsvg-convert"):
        png = path.with_suffix(".png")
        subprocess.run(["rsvg-convert", "--zoom", "2", "-o", str(png), str(path)], check=True)
    else:
        print(f"{path.name}: no PNG of it without rsvg-convert (librsvg2-bin)", flush=True)
