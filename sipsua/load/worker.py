"""One worker of a load run: a process of its own with one loop, which runs its share of the phones on one core.

The engine starts `main` here with one end of a socket pair as standard input. The plan comes over it, so no password stands in a command
line or in the environment; samples go back over it, and what the engine says in between is little: a phase begins, stop, be off. Each
message is a pickle behind its length; both ends are the same program of the same user. The worker takes no signals that mean the engine
(Ctrl-C, SIGTERM to a whole service), because a phone whose process is gone leaves its binding behind: the engine decides, and when the
engine is gone, which the end of the socket says, the phones unregister and the worker ends by itself.
"""

from __future__ import annotations

import asyncio
import gc
import os
import pickle
import resource
import signal
import socket
import traceback
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Protocol

from sipsua.errors import Misuse, SipsuaError
from sipsua.load.plan import Plan
from sipsua.load.sample import Sample

MARGIN = 5.0
"""Seconds beyond the plan's grace in which a worker that was told to stop has to end."""
LIMIT = 1 << 20
"""Octets of messages that wait to be read before the writer has to wait."""


class Phones(Protocol):
    """What a worker runs: a `Fleet`."""

    def run(self) -> AsyncIterator[Sample]:
        """A sample a second until the plan is done."""

    def stop(self) -> None:
        """Go straight to unregistering."""


@dataclass(frozen=True, slots=True)
class Task:
    """The first that a worker hears."""

    plan: Plan
    """With this worker's own share of the handshakes in flight."""
    worker: int
    """Its number, from 0."""
    workers: int
    fleet: Callable[..., Phones]
    """Called with `plan, worker=, workers=, gate=`."""


@dataclass(frozen=True, slots=True)
class Begin:
    """The engine's answer when all have arrived."""

    phase: int
    at: float
    """When the phase begins: CLOCK_MONOTONIC, one clock for all processes of a machine."""


class Order(StrEnum):
    """What else the engine says."""

    STOP = "stop"
    """Unregister within the plan's grace, and tell the rest."""
    QUIT = "quit"
    """End now."""


@dataclass(frozen=True, slots=True)
class Arrived:
    """The worker has finished what came before this phase and waits for the others."""

    phase: int


@dataclass(frozen=True, slots=True)
class Failed:
    """An error has ended the worker. It travels as words: not every error can be pickled."""

    misuse: bool
    """The user's to mend: the plan, or a file that it names. Else sipsua itself is wrong."""
    what: str
    fix: str


@dataclass(frozen=True, slots=True)
class Done:
    """The last that a worker says after a run that nothing has cut off."""


def frame(message: object) -> bytes:
    """A message as it goes over the socket."""
    data = pickle.dumps(message, pickle.HIGHEST_PROTOCOL)
    return len(data).to_bytes(4, "big") + data


async def receive(reader: asyncio.StreamReader) -> Any:
    """The next message; None when the other end is gone."""
    try:
        length = int.from_bytes(await reader.readexactly(4), "big")
        return pickle.loads(await reader.readexactly(length))
    except (asyncio.IncompleteReadError, ConnectionError):
        return None


async def work(channel: socket.socket) -> None:
    """The whole life of a worker on the running loop. `channel` is its end of the pair; it is closed in the end."""
    reader, writer = await asyncio.open_connection(sock=channel, limit=LIMIT)
    try:
        task = await receive(reader)
        if task is not None:
            await _Worker(task, reader, writer).run()
    finally:
        writer.close()


def main() -> None:
    """The process."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    # A pass of the garbage collector over thousands of phones takes tenths of a second, in which none of them answers. What is dear in a
    # phone goes without it, so the old ones are looked at seldom; and what has been imported, never.
    gc.freeze()
    gc.set_threshold(5_000, 10, 20)
    channel = socket.socket(fileno=os.dup(0))
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    with asyncio.Runner(loop_factory=loop_factory()) as runner:
        runner.run(work(channel))


def loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """Of uvloop where it is installed; None is asyncio's own. The clock of both is CLOCK_MONOTONIC, uvloop's in whole milliseconds."""
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.new_event_loop


class _Worker:
    """A worker while it runs. It is its fleet's gate, too."""

    def __init__(self, task: Task, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._task = task
        self._reader = reader
        self._writer = writer
        self._loop = asyncio.get_running_loop()
        self._fleet: Phones | None = None
        self._stopped = False
        self._waiting: asyncio.Future[float] | None = None
        self._running: asyncio.Task[None] | None = None

    async def begin(self, phase: int) -> float:
        """Wait for the other workers: the instant of the loop's clock at which the phase begins for all. After a stop nobody waits."""
        if self._stopped:
            return self._loop.time()
        self._send(Arrived(phase))
        self._waiting = self._loop.create_future()
        try:
            return await self._waiting
        finally:
            self._waiting = None

    async def run(self) -> None:
        """Run the fleet, then wait until the engine has hung up: it may be about to say something to a socket that is still open."""
        self._running = self._loop.create_task(self._run())
        hearing = self._loop.create_task(self._hear())
        try:
            await asyncio.wait([self._running])
            await hearing
        finally:
            self._running.cancel()
            hearing.cancel()
            await asyncio.wait([self._running, hearing])

    async def _run(self) -> None:
        task = self._task
        try:
            self._fleet = task.fleet(task.plan, worker=task.worker, workers=task.workers, gate=self)
            async for sample in self._fleet.run():
                # Never awaited: an engine that is slow for a while must not hold up the phones.
                self._send(sample)
            self._send(Done())
        except asyncio.CancelledError:
            self._send(Done())
        except Misuse as error:
            self._send(Failed(True, error.what, error.fix))
        except Exception as error:
            traceback.print_exc()
            what = error.what if isinstance(error, SipsuaError) else f"{type(error).__name__}: {error}"
            self._send(Failed(False, what, "please report it with what the worker wrote to standard error"))

    async def _hear(self) -> None:
        while (message := await receive(self._reader)) is not None:
            if isinstance(message, Begin):
                if self._waiting is not None and not self._waiting.done():
                    self._waiting.set_result(message.at)
            elif message is Order.STOP:
                self._stop()
            else:
                self._quit()
        self._stop()
        self._loop.call_later(self._task.plan.grace + MARGIN, self._quit)

    def _stop(self) -> None:
        self._stopped = True
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(self._loop.time())
        if self._fleet is not None:
            self._fleet.stop()

    def _quit(self) -> None:
        if self._running is not None:
            self._running.cancel()

    def _send(self, message: object) -> None:
        if not self._writer.is_closing():
            self._writer.write(frame(message))
