"""Results: rows, phases, storms, thresholds and the verdict of samples made by hand."""

from __future__ import annotations

import copy
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sipsua.load.plan import Cut, Saturation, Storm
from sipsua.load.results import WORKER_LOST, Results
from sipsua.load.sample import Count, Sample, Step
from sipsua.load.thresholds import Threshold
from tests.load.by_hand import HOLD, PEAK, REGISTER, STORM, plan, results, sample


def finished(made: Results, *samples: Sample) -> Results:
    for one in samples:
        made.add(one)
    made.finish()
    return made


def value(made: Results, line: str) -> float | None:
    """The figure of a line, in the unit of the line; None where it was never measured."""
    told = Results(made.plan, made.phones)
    told.phases, told.rows = made.phases, made.rows
    told.plan = made.plan.model_copy(update={"fail_if": (line,)})
    told.finish()
    figure: float | None = told.as_json()["thresholds"][0]["value"]
    return figure


# Rows


def test_a_row_waits_for_the_slowest_worker() -> None:
    made = results(workers=2)
    made.add(sample(0, worker=0, phones=5, locked=4))
    made.add(sample(1, worker=0, phones=5, locked=5))
    assert made.rows == []
    made.add(sample(0, worker=1, phones=5, locked=3))
    assert [(row["second"], row["phones"], row["locked"]) for row in made.rows] == [(0, 10, 7)]
    made.finish()
    assert [row["second"] for row in made.rows] == [0, 1]


def test_rates_are_of_the_length_of_the_row() -> None:
    counts = {Count.REGISTERED: 4, Count.REFRESHED: 2, Count.FAILED: 1, Count.LOST: 1}
    (row,) = finished(results(), sample(0, length=0.5, counts=counts, errors=[("a", "x")])).rows
    rates = [row[name] for name in ("registered_rate", "refreshed_rate", "failed_rate", "lost_rate", "errors")]
    assert rates == [8, 4, 2, 2, 2]
    assert (row["sent"], row["received"], row["seconds"]) == (200, 400, 0.5)


def test_a_row_tells_the_busiest_worker_and_the_memory_of_all() -> None:
    made = results(workers=2)
    row = finished(made, sample(0, cpu=0.2, lag_ms=9), sample(0, worker=1, cpu=0.7, lag_ms=3)).rows[0]
    assert (row["cpu"], row["lag_p99_ms"], row["lag_max_ms"], row["rss_kib"]) == (0.7, 9, 18, 2000)


def test_percentiles_of_a_row_are_exact() -> None:
    made = results(workers=2)
    odd = sample(0, latencies={Step.TLS: [value / 1000 for value in range(1, 101, 2)]})
    even = sample(0, worker=1, latencies={Step.TLS: [value / 1000 for value in range(2, 101, 2)]})
    row = finished(made, odd, even).rows[0]
    assert row["percentiles"] == {Step.TLS: {"count": 100, "p50_ms": 50, "p95_ms": 95, "p99_ms": 99}}


def test_two_phases_in_a_second_are_two_rows() -> None:
    made = finished(
        results(REGISTER, HOLD), sample(0, length=0.4), sample(0, phase=1, since=0.4, length=0.6), sample(1, phase=1)
    )
    assert [(row["second"], row["phase"]) for row in made.rows] == [(0, 0), (0, 1), (1, 1)]
    assert [phase.begin for phase in made.phases] == [0, 0.4]
    assert [phase.seconds for phase in made.phases] == [0.4, 1.6]
    assert made.seconds == 2


def test_the_phones_of_a_worker_whose_loop_hung_stay_in_the_gauges() -> None:
    made = results(HOLD, workers=2)
    for second in range(4):
        made.add(sample(second, worker=0, phones=5, locked=5, registered=5))
        if second in (0, 3):
            made.add(sample(second, worker=1, phones=5, locked=5, registered=4))
    made.finish()
    assert [(row["phones"], row["locked"], row["registered"]) for row in made.rows] == [(10, 10, 9)] * 4
    assert value(made, "locked < 10") == 10


