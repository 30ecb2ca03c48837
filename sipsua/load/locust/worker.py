"""A worker of a Locust master, in asyncio: the master says how many phones, and the phones are a `Crowd` as in any other load run.

    totals = await LocustWorker(plan, Population(plan), "master.example.com").run()

What Locust calls a user is a phone: spawned it registers and stays registered, stopped it unregisters. Of the plan count its phones with
all that they are, `in_flight`, `grace`, `saturation`; its phases do not: the master is the schedule. All that the master says is done in
its order by `_serve`; `_beat` tells it every second that we live, and every third what was measured.

A worker that has lost its master lets its phones go, since nobody commands them any more, and goes on asking for one.
"""

from __future__ import annotations

import asyncio
import socket
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Protocol

from pydantic import BaseModel, Field, ValidationError

from sipsua.errors import BadConfiguration
from sipsua.load.crowd import Crowd, Phones
from sipsua.load.health import HealthWatch
from sipsua.load.locust.locustfile import USER_CLASS
from sipsua.load.locust.share import Share
from sipsua.load.locust.statistics import Statistics
from sipsua.load.locust.wire import PORT, Link, Message, Wire
from sipsua.load.plan import Plan
from sipsua.load.sample import Health
from sipsua.net.connect import Connector

LAST_REPORT = 0.35
"""Seconds after the master's `quit` at which it gets the last report: it listens for half a second, then it goes."""


class Population(Phones, Protocol):
    """The phones of the plan."""

    def __len__(self) -> int:
        """How many there are."""


@dataclass(frozen=True, slots=True)
class Pace:
    """Seconds between this and that. A Locust master reckons with the first two."""

    heartbeat: float = 1.0
    report: float = 3.0
    first_answer: float = 300.0
    """How long a master is asked that has never answered: so long the master may take to start."""
    knock: float = 1.0
    """Until it is looked again whether there is a master; doubled each time."""
    knock_most: float = 30.0
    answer: float = 5.0
    """How long a master that is there may take to answer. One that says nothing for so long on a connection that was made anew is
    another one, which does not know us."""
    silence: float = 60.0
    """Without a word, or without a connection: the master is lost."""


