"""A plot as inline SVG: no script draws it, so it is there in every browser, on paper, and in a mail that shows no more than HTML.

The drawing has two layers. Lines and bands lie in an inner SVG of 1000 x 1000 units that is stretched to whatever width the page has,
with strokes that keep their thickness. Text lies in the outer one, placed by per cent, so that letters have the same size on a phone and on
a desktop. What tells series apart is the dash of the line before its colour.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from xml.etree import ElementTree

from sipsua.load.report.scale import (
    Scale,
    Unit,
    clock,
    linear_scale,
    logarithmic_scale,
    spoken,
    tick_label,
    time_ticks,
)
from sipsua.load.report.thinning import Column, cells, columns, known, runs

COLUMNS = {"large": 360, "small": 160}
"""Into how many columns a plot of a size is thinned: each about three pixels wide on a desktop."""
WIDTHS = {"large": (290.0, 740.0), "small": (290.0, 420.0)}
"""How wide a plot is at least, on a phone and on a desktop, in CSS pixels: what decides which labels have room."""
UNITS = 1000
"""Of the inner drawing, each way."""


@dataclass(frozen=True, slots=True)
class Series:
    """One line."""

    name: str
    values: Sequence[float | None]
    """One for each instant of the plot; None where nothing was measured."""
    style: int
    """Colour and dash: 0 to 3, a class of the page's style sheet."""
    filled: bool = False
    """Whether the area below is tinted."""


@dataclass(frozen=True, slots=True)
class Band:
    """A stretch of time behind the lines."""

    begin: float
    end: float
    number: str
    """What stands above it where there is little room."""
    name: str
    """What follows the number where there is more."""


@dataclass(frozen=True, slots=True)
class Mark:
    """An instant that matters: a vertical line with words."""

    at: float
    words: str


@dataclass(frozen=True, slots=True)
class Plot:
    """What is to be drawn."""

    key: str
    """For ids; a word, different from that of each other plot of the page."""
    title: str
    unit: Unit
    length: float
    """Seconds on the time axis, from 0; above 0."""
    instants: Sequence[float]
    """Seconds, rising."""
    series: Sequence[Series]
    size: str = "large"
    bands: Sequence[Band] = ()
    hatched: Sequence[tuple[float, float]] = ()
    """Begin and end of stretches that are not to be trusted."""
    marks: Sequence[Mark] = ()
    logarithmic: bool = False


@dataclass(frozen=True, slots=True)
class LegendEntry:
    """What a line is, in words."""

    name: str
    style: int
    peak: str
    """Its highest value."""


def draw(plot: Plot) -> str:
    """The plot as an SVG element."""
    measured = [value for series in plot.series for value in known(series.values)]
    scale = logarithmic_scale(measured) if plot.logarithmic else linear_scale(measured)
    svg = ElementTree.Element(
        "svg",
        {
            "class": f"plot {plot.size}",
            "role": "img",
            "aria-labelledby": f"{plot.key}-title {plot.key}-desc",
            "width": "100%",
            "height": "200",
        },
    )
    _add(svg, "title", id=f"{plot.key}-title").text = _clean(plot.title)
    _add(svg, "desc", id=f"{plot.key}-desc").text = _clean(_description(plot))
    _draw_bands(svg, plot)
    _draw_axes(svg, plot, scale)
    _draw_hatched(svg, plot)
    _draw_lines(svg, plot, scale)
    _draw_marks(svg, plot)
    if not measured:
        _add(svg, "text", {"class": "nothing"}, x="50%", y="50%", dy=".35em").text = "nothing was measured"
    return ElementTree.tostring(svg, encoding="unicode")


def legend(plot: Plot) -> list[LegendEntry]:
    """What stands above a plot: each line and its peak."""
    return [
        LegendEntry(series.name, series.style, spoken(max(known(series.values), default=None), plot.unit))
        for series in plot.series
    ]


def readings(plot: Plot) -> dict[str, Any]:
    """What the page tells under the pointer: where on the axis each column's last instant is (0 to 1), its clock,
    and what each series is there.

    Where columns hold several instants it is the lowest and the highest of them.
    """
    parts = cells(plot.instants, plot.length, COLUMNS[plot.size])
    at = [plot.instants[indices[-1]] for indices in parts]
    return {
        "at": [round(instant / plot.length, 4) for instant in at],
        "when": [clock(instant) for instant in at],
        "told": [
            [_span([series.values[index] for index in indices], plot.unit) for indices in parts]
            for series in plot.series
        ],
    }


