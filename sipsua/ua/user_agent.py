"""One phone as a program holds it: entered, registered, asked for its padlock, left.

    async with UserAgent(config) as ua:
        await ua.register()
        print(ua.lock.state, ua.verdict.anchor)

The account underneath goes on by itself: it refreshes, pings, and comes back after a lost flow. Leaving the block removes the binding,
says close_notify and waits for both within the account's limits, whatever happened inside. No task and no socket is left behind; a
binding only where the registrar could not be asked, because the flow was lost or no answer came.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from types import TracebackType
from typing import Self
from weakref import WeakValueDictionary

from sipsua.account.asking import Answer
from sipsua.account.config import AccountConfig
from sipsua.account.registration import State
from sipsua.errors import BadConfiguration, Lost, Misuse, NoAnswer
from sipsua.events import (
    CallDialled,
    CallEvent,
    CallOffered,
    Event,
    Lock,
    Registered,
    RegistrationFailed,
    Unregistered,
    Verdict,
)
from sipsua.media.audio import Prepared, Recorder, Sink, Source
from sipsua.net.connect import Connector
from sipsua.net.line import Line
from sipsua.net.listen import Listener
from sipsua.ua.call import Call

MAX_UNHEARD = 10_000
"""Events that wait for a reader of `events()`: days of a phone's life. Who reads no more of them loses the oldest."""


