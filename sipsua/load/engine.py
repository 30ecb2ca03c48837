"""The engine of a load run: as many workers as there are cores, one begin for all, and an honest word about each that dies.

The engine holds no phone. It starts the workers, gives each its share of the handshakes in flight, opens the gate of a phase when all that
live have arrived, passes their samples on, and watches them: a worker that is killed, crashes or hangs is told as lost with its phones,
and the others go on. However a run ends (done, stopped, the consumer gone), no process, pipe or task is left behind.

    engine = Engine(plan)
    async for sample in engine.run():
        results.add(sample)
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass

from sipsua.errors import BadConfiguration, Defect, Misuse
from sipsua.load.child import Child, Tell
from sipsua.load.fleet import Fleet
from sipsua.load.plan import Plan
from sipsua.load.population import Population
from sipsua.load.sample import Sample
from sipsua.load.worker import MARGIN, Arrived, Begin, Done, Failed, Order, Phones, Task

PATIENCE = 30.0
"""Seconds without a word after which a worker is taken for hung."""
LEAD = 0.1
"""Seconds between the word that a phase begins and its begin: enough for the word to reach each worker."""
HURRY = 2.0
"""Seconds that workers have to end when they were told to stop twice."""
TICK = 0.25
"""Seconds between two looks at the workers."""


@dataclass(frozen=True, slots=True)
class LostWorker:
    """A worker that died before its work was done."""

    worker: int
    phones: int
    """How many phones it had: none of them can be vouched for."""
    reason: str
    """What happened: a signal, an exit code, an error, silence; and what it wrote last."""


@dataclass(frozen=True, slots=True)
class WorkerState:
    """A worker as it is now."""

    worker: int
    pid: int
    cpu: float
    """Share of a core in its last second."""
    running: bool


class Engine:
    """A run of a plan in processes of its own. It runs once."""

    def __init__(self, plan: Plan, *, fleet: Callable[..., Phones] = Fleet, tell: Tell | None = None) -> None:
        """`tell` takes what workers write to standard error, line by line; None passes it on to our own. Raises BadConfiguration where
        a file that the plan names cannot be used."""
        self.plan = plan
        self.phones = len(Population(plan))
        """How many the plan has."""
        wanted = plan.workers or len(os.sched_getaffinity(0))
        self.count = max(1, min(wanted, self.phones, plan.in_flight))
        """How many workers there are."""
        self.lost: list[LostWorker] = []
        """Workers that died. It grows while the engine runs."""
        self._fleet = fleet
        self._tell = tell or _pass_on
        self._children: list[Child] = []
        self._living: set[Child] = set()
        self._tasks: list[asyncio.Task[None]] = []
        self._samples: asyncio.Queue[Sample | None] = asyncio.Queue()
        self._started = False
        self._begun = False
        self._stops = 0
        self._left = 0.0
        self._unheard = False
        self._error: Misuse | Defect | None = None

    @property
    def workers(self) -> tuple[WorkerState, ...]:
        """The workers, dead ones too, by number."""
        return tuple(WorkerState(child.number, child.pid, child.cpu, child in self._living) for child in self._children)

    async def run(self) -> AsyncGenerator[Sample, None]:
        """The samples of all workers as they come, each of a single worker. Ends when no worker is left.

        Raises what kept a worker from the begin: BadConfiguration where the plan or a file is bad, Defect. Who leaves the generator
        early (`aclose`, a cancelled task) waits until the phones have unregistered, within the plan's grace.
        """
        if self._started:
            raise Misuse("this engine has run already", fix="make a new Engine for each run")
        self._started = True
        if self._stops:
            return
        try:
            await self._start()
            while (sample := await self._samples.get()) is not None:
                yield sample
            await asyncio.gather(*self._tasks)
            if self._error is not None:
                raise self._error
        finally:
            await self._end()

    def stop(self) -> None:
        """End the run early: the phones unregister within the plan's grace, and the rest is told. A second call cuts the grace short.

        To be called on the engine's loop, as signal handlers of a loop are.
        """
        self._stops += 1
        if self._stops == 1:
            self._left = self.plan.grace + MARGIN
            if self._begun:
                self._say(Order.STOP)
            else:
                self._abandon()
        elif self._stops == 2:
            self._left = min(self._left, HURRY)
            self._unheard = True
            self._say(Order.QUIT)

    async def _start(self) -> None:
        count = self.count
        for number in range(count):
            share = self.plan.in_flight // count + (number < self.plan.in_flight % count)
            task = Task(self.plan.model_copy(update={"in_flight": share}), number, count, self._fleet)
            child = await Child.start(task, len(range(number, self.phones, count)), self._tell)
            self._children.append(child)
        self._living.update(self._children)
        self._tasks = [asyncio.create_task(self._attend(child)) for child in self._children]
        self._tasks.append(asyncio.create_task(self._watch()))
        if self._stops:
            self._abandon()

    async def _attend(self, child: Child) -> None:
        """Hear one worker to its end."""
        last: Done | Failed | None = None
        try:
            while (message := await child.receive()) is not None:
                child.silent = 0.0
                if isinstance(message, Sample):
                    for health in message.health:
                        child.cpu = health.cpu
                    self._samples.put_nowait(message)
                elif isinstance(message, Arrived):
                    child.began = True
                    child.arrived = message.phase
                    self._open_gate()
                else:
                    last = message
                    child.hang_up()
            await child.over()
        finally:
            self._living.discard(child)
            self._judge(child, last)
            self._open_gate()
            if not self._living:
                self._samples.put_nowait(None)

    def _judge(self, child: Child, last: Done | Failed | None) -> None:
        """What it means that this worker has ended."""
        child.cpu = 0.0
        if isinstance(last, Done) or self._unheard:
            return
        if isinstance(last, Failed):
            if not self._begun:
                kind = BadConfiguration if last.misuse else Defect
                self._error = kind(last.what, fix=last.fix)
                self._abandon()
                return
            reason = f"{last.what} ({last.fix})" if last.fix else last.what
        else:
            reason = child.reason
        self.lost.append(LostWorker(child.number, child.phones, reason))

    def _open_gate(self) -> None:
        """A phase begins for all that live when the last of them has arrived."""
        if self._living and all(child.arrived is not None for child in self._living):
            self._begun = True
            at = time.monotonic() + LEAD
            for child in self._living:
                assert child.arrived is not None
                child.send(Begin(child.arrived, at))
                child.arrived = None

    async def _watch(self) -> None:
        """Kill what hangs, and what does not end when it should. Ticks are counted, not the clock: when the engine itself was stopped for
        a minute (Ctrl-Z), or the machine slept, the workers are not to blame."""
        while self._living:
            await asyncio.sleep(TICK)
            if self._stops:
                self._left -= TICK
            for child in list(self._living):
                # Before the first phase a worker may have certificates to make for minutes: it is alive while it works.
                if child.arrived is not None or (not child.began and child.at_work()):
                    child.silent = 0.0
                child.silent += TICK
                if child.silent >= PATIENCE:
                    child.kill(f"it said nothing for {PATIENCE:g} s")
                elif self._stops and self._left <= 0:
                    child.kill(f"it did not end within {self.plan.grace + MARGIN:g} s when it was told to")

    def _say(self, order: Order) -> None:
        for child in self._living:
            child.send(order)

    def _abandon(self) -> None:
        """No phone has gone out yet: nothing is lost with the workers."""
        self._unheard = True
        for child in self._living:
            child.kill()

    async def _end(self) -> None:
        """Leave nothing behind. What still runs has nobody who listens: its phones unregister, and it ends."""
        self._unheard = True
        for child in self._living:
            child.hang_up()
        try:
            if self._living and self._begun and self._stops < 2:
                await asyncio.wait(self._tasks, timeout=self.plan.grace + MARGIN)
            for child in self._living:
                child.kill()
            await asyncio.wait(self._tasks, timeout=MARGIN)
        finally:
            for child in self._children:
                child.destroy()
            for task in self._tasks:
                task.cancel()


def _pass_on(worker: int, line: str) -> None:
    if sys.stderr is not None:
        sys.stderr.write(f"worker {worker}: {line}\n")
