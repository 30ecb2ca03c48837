"""The hand-cranked clock: it turns as a loop would, and it catches a timer that would spin."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from sipsua.errors import Defect, Misuse
from sipsua.testing.clock import EPOCH, Clock


class Ticker:
    """Fires every so many seconds, and keeps when."""

    def __init__(self, every: float, clock: Clock) -> None:
        self.every = every
        self.due: float | None = clock.now + every
        self.fired: list[float] = []

    def get_timer(self) -> float | None:
        return self.due

    def handle_timer(self, now: float) -> None:
        if self.due is not None and self.due <= now:
            self.fired.append(now)
            self.due += self.every


def test_the_time_of_day_goes_with_the_seconds() -> None:
    clock = Clock(10.0)
    assert clock.now == 10.0
    assert clock.at == EPOCH.replace(second=10)
    assert clock.advance(50) == 60.0
    assert clock.at == EPOCH.replace(minute=1)
    assert Clock(epoch=datetime(2030, 1, 1, tzinfo=UTC)).at.year == 2030
    assert repr(clock) == "Clock(60)"


@pytest.mark.parametrize("seconds", [-0.1, float("nan")])
def test_a_clock_does_not_turn_back(seconds: float) -> None:
    with pytest.raises(Misuse):
        Clock().advance(seconds)


def test_run_stops_at_each_deadline_on_the_way() -> None:
    clock = Clock(100.0)
    ticker = Ticker(10, clock)
    stops: list[float] = []
    clock.run(ticker, 35, lambda: stops.append(clock.now))
    assert ticker.fired == stops == [110.0, 120.0, 130.0]
    assert clock.now == 135.0


def test_run_fires_what_is_due_at_its_very_end() -> None:
    clock = Clock()
    ticker = Ticker(10, clock)
    clock.run(ticker, 10)
    assert ticker.fired == [10.0]


def test_run_fires_at_once_what_is_overdue() -> None:
    clock = Clock()
    ticker = Ticker(10, clock)
    clock.advance(15)
    clock.run(ticker, 0)
    assert ticker.fired == [15.0]


def test_run_without_a_timer_only_turns_the_clock() -> None:
    clock = Clock()
    ticker = Ticker(10, clock)
    ticker.due = None
    clock.run(ticker, 35)
    assert (clock.now, ticker.fired) == (35.0, [])


def test_a_timer_that_is_still_due_after_it_was_handled_is_a_defect() -> None:
    clock = Clock()
    ticker = Ticker(0, clock)
    with pytest.raises(Defect, match="a loop would spin"):
        clock.run(ticker, 1)
