"""A line of ten thousand points where the screen has a thousand columns: fewer points, the same picture.

Of each column the lowest, the highest and the last point stay, so that a single bad second in an hour is still seen. What a reader asks
for under the pointer is told of the whole column: from the lowest to the highest.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Point:
    """One instant of a series."""

    x: float
    """Seconds."""
    y: float


def points_of(xs: Sequence[float], ys: Sequence[float | None]) -> list[Point]:
    """The points that have a value; what is no finite number is none."""
    return [Point(x, y) for x, y in zip(xs, ys, strict=True) if y is not None and math.isfinite(y)]


def thin(points: Sequence[Point], length: float, columns: int) -> list[Point]:
    """At most three points for each of `columns` equal parts of the time from 0 to `length`: lowest, highest, last, in order of time."""
    if len(points) <= 3 * columns:
        return list(points)
    kept = []
    for column in _columns(points, length, columns):
        indices = range(len(column))
        lowest = min(indices, key=lambda index: column[index].y)
        highest = max(indices, key=lambda index: column[index].y)
        kept += [column[index] for index in sorted({lowest, highest, len(column) - 1})]
    return kept


def runs(points: Sequence[Point], gap: float) -> list[list[Point]]:
    """The points, parted where more than `gap` seconds lie between two: a line is not drawn through what nobody measured."""
    parts: list[list[Point]] = []
    for point in points:
        if not parts or point.x - parts[-1][-1].x > gap:
            parts.append([])
        parts[-1].append(point)
    return parts


def _columns(points: Sequence[Point], length: float, columns: int) -> Iterator[list[Point]]:
    column: list[Point] = []
    current = -1
    for point in points:
        index = min(columns - 1, int(point.x / length * columns))
        if column and index != current:
            yield column
            column = []
        current = index
        column.append(point)
    if column:
        yield column