def test_samples_are_left_as_they_were() -> None:
    first = sample(0, latencies={Step.TLS: [0.001]}, errors=[("a", "x")], recoveries=[(1, 2)], first_loss=1)
    before = copy.deepcopy(first)
    finished(results(workers=2), first, sample(0, worker=1, latencies={Step.TLS: [0.002]}, errors=[("a", "y")]))
    assert first == before


# Workers that die


def test_a_lost_workers_phones_count_as_lost_and_the_run_has_not_passed() -> None:
    made = results(workers=2, fail_if=("lost > 0",))
    made.add(sample(0, worker=0, phones=5))
    made.add(sample(0, worker=1, phones=5))
    made.lose_worker(1, 5, "killed by signal 9")
    made.finish()
    assert (made.counts[Count.LOST], made.errors[WORKER_LOST].count) == (5, 5)
    assert not made.passed
    assert made.reasons == [
        "threshold missed: lost > 0: it is 5",
        "worker 1 with its 5 phones was lost: killed by signal 9",
    ]
    assert made.as_json()["lost_workers"] == [{"worker": 1, "phones": 5, "reason": "killed by signal 9"}]


def test_nobody_waits_for_a_lost_worker() -> None:
    made = results(workers=2)
    made.add(sample(0, worker=0, phones=5))
    made.lose_worker(1, 5, "it said nothing for 30 s")
    made.add(sample(1, worker=0, phones=5))
    assert [(row["second"], row["phones"]) for row in made.rows] == [(0, 5), (1, 5)]
    assert set(made.health) == {0}


def test_what_a_lost_worker_had_told_may_come_after_the_word_of_its_death() -> None:
    made = results(workers=2)
    made.add(sample(0, worker=0, phones=5))
    made.lose_worker(1, 5, "killed")
    made.add(sample(0, worker=1, phones=5))
    made.add(sample(1, worker=0, phones=5))
    made.add(sample(2, worker=0, phones=5))
    assert [(row["second"], row["phones"]) for row in made.rows] == [(0, 10), (1, 5), (2, 5)]
    assert set(made.health) == {0}


def test_a_lost_workers_word_of_a_second_that_has_its_row_is_counted_but_makes_no_other() -> None:
    made = results(workers=2)
    made.add(sample(0, worker=0, phones=5, locked=5))
    made.lose_worker(1, 5, "killed")
    made.add(sample(1, worker=0, phones=5, locked=5))
    made.add(sample(0, worker=1, phones=5, locked=5, counts={Count.REGISTERED: 3}))
    made.add(sample(2, worker=0, phones=5, locked=5))
    made.finish()
    assert [(row["second"], row["phones"]) for row in made.rows] == [(0, 5), (1, 5), (2, 5)]
    assert (made.counts[Count.REGISTERED], made.peak["locked"]) == (3, 5)


def test_a_last_word_after_all_workers_were_lost_is_kept() -> None:
    made = results(workers=1)
    made.lose_worker(0, 10, "killed")
    finished(made, sample(0, counts={Count.REGISTERED: 3}))
    assert (made.counts[Count.REGISTERED], len(made.rows)) == (3, 1)


# Storms


def test_a_storm_is_timed_from_the_first_loss() -> None:
    recoveries = [(100.0, 100.0 + second) for second in range(1, 21)]
    made = finished(results(STORM), sample(0, counts={Count.CUT: 20}, recoveries=recoveries, first_loss=100.0))
    expected = {"affected": 20, "recovered": 20, "seconds_to_95": 19, "seconds_to_100": 20}
    assert made.phases[0].storm() == expected
    assert (value(made, "storm.95 > 1s"), value(made, "storm.100 > 1s")) == (19, 20)


