"""One account on the wire: it opens the account's flow, turns its one timer, and hands its events to its one sink.

After each call into the account `pump` does what there is to do: bytes out, flow closed or wished for, timer, events. Nothing here
decides anything; no task runs while a flow stands.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime

from sipsua.account import messages
from sipsua.account.account import Account
from sipsua.account.asking import Answer
from sipsua.account.config import AccountConfig, Connection
from sipsua.errors import FlowLost, SipsuaError
from sipsua.events import CallEvent, Event, HandshakeStepped, Negotiated
from sipsua.net.connect import Connector
from sipsua.net.desk import Desk
from sipsua.net.flow import Flow
from sipsua.net.listen import Listener
from sipsua.net.trunk import SharedFlow

Sink = Callable[[Event], None]
"""Takes an account's events, in order. It may call the line, and must not raise."""


class Line:
    """One account on the wire. Itself the rider of the account's own flow; on a shared one the trunk stands between."""

    __slots__ = (
        "__weakref__",
        "_began",
        "_closed",
        "_connector",
        "_desk",
        "_dropped",
        "_flow",
        "_listener",
        "_opening",
        "_shared",
        "_sink",
        "_steps",
        "_timer",
        "_timer_at",
        "account",
    )

    def __init__(
        self,
        config: AccountConfig,
        connector: Connector,
        sink: Sink,
        *,
        listener: Listener | None = None,
        steps: bool = False,
    ) -> None:
        """`listener`: where the account can be called, too; it must listen. `steps`: tell each message of the handshake as
        `HandshakeStepped` (costs a sixth of it)."""
        self.account = Account(config, connector.dice)
        self._connector = connector
        self._sink = sink
        self._steps = steps
        self._began = 0.0
        self._closed = False
        self._flow: Flow | None = None
        self._dropped: list[Flow] = []
        self._shared: SharedFlow | None = None
        self._opening: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = 0.0
        self._desk: Desk | None = None
        self._listener = listener
        if listener is not None:
            listener.admit(self)

    def register(self) -> None:
        """Wish for a binding, and keep it."""
        self.account.register(self._connector.now())
        self.pump()

    def unregister(self) -> None:
        """Wish for no binding."""
        self.account.unregister(self._connector.now())
        self.pump()

    def refresh(self) -> bool:
        """Renew the binding now; returns whether that has begun."""
        begun = self.account.refresh(self._connector.now())
        self.pump()
        return begun

    @property
    def desk(self) -> Desk:
        """Where calls are made and taken. A line that has none carries nothing for them."""
        if self._desk is None:
            self._desk = Desk(self.account, self._connector, self._sink, self.pump)
        return self._desk

    def subscribe(self, package: str, target: str) -> None:
        """Watch somebody's `message-summary` or `dialog`: what changes is told as events. Raises Misuse, BadConfiguration."""
        self.account.subscriptions.subscribe(package, target, self._connector.now())
        self.pump()

    def unsubscribe(self, package: str, target: str) -> None:
        """Watch it no more."""
        self.account.subscriptions.unsubscribe(package, target, self._connector.now())
        self.pump()

    def message(self, target: str, text: str, take: Callable[[Answer, float], None]) -> None:
        """Send a text; `take` hears the answer. Raises Misuse, BadConfiguration."""
        messages.send(self.account, target, text, take, self._connector.now())
        self.pump()

    def cut(self, *, reset: bool) -> bool:
        """Break the flow as an accident does, for all that share it: without a word (`reset`), or with close_notify. The account does
        what it does after any loss. Returns whether there was one."""
        if self._shared is not None:
            return self._shared.cut(reset=reset)
        flow = self._flow
        if flow is None:
            return False
        if reset:
            flow.abort()
        else:
            flow.close()
        self.flow_lost(FlowLost("we cut the flow", kind="cut"))
        return True

    async def close(self) -> None:
        """Leave the wire: orderly, within the account's limit, and with nothing left behind. The last events tell of it.

        A binding that still stands is removed without waiting for the answer; `unregister` first where that matters.
        """
        self._closed = True
        if self._listener is not None:
            self._listener.dismiss(self)
        if self._desk is not None:
            self._desk.hang_up_all()
        self.account.unsubscribe_all(self._connector.now())
        self.unregister()
        if self._opening is not None:
            self._opening.cancel()
            await asyncio.wait([self._opening])
        if self._shared is not None:
            await self._shared.leave(self)
        if self._flow is not None:
            self._drop("we left")
        self.pump()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        for dropped in self._dropped:
            await dropped.wait_closed()
        self._dropped.clear()  # they know us: without a circle a line goes when nobody holds it any more, garbage collector or not

    # The rider of a flow

    def flow_unreachable(self, error: SipsuaError) -> None:
        """No TCP connection came about."""
        self.account.flow_failed(error, None, self._connector.now(), datetime.now(UTC))
        self.pump()

    def flow_negotiating(self, flow: Flow) -> None:
        self._began = self._connector.now()
        self._flow = flow
        self._dropped = [dropped for dropped in self._dropped if not dropped.is_closed]
        self.account.flow_negotiating(datetime.now(UTC))
        self.pump()

    def flow_opened(self, flow: Flow, negotiated: Negotiated) -> None:
        verdict = flow.pipe.verdict
        assert verdict is not None
        self.account.flow_opened(verdict, negotiated, flow.timings_ms, self._connector.now(), flow.target)
        self.pump()

    def flow_data(self, data: bytes) -> None:
        self.account.receive_data(data, self._connector.now())
        self.pump()

    def flow_failed(self, flow: Flow, error: SipsuaError) -> None:
        self._forget(self._flow)
        self.account.flow_failed(error, flow.pipe.verdict, self._connector.now(), datetime.now(UTC))
        self.pump()

    def flow_lost(self, error: FlowLost) -> None:
        self._forget(self._flow)
        self.account.flow_lost(error, self._connector.now(), datetime.now(UTC))
        self.pump()

    # What there is to do

    def pump(self) -> None:
        """Do what there is to do, after each call into the account."""
        account = self.account
        data = account.data_to_send()
        if data and self._flow is not None:
            self._flow.send(data)
        if account.wants_close is not None:
            self._drop(account.wants_close)
        if account.wants_flow and self._opening is None and not self._closed:
            account.wants_flow = False
            self._connect()
        deadline = account.get_timer()
        # A timer that fires too early finds nothing due and is set anew: cheaper than to move it at each message.
        if deadline is not None and (self._timer is None or deadline < self._timer_at):
            if self._timer is not None:
                self._timer.cancel()
            self._timer = self._connector.loop.call_at(deadline, self._fire)
            self._timer_at = deadline
        while (event := account.next_event()) is not None:
            if self._desk is not None and isinstance(event, CallEvent):
                self._desk.take(event)
            else:
                self._sink(event)

    def _fire(self) -> None:
        self._timer = None
        self.account.handle_timer(self._connector.now())
        self.pump()

    def _connect(self) -> None:
        account, config = self.account, self.account.config
        if config.connection is Connection.OWN:
            self._opening = self._connector.loop.create_task(self._open())
        else:
            self._shared = SharedFlow.of(self._connector, account.target, config.policy, config.limits, config.source)
            self._shared.join(self, self._stepped if self._steps else None)

    def _drop(self, reason: str) -> None:
        flow = self._flow
        if self._shared is not None:
            flow = self._shared.part(self)
        elif flow is not None:
            flow.close()
        self._forget(flow)
        self.account.flow_lost(FlowLost(reason), self._connector.now(), datetime.now(UTC))

    def _forget(self, flow: Flow | None) -> None:
        """The account has no flow any more. The socket goes when close_notify is answered or its limit is over; who leaves waits."""
        self._flow = None
        if flow is not None:
            self._dropped.append(flow)

    async def _open(self) -> None:
        config = self.account.config
        try:
            await self._connector.open(
                self,
                self.account.target,
                config.policy,
                config.limits,
                self._stepped if self._steps else None,
                source=config.source,
            )
        except SipsuaError as error:
            self._opening = None
            self.flow_unreachable(error)
        else:
            self._opening = None
            self.pump()

    def _stepped(self, step: str) -> None:
        self._sink(HandshakeStepped(step, (self._connector.now() - self._began) * 1000))
