"""The schedule of a phase: who does what when, the same for the same seed."""

from __future__ import annotations

from itertools import islice, pairwise
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sipsua.load.arrivals import instants
from sipsua.load.plan import Arrivals, Churn, Cut, Hold, Phase, Ramp, RateStep, Register, Reregister, Storm, Unregister
from sipsua.load.schedule import Action, Verb, schedule

RATES = st.floats(0.1, 1000)


def actions(phase: Phase, phones: int, seed: int = 1) -> list[Action]:
    return list(schedule(phase, phones, seed=seed, index=0))


def coming(arrivals: Arrivals, number: int) -> list[float]:
    return list(islice(instants(arrivals, Random(1)), number))


def test_all_at_once_is_at_one_instant() -> None:
    assert coming(Arrivals(at_once=True), 3) == [0.0, 0.0, 0.0]


def test_rate_spaces_evenly() -> None:
    assert coming(Arrivals(rate=4), 4) == [0.0, 0.25, 0.5, 0.75]


@given(start=st.one_of(st.just(0.0), RATES), end=RATES, over=st.floats(0.1, 1000))
def test_ramp_has_brought_as_many_phones_as_the_integral_of_its_rate(start: float, end: float, over: float) -> None:
    for number, at in enumerate(coming(Arrivals(ramp=Ramp(start=start, end=end, over=over)), 200)):
        inside = min(at, over)
        came = start * inside + (end - start) / over * inside**2 / 2 + max(0.0, at - over) * end
        assert came == pytest.approx(number, abs=1e-6, rel=1e-6)


def test_step_of_rate_0_is_a_pause_and_the_phone_that_was_begun_comes_after_it() -> None:
    steps = (RateStep(rate=2, seconds=1.25), RateStep(rate=0, seconds=2), RateStep(rate=4, seconds=1))
    assert coming(Arrivals(steps=steps), 5) == [0.0, 0.5, 1.0, 3.375, 3.625]


def test_poisson_has_the_mean_and_the_spread_of_its_rate() -> None:
    gaps = [after - before for before, after in pairwise(coming(Arrivals(poisson=50), 20_001))]
    mean = sum(gaps) / len(gaps)
    assert mean == pytest.approx(1 / 50, rel=0.03)
    assert sum((gap - mean) ** 2 for gap in gaps) / len(gaps) == pytest.approx(1 / 50**2, rel=0.06)


@pytest.mark.parametrize(
    ("phase", "verb"),
    [
        (Register(do="register", arrivals=Arrivals(poisson=10)), Verb.REGISTER),
        (Reregister(do="reregister", arrivals=Arrivals(rate=10)), Verb.REFRESH),
        (Unregister(do="unregister"), Verb.UNREGISTER),
    ],
)
def test_each_phone_has_its_turn_once_in_order(phase: Phase, verb: Verb) -> None:
    seen = actions(phase, 100)
    assert [action.phone for action in seen] == list(range(100))
    assert {action.verb for action in seen} == {verb}
    assert seen == sorted(seen)


def test_same_seed_same_schedule_and_another_seed_another() -> None:
    phase = Churn(do="churn", duration=60, rate=3)
    assert actions(phase, 50, seed=1) == actions(phase, 50, seed=1) != actions(phase, 50, seed=2)


def test_hold_has_no_actions() -> None:
    assert actions(Hold(do="hold", duration=10), 5) == []


@pytest.mark.parametrize(("cut", "verb"), [(Cut.RESET, Verb.RESET), (Cut.CLOSE, Verb.CLOSE)])
def test_storm_hits_its_share_at_once(cut: Cut, verb: Verb) -> None:
    seen = actions(Storm(do="storm", cut=cut, share=0.25), 200)
    assert {(action.at, action.verb) for action in seen} == {(0.0, verb)}
    assert len({action.phone for action in seen}) == len(seen) == 50


def test_storm_that_somebody_else_makes_has_no_actions() -> None:
    assert actions(Storm(do="storm", cut=Cut.AWAIT), 200) == []


@given(
    phones=st.integers(1, 20),
    duration=st.floats(0, 50),
    rate=st.floats(0.1, 20),
    away=st.floats(0, 30),
    seed=st.integers(0, 99),
)
def test_who_leaves_was_there_and_all_are_back_at_the_end_of_the_churn(
    phones: int, duration: float, rate: float, away: float, seed: int
) -> None:
    present, left_at = set(range(phones)), dict[int, float]()
    seen = actions(Churn(do="churn", duration=duration, rate=rate, away=away), phones, seed)
    assert [action.at for action in seen] == sorted(action.at for action in seen)
    for at, verb, phone in seen:
        if verb is Verb.UNREGISTER:
            present.remove(phone)
            left_at[phone] = at
        else:
            assert verb is Verb.REGISTER
            assert at == min(left_at.pop(phone) + away, duration)
            present.add(phone)
    assert present == set(range(phones))