def test_a_storms_losses_may_be_spread_over_seconds_and_workers() -> None:
    made = results(Storm(do="storm", cut=Cut.AWAIT), workers=2)
    made.add(sample(0, counts={Count.LOST: 1}, first_loss=103.0))
    made.add(sample(0, worker=1, counts={Count.LOST: 1}, first_loss=101.5))
    made.add(sample(1, recoveries=[(103.0, 104.0)]))
    made.add(sample(1, worker=1, recoveries=[(101.5, 110.0)]))
    made.finish()
    assert made.phases[0].storm() == {
        "affected": 2,
        "recovered": 2,
        "seconds_to_95": 8.5,
        "seconds_to_100": 8.5,
    }


def test_a_storms_clock_runs_from_the_first_loss_be_that_phone_back_or_not() -> None:
    recoveries = [(105.0, 106.0)] * 19
    made = finished(results(STORM), sample(0, counts={Count.LOST: 20}, recoveries=recoveries, first_loss=100.0))
    assert made.phases[0].storm() == {"affected": 20, "recovered": 19, "seconds_to_95": 6, "seconds_to_100": None}
    made.plan = plan(STORM, fail_if=("storm.100 > 30s",))
    made.finish()
    assert made.reasons == ["threshold missed: storm.100 > 30s: it never came so far"]


def test_who_was_lost_before_a_storm_is_none_of_it() -> None:
    before = sample(0, counts={Count.LOST: 1}, first_loss=50.0)
    storm = sample(
        1, phase=1, counts={Count.CUT: 2}, recoveries=[(50.0, 100.5), (100.0, 102.0), (100.0, 103.0)], first_loss=100.0
    )
    made = finished(results(HOLD, STORM), before, storm)
    assert made.phases[1].storm() == {"affected": 2, "recovered": 2, "seconds_to_95": 3, "seconds_to_100": 3}


def test_a_storm_that_hit_nobody_was_not_measured() -> None:
    made = finished(results(STORM, fail_if=("storm.95 > 1s",)), sample(0))
    assert made.phases[0].storm() == {
        "affected": 0,
        "recovered": 0,
        "seconds_to_95": None,
        "seconds_to_100": None,
    }
    assert made.reasons == ["threshold missed: storm.95 > 1s: it was never measured"]


# Figures of thresholds


COUNTS = {Count.REGISTERED: 10, Count.REFRESHED: 5, Count.FAILED: 4, Count.REFUSED: 2, Count.LOST: 1}


@pytest.mark.parametrize(
    ("line", "figure"),
    [
        ("errors > 0", 5),
        ("errors > 0%", 25),  # of 10 + 5 + 4 + 1 outcomes
        ("failed > 0", 4),
        ("failed > 0%", 21.0526),  # of 10 + 5 + 4 attempts
        ("refused > 0", 2),
        ("refused > 0%", 20),  # of ten phones
        ("lost > 0", 1),
        ("lost > 0%", 10),
        ("unanswered > 0%", 25),
        ("dropped > 0", 7),
        ("rate < 9/s", 5),  # ten in two seconds
        ("register.mean > 0ms", 30),
        ("register.min > 0ms", 10),
        ("register.max > 0ms", 50),
        ("register.p100 > 0ms", 50),
    ],
)
def test_figures_worked_out_on_paper(line: str, figure: float) -> None:
    counts = COUNTS | {Count.UNREGISTERED: 3, Count.UNANSWERED: 1, Count.DROPPED: 7}
    latencies = {Step.REGISTER: [0.01, 0.03, 0.05]}
    made = finished(results(), sample(0, counts=counts, errors=[("a", "x")] * 5, latencies=latencies), sample(1))
    assert value(made, line) == pytest.approx(figure)


def test_gauges_are_those_of_the_worst_second_of_the_hold_phases() -> None:
    made = finished(
        results(REGISTER, HOLD, REGISTER),
        sample(0, phones=10, locked=1, registered=1),
        sample(1, phase=1, phones=10, locked=10, registered=9),
        sample(2, phase=1, phones=10, locked=8, registered=10),
        sample(3, phase=2, phones=10, locked=0, registered=0),
    )
    assert [value(made, line) for line in ("locked < 9", "locked < 9%", "registered < 9")] == [8, 80, 9]


