"""Latencies of one step gathered: an HdrHistogram, which merges without loss across workers, machines and runs.

Three digits of a value are kept, from a microsecond to an hour, in a table of fixed size: a run of a week takes no more memory than one
of a minute. Lowest, highest and mean are exact.
"""

from __future__ import annotations

from collections.abc import Sequence

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
        value: int = self._histogram.get_value_at_percentile(percent)
        return min(value, self.highest) / 1000

    def as_json(self) -> dict[str, float | int]:
        """`count`, and in milliseconds `min_ms`, `mean_ms`, `p50_ms`, `p90_ms`, `p95_ms`, `p99_ms`, `p99_9_ms`, `max_ms`."""
        told: dict[str, float | int] = {
            "count": self.count,
            "min_ms": self.lowest / 1000 if self.count else 0.0,
            "mean_ms": round(self.total / max(1, self.count) / 1000, 3),
        }
        for percent in (50, 90, 95, 99, 99.9):
            told[f"p{percent}_ms".replace(".", "_")] = self.percentile(percent)
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
