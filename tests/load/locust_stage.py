"""What the tests of the Locust worker stand on: a master of a few lines, phones at a pocket PBX, and a worker as a process."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

import msgpack  # type: ignore[import-untyped]
import zmq
import zmq.asyncio

from sipsua.account.config import AccountConfig, Limits
from sipsua.account.persona import Backoff
from sipsua.load.locust.worker import LocustWorker, Pace
from sipsua.load.plan import Plan
from sipsua.load.population import Population
from sipsua.trust.policy import Policy
from sipsua.trust.store import TrustList

PACE = Pace(heartbeat=0.05, report=0.1, first_answer=5, knock=0.05, knock_most=0.1, answer=0.5, silence=1.5)
"""Twenty times as fast as Locust's."""


def plan_of(**settings: Any) -> Plan:
    """A plan whose phones and phases nobody asks for."""
    return Plan.model_validate(
        {"phones": [{"users": "1000"}], "phases": [{"do": "hold", "duration": 1}], "grace": 2, **settings}
    )


class Alike:
    """Phones 1000, 1001 ... that differ in their user only."""

    def __init__(self, port: int, ca_pem: bytes, count: int) -> None:
        self._port = port
        self._count = count
        self._policy = Policy(anchors=TrustList.from_pem(ca_pem))

    def __len__(self) -> int:
        return self._count

    def config(self, index: int) -> AccountConfig:
        return AccountConfig(
            uri=self.label(index),
            password="secret",
            policy=self._policy,
            limits=Limits(close=1),
            backoff=Backoff(30, 30),
        )

    def label(self, index: int) -> str:
        return f"sips:{1000 + index}@127.0.0.1:{self._port}"


class Master:
    """A Locust master as far as a worker sees it: it numbers who is ready, and answers heartbeats of those whom it knows."""

    def __init__(self, port: int = 0, *, ack: object = None, answers: bool = True, knows_all: bool = False) -> None:
        """`ack` in place of the data that a worker is answered with; `answers`: whether it says anything by itself."""
        self.port = port
        self.answers = answers
        self.heard: list[tuple[str, Any]] = []
        """All messages but heartbeats, as kind and data."""
        self.beats: list[dict[str, Any]] = []
        """Data of the heartbeats."""
        self.names: list[str] = []
        """Workers in the order in which they came."""
        self._ack = ack
        self._knows_all = knows_all
        self._stirred = asyncio.Event()
        self._stamp = 0.0

    async def __aenter__(self) -> Self:
        self._context = zmq.asyncio.Context()
        self._socket = self._context.socket(zmq.ROUTER)
        if self.port:
            self._socket.bind(f"tcp://127.0.0.1:{self.port}")
        else:
            self.port = self._socket.bind_to_random_port("tcp://127.0.0.1")
        self._task = asyncio.get_running_loop().create_task(self._serve())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._task.cancel()
        await asyncio.wait([self._task])
        self._socket.close(linger=0)
        await asyncio.to_thread(self._context.term)
        if not self._task.cancelled():
            self._task.result()

    async def _serve(self) -> None:
        while True:
            address, payload = await self._socket.recv_multipart()
            kind, data, name = msgpack.unpackb(payload, strict_map_key=False)
            assert address.decode() == name
            if kind == "heartbeat":
                self.beats.append(data)
                if self.answers and (self._knows_all or name in self.names):
                    await self.say("heartbeat", None, name)
            else:
                self.heard.append((kind, data))
                if kind == "client_ready" and self.answers:
                    if name not in self.names:
                        self.names.append(name)
                    await self.say("ack", self._ack or {"index": self.names.index(name)}, name)
            self._stirred.set()

    async def say(self, kind: str, data: object, name: str | None = None) -> None:
        """Say something to a worker, the first one unless another is named."""
        await self.send(msgpack.packb((kind, data, name)), name)

    async def send(self, payload: bytes, name: str | None = None) -> None:
        await self._socket.send_multipart([(name or self.names[0]).encode(), payload])

    async def spawn(self, users: int, name: str | None = None, **others: Any) -> None:
        """Want so many phones of a worker."""
        self._stamp += 1
        data = {
            "timestamp": self._stamp,
            "user_classes_count": {"SipPhone": users},
            "host": None,
            "stop_timeout": 0.0,
            "parsed_options": {"expect_workers": 1, "tags": None},
        }
        await self.say("spawn", {**data, **others}, name)

    async def until(self, condition: Callable[[], Any]) -> None:
        """Wait for something that the worker says."""
        async with asyncio.timeout(10):
            while not condition():
                self._stirred.clear()
                await self._stirred.wait()

    async def hear(self, kind: str, count: int = 1) -> Any:
        """Wait until something has been said so often; returns the data of that time."""
        await self.until(lambda: len(self.said(kind)) >= count)
        return self.said(kind)[count - 1]

    def said(self, kind: str) -> list[Any]:
        """The data of all messages of a kind."""
        return [data for one, data in self.heard if one == kind]

    def kinds(self) -> list[str]:
        """What was said, without the reports."""
        return [kind for kind, _ in self.heard if kind != "stats"]

    def told(self, name: str, what: str = "num_requests") -> int:
        """The sum over all reports of a number of a row."""
        return sum(row[what] for report in self.said("stats") for row in report["stats"] if row["name"] == name)


async def _run(plan: Plan, master: int, name: str) -> None:
    def say(**line: Any) -> None:
        sys.stdout.write(json.dumps(line) + "\n")
        sys.stdout.flush()

    worker = LocustWorker(plan, Population(plan), "127.0.0.1", master, name=name, tell=lambda line: say(line=line))

    async def tell_all() -> None:
        last = None
        while True:
            if (now := worker.totals()) != last:
                say(totals=now)
                last = now
            await asyncio.sleep(0.1)

    asyncio.get_running_loop().add_signal_handler(signal.SIGINT, worker.stop)
    telling = asyncio.create_task(tell_all())
    totals = await worker.run()
    telling.cancel()
    say(totals=totals)


def main() -> None:
    """A worker as a process: its lines and its totals, whenever they change, as JSON to standard output."""
    port, authority, users, master, name = sys.argv[1:]
    plan = plan_of(
        server=f"127.0.0.1:{port}", phones=[{"users": users, "password": "secret"}], trust={"ca": [authority]}
    )
    asyncio.run(_run(plan, int(master), name))
