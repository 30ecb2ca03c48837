"""Saturation: seconds on end at a limit, by worker, whatever pieces a second comes in."""

from __future__ import annotations

from sipsua.load.plan import Saturation
from sipsua.load.sample import Health
from sipsua.load.saturation import SaturationWatch

LIMITS = Saturation(cpu=0.9, lag_ms=50, seconds=3)


def watch(*seconds: tuple[int, float, float, float], worker: int = 0, limits: Saturation = LIMITS) -> SaturationWatch:
    """Has seen these: second, length, CPU, lag."""
    made = SaturationWatch(limits)
    for second, length, cpu, lag in seconds:
        made.look(second, length, Health(worker, cpu, lag, lag, 0))
    return made


def busy(*seconds: int) -> list[tuple[int, float, float, float]]:
    return [(second, 1.0, 0.95, 1.0) for second in seconds]


def test_one_second_too_few_is_none() -> None:
    assert watch(*busy(0, 1)).spans == []


def test_as_many_as_the_limit_are_told_with_their_reason() -> None:
    told = watch(*busy(4, 5), (6, 1.0, 0.99, 80.0), limits=LIMITS).as_json()
    why = "up to 99% of a core in use (limit 90%) and the event loop up to 80 ms late (limit 50 ms)"
    assert told == [{"first": 4, "last": 6, "worker": 0, "why": why, "failed": True}]


def test_a_span_grows_and_is_told_once() -> None:
    (told,) = watch(*busy(0, 1, 2, 3, 4, 5)).as_json()
    assert (told["first"], told["last"]) == (0, 5)
    assert told["why"] == "up to 95% of a core in use (limit 90%)"


def test_a_second_of_rest_begins_anew() -> None:
    rest = (2, 1.0, 0.1, 1.0)
    assert watch(*busy(0, 1), rest, *busy(3, 4)).spans == []


def test_exactly_at_a_limit_counts() -> None:
    assert watch(*[(second, 1.0, 0.9, 0.0) for second in range(3)]).spans
    assert watch(*[(second, 1.0, 0.0, 50.0) for second in range(3)]).spans


def test_a_loop_that_hung_counts_for_all_the_seconds_that_it_did() -> None:
    (told,) = watch((7, 4.0, 0.2, 3900.0)).as_json()
    assert (told["first"], told["last"]) == (7, 10)


def test_two_halves_of_a_second_are_one() -> None:
    halves = [(0, 0.5, 0.95, 1.0), (0, 0.5, 0.95, 1.0)]
    assert watch(*halves, *busy(1)).spans == []
    assert watch(*halves, *busy(1, 2)).spans


def test_a_short_piece_neither_begins_nor_ends_anything() -> None:
    assert watch((0, 0.4, 1.0, 99.0), *busy(1, 2)).spans == []
    assert watch(*busy(0, 1), (2, 0.1, 0.0, 0.0), (2, 0.9, 0.95, 1.0)).spans


def test_workers_are_watched_apart() -> None:
    made = watch(*busy(0, 1))
    for second in (0, 1):
        made.look(second, 1.0, Health(1, 0.95, 0.0, 0.0, 0))
    assert made.spans == []
    made.look(2, 1.0, Health(1, 0.95, 0.0, 0.0, 0))
    assert [span.worker for span in made.spans] == [1]


def test_a_plan_that_only_wants_to_be_told_has_not_failed() -> None:
    (told,) = watch(*busy(0, 1, 2), limits=Saturation(cpu=0.9, seconds=3, then="tell")).as_json()
    assert told["failed"] is False
