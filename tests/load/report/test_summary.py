"""The summary: lines of a run made by hand."""

from __future__ import annotations

from typing import Any

from sipsua.load.plan import Saturation
from sipsua.load.report.summary import CLASSES, Line, summary
from sipsua.load.results import Results
from sipsua.load.sample import Count, Step
from tests.load.by_hand import HOLD, REGISTER, STORM, results, sample


def lines(made: Results, **finish: Any) -> list[str]:
    """As a screen shows them: pieces with a blank between."""
    return [(" " * indent + " ".join(words for words, _ in parts)).rstrip() for indent, parts in told(made, **finish)]


def told(made: Results, **finish: Any) -> list[Line]:
    made.finish(**finish)
    return list(summary(made.as_json()))


def tones(made: Results, first: str) -> list[str]:
    return [parts[0][1] for _, parts in told(made) if parts[0][0] == first]


def test_a_whole_run_in_lines() -> None:
    made = results(REGISTER, STORM, HOLD, fail_if=("errors > 9", "tls.p99 > 1ms", "refresh.max > 1s"), seed=7)
    made.add(
        sample(
            0,
            counts={Count.REGISTERED: 1200, Count.FAILED: 1},
            latencies={Step.TLS: [0.002]},
            errors=[("refused: status 403", "1001: forbidden")],
        )
    )
    made.add(sample(1, phase=1, counts={Count.CUT: 2}, first_loss=10.0, recoveries=[(10.0, 12.0)]))
    assert lines(made, interrupted=True) == [
        "10 phones, 1 worker, 2.0 s, seed 7",
        "  register            1.0 s, 1,200 registered, 1 failed, 1 error",
        "  storm               1.0 s, 2 hit: 95 % back never, all never",
        "  hold           not reached",
        "step              count     p50 ms     p95 ms     p99 ms     max ms",
        "tls                   1        2.0        2.0        2.0        2.0",
        "recover               1    2,000.0    2,000.0    2,000.0    2,000.0",
        "errors",
        "  1 x refused: status 403",
        "    such as 1001: forbidden",
        "fails if errors > 9 (it is 1) kept",
        "fails if tls.p99 > 1ms (it is 2ms) missed",
        "fails if refresh.max > 1s (it was never measured) missed",
        "interrupted before the plan was done",
        "NOT PASSED",
    ]


def test_a_storm_that_is_over_tells_its_times() -> None:
    made = results(STORM)
    made.add(sample(0, counts={Count.CUT: 1}, first_loss=10.0, recoveries=[(10.0, 12.5)]))
    assert "1 hit: 95 % back after 2.5 s, all after 2.5 s" in lines(made)[1]


def test_a_run_that_has_passed_ends_with_that() -> None:
    made = results()
    made.add(sample(0))
    assert told(made)[-1] == (0, (("passed", "good"),))


def test_many_classes_of_errors_are_cut_short() -> None:
    made = results()
    made.add(sample(0, errors=[(f"class {number}", "x") for number in range(CLASSES + 3)]))
    shown = lines(made)
    assert sum(" x class " in line for line in shown) == CLASSES
    assert "  and 3 more classes" in shown


def test_lost_workers_and_saturation_are_told() -> None:
    made = results(workers=2, saturation=Saturation(cpu=0.5, seconds=1))
    made.add(sample(0, cpu=0.8))
    made.lose_worker(1, 5, "killed by signal 9")
    shown = lines(made)
    assert "generator saturated worker 0, seconds 0 to 0: up to 80% of a core in use (limit 50%)" in shown
    assert "worker lost 1 with its 5 phones: killed by signal 9" in shown
    assert tones(made, "generator saturated") == ["bad"]


def test_a_saturation_that_is_only_told_is_no_failure() -> None:
    made = results(saturation=Saturation(cpu=0.5, seconds=1, then="tell"))
    made.add(sample(0, cpu=0.8))
    assert tones(made, "generator saturated") == ["weak"]
    assert lines(made)[-1] == "passed"
