"""Fewer points, the same picture."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from sipsua.load.report.thinning import Column, cells, columns, runs


def test_instants_that_have_room_stand_by_themselves() -> None:
    assert cells([1, 2, 3], 3, 3) == [[0], [1], [2]]


def test_instants_without_room_share_columns_of_equal_time() -> None:
    assert cells([0, 1, 2, 7, 8], 8, 4) == [[0, 1], [2], [3, 4]]


@given(instants=st.lists(st.floats(0, 100), max_size=60), most=st.integers(1, 20))
def test_each_instant_is_in_one_column_and_there_are_never_too_many(instants: list[float], most: int) -> None:
    parts = cells(sorted(instants), 100, most)
    assert sorted(index for part in parts for index in part) == list(range(len(instants)))
    assert len(parts) <= most


def test_single_bad_second_of_an_hour_stays() -> None:
    instants = [float(second) for second in range(3600)]
    values: list[float | None] = [5.0] * 3600
    values[1234] = 900.0
    line = columns(instants, values, cells(instants, 3600, 100))
    assert [column.high for column in line if column.high > 5] == [900]
    assert all(column.low == column.middle == 5 for column in line)


def test_column_has_its_lowest_middle_and_highest_and_ends_with_its_last_instant() -> None:
    assert columns([1, 2, 3], [7, 1, 3], [[0, 1, 2]]) == [Column(3, 1, 3, 7)]


def test_what_was_not_measured_is_no_column() -> None:
    assert columns([1, 2, 3], [None, math.nan, 4], [[0], [1], [2]]) == [Column(3, 4, 4, 4)]


def test_line_is_parted_where_nobody_measured() -> None:
    line = [Column(x, 0, 0, 0) for x in (1, 2, 3, 9, 10)]
    assert [[column.x for column in part] for part in runs(line, 2)] == [[1, 2, 3], [9, 10]]