def test_phones_that_leave_after_the_last_phase_are_not_missing() -> None:
    held = sample(0, phones=10, locked=10, registered=10)
    made = finished(results(HOLD), held, sample(1, phase=1, phones=4, locked=6, registered=5), sample(2, phase=1))
    assert [value(made, line) for line in ("locked < 9", "registered < 9", "registered < 9%")] == [10, 10, 100]
    assert [(phase["name"], phase["do"]) for phase in made.as_json()["phases"]] == [
        ("hold", "hold"),
        ("leaving", "unregister"),
    ]


def test_the_phones_of_a_lost_worker_are_missing_where_the_locked_are_counted() -> None:
    made = results(HOLD, workers=2)
    for worker in (0, 1):
        made.add(sample(0, worker=worker, phones=5, locked=5))
    made.lose_worker(1, 5, "killed")
    finished(made, sample(1, worker=0, phones=5, locked=5))
    assert value(made, "locked < 10") == 5


def test_after_a_worker_was_lost_the_others_are_still_looked_at() -> None:
    made = results(HOLD, workers=2)
    for worker in (0, 1):
        made.add(sample(0, worker=worker, phones=5, locked=5, registered=5))
    made.lose_worker(1, 5, "killed")
    finished(made, sample(1, phones=5, locked=2, registered=3))
    assert [made.figure(Threshold.parse(line)) for line in ("locked < 9", "locked < 9%")] == [2, 0.4]
    assert made.figure(Threshold.parse("registered < 9")) == 3


def test_a_threshold_of_a_phase_looks_at_no_other() -> None:
    made = finished(
        results(HOLD, PEAK),
        sample(0, latencies={Step.REFRESH: [0.001]}),
        sample(1, phase=1, latencies={Step.REFRESH: [0.5]}),
    )
    lines = ("[peak] refresh.min > 0ms", "[hold] refresh.min > 0ms", "[storm] refresh.min > 0ms")
    assert [value(made, line) for line in lines] == [500, 1, None]


def test_what_no_phase_has_measured_fails_the_run() -> None:
    made = finished(results(fail_if=("refresh.p99 > 1s", "locked < 1")), sample(0))
    assert made.reasons == [
        "threshold missed: refresh.p99 > 1s: it was never measured",
        "threshold missed: locked < 1: it was never measured",
    ]


# The verdict


def test_a_run_that_is_not_over_has_not_passed() -> None:
    made = results()
    made.add(sample(0))
    before = made.passed
    made.finish()
    assert (before, made.passed, made.reasons) == (False, True, [])


def test_an_interrupted_run_may_pass_and_says_that_it_was() -> None:
    made = results(REGISTER, HOLD)
    made.add(sample(0))
    made.finish(interrupted=True)
    told = made.as_json()
    assert (told["run"]["passed"], told["run"]["interrupted"], told["phases"][1]["begin"]) == (True, True, None)


@pytest.mark.parametrize(("then", "passed"), [("fail", False), ("tell", True)])
def test_a_saturated_generator_fails_the_run_unless_it_is_only_told(then: str, passed: bool) -> None:
    limits = Saturation.model_validate({"seconds": 2, "then": then})
    made = finished(results(saturation=limits), *(sample(second, cpu=0.97) for second in range(3)))
    assert (made.saturated, made.passed) == (True, passed)
    why = "the generator was the limit: worker 0, seconds 0 to 2: up to 97% of a core in use (limit 95%)"
    assert made.reasons == ([] if passed else [why])


# The whole


