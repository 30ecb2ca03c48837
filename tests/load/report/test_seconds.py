"""One row for each second."""

from __future__ import annotations

from typing import Any

import pytest

from sipsua.load.report.seconds import SPREAD, whole_seconds


def row(second: int, **more: Any) -> dict[str, Any]:
    zeros = dict.fromkeys((*SPREAD, "lag_p99_ms", "lag_max_ms", "locked"), 0.0)
    return zeros | {"second": second, "phase": 0, "at": 100.0 + second, "seconds": 1.0, "percentiles": {}} | more


def test_row_of_a_whole_second_stays_as_it_is() -> None:
    rows = [row(0, cpu=0.5, registered_rate=50.0), row(1, lag_max_ms=7.0, locked=3)]
    assert whole_seconds(rows) == rows


def test_what_is_told_a_second_is_taken_over_the_whole_second() -> None:
    parts = [row(4, seconds=0.99, registered_rate=10.0), row(4, phase=1, seconds=0.01, registered_rate=3000.0, cpu=1.0)]
    (joined,) = whole_seconds(parts)
    assert joined["registered_rate"] == pytest.approx(39.9)
    assert joined["cpu"] == pytest.approx(0.01)
    assert joined["seconds"] == 1


def test_last_second_counts_as_a_whole_one() -> None:
    (joined,) = whole_seconds([row(9, seconds=0.1, sent=500.0)])
    assert joined["sent"] == 50


def test_second_that_took_longer_keeps_its_rate() -> None:
    (joined,) = whole_seconds([row(0, seconds=2.0, errors=5.0)])
    assert joined["errors"] == 5


def test_gauges_are_of_the_end_and_lag_is_the_worst() -> None:
    parts = [
        row(2, seconds=0.5, locked=9, lag_max_ms=80.0),
        row(2, phase=1, seconds=0.5, at=103.0, locked=4, lag_max_ms=3.0),
    ]
    (joined,) = whole_seconds(parts)
    assert (joined["locked"], joined["lag_max_ms"], joined["at"], joined["phase"]) == (4, 80, 103, 1)


def test_percentiles_are_of_the_part_that_measured_most() -> None:
    many, few = {"count": 100, "p50_ms": 1.0}, {"count": 2, "p50_ms": 9.0}
    parts = [row(2, seconds=0.5, percentiles={"tls": many, "dns": few}), row(2, seconds=0.5, percentiles={"tls": few})]
    (joined,) = whole_seconds(parts)
    assert joined["percentiles"] == {"tls": many, "dns": few}
