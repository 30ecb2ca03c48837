"""Whole runs for tests and benches: a plan of many phones, taken through engine and results."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sipsua.load.engine import Engine
from sipsua.load.plan import (
    Arrivals,
    BackoffSettings,
    Hold,
    Phase,
    PhoneGroup,
    Plan,
    Register,
    Saturation,
    TrustSettings,
    Unregister,
)
from sipsua.load.results import Results
from sipsua.load.sample import Sample

PASSWORD = "secret"
FIRST = 100_000
"""The first user's name."""


def users(count: int) -> dict[str, str]:
    """User names and passwords."""
    return {str(FIRST + index): PASSWORD for index in range(count)}


def group(count: int, **more: Any) -> PhoneGroup:
    """Phones of these users, with a short back-off."""
    backoff = BackoffSettings(base=0.5, maximum=4)
    settings: dict[str, Any] = {"users": f"{FIRST}-{FIRST + count - 1}", "password": PASSWORD, "backoff": backoff}
    return PhoneGroup(**settings | more)


def plan_of(port: int, ca: Path, *groups: PhoneGroup, phases: tuple[Phase, ...], **more: Any) -> Plan:
    """A plan for a server on this machine. The machine of a test may be busy: that is told only."""
    settings: dict[str, Any] = {"workers": 2, "saturation": Saturation(then="tell")} | more
    return Plan(server=f"127.0.0.1:{port}", trust=TrustSettings(ca=(ca,)), phones=groups, phases=phases, **settings)


def held_twice(count: int, expires: int, rate: float) -> tuple[Phase, ...]:
    """Phases in which each phone refreshes twice at the least: it does so after nine tenths of a binding's life at the latest."""
    return (
        Register(do="register", arrivals=Arrivals(rate=rate), within=60),
        Hold(do="hold", duration=2 * 0.9 * expires + 1 + expires / 30),
        Unregister(do="unregister", arrivals=Arrivals(rate=rate), within=60),
    )


async def taken_through(plan: Plan, then: Callable[[Sample], None] = lambda _sample: None) -> Results:
    """The results of a run. `then` is called with each sample."""
    engine = Engine(plan)
    results = Results(plan, engine.phones, workers=engine.count)
    async for sample in engine.run():
        results.add(sample)
        then(sample)
    for lost in engine.lost:
        results.lose_worker(lost.worker, lost.phones, lost.reason)
    results.finish()
    return results


def run(plan: Plan, then: Callable[[Sample], None] = lambda _sample: None) -> Results:
    """The same where no loop runs."""
    return asyncio.run(taken_through(plan, then))
