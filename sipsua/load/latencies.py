"""Latencies of one step gathered: an HdrHistogram, which merges without loss across workers, machines and runs.

Three digits of a value are kept, from a microsecond to an hour, in a table of fixed size: a run of a week takes no more memory than one
of a minute. Lowest, highest and mean are exact.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from itertools import accumulate
from math import ceil

from hdrh.histogram import HdrHistogram

HIGHEST = 3_600_000_000
"""Microseconds: what took longer than an hour counts as an hour."""
DIGITS = 3


class Latency:
    """Values of one step, in microseconds."""

    __slots__ = ("_histogram", "highest", "lowest", "total")

    def __init__(self) -> None:
        self._histogram = HdrHistogram(1, HIGHEST, DIGITS)
        self.lowest = HIGHEST
        self.highest = 0
        self.total = 0
        """The sum."""

    @property
    def count(self) -> int:
        """How many values there are."""
        return int(self._histogram.get_total_count())

    def add(self, values: Sequence[int]) -> None:
        """Add values."""
        record = self._histogram.record_value
        for value in values:
            record(min(value, HIGHEST) or 1)
        if values:
            self._widen(min(values), max(values), sum(values))

    def merge(self, other: Latency) -> None:
        """Add what another one holds."""
        if other.count:
            self._histogram.add(other._histogram)
            self._widen(other.lowest, other.highest, other.total)

    def percentile(self, percent: float) -> float:
        """The value, in milliseconds, that so many per cent of the values do not exceed; 0 where there are none."""
        return self.percentiles((percent,))[0]

    def percentiles(self, percents: Sequence[float]) -> list[float]:
        """Several of them, for the cost of one. Nearest rank, as in the timeline: hdrh's own rounds the rank, and may take one too low."""
        if not self.count:
            return [0.0] * len(percents)
        histogram = self._histogram
        sums = list(accumulate(histogram.counts[:]))
        found = []
        for percent in percents:
            # 99.9 % of a thousand are 999, whatever the last bit of the product says.
            slot = bisect_left(sums, max(1, ceil(percent * self.count / 100 - 1e-9)))
            value: int = histogram.get_highest_equivalent_value(histogram.get_value_from_index(slot))
            found.append(max(self.lowest, min(value, self.highest)) / 1000)
        return found

    def as_json(self) -> dict[str, float | int]:
        """`count`, and in milliseconds `min_ms`, `mean_ms`, `p50_ms`, `p90_ms`, `p95_ms`, `p99_ms`, `p99_9_ms`, `max_ms`."""
        told: dict[str, float | int] = {
            "count": self.count,
            "min_ms": self.lowest / 1000 if self.count else 0.0,
            "mean_ms": round(self.total / max(1, self.count) / 1000, 3),
        }
        told |= zip(
            ("p50_ms", "p90_ms", "p95_ms", "p99_ms", "p99_9_ms"), self.percentiles((50, 90, 95, 99, 99.9)), strict=True
        )
        return told | {"max_ms": self.highest / 1000}

    def encode(self) -> str:
        """The histogram in HdrHistogram's own compressed form, base64, which its tools in all languages read."""
        encoded: bytes = self._histogram.encode()
        return encoded.decode()

    def _widen(self, lowest: int, highest: int, total: int) -> None:
        self.lowest = min(self.lowest, lowest)
        self.highest = max(self.highest, highest)
        self.total += total


def nearest_rank(ordered: list[int], percent: float) -> float:
    """The percentile of values that are few enough to be sorted: exact, in milliseconds."""
    rank = -(-percent * len(ordered) // 100)
    return ordered[max(0, int(rank) - 1)] / 1000
