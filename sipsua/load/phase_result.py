"""What a load run amounts to in one of its phases, in all workers together."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from sipsua.load.latencies import Latency
from sipsua.load.plan import Phase
from sipsua.load.sample import Count, ErrorCount, Sample, Step


@dataclass(slots=True)
class PhaseResult:
    """What came of a phase, in all workers together."""

    index: int
    phase: Phase
    begin: float | None = None
    """Seconds of the run; None while it has not begun."""
    counts: Counter[Count] = field(default_factory=Counter)
    steps: dict[Step, Latency] = field(default_factory=dict)
    errors: dict[str, ErrorCount] = field(default_factory=dict)
    first_loss: int | None = None
    """When the first flow was cut or lost: microseconds of the clock of `recoveries`."""
    recoveries: list[tuple[int, int]] = field(default_factory=list)
    """When phones were registered again that had lost their flow, and when they had lost it: microseconds of one clock."""
    seconds: float = 0.0
    """How long it has lasted."""
    _lengths: dict[int, float] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """As in the plan; its kind where it has none."""
        return self.phase.name or self.phase.do

    def add(self, sample: Sample, begin: float) -> None:
        """Take a sample of this phase that began at this second of the run."""
        if self.begin is None:
            self.begin = round(max(0.0, begin), 3)
        for health in sample.health:
            self._lengths[health.worker] = self._lengths.get(health.worker, 0.0) + sample.length
        self.seconds = max(self._lengths.values(), default=0.0)
        self.counts.update(sample.counts)
        for step, values in sample.latencies.items():
            self.steps.setdefault(step, Latency()).add(values)
        if sample.first_loss is not None:
            known = self.first_loss
            self.first_loss = sample.first_loss if known is None else min(sample.first_loss, known)
        for at, lasted in zip(sample.recovered, sample.latencies.get(Step.RECOVER, ()), strict=True):
            self.recoveries.append((at, at - lasted))
        self.errors = merged_errors([self.errors, sample.errors])

    def storm(self) -> dict[str, Any] | None:
        """What a storm did; None where it was none. Its clock runs from the first flow that was lost in it, be that phone back or not."""
        if self.phase.do != "storm":
            return None
        affected = self.counts[Count.CUT] + self.counts[Count.LOST]
        first = self.first_loss
        # Who lost its flow in an earlier phase is none of this storm's. Instants are rounded apart: a microsecond or two is no difference.
        back = [] if first is None else sorted((at - first) / 1e6 for at, lost in self.recoveries if lost >= first - 2)
        return {
            "affected": affected,
            "recovered": len(back),
            "seconds_to_95": _reached(back, 95, affected),
            "seconds_to_100": _reached(back, 100, affected),
        }

    def as_json(self) -> dict[str, Any]:
        """See `Results.as_json`."""
        return {
            "index": self.index,
            "name": self.name,
            "do": self.phase.do,
            "begin": self.begin,
            "seconds": round(self.seconds, 3),
            "counts": counts_json(self.counts),
            "steps": {step: self.steps[step].as_json() for step in Step if step in self.steps},
            "errors": errors_json(self.errors),
            "storm": self.storm(),
        }


def merged_steps(phases: list[PhaseResult]) -> dict[Step, Latency]:
    """The latencies of several phases, in the order of the steps."""
    merged: dict[Step, Latency] = {}
    for step in Step:
        for phase in phases:
            if step in phase.steps:
                merged.setdefault(step, Latency()).merge(phase.steps[step])
    return merged


def merged_errors(several: list[dict[str, ErrorCount]]) -> dict[str, ErrorCount]:
    """Errors by class, the most frequent first."""
    merged: dict[str, ErrorCount] = {}
    for errors in several:
        for kind, error in errors.items():
            known = merged.get(kind)
            merged[kind] = ErrorCount(
                error.count + (known.count if known else 0), known.example if known else error.example
            )
    return dict(sorted(merged.items(), key=lambda item: -item[1].count))


def counts_json(counts: Counter[Count]) -> dict[str, int]:
    """Every count, also those of nothing."""
    return {count: counts[count] for count in Count}


def errors_json(errors: dict[str, ErrorCount]) -> dict[str, dict[str, Any]]:
    """By class, with one example each."""
    return {kind: {"count": error.count, "example": error.example} for kind, error in errors.items()}


def _reached(back: list[float], percent: int, affected: int) -> float | None:
    """When so many per cent of the affected were back; None where that was never."""
    wanted = -(-affected * percent // 100)
    return round(back[wanted - 1], 3) if 0 < wanted <= len(back) else None
