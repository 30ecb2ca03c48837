"""What a load run amounts to: the samples of all workers gathered by phase and by second, and whether the run has passed.

Latencies go into histograms as they come, so a run of a week takes no more memory than its rows. Reports of all kinds, the live screen
and the metrics read here, so that they never disagree.
"""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any

from sipsua.load.latencies import Latency, nearest_rank
from sipsua.load.phase_result import PhaseResult, counts_json, errors_json, merged_errors, merged_steps
from sipsua.load.plan import Hold, Plan, Register, Unregister
from sipsua.load.sample import Count, ErrorCount, Health, Sample, Step
from sipsua.load.saturation import SaturationWatch
from sipsua.load.thresholds import Figure, Judged, Threshold, judge

Key = tuple[int, int]
"""Second and phase."""

WORKER_LOST = "worker lost"
"""The class of errors under which the phones of a worker that died are counted."""

_ATTEMPTS = (Count.REGISTERED, Count.REFRESHED, Count.FAILED)

LEAVING = Unregister(do="unregister", name="leaving")
"""What follows the phases of the plan where phones are still there: it has no phase for their leave, or was ended early."""


class Results:
    """The figures of one run, growing while it goes on."""

    def __init__(self, plan: Plan, phones: int, *, workers: int = 1) -> None:
        self.plan = plan
        self.phones = phones
        self.workers = workers
        self.phases = [PhaseResult(index, phase) for index, phase in enumerate(plan.phases)]
        self.rows: list[dict[str, Any]] = []
        """The timeline: a row for each second and phase that all workers have told of."""
        self.health: dict[int, Health] = {}
        """Each worker's last."""
        self.sent = self.received = 0
        """Octets."""
        self.lost_workers: list[dict[str, Any]] = []
        self.interrupted = False
        self.finished = False
        self.peak = dict.fromkeys(("locked", "registered", "opening"), 0)
        """The most that a row had."""
        self.judged: list[Judged] = []
        """What became of the plan's thresholds; filled by `finish`."""
        self._saturation = SaturationWatch(plan.saturation)
        self._began_at: float | None = None
        self._open: dict[Key, list[Sample]] = {}
        self._newest: dict[int, Key] = {}
        self._told: dict[int, Sample] = {}

    # Growing

    def add(self, sample: Sample) -> None:
        """Take a worker's sample, or several workers' that were merged."""
        if self._began_at is None:
            self._began_at = sample.at - sample.length
        key = (sample.second, sample.phase)
        if sample.phase == len(self.phases):
            self.phases.append(PhaseResult(sample.phase, LEAVING))
        self.phases[sample.phase].add(sample, sample.at - sample.length - self._began_at)
        self.sent += sample.sent
        self.received += sample.received
        lost = {one["worker"] for one in self.lost_workers}
        for health in sample.health:
            self._saturation.look(sample.second, sample.length, health)
            if health.worker not in lost:  # what it had told may come after the word of its death
                self.health[health.worker] = health
                self._newest[health.worker] = key
        tellers = {health.worker for health in sample.health}
        if tellers and tellers <= lost and self.rows and key <= (self.rows[-1]["second"], self.rows[-1]["phase"]):
            return  # that second has its row already: another one would tell of its phones twice, and out of order
        self._open.setdefault(key, []).append(sample)
        if self._newest and len(self._newest) + len(lost) >= self.workers:
            self._close_rows(min(self._newest.values()))

    def lose_worker(self, worker: int, phones: int, reason: str) -> None:
        """A worker died: its phones are counted as lost, and nobody waits for its samples any more."""
        self.lost_workers.append({"worker": worker, "phones": phones, "reason": reason})
        for known in (self.health, self._newest, self._told):
            known.pop(worker, None)
        phase = self.phase or self.phases[0]
        phase.counts[Count.LOST] += phones
        phase.errors = merged_errors([phase.errors, {WORKER_LOST: ErrorCount(phones, f"worker {worker}: {reason}")}])

    def finish(self, *, interrupted: bool = False) -> None:
        """The run is over; `interrupted` where somebody ended it early. Now the thresholds are judged."""
        self.interrupted = interrupted
        if self._open:
            self._close_rows(max(self._open))
        self.judged = judge(self.plan.fail_if, self)
        self.finished = True

    def _close_rows(self, upto: Key) -> None:
        for key in sorted(key for key in self._open if key <= upto):
            row = _row(self._whole(key))
            self.rows.append(row)
            for name, most in self.peak.items():
                self.peak[name] = max(most, row[name])

    def _whole(self, key: Key) -> Sample:
        """All that was told of a second. A worker whose loop hung over it is there with the gauges that it told last: its phones have not
        gone."""
        second, phase = key
        whole = Sample(second=second, at=0.0, phase=phase, length=0.0)
        silent = dict(self._told)
        lost = {one["worker"] for one in self.lost_workers}
        for sample in self._open.pop(key):
            whole.merge(sample)
            teller = min((health.worker for health in sample.health), default=0)
            silent.pop(teller, None)
            if teller not in lost:
                self._told[teller] = sample
        for sample in silent.values():
            whole.phones += sample.phones
            whole.locked += sample.locked
            whole.registered += sample.registered
            whole.opening += sample.opening
        return whole

    # Looking

    @property
    def phase(self) -> PhaseResult | None:
        """The phase that goes on, or was the last."""
        begun = [phase for phase in self.phases if phase.begin is not None]
        return begun[-1] if begun else None

    @property
    def seconds(self) -> float:
        """How long the run has lasted."""
        return max((phase.begin + phase.seconds for phase in self.phases if phase.begin is not None), default=0.0)

    @property
    def counts(self) -> Counter[Count]:
        """Of all phases."""
        return sum((phase.counts for phase in self.phases), Counter())

    @property
    def errors(self) -> dict[str, ErrorCount]:
        """Of all phases, the most frequent first."""
        return merged_errors([phase.errors for phase in self.phases])

    @property
    def steps(self) -> dict[Step, Latency]:
        """What was measured, of all phases."""
        return merged_steps(self.phases)

    @property
    def saturated(self) -> bool:
        """Whether the generator itself was the limit."""
        return bool(self._saturation.spans)

    @property
    def reasons(self) -> list[str]:
        """Why the run has not passed."""
        reasons = [f"threshold missed: {judged}" for judged in self.judged if judged.missed]
        reasons += [
            f"worker {lost['worker']} with its {lost['phones']} phones was lost: {lost['reason']}"
            for lost in self.lost_workers
        ]
        reasons += [
            f"the generator was the limit: worker {span['worker']}, seconds {span['first']} to {span['last']}: {span['why']}"
            for span in self._saturation.as_json()
            if span["failed"]
        ]
        return reasons

    @property
    def passed(self) -> bool:
        """The run is over, no threshold was missed, no worker lost, and the generator was not the limit (unless the plan only wants to be
        told). A run that somebody ended early may pass, too: `interrupted` says so."""
        return self.finished and not self.reasons

    def figure(self, threshold: Threshold) -> float | None:
        """What a threshold is about; None where it was never measured."""
        phases = [
            phase
            for phase in self.phases
            if phase.begin is not None and threshold.phase in (None, phase.name, phase.phase.do)
        ]
        figure = threshold.figure
        if isinstance(figure, Step):
            return _statistic(merged_steps(phases).get(figure), threshold.statistic)
        if figure in (Figure.STORM_95, Figure.STORM_100):
            return _slowest(phases, 95 if figure is Figure.STORM_95 else 100)
        if figure is Figure.RATE:
            register = [phase for phase in phases if isinstance(phase.phase, Register)]
            seconds = sum(phase.seconds for phase in register)
            return sum(phase.counts[Count.REGISTERED] for phase in register) / seconds if seconds else None
        if figure in (Figure.LOCKED, Figure.REGISTERED):
            hold = {phase.index for phase in phases if isinstance(phase.phase, Hold)}
            values = [
                row[figure] / (row["phones"] if threshold.unit else 1)
                for row in self.rows
                if row["phase"] in hold and row["phones"]
            ]
            return min(values, default=None)
        if not phases:
            return None
        return self._counted(
            figure, sum((phase.counts for phase in phases), Counter()), phases, share=bool(threshold.unit)
        )

    def _counted(self, figure: Figure, counts: Counter[Count], phases: list[PhaseResult], *, share: bool) -> float:
        if figure is Figure.ERRORS:
            count = sum(error.count for phase in phases for error in phase.errors.values())
        else:
            count = counts[Count(figure)]
        if not share:
            return count
        of = {
            Figure.ERRORS: sum(counts[one] for one in (*_ATTEMPTS, Count.LOST)),
            Figure.FAILED: sum(counts[one] for one in _ATTEMPTS),
            Figure.UNANSWERED: counts[Count.UNREGISTERED] + counts[Count.UNANSWERED],
        }.get(figure, self.phones)
        return count / max(1, of)

    def as_json(self) -> dict[str, Any]:
        """The whole, for a program:

        - `run`: `name`, `seed`, `server`, `phones`, `workers`, `begin` (ISO 8601, UTC), `seconds`, `interrupted`, `passed`, `reasons`.
        - `phases`: for each its `name`, what it was to `do`, when it was to `begin` (seconds of the run, null where it was not reached),
          `seconds`, `counts`, `steps` (see `Latency.as_json`), `errors` by class with `count` and `example`, and `storm` with
          `affected`, `recovered`, `seconds_to_95`, `seconds_to_100` (null where it was none, or that never came).
        - `totals`: the same over all phases, `sent` and `received` octets, `histograms` (base64), and the `peak` of locked,
          registered and opening.
        - `timeline`: see `rows`; rates, errors, and octets are a second.
        - `thresholds`, `saturation`, `lost_workers`.
        """
        steps = self.steps
        return {
            "sipsua": version("sipsua"),
            "run": {
                "name": self.plan.name,
                "seed": self.plan.seed,
                "server": self.plan.server,
                "phones": self.phones,
                "workers": self.workers,
                "begin": None
                if self._began_at is None
                else datetime.fromtimestamp(self._began_at, UTC).isoformat(timespec="seconds"),
                "seconds": round(self.seconds, 3),
                "interrupted": self.interrupted,
                "passed": self.passed,
                "reasons": self.reasons,
            },
            "phases": [phase.as_json() for phase in self.phases],
            "totals": {
                "counts": counts_json(self.counts),
                "steps": {step: latency.as_json() for step, latency in steps.items()},
                "errors": errors_json(self.errors),
                "sent": self.sent,
                "received": self.received,
                "histograms": {step: latency.encode() for step, latency in steps.items()},
                "peak": dict(self.peak),
            },
            "timeline": self.rows,
            "thresholds": [judged.as_json() for judged in self.judged],
            "saturation": self._saturation.as_json(),
            "lost_workers": self.lost_workers,
        }


