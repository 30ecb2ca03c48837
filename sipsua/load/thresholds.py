"""Thresholds: what must not be so for a run to pass, each a line of a plan's `fail_if`.

    register.p99 > 500ms        a step's percentile, min, mean or max, in us, ms, s or min
    errors > 0.1%               a count, or its share (see `Figure`)
    locked < 100%               of the wanted phones, at the worst second of the hold phases
    rate < 200/s                registrations a second, the mean of the register phases
    storm.95 > 10s              time until 95 % (or storm.100: all) that a storm has hit are registered again
    [peak] refresh.p95 > 1s     in the phases of that name, or of that kind, alone

One whose figure was never measured makes the run fail, too: a run that proves nothing has not passed.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from difflib import get_close_matches
from enum import StrEnum
from math import isinf
from typing import Protocol

from sipsua.errors import BadConfiguration, printable
from sipsua.load.sample import Step


class Figure(StrEnum):
    """What is no step of a phone. The share of a count is that of what could have gone wrong."""

    ERRORS = "errors"
    """Errors of all classes; of all outcomes: registrations, refreshes, failures and losses."""
    FAILED = "failed"
    """Attempts that failed; of all attempts."""
    REFUSED = "refused"
    """Phones that gave up; of all phones."""
    LOST = "lost"
    """Flows that broke; of all phones."""
    UNANSWERED = "unanswered"
    """Phones that left without the registrar's yes; of all that left."""
    DROPPED = "dropped"
    """Messages of the server that could not be answered; no share."""
    LOCKED = "locked"
    """Phones whose padlock is closed, at the worst second of the hold phases; of the wanted ones."""
    REGISTERED = "registered"
    """Phones with a binding, likewise."""
    RATE = "rate"
    """Registrations a second, over the register phases."""
    STORM_95 = "storm.95"
    """Seconds until 95 % of those that the worst storm has hit are registered again."""
    STORM_100 = "storm.100"
    """Until all are."""


class Measured(Protocol):
    """Who knows the figures of a run."""

    def figure(self, threshold: Threshold) -> float | None:
        """The figure in the threshold's unit: seconds, a share (1 is the whole), a count, or so many a second; None where it was never
        measured."""


@dataclass(frozen=True, slots=True)
class Threshold:
    """One line."""

    text: str
    """As it was written."""
    phase: str | None
    """Name or kind of the phases that count; None is all."""
    figure: Step | Figure
    statistic: str
    """Of a step: `min`, `mean`, `max`, or `p` and the per cent."""
    compare: str
    """`>`, `>=`, `<` or `<=`."""
    limit: float
    """In seconds, a share, a count, or so many a second."""
    unit: str
    """As it was written: `ms`, `%`, `/s` ... or nothing."""

    @classmethod
    def parse(cls, text: str) -> Threshold:
        """Read a line. Raises BadConfiguration, which says what would be right."""
        shown = printable(text)
        match = _LINE.fullmatch(text.strip())
        if match is None:
            raise BadConfiguration(
                f"{shown!r} is no threshold", fix="write it as register.p99 > 500ms, or errors > 0.1%"
            )
        phase, name, compare, number, unit = match.groups()
        figure, statistic = _named(name, shown)
        units = _units(figure)
        if unit not in units:
            known = ", ".join(f"{number}{one}" for one in units)
            raise BadConfiguration(f"{shown!r}: {name} has another unit", fix=f"write one of {known}")
        return cls(text, phase, figure, statistic, compare, float(number) * units[unit], unit)

    def holds(self, value: float) -> bool:
        """Whether the figure is so that the run has failed."""
        return _COMPARE[self.compare](value, self.limit)

    def shown(self, value: float) -> float:
        """A figure in the unit as it was written."""
        return round(value / _units(self.figure)[self.unit], 4)  # one of a million phones is to be seen in a share


@dataclass(frozen=True, slots=True)
class Judged:
    """What became of a threshold."""

    threshold: Threshold
    value: float | None
    """The figure; None where it was never measured, infinity where what was timed never came."""

    @property
    def missed(self) -> bool:
        """Whether the run has failed for it."""
        return self.value is None or self.threshold.holds(self.value)

    def as_json(self) -> dict[str, object]:
        """`text`, `value` and `limit` in `unit`, `missed`, `measured`, and `outcome` in words."""
        threshold = self.threshold
        return {
            "text": threshold.text,
            "value": None if self.value is None or isinf(self.value) else threshold.shown(self.value),
            "limit": threshold.shown(threshold.limit),
            "unit": threshold.unit,
            "missed": self.missed,
            "measured": self.value is not None,
            "outcome": self.outcome,
        }

    @property
    def outcome(self) -> str:
        """What the figure was, in words."""
        if self.value is None:
            return "it was never measured"
        if isinf(self.value):
            return "it never came so far"
        shown = f"{self.threshold.shown(self.value):.4f}".rstrip("0").rstrip(".")
        return f"it is {shown}{self.threshold.unit}"

    def __str__(self) -> str:
        return f"{self.threshold.text}: {self.outcome}"


def judge(lines: Iterable[str], measured: Measured) -> list[Judged]:
    """What became of each of a plan's thresholds."""
    thresholds = [Threshold.parse(line) for line in lines]
    return [Judged(threshold, measured.figure(threshold)) for threshold in thresholds]


def _named(name: str, shown: str) -> tuple[Step | Figure, str]:
    try:
        return Figure(name), ""
    except ValueError:
        pass
    step, _, statistic = name.partition(".")
    if step in set(Step):
        if not _STATISTIC.fullmatch(statistic):
            raise BadConfiguration(
                f"{shown!r}: {step} has no {statistic or 'value of its own'}",
                fix=f"write {step}.p99 (or another per cent), {step}.min, {step}.mean or {step}.max",
            )
        return Step(step), statistic
    known = [*Step, *Figure]
    near = get_close_matches(step, known, 1) or get_close_matches(name, known, 1)
    raise BadConfiguration(
        f"{shown!r}: nothing is called {name}",
        fix=f"did you mean {near[0]}?" if near else f"the steps are {', '.join(Step)}; beside them {', '.join(Figure)}",
    )


def _units(figure: Step | Figure) -> dict[str, float]:
    if isinstance(figure, Step) or figure in (Figure.STORM_95, Figure.STORM_100):
        return {"us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "min": 60.0}
    if figure is Figure.RATE:
        return {"/s": 1.0}
    return {"": 1.0} if figure is Figure.DROPPED else {"": 1.0, "%": 0.01}


_LINE = re.compile(
    r"(?:\[([^\]]+)\]\s*)?([a-z][a-z0-9_.]*)\s*(>=|<=|>|<)\s*(\d{1,15}(?:\.\d{1,9})?)\s*(us|µs|ms|s|min|%|/s|)",
    re.IGNORECASE,
)
_STATISTIC = re.compile(r"min|mean|max|p(?:100|\d{1,2}(?:\.\d{1,3})?)")

_COMPARE: dict[str, Callable[[float, float], bool]] = {
    ">": operator.gt,
    ">=": operator.ge,
    "<": operator.lt,
    "<=": operator.le,
}
