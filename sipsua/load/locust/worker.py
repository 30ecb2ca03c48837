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
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Any

from pydantic import BaseModel, Field, ValidationError

from sipsua.errors import BadConfiguration
from sipsua.load.health import HealthWatch
from sipsua.load.locust.crew import Crew, Numbered, Tell
from sipsua.load.locust.locustfile import USER_CLASS
from sipsua.load.locust.wire import PORT, Link, Message, Wire
from sipsua.load.plan import Plan

LAST_REPORT = 0.35
"""Seconds after the master's `quit` at which it gets the last report: it listens for half a second, then it goes."""


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
        population: Numbered,
        host: str,
        port: int = PORT,
        *,
        name: str | None = None,
        tell: Tell = lambda line: None,
        pace: Pace = Pace(),
    ) -> None:
        """`population` is the whole plan's, also where several workers share it. `tell` takes lines for a person: with whom it speaks,
        what went wrong, one example of each class of errors. With the `name` of a worker that has ended, a new one takes its place and
        its phones; by default none is like another. Raises BadConfiguration where pyzmq or msgpack is missing, and where name or port
        are none."""
        self._plan = plan
        self._name = f"{socket.gethostname()}_{uuid.uuid4().hex}" if name is None else name
        self._wire = Wire(host, port, self._name, tell, self._moved)
        self._population = population
        self._tell = tell
        self._pace = pace
        self._inbox: asyncio.Queue[Message] = asyncio.Queue()
        self._crew: Crew | None = None
        self._joined = False
        self._number: int | None = None
        self._state = "ready"
        self._spawned_at = 0.0
        self._grace = plan.grace
        self._heard = 0.0
        self._met = 0.0

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
        """Unregister all phones within the grace, tell the master goodbye, and end."""
        self._inbox.put_nowait(Message(_Ours.INTERRUPT, None))

    def totals(self) -> dict[str, Any]:
        """What the master was told of the newest run, row by row: its tables hold the sum of that over its workers. `untold` is what it
        could not be told, because it had gone. `number` is None before a master has given one."""
        crew = self._crew
        return {
            "worker": self._name,
            "number": self._number,
            "users": 0 if crew is None else len(crew),
            "rows": [] if crew is None else crew.statistics.told.as_json(),
            "untold": [] if crew is None else crew.statistics.open.as_json(),
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
                        self._wire.send("client_stopped")
                        self._state = "ready"
                        self._wire.send("client_ready", _ANY_VERSION)
                    case "quit":
                        await self._quit()
                        return
                    case _Ours.INTERRUPT:
                        await self._leave(self._grace)
                        self._wire.send("quit")
                        return
                    case _Ours.SILENCE:
                        self._tell(
                            f"the Locust master at {self._wire} is lost, or another one: the phones unregister, then it is asked anew"
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
        while end is None or loop.time() < end:
            asked = self._wire.send("client_ready", _ANY_VERSION)
            awaited = ("ack", _Ours.INTERRUPT) if asked else ("ack", _Ours.INTERRUPT, _Ours.MET)
            try:
                async with asyncio.timeout(max(pause, self._pace.answer) if asked else pause):
                    while (message := await self._inbox.get()).kind not in awaited:
                        pass
            except TimeoutError:
                pause = min(2 * pause, self._pace.knock_most)
                self._tell(f"{self._wire.silence()}; next attempt within {pause:g} s")
                continue
            if message.kind == _Ours.INTERRUPT:
                return False
            if message.kind == "ack":
                self._number = self._number_of(message.data)
                self._spawned_at = 0.0
                self._joined = True
                self._tell(f"worker {self._number} of the Locust master at {self._wire}")
                return True
        raise self._wire.silence()

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
            where = ".".join(map(str, error.errors()[0]["loc"])) or "all of it"
            what = f"a spawn message of the Locust master is not as Locust's are ({where}: {error.errors()[0]['msg']}); ignored"
            self._tell(what)
            self._alarm(what, "spawn")
            return
        if order.timestamp <= self._spawned_at:
            return  # overtaken by a newer one
        self._spawned_at = order.timestamp
        self._grace = order.stop_timeout or self._plan.grace
        crew = self._crew
        if crew is None or not crew.active:
            assert self._number is not None
            crew = self._crew = Crew(
                self._plan,
                self._population,
                number=self._number,
                shares=order.parsed_options.expect_workers,
                tell=self._tell,
                alarm=self._alarm,
            )
        self._wire.send("spawning")
        self._state = "spawning"
        wanted = dict(order.user_classes_count)
        crew.have(wanted.pop(USER_CLASS, 0))
        if others := ", ".join(sorted(name for name, count in wanted.items() if count)):
            crew.complain(
                f"the Locust master wants users of {others}: a worker of sipsua has {USER_CLASS} only", "class"
            )
        self._wire.send("spawning_complete", self._users())
        self._state = "running"

    async def _leave(self, within: float) -> None:
        """End the run, if there is one, and tell the master what came of it."""
        if self._crew is not None and self._crew.active:
            await self._crew.leave(within)
            self._report()

    async def _quit(self) -> None:
        """The master goes. What comes late is not told, but done."""
        leaving = asyncio.create_task(self._leave(self._grace))
        try:
            await asyncio.wait([leaving], timeout=LAST_REPORT)
            if not leaving.done():
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
                await self._wire.renew()
            elif message.kind in _HEEDED:
                self._inbox.put_nowait(message)

    def _moved(self, link: Link) -> None:
        if link is Link.SPEAKING:
            self._met = asyncio.get_running_loop().time()
            self._inbox.put_nowait(Message(_Ours.MET, None))
        elif link is Link.NOWHERE and self._joined:
            self._tell(
                f"the Locust master at {self._wire} hung up: the phones stay for {self._pace.silence:g} s, if it does not come back"
            )

    async def _beat(self) -> None:
        loop, pace, watch = asyncio.get_running_loop(), self._pace, HealthWatch(0)
        reported = due = loop.time()
        try:
            while True:
                due = max(due + pace.heartbeat, loop.time())
                await asyncio.sleep(due - loop.time())
                health = watch.take()
                if self._crew is not None and self._crew.active:
                    self._crew.drain()
                    self._crew.watch(health)
                if not self._joined:
                    continue
                self._wire.send(
                    "heartbeat",
                    {
                        "state": self._state,
                        "current_cpu_usage": health.cpu * 100,
                        "current_memory_usage": health.rss_kib * 1024,
                    },
                )
                if due - reported >= pace.report - pace.heartbeat / 2 and self._crew is not None and self._crew.active:
                    reported = due
                    self._report()
                now = loop.time()
                if now - self._heard > pace.silence or (self._heard < self._met and now - self._met > pace.answer):
                    self._joined = False
                    self._inbox.put_nowait(Message(_Ours.SILENCE, None))
        finally:
            watch.close()

    def _report(self) -> None:
        """Tell the master what was measured since the last report; what it cannot be told now is told later."""
        if self._crew is None or not self._joined or self._heard < self._met:
            return  # nobody to tell; or a master that does not know us yet, and would count what is not of its run
        if self._crew.active:
            self._crew.drain()
        if self._wire.send("stats", {**self._crew.statistics.report(), **self._users()}):
            self._crew.statistics.close()

    def _users(self) -> dict[str, Any]:
        count = 0 if self._crew is None else len(self._crew)
        return {"user_classes_count": {USER_CLASS: count}, "user_count": count}

    def _alarm(self, what: str, kind: str) -> None:
        """Have the master show it, under Exceptions."""
        self._wire.send("exception", {"msg": what, "traceback": kind})


class _Ours(StrEnum):
    """What we say to ourselves, in one queue with what the master says. None of it is heeded when it comes from there."""

    INTERRUPT = "interrupt"
    SILENCE = "silence"
    MET = "met"


_HEEDED = ("ack", "spawn", "stop", "quit")
"""What is to be done in order. All else says no more than that the master lives."""

_ANY_VERSION = -1
"""In place of Locust's version: a worker of another kind, which a master takes without comparing."""


class _Ack(BaseModel):
    index: Annotated[int, Field(ge=0)]


class _Options(BaseModel):
    expect_workers: Annotated[int, Field(ge=1)] = 1


class _Spawn(BaseModel):
    timestamp: float
    user_classes_count: Mapping[str, Annotated[int, Field(ge=0)]]
    stop_timeout: Annotated[float, Field(ge=0)] | None = None
    parsed_options: _Options = _Options()
