"""Latencies: percentiles of nearest rank to three digits, merged and encoded without loss."""

from __future__ import annotations

import pytest
from hdrh.histogram import HdrHistogram
from hypothesis import given
from hypothesis import strategies as st

from sipsua.load.latencies import HIGHEST, Latency, nearest_rank

MICROSECONDS = st.integers(min_value=0, max_value=2 * HIGHEST)


def of(values: list[int]) -> Latency:
    latency = Latency()
    latency.add(values)
    return latency


def test_one_to_a_hundred_milliseconds_have_the_percentiles_of_paper() -> None:
    told = of([1000 * value for value in range(1, 101)]).as_json()
    assert (told["count"], told["min_ms"], told["mean_ms"], told["max_ms"]) == (100, 1, 50.5, 100)
    for key, value in (("p50_ms", 50), ("p90_ms", 90), ("p95_ms", 95), ("p99_ms", 99), ("p99_9_ms", 100)):
        assert told[key] == pytest.approx(value, rel=1e-3)


def test_nothing_measured_is_zeros() -> None:
    told = Latency().as_json()
    assert set(told.values()) == {0}
    assert Latency().percentile(99) == 0


def test_a_rank_is_never_rounded_down() -> None:
    values = [1000] * 50 + [500_000]  # 98.04 % are a millisecond: 98.5 % reach into the last one
    assert of(values).percentile(98.5) == pytest.approx(500, rel=1e-3)
    assert nearest_rank(sorted(values), 98.5) == 500
    assert of([1] * 999 + [1_000_000]).percentile(99.9) == 0.001


def test_more_than_an_hour_counts_as_an_hour_and_zero_as_zero() -> None:
    latency = of([0, HIGHEST + 1_000_000])
    assert (latency.lowest, latency.highest) == (0, HIGHEST + 1_000_000)
    assert latency.percentile(50) == 0.001  # the lowest that the histogram tells apart
    assert latency.percentile(100) == pytest.approx(HIGHEST / 1000, rel=1e-3)


def test_each_of_four_is_a_quarter() -> None:
    latency = of([2000, 4000, 6000, 8000])
    assert [latency.percentile(percent) for percent in (25, 50, 75, 100)] == pytest.approx([2, 4, 6, 8], rel=1e-3)


@given(st.lists(MICROSECONDS, min_size=1, max_size=50), st.sampled_from([0.0, 1, 50, 90, 95, 99, 99.9, 100]))
def test_percentiles_are_those_of_sorted_values_to_three_digits(values: list[int], percent: float) -> None:
    exact = nearest_rank(sorted(min(value, HIGHEST) or 1 for value in values), percent)
    assert of(values).percentile(percent) == pytest.approx(exact, rel=1.1e-3, abs=0.001)


@given(st.lists(st.lists(MICROSECONDS, max_size=20), max_size=5))
def test_merged_is_as_if_one_had_all_values(parts: list[list[int]]) -> None:
    merged = Latency()
    for part in parts:
        merged.merge(of(part))
    whole = of([value for part in parts for value in part])
    assert merged.as_json() == whole.as_json()
    assert merged.encode() == whole.encode()


@given(st.lists(MICROSECONDS, max_size=50))
def test_what_is_encoded_is_read_by_any_hdrhistogram(values: list[int]) -> None:
    latency = of(values)
    decoded = HdrHistogram.decode(latency.encode())
    assert decoded.get_total_count() == len(values)
    plain = HdrHistogram(1, HIGHEST, 3)
    for value in values:
        plain.record_value(min(value, HIGHEST) or 1)
    for percent in (1, 50, 99, 100):
        assert decoded.get_value_at_percentile(percent) == plain.get_value_at_percentile(percent)


@pytest.mark.parametrize(("percent", "value"), [(0, 10), (50, 20), (66, 20), (67, 30), (95, 30), (100, 30)])
def test_nearest_rank_of_three(percent: float, value: int) -> None:
    assert nearest_rank([10_000, 20_000, 30_000], percent) == value
