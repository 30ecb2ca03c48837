"""A run in some thirty lines of text: what a person reads when it is over."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

from sipsua.load.sample import Count

Tone = Literal["good", "bad", "weak", "dim", "title", ""]
Line = tuple[int, tuple[tuple[str, Tone], ...]]
"""Blanks before it, and its pieces: words and what they mean."""

CLASSES = 10
"""Classes of errors that have a line of their own."""


def summary(results: dict[str, Any]) -> Iterator[Line]:
    """The lines of `Results.as_json()`, for `Screen.line`."""
    run, totals = results["run"], results["totals"]
    workers = f"{run['workers']} worker{'s' * (run['workers'] != 1)}"
    yield 0, ((f"{run['phones']:,} phones, {workers}, {run['seconds']:.1f} s, seed {run['seed']}", "title"),)
    for phase in results["phases"]:
        yield 2, ((f"{phase['name']:<14}", "dim"), (_phase(phase), ""))
    if totals["steps"]:
        yield 0, ((f"{'step':<14}{'count':>9}{'p50 ms':>11}{'p95 ms':>11}{'p99 ms':>11}{'max ms':>11}", "dim"),)
    for step, told in totals["steps"].items():
        times = "".join(f"{told[key]:>11,.1f}" for key in ("p50_ms", "p95_ms", "p99_ms", "max_ms"))
        yield 0, ((f"{step:<14}{told['count']:>9,}{times}", ""),)
    if totals["errors"]:
        yield 0, (("errors", "title"),)
    for kind, error in list(totals["errors"].items())[:CLASSES]:
        yield 2, ((f"{error['count']:,} x {kind}", "bad"),)
        yield 4, (("such as", "dim"), (error["example"], ""))
    if len(totals["errors"]) > CLASSES:
        yield 2, ((f"and {len(totals['errors']) - CLASSES} more classes", "bad"),)
    for threshold in results["thresholds"]:
        yield 0, _threshold(threshold)
    for span in results["saturation"]:
        words = f"worker {span['worker']}, seconds {span['first']} to {span['last']}: {span['why']}"
        yield 0, (("generator saturated", "bad" if span["failed"] else "weak"), (words, ""))
    for lost in results["lost_workers"]:
        yield (
            0,
            (("worker lost", "bad"), (f"{lost['worker']} with its {lost['phones']:,} phones: {lost['reason']}", "")),
        )
    if run["interrupted"]:
        yield 0, (("interrupted", "weak"), ("before the plan was done", ""))
    if not run["passed"]:
        yield 0, (("NOT PASSED", "bad"),)
    elif not run["interrupted"]:
        yield 0, (("passed", "good"),)


def _phase(phase: dict[str, Any]) -> str:
    if phase["begin"] is None:
        return "not reached"
    words = [f"{phase['seconds']:>8.1f} s"]
    words += [f"{phase['counts'][count]:,} {count}" for count in _SHOWN if phase["counts"][count]]
    if phase["errors"]:
        count = sum(error["count"] for error in phase["errors"].values())
        words.append(f"{count:,} error{'s' * (count != 1)}")
    if storm := phase["storm"]:
        times = [storm["seconds_to_95"], storm["seconds_to_100"]]
        back, all_back = ["never" if time is None else f"after {time:.1f} s" for time in times]
        words.append(f"{storm['affected']:,} hit: 95 % back {back}, all {all_back}")
    return ", ".join(words)


_SHOWN = (
    Count.REGISTERED,
    Count.REFRESHED,
    Count.UNREGISTERED,
    Count.FAILED,
    Count.REFUSED,
    Count.LOST,
    Count.UNANSWERED,
)


def _threshold(threshold: dict[str, Any]) -> tuple[tuple[str, Tone], ...]:
    missed: tuple[str, Tone] = ("missed", "bad") if threshold["missed"] else ("kept", "good")
    return ("fails if", "dim"), (threshold["text"], ""), (f"({threshold['outcome']})", ""), missed