def test_the_json_has_the_documented_shape() -> None:
    made = finished(
        results(REGISTER, STORM, name="evening", seed=7, fail_if=("errors > 9",)),
        sample(
            0,
            phones=10,
            locked=4,
            registered=3,
            counts={Count.REGISTERED: 3},
            latencies={Step.TLS: [0.004]},
            errors=[("refused: status 403", "1001: forbidden")],
        ),
    )
    told = made.as_json()
    assert list(told) == "sipsua run phases totals timeline thresholds saturation lost_workers".split()
    assert told["run"] | {"reasons": []} == {
        "name": "evening",
        "seed": 7,
        "server": "127.0.0.1:5061",
        "phones": 10,
        "workers": 1,
        "begin": "2023-11-14T22:13:20+00:00",
        "seconds": 1.0,
        "interrupted": False,
        "passed": True,
        "reasons": [],
    }
    first, second = told["phases"]
    assert list(first) == "index name do begin seconds counts steps errors storm".split()
    assert set(first["counts"]) == set(Count)
    assert first["errors"] == {"refused: status 403": {"count": 1, "example": "1001: forbidden"}}
    times = dict.fromkeys("min_ms mean_ms p50_ms p90_ms p95_ms p99_ms p99_9_ms max_ms".split(), 4.0)
    assert first["steps"] == {"tls": {"count": 1} | times}
    assert (first["storm"], second["begin"]) == (None, None)
    assert list(told["totals"]) == "counts steps errors sent received histograms peak".split()
    assert told["totals"]["peak"] == {"locked": 4, "registered": 3, "opening": 0}
    assert (
        list(told["timeline"][0])
        == (
            "second at phase seconds phones locked registered opening registered_rate refreshed_rate failed_rate lost_rate "
            "errors sent received cpu lag_p99_ms lag_max_ms rss_kib percentiles"
        ).split()
    )
    assert list(told["thresholds"][0]) == "text value limit unit missed measured outcome".split()
    assert json.loads(json.dumps(told, allow_nan=False)) == told


def test_a_run_without_a_sample_is_told_as_well() -> None:
    told = finished(results(REGISTER)).as_json()
    assert (told["run"]["begin"], told["run"]["seconds"], told["timeline"]) == (None, 0, [])


Part = tuple[int, dict[Step, list[int]], dict[Count, int], list[str], int]
"""Which worker, and what it tells: latencies in microseconds, counts, classes of errors, phones."""
SECONDS: st.SearchStrategy[list[Part]] = st.lists(
    st.tuples(
        st.sampled_from([0, 1]),
        st.dictionaries(st.sampled_from(Step), st.lists(st.integers(1, 10**7), max_size=4), max_size=3),
        st.dictionaries(st.sampled_from(Count), st.integers(0, 5), max_size=4),
        st.lists(st.sampled_from("abc"), max_size=3),
        st.integers(0, 9),
    ),
    min_size=1,
    max_size=12,
)


@given(SECONDS)
def test_what_two_workers_tell_is_as_if_one_had_all_values(parts: list[Part]) -> None:
    apart, whole = results(STORM, workers=2), results(STORM, workers=1)
    for second in range(3):
        told = [sample(second, worker=worker) for worker in (0, 1)]
        alone = sample(second)
        alone.sent, alone.received = 200, 400
        for part in parts[second::3]:
            _tell(told[part[0]], part)
            _tell(alone, part)
        for one in told:
            apart.add(one)
        whole.add(alone)
    apart.finish()
    whole.finish()
    assert _without_machine(apart) == _without_machine(whole)


def _tell(one: Sample, part: Part) -> None:
    """Put it into a sample; whoever recovered had lost its flow at the hundredth second."""
    _, latencies, counts, kinds, phones = part
    for step, values in latencies.items():
        for microseconds in values:
            one.record(step, microseconds / 1e6)
    for microseconds in latencies.get(Step.RECOVER, ()):
        one.recovered.append(100_000_000 + microseconds)
        one.lose(100.0)
    one.counts.update(counts)
    for kind in kinds:
        one.fail(kind, kind)
    one.phones += phones
    one.locked += phones


def _without_machine(made: Results) -> object:
    """All but what is one worker's alone: its memory, and how many there are."""
    told = made.as_json()
    for row in told["timeline"]:
        row.pop("rss_kib")
    told["run"].pop("workers")
    return told
