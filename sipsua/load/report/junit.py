"""A run as JUnit XML, which CI servers show: a test case for each phase, each threshold, the workers, and the generator itself."""

from __future__ import annotations

from typing import Any

from junitparser import Failure, JUnitXml, Skipped, TestCase, TestSuite

from sipsua.errors import printable


def junit_xml(results: dict[str, Any]) -> str:
    """The test suite of `Results.as_json()`. A phase that was not reached is skipped; a phase fails never, thresholds do."""
    suite = TestSuite(printable(results["run"]["name"]))
    suite.timestamp = results["run"]["begin"] or ""
    for phase in results["phases"]:
        case = _case("phase", phase["name"], phase["seconds"])
        if phase["begin"] is None:
            case.result = [Skipped("the run ended before it")]
        elif phase["errors"]:
            case.system_out = "\n".join(
                printable(f"{error['count']} x {kind}, such as: {error['example']}")
                for kind, error in phase["errors"].items()
            )
        suite.add_testcase(case)
    for threshold in results["thresholds"]:
        why = f"{threshold['text']}: {threshold['outcome']}" if threshold["missed"] else ""
        suite.add_testcase(_judged("threshold", threshold["text"], why))
    lost = [f"worker {one['worker']} with {one['phones']} phones: {one['reason']}" for one in results["lost_workers"]]
    suite.add_testcase(_judged("generator", "no worker is lost", "\n".join(lost)))
    suite.add_testcase(_saturation(results["saturation"]))
    suite.update_statistics()  # type: ignore[no-untyped-call]
    document = JUnitXml("sipsua load")
    document.add_testsuite(suite)
    text: bytes = document.tostring()  # type: ignore[no-untyped-call]
    return text.decode()


def _saturation(spans: list[dict[str, Any]]) -> TestCase:
    """A failure where the plan takes it for one; where it only wants to be told, what was seen stands beside a case that has passed."""
    lines = [f"worker {one['worker']}, seconds {one['first']} to {one['last']}: {one['why']}" for one in spans]
    failed = any(one["failed"] for one in spans)
    case = _judged("generator", "the generator is not the limit", "\n".join(lines) if failed else "")
    if lines and not failed:
        case.system_out = "\n".join(lines)
    return case


def _judged(kind: str, name: str, why: str) -> TestCase:
    case = _case(kind, name, 0.0)
    if why:
        case.result = [Failure(printable(why.splitlines()[0]))]
        case.system_out = "\n".join(map(printable, why.splitlines()))
    return case


def _case(kind: str, name: str, seconds: float) -> TestCase:
    return TestCase(printable(name), f"sipsua.load.{kind}", seconds)