class UserAgent:
    """One account on the wire. Used as an async context manager, once; all methods belong to the loop that entered it.

    The methods may be called side by side: they wait for the same events, and what one of them ends is told to the others.
    """

    def __init__(
        self,
        config: AccountConfig,
        *,
        connector: Connector | None = None,
        listener: Listener | None = None,
        steps: bool = False,
    ) -> None:
        """`connector` paces its phones and lets them share flows; one serves all of a loop by default. `listener` is where the phone
        takes connections, entered before and left after it: the Contact names its port, and requests that come there are answered.
        `steps` adds the messages of each handshake to the events. Raises BadConfiguration for what is no AccountConfig."""
        if not isinstance(config, AccountConfig):
            raise BadConfiguration(
                f"a user agent cannot be made of type {type(config).__name__}", fix="give it an AccountConfig"
            )
        self.config = config
        self._connector = connector
        self._listener = listener
        self._steps = steps
        self._line: Line | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._left = False
        self._binding: Registered | None = None
        self._waiters: set[asyncio.Future[Event]] = set()
        self._calls: dict[int, Call] = {}
        self._callees: list[asyncio.Queue[Call | None]] = []
        self._recorder: Recorder | None = None
        self._listeners: list[asyncio.Queue[Event | None]] = []

    async def __aenter__(self) -> Self:
        if self._line is not None:
            raise Misuse("this user agent was entered before", fix="make a new one for each `async with`")
        self._loop = asyncio.get_running_loop()
        connector = self._connector or _shared_connector()
        self._line = Line(self.config, connector, self._take, listener=self._listener, steps=self._steps)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        line = self._entered
        try:
            await self.unregister()
        finally:
            self._left = True
            await line.close()
            self._wake(Unregistered(None))
            for listener in self._listeners:
                listener.put_nowait(None)
            for callee in self._callees:
                callee.put_nowait(None)

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
        """The last answer of the registrar while our binding stands and is wanted, else None."""
        return self._binding

    async def register(self, within: float | None = None) -> Registered:
        """Register, and stay registered until `unregister` or the end of the block.

        Raises what went wrong at the first attempt, and then tries no more: `CertificateRefused`, `HandshakeFailed`, `Unreachable`,
        `CredentialsRefused`, `Refused`, `FlowLost`; `NoAnswer` after `within` seconds; `Lost` where the binding was unregistered
        meanwhile. Cancelled, it takes the wish back, unless the binding stands already.
        """
        line = self._inside
        registration = line.account.registration
        try:
            async with asyncio.timeout(within):
                while registration.state is State.UNREGISTERING:
                    await self._next_outcome()
                if self._binding is not None:
                    return self._binding
                line.register()
                event = await self._next_outcome()
        except TimeoutError:
            self._withdraw()
            raise NoAnswer(f"not registered within {within:g} s", fix="see which step hangs with --trace") from None
        except BaseException:
            if self._binding is None:
                self._withdraw()
            raise
        if isinstance(event, Registered):
            return event
        if isinstance(event, RegistrationFailed):
            self._withdraw()
            raise event.error
        raise Lost("unregistered before the binding stood", fix="register again where it is wanted after all")

    async def unregister(self) -> Unregistered:
        """Remove the binding; waits for the registrar's answer no longer than `config.limits.close`."""
        registration = self._inside.account.registration
        self._withdraw()
        if registration.state is State.UNREGISTERED:
            return Unregistered(None)
        try:
            async with asyncio.timeout(self.config.limits.close):
                while not isinstance(event := await self._next_outcome(), Unregistered):
                    pass
        except TimeoutError:
            return Unregistered(None)
        return event

    async def call(
        self,
        uri: str,
        *,
        source: Source | Prepared | None = None,
        sink: Sink | None = None,
        record: bool = False,
        silent: bool = False,
    ) -> Call:
        """Call somebody: a URI, `user@host`, or a number of the account's own domain. It is under way when this returns: await `answered`.

        `source` is played (silence where None); `sink` hears, or with `record` the call's `recorder`; `silent` sends and hears no packet.
        Raises Misuse without a flow, BadConfiguration for what cannot be called, Unreachable without free ports.
        """
        recorder = Recorder() if record else None
        desk = self._inside.desk
        self._recorder = recorder
        try:
            number = desk.dial(uri, source=source, sink=sink or recorder, silent=silent)
        finally:
            self._recorder = None
        return self._calls[number]

    def incoming(self) -> AsyncIterator[Call]:
        """Calls that come in, from this call on, until the block is left: each rings until it is answered or refused.

        While nobody asks for them calls are refused with 480.
        """
        queue: asyncio.Queue[Call | None] = asyncio.Queue()
        if self._left:
            queue.put_nowait(None)
        else:
            self._inside.desk.take_calls()
        self._callees.append(queue)
        return self._offers(queue)

    async def _offers(self, queue: asyncio.Queue[Call | None]) -> AsyncIterator[Call]:
        try:
            while (call := await queue.get()) is not None:
                yield call
        finally:
            self._callees.remove(queue)

    def watch(self, target: str) -> None:
        """Watch whether somebody is in a call: `LampChanged` tells, and `SubscriptionEnded` where that cannot be.

        Raises Misuse without a flow, BadConfiguration for what is no address.
        """
        self._inside.subscribe("dialog", target)

    def watch_voicemail(self, mailbox: str | None = None) -> None:
        """Watch a mailbox, our own unless another is given: `VoicemailChanged` tells, and `SubscriptionEnded` where that cannot be.

        Raises as `watch`.
        """
        self._inside.subscribe("message-summary", mailbox or str(self.config.aor))

    def unwatch(self, target: str) -> None:
        """Watch somebody no more."""
        self._inside.unsubscribe("dialog", target)

    async def message(self, target: str, text: str) -> None:
        """Send a text (RFC 3428), and wait for the answer.

        Raises Misuse without a flow, BadConfiguration for what is no address and for more than 1300 octets, and what it was refused with.
        """
        answered: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()

        def take(answer: Answer, _now: float) -> None:
            if answer.status >= 200 and not answered.done():
                answered.set_result(answer)

        self._inside.message(target, text, take)
        error = (await answered).error
        if error is not None:
            raise error

    @property
    def calls(self) -> list[Call]:
        """The calls that are not over, oldest first."""
        return [call for call in self._calls.values() if call.end is None]

    def events(self) -> AsyncIterator[Event]:
        """All events from this call on, until the block is left."""
        queue: asyncio.Queue[Event | None] = asyncio.Queue()
        if self._left:
            queue.put_nowait(None)
        self._listeners.append(queue)
        return self._listen(queue)

    async def _listen(self, queue: asyncio.Queue[Event | None]) -> AsyncIterator[Event]:
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

    @property
    def _inside(self) -> Line:
        if self._left:
            raise Misuse("the user agent was left", fix="make a new one, and do it inside its `async with`")
        if self._loop is not None and asyncio.get_running_loop() is not self._loop:
            raise Misuse(
                "the user agent was entered in another event loop",
                fix="use it there, with asyncio.run_coroutine_threadsafe, or make one for each loop",
            )
        return self._entered

    def _withdraw(self) -> None:
        """The binding is not wanted any more."""
        self._binding = None
        line = self._entered
        line.unregister()
        if line.account.registration.state is State.UNREGISTERED:
            # Nothing was bound, so no event tells the others.
            self._wake(Unregistered(None))

    async def _next_outcome(self) -> Event:
        """The next event that ends a wish."""
        waiter: asyncio.Future[Event] = asyncio.get_running_loop().create_future()
        self._waiters.add(waiter)
        try:
            return await waiter
        finally:
            self._waiters.discard(waiter)

    def _wake(self, event: Event) -> None:
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_result(event)

    def _take(self, event: Event) -> None:
        """The sink of the account."""
        for listener in self._listeners:
            if listener.qsize() >= MAX_UNHEARD:
                listener.get_nowait()
            listener.put_nowait(event)
        if isinstance(event, CallEvent):
            self._take_call(event)
        elif isinstance(event, Registered | RegistrationFailed | Unregistered):
            wanted = self._entered.account.registration.state in (State.REGISTERED, State.REFRESHING)
            self._binding = event if isinstance(event, Registered) and wanted else None
            self._wake(event)

    def _take_call(self, event: CallEvent) -> None:
        if isinstance(event, CallDialled | CallOffered):
            call = self._calls[event.call] = Call(self._entered, event, self._recorder)
            before = event.referred if isinstance(event, CallDialled) else event.replaces
            if before is not None and before in self._calls:
                self._calls[before].successor = call
                call.recorder = self._calls[before].recorder
            elif isinstance(event, CallOffered):
                for callee in self._callees:
                    callee.put_nowait(call)
            return
        known = self._calls.get(event.call)
        if known is not None:
            known.take(event)
            if known.end is not None:
                del self._calls[event.call]


def _shared_connector() -> Connector:
    """The connector that all user agents of the running loop share."""
    loop = asyncio.get_running_loop()
    connector = _connectors.get(loop)
    if connector is None:
        connector = _connectors[loop] = Connector()
    return connector


# A connector refers to its loop, so it is the phones that keep it: with the last of them both can go.
_connectors: WeakValueDictionary[asyncio.AbstractEventLoop, Connector] = WeakValueDictionary()
