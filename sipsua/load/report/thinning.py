"""A line of ten thousand points where the screen has a thousand columns: fewer points, the same picture.

Of each column the lowest, the middle and the highest value stay: a line through the middle ones shows the course, and the room between the
other two a single bad second in an hour. What a reader asks for under the pointer is told of the whole column as well.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Column:
    """What a series was in a column."""

    x: float
    """Seconds: the last instant of the column."""
    low: float
    middle: float
    """The median; of an even number of values the upper one."""
    high: float


def cells(instants: Sequence[float], length: float, most: int) -> list[list[int]]:
    """Which instants stand in the same column, by their indices: each by itself, or where they are more than `most`, all in one of
    `most` equal parts of the time from 0 to `length`."""
    if len(instants) <= most:
        return [[index] for index in range(len(instants))]
    parts: dict[int, list[int]] = {}
    for index, instant in enumerate(instants):
        parts.setdefault(min(most - 1, int(instant / length * most)), []).append(index)
    return list(parts.values())


def known(values: Sequence[float | None]) -> list[float]:
    """Those that were measured; what is no finite number was not."""
    return [value for value in values if value is not None and math.isfinite(value)]


def columns(instants: Sequence[float], values: Sequence[float | None], parts: Sequence[Sequence[int]]) -> list[Column]:
    """The columns of a series, without those in which nothing was measured; `parts` is what `cells` gave."""
    made = []
    for indices in parts:
        measured = sorted(known([values[index] for index in indices]))
        if measured:
            made.append(Column(instants[indices[-1]], measured[0], measured[len(measured) // 2], measured[-1]))
    return made


def runs(line: Sequence[Column], gap: float) -> list[list[Column]]:
    """The columns, parted where more than `gap` seconds lie between two: a line is not drawn through what nobody measured."""
    parts: list[list[Column]] = []
    for column in line:
        if not parts or column.x - parts[-1][-1].x > gap:
            parts.append([])
        parts[-1].append(column)
    return parts
