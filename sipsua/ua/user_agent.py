"""One phone as a program holds it: entered, registered, asked for its padlock, left.

    async with UserAgent(config) as ua:
        await ua.register()
        print(ua.lock.state, ua.verdict.anchor)

The account underneath goes on by itself: it refreshes, pings, and comes back after a lost flow. Leaving the block removes the binding,
says close_notify and waits for both within the account's limits, whatever happened inside: no task, socket or binding is left behind.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from types import TracebackType
from typing import Self

from sipsua.account.config import AccountConfig
from sipsua.account.registration import State
from sipsua.errors import Misuse, NoAnswer
from sipsua.events import Event, Lock, Registered, RegistrationFailed, Unregistered, Verdict
from sipsua.net.connect import Connector
from sipsua.net.line import Line


class UserAgent:
    """One account on the wire. Used as an async context manager; all methods belong to the loop that entered it."""

    def __init__(self, config: AccountConfig, *, connector: Connector | None = None, steps: bool = False) -> None:
        """`connector` is shared by phones that are to be paced together or share flows. `steps` adds `HandshakeStepped` events."""
        self.config = config
        self._connector = connector
        self._steps = steps
        self._line: Line | None = None
        self._binding: Registered | None = None
        self._waiter: asyncio.Future[Event] | None = None
        self._listeners: list[asyncio.Queue[Event | None]] = []

    async def __aenter__(self) -> Self:
        if self._line is not None:
            raise Misuse("this user agent was entered before", fix="make a new one for each `async with`")
        self._line = Line(self.config, self._connector or Connector(), self._take, steps=self._steps)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        line = self._entered
        try:
            if line.account.registration.state is not State.UNREGISTERED:
                await self.unregister()
        finally:
            await line.close()
            for listener in self._listeners:
                listener.put_nowait(None)

    @property
    def lock(self) -> Lock:
        """The padlock now."""
        return self._entered.account.lock

    @property
    def verdict(self) -> Verdict | None:
        """What was found about the server's certificate in the last handshake that came so far."""
        return self._entered.account.verdict

    @property
    def binding(self) -> Registered | None:
        """The last answer of the registrar while our binding stands, else None."""
        return self._binding

    async def register(self, within: float | None = None) -> Registered:
        """Register, and stay registered until `unregister` or the end of the block.

        Raises what went wrong at the first attempt, and then tries no more: `CertificateRefused`, `HandshakeFailed`, `Unreachable`,
        `CredentialsRefused`, `Refused`, `FlowLost`, or `NoAnswer` after `within` seconds. Cancelled, it takes the wish back.
        """
        line = self._entered
        if self._binding is not None:
            return self._binding
        try:
            async with asyncio.timeout(within):
                line.register()
                event = await self._answer()
        except TimeoutError:
            line.unregister()
            raise NoAnswer(f"not registered within {within:g} s", fix="see which step hangs with --trace") from None
        except BaseException:
            line.unregister()
            raise
        if isinstance(event, RegistrationFailed):
            line.unregister()
            raise event.error
        assert isinstance(event, Registered)
        return event

    async def unregister(self) -> Unregistered:
        """Remove the binding; waits for the registrar's answer no longer than `config.limits.close`."""
        line = self._entered
        line.unregister()
        if line.account.registration.state is State.UNREGISTERED:
            return Unregistered(None)
        try:
            async with asyncio.timeout(self.config.limits.close):
                while not isinstance(event := await self._answer(), Unregistered):
                    pass
        except TimeoutError:
            return Unregistered(None)
        return event

    async def events(self) -> AsyncIterator[Event]:
        """All events from now on, until the block is left."""
        queue: asyncio.Queue[Event | None] = asyncio.Queue()
        self._listeners.append(queue)
        try:
            while (event := await queue.get()) is not None:
                yield event
        finally:
            self._listeners.remove(queue)

    @property
    def _entered(self) -> Line:
        if self._line is None:
            raise Misuse("the user agent was not entered", fix="use it as `async with UserAgent(config) as ua:`")
        return self._line

    async def _answer(self) -> Event:
        """The next event that ends a wish."""
        self._waiter = asyncio.get_running_loop().create_future()
        try:
            return await self._waiter
        finally:
            self._waiter = None

    def _take(self, event: Event) -> None:
        """The sink of the account."""
        if isinstance(event, Registered):
            self._binding = event
        elif isinstance(event, RegistrationFailed | Unregistered):
            self._binding = None
        for listener in self._listeners:
            listener.put_nowait(event)
        if isinstance(event, Registered | RegistrationFailed | Unregistered):
            waiter = self._waiter
            if waiter is not None and not waiter.done():
                waiter.set_result(event)
