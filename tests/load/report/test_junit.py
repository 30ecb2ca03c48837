"""JUnit XML, read back by junitparser: what is red is what kept the run from passing."""

from __future__ import annotations

from typing import Any

from junitparser import Failure, JUnitXml, Skipped, TestCase

from sipsua.load.plan import Hold, Saturation
from sipsua.load.report.junit import junit_xml
from sipsua.load.results import Results
from tests.load.by_hand import HOLD, REGISTER, results, sample

FAST = {"cpu": 0.5, "seconds": 1}


def cases(made: Results, **finish: Any) -> dict[str, TestCase]:
    made.finish(**finish)
    (suite,) = JUnitXml.fromstring(junit_xml(made.as_json()).encode())
    assert suite.tests == len(list(suite))
    assert suite.failures == sum(isinstance(one, Failure) for case in suite for one in case.result)
    return {case.name: case for case in suite}


def failures(found: dict[str, TestCase]) -> list[str]:
    return [one.message for case in found.values() for one in case.result if isinstance(one, Failure)]


def test_a_run_that_has_passed_has_no_failure() -> None:
    made = results(REGISTER, HOLD, fail_if=("errors > 0",))
    made.add(sample(0))
    made.add(sample(1, phase=1))
    found = cases(made)
    assert failures(found) == []
    assert list(found) == ["register", "hold", "errors > 0", "no worker is lost", "the generator is not the limit"]
    assert found["hold"].classname == "sipsua.load.phase"
    assert found["hold"].time == 1


def test_a_threshold_that_was_missed_is_a_failure_with_its_figure() -> None:
    made = results(fail_if=("errors > 1", "tls.p99 > 1s"))
    made.add(sample(0, errors=[("lost", "1001: lost & <gone>")] * 1_234_567))
    found = cases(made)
    assert failures(found) == ["errors > 1: it is 1234567", "tls.p99 > 1s: it was never measured"]
    assert found["register"].system_out == "1234567 x lost, such as: 1001: lost & <gone>"


def test_a_phase_that_was_not_reached_is_skipped() -> None:
    made = results(REGISTER, HOLD)
    made.add(sample(0))
    found = cases(made, interrupted=True)
    assert [type(one) for one in found["hold"].result] == [Skipped]
    assert found["register"].result == []


def test_a_lost_worker_is_a_failure() -> None:
    made = results(workers=2)
    made.add(sample(0))
    made.lose_worker(1, 5, "killed by signal 9")
    assert failures(cases(made)) == ["worker 1 with 5 phones: killed by signal 9"]


def test_a_saturated_generator_is_a_failure() -> None:
    made = results(saturation=Saturation.model_validate(FAST))
    made.add(sample(0, cpu=0.8))
    assert failures(cases(made)) == ["worker 0, seconds 0 to 0: up to 80% of a core in use (limit 50%)"]


def test_a_saturation_that_is_only_told_fails_nothing() -> None:
    made = results(saturation=Saturation.model_validate(FAST | {"then": "tell"}))
    made.add(sample(0, cpu=0.8))
    found = cases(made)
    assert made.passed
    assert failures(found) == []
    assert found["the generator is not the limit"].system_out.startswith("worker 0, seconds 0 to 0: up to 80%")


def test_texts_of_strangers_leave_it_readable() -> None:
    made = results(Hold(do="hold", name="a\x00<b>\ud800", duration=1), name="\x1b[31m&")
    made.add(sample(0, errors=[("\x07", "\x00\ufffe]]>")]))
    found = cases(made)
    assert r"a\x00<b>\ud800" in found
    assert found[r"a\x00<b>\ud800"].system_out == r"1 x \x07, such as: \x00\ufffe]]>"