def _span(values: Sequence[float | None], unit: Unit) -> str:
    measured = known(values)
    low, high = spoken(min(measured, default=None), unit), spoken(max(measured, default=None), unit)
    if low == high:
        return low
    # The unit once, where it is the same: a legend is narrow.
    name = re.sub(r".*\d", "", high)
    return f"{low.removesuffix(name)} – {high}"


def _description(plot: Plot) -> str:
    sentences = [f"From 0:00 to {clock(plot.length)} of the run."]
    every = cells(plot.instants, plot.length, len(plot.instants))
    for series in plot.series:
        line = columns(plot.instants, series.values, every)
        if not line:
            sentences.append(f"{series.name}: nothing measured.")
            continue
        top = max(line, key=lambda column: column.high)
        lowest = spoken(min(column.low for column in line), plot.unit)
        sentences.append(
            f"{series.name}: lowest {lowest}, highest {spoken(top.high, plot.unit)} at {clock(top.x)},"
            f" at the end {spoken(line[-1].middle, plot.unit)}."
        )
    return " ".join([*sentences, *(f"{mark.words} at {clock(mark.at)}." for mark in plot.marks)])


def _draw_bands(svg: ElementTree.Element, plot: Plot) -> None:
    every_second = [band for index, band in enumerate(plot.bands) if index % 2]
    data = "".join(
        f"M{_across(plot, band.begin)} 0H{_across(plot, band.end)}V{UNITS}H{_across(plot, band.begin)}Z"
        for band in every_second
    )
    if data:
        _add(_stretched(svg), "path", {"class": "band"}, d=data)
    narrow, wide = WIDTHS[plot.size]
    for band in plot.bands:
        share = (band.end - band.begin) / plot.length
        words = f"{band.number} {band.name}"
        # The longest text that has room on a desktop, and beside it, where that is another one, the longest that has room on a phone.
        on_wide = next((text for text in (words, band.number) if _breadth(text) < share * wide), "")
        on_narrow = next((text for text in (words, band.number) if _breadth(text) < share * narrow), "")
        for text, kind in ((on_wide, "phase wide"), (on_narrow, "phase narrow")):
            if text and on_wide == on_narrow and kind == "phase wide":
                _label_band(svg, plot, band, text, "phase")
            elif text and on_wide != on_narrow:
                _label_band(svg, plot, band, text, kind)


def _label_band(svg: ElementTree.Element, plot: Plot, band: Band, text: str, kind: str) -> None:
    _add(svg, "text", {"class": kind}, x=_percent(band.begin / plot.length), dx="4", y="-7").text = _clean(text)


def _draw_axes(svg: ElementTree.Element, plot: Plot, scale: Scale) -> None:
    grid = _add(svg, "g", {"class": "grid"})
    labels = _add(svg, "g", {"class": "axis"})
    for tick in scale.ticks:
        y = _percent(1 - scale.height(tick))
        kind = {"class": "floor"} if tick == scale.ticks[0] else {}
        _add(grid, "line", kind, x1="0", x2="100%", y1=y, y2=y)
        _add(labels, "text", {"class": "y"}, x="-8", y=y, dy=".35em").text = tick_label(tick, plot.unit)
    for index, tick in enumerate(time_ticks(plot.length)):
        x = _percent(tick / plot.length)
        kind = {"class": "x last"} if tick / plot.length > 0.96 else {"class": "x wide" if index % 2 else "x"}
        _add(labels, "text", kind, x=x, y="100%", dy="18").text = clock(tick)
    for band in plot.bands[1:]:
        x = _percent(band.begin / plot.length)
        _add(grid, "line", {"class": "border"}, x1=x, x2=x, y1="-18", y2="100%")


def _draw_hatched(svg: ElementTree.Element, plot: Plot) -> None:
    if not plot.hatched:
        return
    name = f"{plot.key}-hatch"
    pattern = _add(
        _add(svg, "defs"),
        "pattern",
        {"width": "6", "height": "6", "patternUnits": "userSpaceOnUse", "patternTransform": "rotate(45)"},
        id=name,
    )
    _add(pattern, "line", {"class": "hatch"}, x1="0", x2="0", y1="0", y2="6")
    for begin, end in plot.hatched:
        share = max(0.002, (min(end, plot.length) - begin) / plot.length)
        _add(
            svg,
            "rect",
            x=_percent(begin / plot.length),
            y="0",
            width=_percent(share),
            height="100%",
            fill=f"url(#{name})",
        )