class LocustWorker:
    """One worker. It runs once."""

    def __init__(
        self,
        plan: Plan,
        population: Population,
        host: str,
        port: int = PORT,
        *,
        name: str | None = None,
        tell: Callable[[str], None] = lambda line: None,
        pace: Pace = Pace(),
    ) -> None:
        """`tell` takes lines for a person: with whom it speaks, what went wrong, one example of each class of errors. With the `name` of
        a worker that has ended, a new one takes its place and its phones; by default none is like another. Raises BadConfiguration where
        pyzmq or msgpack is missing."""
        self._plan = plan
        self._population = population
        self._name = name or f"{socket.gethostname()}_{uuid.uuid4().hex}"
        self._tell = tell
        self._pace = pace
        self._wire = Wire(host, port, self._name, tell, self._moved)
        self._inbox: asyncio.Queue[Message] = asyncio.Queue()
        self._joined = False
        self._number = -1
        self._state = "ready"
        self._spawned_at = 0.0
        self._grace = plan.grace
        self._heard = 0.0
        self._met = 0.0
        self._crowd: Crowd | None = None
        self._share = Share(0, 1, 0)
        self._statistics = Statistics(time.time())
        self._complaints: set[str] = set()
        self._strained = 0
        self._health = Health(worker=0, cpu=0.0, lag_ms=0.0, lag_max_ms=0.0, rss_kib=0)

    async def run(self) -> dict[str, Any]:
        """Work until the master says `quit`, or `stop` is called; returns `totals`.

        Raises Unreachable or NoAnswer where no master answered within `pace.first_answer`, and BadConfiguration where the master cannot
        be worked with: it does not number its workers, or expects fewer of them.
        """
        await self._wire.open()
        tasks = [asyncio.create_task(work) for work in (self._serve(), self._listen(), self._beat())]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
            await self._leave(0.0)
            await self._wire.close()
        return self.totals()

    def stop(self) -> None:
        """Unregister all phones within the plan's grace, tell the master goodbye, and end."""
        self._inbox.put_nowait(Message(_INTERRUPT, None))

    def totals(self) -> dict[str, Any]:
        """What the master was told of the newest run, row by row: its tables hold the sum of that over its workers. `untold` is what it
        could not be told, because it had gone."""
        return {
            "worker": self._name,
            "number": self._number,
            "users": len(self._share),
            "rows": self._statistics.told.as_json(),
            "untold": self._statistics.open.as_json(),
        }

    # In the master's order

    async def _serve(self) -> None:
        try:
            if not await self._join(self._pace.first_answer):
                return
            while True:
                message = await self._inbox.get()
                match message.kind:
                    case "spawn":
                        self._spawn(message.data)
                    case "stop":
                        await self._leave(self._grace)
                        self._report()
                        self._wire.send("client_stopped")
                        self._state = "ready"
                        self._wire.send("client_ready", _ANY_VERSION)
                    case "quit":
                        await self._quit()
                        return
                    case "interrupt":
                        await self._leave(self._grace)
                        self._report()
                        self._wire.send("quit")
                        return
                    case "silence":
                        self._tell(
                            f"the Locust master at {self._wire} is lost: its phones unregister, then it is asked again"
                        )
                        await self._leave(self._plan.grace)
                        self._state = "ready"
                        if not await self._join(None):
                            return
        except BadConfiguration:
            await self._leave(self._grace)
            self._wire.send("quit")
            raise

    async def _join(self, patience: float | None) -> bool:
        """Ask the master to be its worker until it says yes; False where `stop` came first. Raises as `run` after `patience` seconds."""
        loop = asyncio.get_running_loop()
        end, pause = None if patience is None else loop.time() + patience, self._pace.knock
        self._spawned_at = 0.0
        while True:
            asked = self._wire.send("client_ready", _ANY_VERSION)
            try:
                async with asyncio.timeout(max(pause, self._pace.answer) if asked else pause):
                    while (message := await self._inbox.get()).kind not in ("ack", _INTERRUPT, _MET):
                        pass
            except TimeoutError:
                silence = self._wire.silence()
                if end is not None and loop.time() >= end:
                    raise silence from None
                pause = min(2 * pause, self._pace.knock_most)
                self._tell(f"{silence}; next attempt within {pause:g} s")
                continue
            if message.kind == _INTERRUPT:
                return False
            if message.kind == _MET:
                continue
            self._number = self._number_of(message.data)
            self._joined = True
            self._tell(f"worker {self._number} of the Locust master at {self._wire}")
            return True

    def _number_of(self, data: object) -> int:
        try:
            return _Ack.model_validate(data).index
        except ValidationError:
            raise BadConfiguration(
                f"the Locust master at {self._wire} does not number its workers, so they could not tell whose phones are whose",
                fix="use Locust 2.10.2 or newer",
            ) from None

    def _spawn(self, data: object) -> None:
        try:
            order = _Spawn.model_validate(data)
        except ValidationError as error:
            where = ".".join(map(str, error.errors()[0]["loc"]))
            self._complain(
                f"a spawn message of the master was not understood ({where}: {error.errors()[0]['msg']}); ignored"
            )
            return
        if order.timestamp <= self._spawned_at:
            return  # overtaken by a newer one
        self._spawned_at = order.timestamp
        self._grace = order.stop_timeout or self._plan.grace
        if self._crowd is None:
            self._begin(order.parsed_options.get("expect_workers"))
        self._wire.send("spawning")
        self._state = "spawning"
        if others := sorted(name for name, count in order.user_classes_count.items() if count and name != USER_CLASS):
            self._complain(f"the master wants users of the class {', '.join(others)}; there is only {USER_CLASS} here")
        self._crew(order.user_classes_count.get(USER_CLASS, 0))
        self._wire.send("spawning_complete", self._users())
        self._state = "running"

    def _begin(self, expected: object) -> None:
        """A new run, with statistics of its own, as the master's are."""
        shares = expected if isinstance(expected, int) and expected > 0 else 1
        if self._number >= shares:
            raise BadConfiguration(
                f"this is worker {self._number} (counted from 0) of a Locust master that expects {shares}: no phones are left for it",
                fix=f"start the master with --expect-workers {self._number + 1}; "
                "a worker in place of one that ended takes its phones when it has its name",
            )
        self._share = Share(self._number, shares, len(self._population))
        self._statistics = Statistics(time.time())
        self._complaints.clear()
        self._strained = 0
        self._crowd = Crowd(self._population, Connector(in_flight=max(1, self._plan.in_flight // shares)))

    def _crew(self, wanted: int) -> None:
        """Have as many phones as are wanted, or as there are."""
        assert self._crowd is not None
        now, share = asyncio.get_running_loop().time(), self._share
        while len(share) > wanted:
            self._crowd.stop(share.release(), now)
        while len(share) < wanted:
            phone = share.take()
            if phone is None:
                self._complain(
                    f"worker {self._number} shall have {wanted} phones, and its share of the plan's "
                    f"{len(self._population)} is {share.size}: give the plan more phones, or the master fewer users"
                )
                return
            self._crowd.start(phone, now)

    async def _leave(self, within: float) -> None:
        """Unregister all phones; all that comes of it is in the statistics."""
        if self._crowd is None:
            return
        now = asyncio.get_running_loop().time()
        for phone in self._share.used:
            self._crowd.stop(phone, now)
        await self._crowd.close(within)
        self._drain()
        self._crowd = None
        # Only now: to the master, whoever has not yet left is a user.
        self._share.used.clear()

    async def _quit(self) -> None:
        """The master goes. What comes late is not told, but done."""
        self._report()
        leaving = asyncio.create_task(self._leave(self._grace))
        try:
            await asyncio.wait([leaving], timeout=LAST_REPORT)
            self._report()
            self._joined = False
            await leaving
        finally:
            leaving.cancel()

    # Beside it

    async def _listen(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            message = await self._wire.receive()
            self._heard = loop.time()
            if message.kind == "reconnect":
                self._tell(f"the Locust master at {self._wire} wants to be connected with anew")
                self._wire.renew()
            elif message.kind in _HEEDED:
                self._inbox.put_nowait(message)

    def _moved(self, link: Link) -> None:
        if link is Link.SPEAKING:
            self._met = asyncio.get_running_loop().time()
            self._inbox.put_nowait(Message(_MET, None))
        elif self._joined:
            self._tell(
                f"the Locust master at {self._wire} hung up: its phones stay for {self._pace.silence:g} s, if it does not come back"
            )

    async def _beat(self) -> None:
        loop, pace, watch = asyncio.get_running_loop(), self._pace, HealthWatch(0)
        reported = due = loop.time()
        try:
            while True:
                due = max(due + pace.heartbeat, loop.time())
                await asyncio.sleep(due - loop.time())
                self._drain()
                self._health = watch.take()
                self._watch_strain()
                if not self._joined:
                    continue
                self._wire.send(
                    "heartbeat",
                    {
                        "state": self._state,
                        "current_cpu_usage": self._health.cpu * 100,
                        "current_memory_usage": self._health.rss_kib * 1024,
                    },
                )
                if due - reported >= pace.report - pace.heartbeat / 2:
                    reported = due
                    self._report()
                now = loop.time()
                if now - self._heard > pace.silence or (self._heard < self._met and now - self._met > pace.answer):
                    self._joined = False
                    self._inbox.put_nowait(Message(_SILENCE, None))
        finally:
            watch.close()

    def _report(self) -> None:
        """Tell the master what was measured since the last report; what it cannot be told now is told later."""
        self._drain()
        if self._joined and self._wire.send("stats", {**self._statistics.report(), **self._users()}):
            self._statistics.close()

    def _users(self) -> dict[str, Any]:
        return {"user_classes_count": {USER_CLASS: len(self._share)}, "user_count": len(self._share)}

    def _drain(self) -> None:
        """Take what the crowd has measured into the statistics."""
        if self._crowd is None:
            return
        sample = self._crowd.take(second=0, phase=0, at=time.time(), length=0.0)
        self._statistics.add(sample)
        for kind, error in sample.errors.items():
            self._complain(error.example, kind)

    def _watch_strain(self) -> None:
        """Say it once a run where we are the limit, and not the server."""
        limit, health = self._plan.saturation, self._health
        strained = self._crowd is not None and (health.cpu >= limit.cpu or health.lag_ms >= limit.lag_ms)
        self._strained = self._strained + 1 if strained else 0
        if self._strained == limit.seconds:
            what = f"worker {self._number} was the limit, and not the server: {health.cpu:.0%} of a core, {health.lag_ms:.0f} ms late"
            self._complain(what, "saturated", fail=limit.then == "fail")

    def _complain(self, what: str, kind: str = "", *, fail: bool = True) -> None:
        """Tell the person here, and with `fail` the one at the master, whom Locust shows it under Exceptions; each kind once a run."""
        kind = kind or what
        if kind not in self._complaints:
            self._complaints.add(kind)
            self._tell(what)
            if fail:
                self._wire.send("exception", {"msg": what, "traceback": kind})


_INTERRUPT = "interrupt"
_SILENCE = "silence"
_MET = "met"
_HEEDED = ("ack", "spawn", "stop", "quit")
"""What is to be done in order. All else says no more than that the master lives."""

_ANY_VERSION = -1
"""In place of Locust's version: a worker of another kind, which a master takes without comparing."""


class _Ack(BaseModel):
    index: Annotated[int, Field(ge=0)]


class _Spawn(BaseModel):
    timestamp: float
    user_classes_count: Mapping[str, Annotated[int, Field(ge=0)]]
    stop_timeout: Annotated[float, Field(ge=0)] | None = None
    parsed_options: Mapping[str, Any] = {}
