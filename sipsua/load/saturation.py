"""Whether the generator itself was the limit: a worker that had no time left, or whose loop came late, for seconds on end.

What was measured in such seconds is the generator's own slowness, whatever the server did.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sipsua.load.plan import Saturation
from sipsua.load.sample import Health

WHOLE = 0.5
"""Seconds: a shorter sample says nothing about a share of a core; and what is rounded to whole seconds."""


@dataclass(slots=True)
class Span:
    """Seconds on end in which a worker was saturated."""

    worker: int
    first: int
    """Second of the run."""
    last: int
    seconds: float = 0.0
    """How many they are. A loop that hangs tells of all of them in one sample."""
    cpu: float = 0.0
    """The highest share of a core."""
    lag_ms: float = 0.0
    """The highest."""


class SaturationWatch:
    """Looks at each second of each worker."""

    def __init__(self, limits: Saturation) -> None:
        self._limits = limits
        self._open: dict[int, Span] = {}
        self.spans: list[Span] = []
        """Those that lasted long enough; the last ones may still grow."""

    def look(self, second: int, length: float, health: Health) -> None:
        """Take what a worker tells of `length` seconds from `second` on, in order of time."""
        limits = self._limits
        saturated = health.cpu >= limits.cpu or health.lag_ms >= limits.lag_ms
        span = self._open.get(health.worker)
        if not saturated:
            if length >= WHOLE:
                self._open.pop(health.worker, None)
            return
        if span is None:
            if length < WHOLE:
                return
            span = self._open[health.worker] = Span(health.worker, second, second)
        told = self._lasts(span)
        span.last = second + max(0, round(length) - 1)
        span.seconds += length
        if length >= WHOLE:
            span.cpu = max(span.cpu, health.cpu)
            span.lag_ms = max(span.lag_ms, health.lag_ms)
        if not told and self._lasts(span):
            self.spans.append(span)

    def as_json(self) -> list[dict[str, Any]]:
        """Each span: `first` and `last` second, `worker`, `why` in words, and whether the run has `failed` for it."""
        return [
            {
                "first": span.first,
                "last": span.last,
                "worker": span.worker,
                "why": self._why(span),
                "failed": self._limits.then == "fail",
            }
            for span in self.spans
        ]

    def _lasts(self, span: Span) -> bool:
        return span.seconds > self._limits.seconds - WHOLE

    def _why(self, span: Span) -> str:
        words = []
        if span.cpu >= self._limits.cpu:
            words.append(f"up to {span.cpu:.0%} of a core in use (limit {self._limits.cpu:.0%})")
        if span.lag_ms >= self._limits.lag_ms:
            words.append(f"the event loop up to {span.lag_ms:.0f} ms late (limit {self._limits.lag_ms:.0f} ms)")
        return " and ".join(words)