def _draw_lines(svg: ElementTree.Element, plot: Plot, scale: Scale) -> None:
    inner = _stretched(svg)
    most = COLUMNS[plot.size]
    parts = cells(plot.instants, plot.length, most)
    thinned = len(parts) < len(plot.instants)
    gap = max(2.5, 2 * plot.length / most)
    # The first series is the one that the plot is about: it lies on top.
    for series in reversed(plot.series):
        stretches = runs(columns(plot.instants, series.values, parts), gap)
        if not stretches:
            continue
        if series.filled:
            _add(inner, "path", {"class": f"area s{series.style}"}, d=_area(plot, scale, stretches))
        if thinned:
            _add(inner, "path", {"class": f"range s{series.style}"}, d=_range(plot, scale, stretches))
        # A point by itself has no length; with round ends it is a dot.
        for kind, data in (
            ("line", [line for line in stretches if len(line) > 1]),
            ("dot", [line for line in stretches if len(line) == 1]),
        ):
            if data:
                style = {"class": f"{kind} s{series.style}", "vector-effect": "non-scaling-stroke"}
                _add(inner, "path", style, d=_line(plot, scale, data))


def _line(plot: Plot, scale: Scale, stretches: Sequence[Sequence[Column]]) -> str:
    """Through the middle of each column; h0 is the line of one that stands by itself."""
    return "".join(
        f"M{' '.join(f'{_across(plot, column.x)} {_down(scale, column.middle)}' for column in line)}"
        + ("h0" if len(line) == 1 else "")
        for line in stretches
    )


def _area(plot: Plot, scale: Scale, stretches: Sequence[Sequence[Column]]) -> str:
    """From the floor to the middle of each column."""
    return "".join(
        f"M{_across(plot, line[0].x)} {UNITS}L"
        + " ".join(f"{_across(plot, column.x)} {_down(scale, column.middle)}" for column in line)
        + f" {_across(plot, line[-1].x)} {UNITS}Z"
        for line in stretches
    )


def _range(plot: Plot, scale: Scale, stretches: Sequence[Sequence[Column]]) -> str:
    """From the lowest to the highest of each column, and there and back again."""
    return "".join(
        f"M{' '.join(f'{_across(plot, column.x)} {_down(scale, column.high)}' for column in line)}"
        f" {' '.join(f'{_across(plot, column.x)} {_down(scale, column.low)}' for column in reversed(line))}Z"
        for line in stretches
    )


def _draw_marks(svg: ElementTree.Element, plot: Plot) -> None:
    # Each one's words a line lower than those before, as instants that matter may lie close together.
    for index, mark in enumerate(plot.marks):
        share = min(1.0, mark.at / plot.length)
        x = _percent(share)
        _add(svg, "line", {"class": "mark"}, x1=x, x2=x, y1="0", y2="100%")
        before = share > 0.5
        _add(
            svg,
            "text",
            {"class": "mark before" if before else "mark"},
            x=x,
            dx="-6" if before else "6",
            y="100%",
            dy=str(-12 - 18 * (len(plot.marks) - 1 - index)),
        ).text = _clean(mark.words)


def _stretched(svg: ElementTree.Element) -> ElementTree.Element:
    return _add(svg, "svg", viewBox=f"0 0 {UNITS} {UNITS}", preserveAspectRatio="none", width="100%", height="100%")


def _add(
    parent: ElementTree.Element, tag: str, attributes: dict[str, str] | None = None, **more: str
) -> ElementTree.Element:
    return ElementTree.SubElement(parent, tag, {**(attributes or {}), **more})


def _across(plot: Plot, seconds: float) -> str:
    return f"{min(1.0, max(0.0, seconds / plot.length)) * UNITS:.1f}".removesuffix(".0")


def _down(scale: Scale, value: float) -> str:
    return f"{(1 - scale.height(value)) * UNITS:.0f}"


def _percent(share: float) -> str:
    return f"{share * 100:.2f}".rstrip("0").rstrip(".") + "%"


def _breadth(text: str) -> float:
    """About how wide a label is, in CSS pixels."""
    return 12 + sum(12.0 if unicodedata.east_asian_width(letter) in "WF" else 6.6 for letter in text)


def _clean(text: str) -> str:
    """Without what XML cannot hold: control characters and halves of surrogate pairs."""
    return re.sub(r"[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]", "\N{REPLACEMENT CHARACTER}", text)
