"""A fleet: the phones of one event loop, taken through the phases of a plan, and a sample of them each second.

This is what a harness of one's own embeds; the engine's workers run nothing else.

    async for sample in Fleet(plan).run():
        print(sample.second, sample.locked, sample.counts)

Each phone does what the schedule says at the instant that it says, whether the server answers or not; what comes late is the server's, or
is told as the generator's own (`Sample.health`, `Step.QUEUE`).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import suppress
from typing import Protocol

from sipsua.errors import Misuse
from sipsua.load.crowd import Crowd
from sipsua.load.health import HealthWatch
from sipsua.load.plan import Churn, Cut, Hold, Phase, Plan, Storm
from sipsua.load.population import Population
from sipsua.load.sample import Sample
from sipsua.load.schedule import Verb, schedule
from sipsua.net.connect import Connector

BURST = 0.01
"""Seconds of actions that are due at once, after which the phones that are under way have their turn."""
SETTLED = 2.0
"""Seconds without anybody missing after which an awaited storm is over: flows that one cause breaks need not break at one instant."""
SHIFT = 0.002
"""Seconds by which a timer may be early: uvloop counts whole milliseconds."""


class Gate(Protocol):
    """Where the fleets of several workers wait for each other."""

    async def begin(self, phase: int) -> float:
        """Called before each phase; returns when it begins for all, on the loop's clock."""


class Fleet:
    """The phones of a plan, or one worker's share of them, on the running loop. It runs once."""

    def __init__(self, plan: Plan, *, worker: int = 0, workers: int = 1, gate: Gate | None = None) -> None:
        """Phone N is of worker N modulo `workers`. Without a `gate` a phase begins when the one before it has ended."""
        self.plan = plan
        self._worker = worker
        self._workers = workers
        self._gate = gate
        self._stopped = False
        self._started = False
        self._acting: asyncio.Task[None] | None = None
        self._samples: asyncio.Queue[Sample | None] = asyncio.Queue()

    async def run(self) -> AsyncGenerator[Sample, None]:
        """A sample each second of the run, and one at the end of each phase; ends when all phones have unregistered and left.

        Raises BadConfiguration where a file that the plan names cannot be used. Who leaves early (`aclose`, a cancelled task) has the
        phones leave without waiting for the registrar's answers; `stop` waits for them.
        """
        if self._started:
            raise Misuse("this fleet has run already", fix="make a new Fleet for each run")
        self._started = True
        run = _Run(self.plan, self._worker, self._workers, self._gate, self._samples)
        phases = asyncio.create_task(self._whole(run))
        try:
            while (sample := await self._samples.get()) is not None:
                yield sample
            await phases
        finally:
            phases.cancel()
            with suppress(asyncio.CancelledError):
                await phases
            await run.close()

    def stop(self) -> None:
        """End the run early: all phones unregister now, and have the plan's `grace` for it; what comes of it is still told."""
        self._stopped = True
        if self._acting is not None:
            self._acting.cancel()

    async def _whole(self, run: _Run) -> None:
        try:
            self._acting = asyncio.create_task(run.phases())
            if self._stopped:
                self._acting.cancel()
            try:
                await asyncio.wait([self._acting])
            finally:
                self._acting.cancel()
            with suppress(asyncio.CancelledError):
                await self._acting
            await run.leave()
        finally:
            self._samples.put_nowait(None)


