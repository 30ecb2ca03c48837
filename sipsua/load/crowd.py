"""The phones of one event loop: started, refreshed, cut and stopped by number, each a line of its own, all measured into one sample.

A phone's latencies count from the *intended* instant, which its caller gives: what the generator itself is late by, and the wait for a turn
under the limit of handshakes in flight, is in them (no coordinated omission). Nothing here decides when who does what: a `Fleet` does,
or Locust's master.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from enum import StrEnum
from typing import Any, Protocol

from sipsua.account.config import AccountConfig, Connection
from sipsua.account.registration import State
from sipsua.errors import FlowLost, SipsuaError
from sipsua.events import (
    Event,
    FlowOpened,
    Lock,
    LockChanged,
    MessageDropped,
    Registered,
    RegistrationFailed,
    RequestAnswered,
    Unregistered,
)
from sipsua.load.faults import error_class
from sipsua.load.sample import Count, Sample, Step
from sipsua.net.connect import Connector
from sipsua.net.line import Line


class Phones(Protocol):
    """Whom a crowd is made of: a `Population`."""

    def config(self, index: int) -> AccountConfig:
        """The account of a phone."""

    def label(self, index: int) -> str:
        """What a phone is called in a message."""


class Awaited(StrEnum):
    """The outcome that a phone owes."""

    NOTHING = "nothing"
    REGISTER = "register"
    """The first answer, be it yes or no."""
    REFRESH = "refresh"
    RECOVER = "recover"
    """A new binding after a lost flow; only that, or that it has given up."""
    UNREGISTER = "unregister"


class Crowd:
    """Phones on the running loop. All methods but `close` return at once; what comes of them is in the samples."""

    def __init__(self, population: Phones, connector: Connector) -> None:
        self._population = population
        self._connector = connector
        self._phones: dict[int, _Phone] = {}
        self._leaving: set[_Phone] = set()
        self._closing: set[asyncio.Task[None]] = set()
        self._shared: list[dict[str, float]] = []
        self._moved = asyncio.Event()
        self._sent = connector.traffic.sent
        self._received = connector.traffic.received
        self.sample = Sample(second=0, at=0.0, phase=0, length=0.0)
        """The open sample, into which everything is recorded."""
        self.locked = 0
        """Phones whose padlock is closed."""
        self.registered = 0
        """Phones with a binding."""
        self.pending = 0
        """Phones that owe an outcome of what they were told, or of a loss."""

    def __len__(self) -> int:
        """Phones that are wanted registered."""
        return len(self._phones)

    def __contains__(self, phone: int) -> bool:
        return phone in self._phones

    def start(self, phone: int, intended: float) -> None:
        """Register a phone, and keep it registered; nothing where it is. `intended` is a value of the loop's clock."""
        if phone in self._phones:
            return
        self.sample.counts[Count.STARTED] += 1
        one = self._phones[phone] = _Phone(self, phone, self._population.config(phone), self._connector, intended)
        one.owe(Awaited.REGISTER)
        one.line.register()

    def refresh(self, phone: int, intended: float) -> None:
        """Renew a phone's binding now; nothing where it has none, or is renewing it."""
        one = self._phones.get(phone)
        if one is not None and one.registered and one.line.refresh():
            one.due = intended
            one.owe(Awaited.REFRESH)

    def cut(self, phone: int, *, reset: bool) -> None:
        """Break a phone's flow, without a word or with close_notify; nothing where it has none."""
        one = self._phones.get(phone)
        if one is not None:
            one.line.cut(reset=reset)

    def stop(self, phone: int, intended: float) -> None:
        """Remove a phone's binding, then close its flow."""
        one = self._phones.pop(phone, None)
        if one is None:
            return
        one.due = intended
        self._leaving.add(one)
        one.owe(Awaited.UNREGISTER)
        one.line.unregister()
        if one.line.account.registration.state is State.UNREGISTERED:
            self.left(one)  # nothing was bound, so no event tells of it

    def take(self, *, second: int, phase: int, at: float, length: float) -> Sample:
        """Close the open sample, with the gauges as they are, and open the next. `at` is Unix time, `length` in seconds."""
        sample, traffic = self.sample, self._connector.traffic
        sample.second, sample.phase, sample.at, sample.length = second, phase, at, length
        sample.phones, sample.locked, sample.registered = len(self._phones), self.locked, self.registered
        sample.opening = self._connector.opening
        sample.sent, self._sent = traffic.sent - self._sent, traffic.sent
        sample.received, self._received = traffic.received - self._received, traffic.received
        self.sample = Sample(second=second + 1, at=at, phase=phase, length=0.0)
        return sample

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait until something is so; looked at after whatever a phone owes or has done."""
        while not condition():
            self._moved.clear()
            await self._moved.wait()

    async def close(self, within: float = 0.0) -> None:
        """Let all phones go, and wait until nothing is left of them. Those that were stopped have `within` seconds for the registrar's
        answer; the flows, and bindings that stand then, have the limit of their accounts."""
        with suppress(TimeoutError):
            async with asyncio.timeout(within):
                await self.until(lambda: not self._leaving)
        for one in list(self._leaving):
            self.gone(one)
        for phone in list(self._phones):
            self.stop(phone, self._connector.now())
        for one in list(self._leaving):
            self.gone(one)
        while self._closing:
            await asyncio.wait(self._closing)

    def stir(self) -> None:
        """Have those who wait look again."""
        self._moved.set()

    def now(self) -> float:
        """The phones' clock."""
        return self._connector.now()

    def label(self, phone: int) -> str:
        """What a phone is called."""
        return self._population.label(phone)

    def left(self, one: _Phone) -> None:
        """The registrar has answered who leaves, or cannot be asked any more."""
        if one in self._leaving:
            self.gone(one)

    def gone(self, one: _Phone) -> None:
        """Let go what still stands of a phone that has left."""
        one.owe(Awaited.NOTHING)
        one.unbind()
        self._leaving.discard(one)
        self.stir()
        task = self._connector.loop.create_task(self._close(one))
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)

    async def _close(self, one: _Phone) -> None:
        await one.line.close()
        del one.line  # its sink is the phone: a circle less for the garbage collector, whose passes hold up all phones

    def opened(self, timings_ms: dict[str, float], lock: Lock, *, shared: bool) -> bool:
        """Count a handshake, for all that share the flow once; returns whether it was counted."""
        if shared:
            if any(timings_ms is one for one in self._shared):
                return False
            self._shared.append(timings_ms)
        counts = self.sample.counts
        counts[Count.HANDSHAKES] += 1
        counts[_VERSIONS.get(lock.protocol or "", Count.OLD_TLS)] += 1
        counts[Count.RESUMED] += lock.resumed
        counts[Count.UNVERIFIED] += not lock.verified
        for step in (Step.DNS, Step.TCP, Step.TLS):
            self.sample.record(step, timings_ms[step] / 1000)
        return True