def _row(sample: Sample) -> dict[str, Any]:
    """A second of all workers as a row of the timeline."""
    length = max(sample.length, 1e-3)
    counts = sample.counts
    percentiles = {}
    for step in Step:
        if step in sample.latencies:
            ordered = sorted(sample.latencies[step])
            percentiles[step] = {"count": len(ordered)} | {
                f"p{percent}_ms": nearest_rank(ordered, percent) for percent in (50, 95, 99)
            }
    return {
        "second": sample.second,
        "at": round(sample.at, 3),
        "phase": sample.phase,
        "seconds": round(sample.length, 3),
        "phones": sample.phones,
        "locked": sample.locked,
        "registered": sample.registered,
        "opening": sample.opening,
        "registered_rate": round(counts[Count.REGISTERED] / length, 1),
        "refreshed_rate": round(counts[Count.REFRESHED] / length, 1),
        "failed_rate": round(counts[Count.FAILED] / length, 1),
        "lost_rate": round(counts[Count.LOST] / length, 1),
        "errors": round(sum(error.count for error in sample.errors.values()) / length, 1),
        "sent": round(sample.sent / length),
        "received": round(sample.received / length),
        "cpu": round(max((health.cpu for health in sample.health), default=0.0), 3),
        "lag_p99_ms": round(max((health.lag_ms for health in sample.health), default=0.0), 1),
        "lag_max_ms": round(max((health.lag_max_ms for health in sample.health), default=0.0), 1),
        "rss_kib": sum(health.rss_kib for health in sample.health),
        "percentiles": percentiles,
    }


def _statistic(latency: Latency | None, statistic: str) -> float | None:
    """In seconds."""
    if latency is None or not latency.count:
        return None
    if statistic == "min":
        return latency.lowest / 1e6
    if statistic == "max":
        return latency.highest / 1e6
    if statistic == "mean":
        return latency.total / latency.count / 1e6
    return latency.percentile(float(statistic[1:])) / 1000


def _slowest(phases: list[PhaseResult], percent: int) -> float | None:
    """Of the storms that hit somebody the longest time; endless where one was never over."""
    storms = [storm for storm in (phase.storm() for phase in phases) if storm and storm["affected"]]
    times = [storm[f"seconds_to_{percent}"] for storm in storms]
    return max((float("inf") if time is None else time for time in times), default=None)