class _Run:
    """One run of a fleet: its phones, its clock, its samples."""

    def __init__(
        self, plan: Plan, worker: int, workers: int, gate: Gate | None, samples: asyncio.Queue[Sample | None]
    ) -> None:
        self._plan = plan
        self._worker = worker
        self._workers = workers
        self._gate = gate
        self._samples = samples
        self._population = Population(plan, worker=worker, workers=workers)
        self._connector = Connector(in_flight=plan.in_flight)
        self._crowd = Crowd(self._population, self._connector)
        self._loop = asyncio.get_running_loop()
        self._watch = HealthWatch(worker)
        self._begun: float | None = None
        self._since = 0.0
        self._phase = 0
        self._breath = 0.0
        self._ticking: asyncio.TimerHandle | None = None

    async def phases(self) -> None:
        """The plan from begin to end."""
        for index, phase in enumerate(self._plan.phases):
            begin = self._loop.time() if self._gate is None else await self._gate.begin(index)
            await self._until(begin)
            self._enter(index, begin)
            await self._act(phase, index, begin)
            await self._end(phase, begin)

    async def leave(self) -> None:
        """All that are still there unregister, within the plan's grace: a phase after those of the plan. Then the last sample."""
        now = self._loop.time()
        if self._begun is not None and len(self._crowd):
            self._enter(len(self._plan.phases), now)
        for phone in range(self._worker, len(self._population), self._workers):
            self._crowd.stop(phone, now)
            await self._breathe()
        await self._settle(self._plan.grace, lambda: not self._crowd.pending)
        if self._begun is not None:
            self._take()

    async def close(self) -> None:
        """Leave nothing behind."""
        if self._ticking is not None:
            self._ticking.cancel()
        self._watch.close()
        await self._crowd.close()

    # Phases

    async def _act(self, phase: Phase, index: int, begin: float) -> None:
        crowd, worker, workers = self._crowd, self._worker, self._workers
        for action in schedule(phase, len(self._population), seed=self._plan.seed, index=index):
            if action.phone % workers == worker:
                await self._until(begin + action.at)
                _DO[action.verb](crowd, action.phone, begin + action.at)

    async def _end(self, phase: Phase, begin: float) -> None:
        crowd = self._crowd
        if isinstance(phase, Hold):
            await self._until(begin + phase.duration)
        elif isinstance(phase, Churn):
            await self._until(begin + phase.duration)
            await self._settle(self._plan.grace, lambda: not crowd.pending)
        elif isinstance(phase, Storm) and phase.cut is Cut.AWAIT:
            await self._settle(phase.within, self._calm_after_a_loss())
        else:
            await self._settle(phase.within, lambda: not crowd.pending)

    def _calm_after_a_loss(self) -> Callable[[], bool]:
        """Whether somebody has lost a flow, and all have been back for a while."""
        restless = 0.0

        def calm() -> bool:
            nonlocal restless
            now = self._loop.time()
            if self._crowd.pending:
                restless = now
                self._loop.call_later(SETTLED, self._crowd.stir)
            return restless > 0 and now - restless >= SETTLED

        return calm

    async def _settle(self, within: float, condition: Callable[[], bool]) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(within):
                await self._crowd.until(condition)

    async def _until(self, instant: float) -> None:
        wait = instant - self._loop.time()
        if wait > 0:
            await asyncio.sleep(wait)
        else:
            await self._breathe()

    async def _breathe(self) -> None:
        """Let the phones have their turn, now and then."""
        now = self._loop.time()
        if now - self._breath >= BURST:
            await asyncio.sleep(0)
            self._breath = self._loop.time()

    # Samples

    def _enter(self, index: int, begin: float) -> None:
        """A phase begins, and with it a sample."""
        if self._begun is None:
            self._begun = self._since = begin
            self._watch.take()
            self._wind()
        else:
            self._take()
        self._phase = index

    def _wind(self) -> None:
        assert self._begun is not None
        whole = int(self._loop.time() - self._begun + SHIFT) + 1
        self._ticking = self._loop.call_at(self._begun + whole, self._tick)

    def _tick(self) -> None:
        self._take()
        self._wind()

    def _take(self) -> None:
        """Close the sample of this second and phase."""
        assert self._begun is not None
        now = self._loop.time()
        sample = self._crowd.take(
            second=int(self._since - self._begun + SHIFT), phase=self._phase, at=time.time(), length=now - self._since
        )
        sample.health.append(self._watch.take())
        self._since = now
        self._samples.put_nowait(sample)


_DO: dict[Verb, Callable[[Crowd, int, float], None]] = {
    Verb.REGISTER: Crowd.start,
    Verb.REFRESH: Crowd.refresh,
    Verb.UNREGISTER: Crowd.stop,
    Verb.RESET: lambda crowd, phone, _at: crowd.cut(phone, reset=True),
    Verb.CLOSE: lambda crowd, phone, _at: crowd.cut(phone, reset=False),
}
