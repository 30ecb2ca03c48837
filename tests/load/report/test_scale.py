"""From values to heights and words."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sipsua.load.report.scale import (
    NBSP,
    Unit,
    clock,
    duration,
    linear_scale,
    logarithmic_scale,
    number,
    spoken,
    tick_label,
    time_ticks,
)

VALUES = st.lists(st.floats(0, 1e18), max_size=8)


def plain(text: str) -> str:
    return text.replace(NBSP, " ")


@given(values=VALUES, logarithmic=st.booleans())
def test_each_value_has_a_height_between_floor_and_top_that_rises_with_it(
    values: list[float], logarithmic: bool
) -> None:
    scale = logarithmic_scale(values) if logarithmic else linear_scale(values)
    heights = [scale.height(value) for value in sorted(values)]
    assert heights == sorted(heights)
    assert all(0 <= height <= 1 for height in heights)


@given(values=VALUES, logarithmic=st.booleans())
def test_ticks_rise_stand_within_the_axis_and_are_few(values: list[float], logarithmic: bool) -> None:
    scale = logarithmic_scale(values) if logarithmic else linear_scale(values)
    assert list(scale.ticks) == sorted(set(scale.ticks))
    assert 2 <= len(scale.ticks) <= 8
    assert scale.ticks[0] == pytest.approx(scale.low)
    assert scale.ticks[-1] <= scale.high * (1 + 1e-9)


def test_counts_are_plotted_evenly_from_zero() -> None:
    scale = linear_scale([5000])
    assert scale.height(3000) == 0.5
    assert list(scale.ticks) == [0, 2000, 4000, 6000]


def test_nothing_measured_still_has_an_axis() -> None:
    assert linear_scale([]).high == 1
    assert logarithmic_scale([]).ticks == (1, 2, 5, 10)


def test_each_decade_of_latency_has_the_same_height() -> None:
    scale = logarithmic_scale([1, 100])
    assert scale.height(10) == pytest.approx(0.5)
    assert scale.ticks == (1, 2, 5, 10, 20, 50, 100)


def test_latencies_over_many_decades_are_labelled_at_powers_of_ten_and_the_lowest_label_is_the_floor() -> None:
    scale = logarithmic_scale([0.03, 40_000])
    assert scale.ticks == pytest.approx((0.01, 0.1, 1, 10, 100, 1000, 10_000, 100_000)[::2])
    assert scale.height(scale.ticks[0]) == 0


def test_latency_of_zero_lies_on_the_floor() -> None:
    assert logarithmic_scale([0, 3, 40]).height(0) == 0


@given(length=st.floats(1, 1e8))
def test_time_ticks_begin_at_zero_end_within_the_run_and_are_few(length: float) -> None:
    ticks = time_ticks(length)
    assert ticks[0] == 0
    assert ticks[-1] <= length * (1 + 1e-6)
    assert 1 <= len(ticks) <= 13


@pytest.mark.parametrize(
    ("seconds", "text"), [(5, "0:05"), (750, "12:30"), (3600, "1:00:00"), (7_384_000, "2,051:06:40")]
)
def test_clock_tells_hours_only_where_there_are(seconds: float, text: str) -> None:
    assert clock(seconds) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.42, "0.4 s"),
        (12.34, "12.3 s"),
        (59.96, "1 min"),
        (320, "5 min 20 s"),
        (7800, "2 h 10 min"),
        (7801, "2 h 10 min"),
    ],
)
def test_duration_leaves_out_what_is_zero_or_too_small(seconds: float, text: str) -> None:
    assert plain(duration(seconds)) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (10_000, "10,000"),
        (1234.5, "1,234"),
        (74.44, "74.4"),
        (1.239, "1.24"),
        (0.4, "0.4"),
        (0.0001, "<0.001"),
        (math.inf, "–"),
        (3e18, "3.00e+18"),
    ],
)
def test_number_has_three_digits_or_more(value: float, text: str) -> None:
    assert number(value) == text


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (None, Unit.MS, "–"),
        (math.nan, Unit.COUNT, "–"),
        (12, Unit.COUNT, "12"),
        (66.4, Unit.RATE, "66.4/s"),
        (812, Unit.MS, "812 ms"),
        (1620, Unit.MS, "1.62 s"),
        (75_000, Unit.MS, "1 min 15 s"),
        (0.995, Unit.SHARE, "99.5 %"),
        (301_000, Unit.BYTES, "301 kB/s"),
        (312, Unit.MIB, "312 MiB"),
    ],
)
def test_value_is_spoken_with_its_unit(value: float | None, unit: Unit, text: str) -> None:
    assert plain(spoken(value, unit)) == text


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (20_000, Unit.COUNT, "20k"),
        (50, Unit.MS, "50 ms"),
        (2000, Unit.MS, "2 s"),
        (400_000, Unit.BYTES, "400 kB"),
        (0.5, Unit.SHARE, "50 %"),
        (3e15, Unit.COUNT, "3,000T"),
    ],
)
def test_label_of_a_tick_is_short(value: float, unit: Unit, text: str) -> None:
    assert plain(tick_label(value, unit)) == text
