"""Plans and samples made by hand, of figures that can be worked out on paper."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from sipsua.load.plan import Arrivals, Hold, Phase, PhoneGroup, Plan, Register, Storm
from sipsua.load.results import Results
from sipsua.load.sample import Count, Health, Sample, Step

BEGIN = 1_700_000_000.0
"""Unix time of a run's begin."""

REGISTER = Register(do="register", arrivals=Arrivals(rate=10))
HOLD = Hold(do="hold", duration=3)
PEAK = Hold(do="hold", name="peak", duration=3)
STORM = Storm(do="storm")


def plan(*phases: Phase, **more: Any) -> Plan:
    """A plan of ten phones."""
    return Plan(server="127.0.0.1:5061", phones=(PhoneGroup(users="1000-1009"),), phases=phases or (REGISTER,), **more)


def results(*phases: Phase, workers: int = 1, **more: Any) -> Results:
    return Results(plan(*phases, **more), 10, workers=workers)


def sample(
    second: int,
    *,
    phase: int = 0,
    worker: int = 0,
    since: float = 0.0,
    length: float = 1.0,
    cpu: float = 0.1,
    lag_ms: float = 1.0,
    phones: int = 0,
    locked: int = 0,
    registered: int = 0,
    counts: Mapping[Count, int] | None = None,
    latencies: Mapping[Step, Sequence[float]] | None = None,
    errors: Sequence[tuple[str, str]] = (),
    recoveries: Sequence[tuple[float, float]] = (),
    first_loss: float | None = None,
) -> Sample:
    """A worker's second, told from `since` in it. Latencies, and recoveries as (lost, back), are in seconds."""
    made = Sample(
        second=second,
        at=BEGIN + second + since + length,
        phase=phase,
        length=length,
        phones=phones,
        locked=locked,
        registered=registered,
        counts=Counter(counts or {}),
        sent=100,
        received=200,
    )
    for step, values in (latencies or {}).items():
        for value in values:
            made.record(step, value)
    for kind, example in errors:
        made.fail(kind, example)
    for lost, back in recoveries:
        made.record(Step.RECOVER, back - lost)
        made.recovered.append(round(back * 1_000_000))
    if first_loss is not None:
        made.lose(first_loss)
    made.health.append(Health(worker, cpu, lag_ms, 2 * lag_ms, 1000))
    return made
