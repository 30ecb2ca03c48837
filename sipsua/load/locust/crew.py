"""The phones of one run under a Locust master: as many as it wants, all measured, and what a person should be told of them.

A run goes from the first `spawn` to `stop`. Its statistics are its own, as the master's are.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Protocol

from sipsua.errors import BadConfiguration
from sipsua.load.crowd import Crowd, Phones
from sipsua.load.locust.share import Share
from sipsua.load.locust.statistics import Statistics
from sipsua.load.plan import Plan
from sipsua.load.sample import Health
from sipsua.net.connect import Connector

Tell = Callable[[str], None]
"""Takes a line for the person at this worker."""
Alarm = Callable[[str, str], None]
"""Takes what the person at the master shall see, too, and its kind: an example of an error and its class."""


class Numbered(Phones, Protocol):
    """Phones by number from 0: a `Population`."""

    def __len__(self) -> int:
        """How many there are."""


class Crew:
    """A worker's phones, on the running loop. `leave` ends it."""

    def __init__(self, plan: Plan, population: Numbered, *, number: int, shares: int, tell: Tell, alarm: Alarm) -> None:
        """Of worker `number`, counted from 0, of `shares`. Raises BadConfiguration where no phones are left for it."""
        if number >= shares:
            raise BadConfiguration(
                f"this is worker {number} (counted from 0) of a Locust master that expects {shares}: no phones are left for it",
                fix=f"start the master with --expect-workers {number + 1}; "
                "a worker in place of one that ended takes its phones if it has its name",
            )
        self.statistics = Statistics(time.time())
        self.active = True
        """Whether it has not left."""
        self._plan = plan
        self._population = population
        self._number = number
        self._tell = tell
        self._alarm = alarm
        self._told: set[str] = set()
        self._strained = 0
        self._share = Share(number, shares, len(population))
        self._crowd = Crowd(population, Connector(in_flight=max(1, plan.in_flight // shares)))

    def __len__(self) -> int:
        """Phones that are users in the master's eyes: wanted registered, or not yet gone at the end of the run."""
        return len(self._share)

    def have(self, wanted: int) -> None:
        """Have as many phones as are wanted, or as there are."""
        now, share = asyncio.get_running_loop().time(), self._share
        while len(share) > wanted:
            self._crowd.stop(share.release(), now)
        while len(share) < wanted:
            phone = share.take()
            if phone is None:
                self.complain(
                    f"worker {self._number} shall have {wanted} phones, and its share of the plan's {len(self._population)} is "
                    f"{share.size}: give the plan more phones, or the master fewer users",
                    "not enough phones",
                )
                return
            self._crowd.start(phone, now)

    async def leave(self, within: float) -> None:
        """Unregister all phones, for which they have `within` seconds; all that comes of it is in the statistics."""
        now = asyncio.get_running_loop().time()
        for phone in self._share.used:
            self._crowd.stop(phone, now)
        await self._crowd.close(within)
        self.drain()
        self._share.used.clear()
        self.active = False

    def drain(self) -> None:
        """Take what the phones have measured into the statistics."""
        sample = self._crowd.take(second=0, phase=0, at=time.time(), length=0.0)
        self.statistics.add(sample)
        for kind, error in sample.errors.items():
            self.complain(error.example, kind)

    def watch(self, health: Health) -> None:
        """Say it where this worker is the limit, and not the server."""
        limit = self._plan.saturation
        self._strained = self._strained + 1 if health.cpu >= limit.cpu or health.lag_ms >= limit.lag_ms else 0
        if self._strained == limit.seconds:
            self.complain(
                f"worker {self._number} was the limit, and not the server: it used {health.cpu:.0%} of a core and was "
                f"{health.lag_ms:.0f} ms late; the figures say nothing about the server, so take more workers, or fewer phones",
                "saturated",
                alarm=limit.then == "fail",
            )

    def complain(self, what: str, kind: str, *, alarm: bool = True) -> None:
        """Tell the person here, and with `alarm` the one at the master; each kind once a run."""
        if kind in self._told:
            return
        self._told.add(kind)
        self._tell(what)
        if alarm:
            self._alarm(what, kind)
