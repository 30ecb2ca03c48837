"""From a value to its height in a plot, and to the words beside it.

A scale begins and ends on round numbers. Counts and shares are plotted evenly, from zero; latencies by their logarithm, as one slow
answer among quick ones would otherwise press all the rest into the floor.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

NBSP = "\N{NO-BREAK SPACE}"

MOST = 1e15
"""Nothing that is measured here comes near; what claims to be above is drawn at the top."""
LEAST = 1e-6
"""Below is as good as zero where only the logarithm counts: a thousandth of a nanosecond."""

TIME_STEPS = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10_800, 21_600, 43_200, 86_400)
"""Round distances of a time axis, in seconds; above a day it is whole days."""


class Unit(StrEnum):
    """What the values of a plot are."""

    COUNT = "count"
    RATE = "rate"
    """A second."""
    MS = "ms"
    SHARE = "share"
    """1 is the whole."""
    BYTES = "bytes"
    """A second."""
    MIB = "mib"


@dataclass(frozen=True, slots=True)
class Scale:
    """A vertical axis."""

    low: float
    high: float
    ticks: tuple[float, ...]
    """Where a line and a label stand, lowest first."""
    logarithmic: bool

    def height(self, value: float) -> float:
        """Share of the axis below `value`: 0 at the floor, 1 at the top. What lies outside is drawn on the edge."""
        if self.logarithmic:
            if value <= self.low:
                return 0.0
            share = math.log(value / self.low) / math.log(self.high / self.low)
        else:
            share = (value - self.low) / (self.high - self.low)
        return min(1.0, max(0.0, share))


def linear_scale(values: Iterable[float]) -> Scale:
    """From 0 to the first round number that is not below any value, nor below 1."""
    most = min(MOST, max([1.0, *values]))
    step = _round_up(most / 4)
    count = math.ceil(most / step * (1 - 1e-9))
    return Scale(0.0, step * count, tuple(step * index for index in range(count + 1)), logarithmic=False)


def logarithmic_scale(values: Iterable[float]) -> Scale:
    """Between the round numbers (1, 2, 5, 10 ...) around the values; where that were too many, between powers of ten. Zero has no
    logarithm and lies on the floor."""
    positive = [min(value, MOST) for value in values if value > LEAST]
    if not positive:
        return Scale(1.0, 10.0, (1.0, 2.0, 5.0, 10.0), logarithmic=True)
    high = _round_up(max(positive))
    # Twelve decades below the top nothing can be told apart any more.
    low = max(_round_down(min(positive)), _round_down(high / 1e12))
    if low >= high:
        low = _round_down(high * 0.75)
    first, last = math.floor(math.log10(low) + 1e-9), math.ceil(math.log10(high) - 1e-9)
    ticks = [digit * 10.0**decade for decade in range(first, last + 1) for digit in (1, 2, 5)]
    ticks = [tick for tick in ticks if low * (1 - 1e-9) <= tick <= high * (1 + 1e-9)]
    if len(ticks) > 8:
        ticks = [10.0**decade for decade in range(first, last + 1)][:: math.ceil((last - first + 1) / 7)]
        low, high = 10.0**first, 10.0**last
    return Scale(low, high, tuple(ticks), logarithmic=True)


def time_ticks(length: float, *, about: int = 6) -> list[float]:
    """Round instants of a time axis of `length` seconds that begins at 0: some `about` of them."""
    wanted = length / about
    step = next((step for step in TIME_STEPS if step >= wanted), None) or math.ceil(wanted / 86_400) * 86_400
    return [float(step * index) for index in range(math.floor(length / step * (1 + 1e-9)) + 1)]


def clock(seconds: float) -> str:
    """An instant of the run: `0:05`, `12:30`, `1:00:00`."""
    whole = round(seconds)
    hours, rest = divmod(whole, 3600)
    minutes, left = divmod(rest, 60)
    return f"{hours:,}:{minutes:02}:{left:02}" if hours else f"{minutes}:{left:02}"


def duration(seconds: float) -> str:
    """How long something took: `0.4 s`, `12.3 s`, `5 min 20 s`, `2 h 10 min`."""
    if seconds < 59.95:
        return f"{number(round(seconds, 1))}{NBSP}s"
    whole = round(seconds)
    hours, rest = divmod(whole, 3600)
    minutes, left = divmod(rest, 60)
    parts = [(hours, "h"), (minutes, "min"), (0 if hours else left, "s")]
    return " ".join(f"{count:,}{NBSP}{unit}" for count, unit in parts if count)


def number(value: float) -> str:
    """With three digits or more, and no more than that behind the point."""
    if not math.isfinite(value):
        return "–"
    size = abs(value)
    if size >= 1e15:
        return f"{value:.2e}"
    if size >= 100 or value == int(value):
        return f"{value:,.0f}"
    text = f"{value:.1f}" if size >= 10 else f"{value:.2f}" if size >= 1 else f"{value:.3f}"
    text = text.rstrip("0").rstrip(".")
    return "<0.001" if text in {"0", "-0"} else text


def spoken(value: float | None, unit: Unit) -> str:
    """A value with its unit, as it stands in a sentence or a table; a dash where there is none."""
    if value is None or not math.isfinite(value):
        return "–"
    match unit:
        case Unit.COUNT:
            return number(value)
        case Unit.RATE:
            return f"{number(value)}/s"
        case Unit.MS:
            return f"{number(value)}{NBSP}ms" if value < 1000 else duration_ms(value)
        case Unit.SHARE:
            return f"{number(round(value * 100, 2))}{NBSP}%"
        case Unit.BYTES:
            return f"{_large(value, ('B', 'kB', 'MB', 'GB', 'TB'), NBSP)}/s"
        case Unit.MIB:
            return f"{number(value)}{NBSP}MiB"


def duration_ms(value: float) -> str:
    """Milliseconds of a second or more, as seconds or minutes."""
    return f"{number(value / 1000)}{NBSP}s" if value < 60_000 else duration(value / 1000)


def tick_label(value: float, unit: Unit) -> str:
    """A value beside an axis: as short as may be."""
    match unit:
        case Unit.COUNT | Unit.RATE:
            return _large(value, ("", "k", "M", "G", "T"), "")
        case Unit.MS if value >= 1000:
            return f"{_large(value / 1000, ('', 'k', 'M', 'G', 'T'), '')}{NBSP}s"
        case Unit.MS:
            return f"{number(value)}{NBSP}ms"
        case Unit.BYTES:
            return _large(value, ("B", "kB", "MB", "GB", "TB"), NBSP)
        case _:
            return spoken(value, unit)


def _large(value: float, names: Sequence[str], space: str) -> str:
    for name in names[:-1]:
        if abs(value) < 1000:
            return f"{number(value)}{space}{name}"
        value /= 1000
    return f"{number(value)}{space}{names[-1]}"


def _round_up(value: float) -> float:
    power = 10.0 ** math.floor(math.log10(value))
    return next(digit * power for digit in (1, 2, 5, 10) if digit * power >= value * (1 - 1e-9))


def _round_down(value: float) -> float:
    power = 10.0 ** math.floor(math.log10(value) + 1e-12)
    return next(digit * power for digit in (5, 2, 1, 0.5) if digit * power <= value * (1 + 1e-9))