class _Phone:
    """One phone: what it owes, and since when."""

    __slots__ = ("_awaits", "_crowd", "_locked", "_lost_at", "_number", "due", "intended", "line", "registered")

    def __init__(self, crowd: Crowd, number: int, config: AccountConfig, connector: Connector, intended: float) -> None:
        self._crowd = crowd
        self._number = number
        self._awaits = Awaited.NOTHING
        self._locked = False
        self._lost_at: float | None = None
        self.intended: float | None = intended
        """When it was to register; None once it has."""
        self.due = 0.0
        """When it is to renew its binding, or was to remove it."""
        self.registered = False
        self.line = Line(config, connector, self.take)

    def owe(self, what: Awaited) -> None:
        """Note which outcome is open now."""
        self._crowd.pending += (what is not Awaited.NOTHING) - (self._awaits is not Awaited.NOTHING)
        self._awaits = what
        self._crowd.stir()

    def unbind(self) -> None:
        """No binding any more."""
        self._crowd.registered -= self.registered
        self.registered = False

    def take(self, event: Event) -> None:
        """The sink of the line."""
        handler = _HANDLERS.get(type(event))
        if handler is not None:
            handler(self, event)

    def _lock_changed(self, event: LockChanged) -> None:
        self._crowd.locked += event.lock.locked - self._locked
        self._locked = event.lock.locked

    def _flow_opened(self, event: FlowOpened) -> None:
        crowd, account = self._crowd, self.line.account
        shared = account.config.connection is Connection.SHARED
        if (
            crowd.opened(event.timings_ms, account.lock, shared=shared)
            and self.intended is not None
            and self._awaits is Awaited.REGISTER
        ):
            waited = crowd.now() - self.intended - sum(event.timings_ms.values()) / 1000
            crowd.sample.record(Step.QUEUE, waited)

    def _registered(self, event: Registered) -> None:
        crowd, now = self._crowd, self._crowd.now()
        sample = crowd.sample
        if event.challenge_ms is not None:
            sample.record(Step.CHALLENGE, event.challenge_ms / 1000)
        sample.record(Step.FINAL, event.register_ms / 1000)
        if event.refreshed:
            sample.counts[Count.REFRESHED] += 1
            sample.record(Step.REFRESH, now - self.due)
        else:
            sample.counts[Count.REGISTERED] += 1
            if self._lost_at is not None:
                sample.record(Step.RECOVER, now - self._lost_at)
                sample.recovered.append(round(now * 1_000_000))
                self._lost_at = None
            elif self.intended is not None:
                sample.record(Step.REGISTER, now - self.intended)
                self.intended = None
        self.due = now + event.refresh_in
        crowd.registered += not self.registered
        self.registered = True
        self.owe(Awaited.NOTHING)

    def _failed(self, event: RegistrationFailed) -> None:
        crowd, error = self._crowd, event.error
        sample = crowd.sample
        if self.registered and isinstance(error, FlowLost):
            self._lost_at = crowd.now()
            sample.lose(self._lost_at)
            if error.kind == "cut":
                sample.counts[Count.CUT] += 1
            else:
                sample.counts[Count.LOST] += 1
                sample.fail(error_class(error), self._example(error))
            self.owe(Awaited.RECOVER)
        else:
            sample.counts[Count.FAILED] += 1
            sample.fail(error_class(error), self._example(error))
            if self._awaits is not Awaited.RECOVER:
                self.owe(Awaited.NOTHING)
        self.unbind()
        if event.retry_in is None:
            sample.counts[Count.REFUSED] += 1
            self.owe(Awaited.NOTHING)

    def _unregistered(self, event: Unregistered) -> None:
        crowd = self._crowd
        answered = event.status is not None and event.status < 300
        crowd.sample.counts[Count.UNREGISTERED if answered else Count.UNANSWERED] += 1
        if answered:
            crowd.sample.record(Step.UNREGISTER, crowd.now() - self.due)
        crowd.left(self)

    def _answered(self, _event: RequestAnswered) -> None:
        self._crowd.sample.counts[Count.ANSWERED] += 1

    def _dropped(self, event: MessageDropped) -> None:
        self._crowd.sample.counts[Count.DROPPED] += 1

    def _example(self, error: SipsuaError) -> str:
        return f"{self._crowd.label(self._number)}: {error}"


_VERSIONS = {"TLSv1.2": Count.TLS1_2, "TLSv1.3": Count.TLS1_3}

_HANDLERS: dict[type[Event], Callable[[_Phone, Any], None]] = {
    LockChanged: _Phone._lock_changed,
    FlowOpened: _Phone._flow_opened,
    Registered: _Phone._registered,
    RegistrationFailed: _Phone._failed,
    Unregistered: _Phone._unregistered,
    RequestAnswered: _Phone._answered,
    MessageDropped: _Phone._dropped,
}
