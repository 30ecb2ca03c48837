"""A trunk on the wire: the flow that many lines share is opened once, and closed when the last line has left.

It is to its lines what a flow of their own would be: they are told of its beginning and its end by the same verbs.
"""

from __future__ import annotations

import asyncio
from typing import Protocol
from weakref import WeakKeyDictionary

from sipsua.account.account import Account
from sipsua.account.config import Limits, Target
from sipsua.account.trunk import Trunk
from sipsua.errors import FlowLost, SipsuaError
from sipsua.events import Negotiated
from sipsua.net.connect import Connector
from sipsua.net.flow import Flow
from sipsua.net.tls import Steps
from sipsua.trust.policy import Policy


class Passenger(Protocol):
    """A line on a shared flow."""

    account: Account

    def flow_unreachable(self, error: SipsuaError) -> None:
        """No TCP connection came about."""

    def flow_negotiating(self, flow: Flow) -> None:
        """TCP stands, the handshake begins."""

    def flow_opened(self, flow: Flow, negotiated: Negotiated) -> None:
        """The handshake is finished, the certificate accepted."""

    def flow_failed(self, flow: Flow, error: SipsuaError) -> None:
        """The handshake failed."""

    def flow_lost(self, error: FlowLost) -> None:
        """The flow stood and is gone."""

    def pump(self) -> None:
        """The account has got a message: do what there is to do."""


class SharedFlow:
    """The lines that share one flow, from the first that joins to the end of the flow. The rider of that flow; used once."""

    def __init__(self, connector: Connector, key: _Key) -> None:
        """Use `SharedFlow.of`."""
        self._connector = connector
        self._key = key
        self._lines: dict[Account, Passenger] = {}
        self._opening: asyncio.Task[None] | None = None
        self._flow: Flow | None = None
        self._negotiated: Negotiated | None = None
        self._trunk = Trunk()
        self._timer: asyncio.TimerHandle | None = None

    @classmethod
    def of(
        cls, connector: Connector, target: Target, policy: Policy, limits: Limits, source: str | None = None
    ) -> SharedFlow:
        """The one for all lines of a connector that want the same server, policy, limits and own address."""
        current = _current.setdefault(connector, {})
        key = (target, policy, limits, source)
        if key not in current:
            current[key] = cls(connector, key)
        return current[key]

    def join(self, line: Passenger, steps: Steps | None) -> None:
        """Take a line on, and open the flow where it is the first. `steps` sees the handshake of the first line."""
        if line.account in self._lines:
            return  # it changed its mind twice while the flow is being opened
        self._lines[line.account] = line
        if self._flow is not None:
            line.flow_negotiating(self._flow)
            if self._negotiated is not None:
                self._admit(line, self._flow, self._negotiated)
        elif self._opening is None:
            self._opening = self._connector.loop.create_task(self._connect(steps))

    def part(self, line: Passenger) -> Flow | None:
        """Let a line go. The last one closes the flow, which is returned, so that it can be waited for."""
        if self._lines.pop(line.account, None) is None:
            return None
        self._trunk.dismiss(line.account)
        if self._lines:
            return None
        flow = self._flow
        self._end()
        if self._opening is not None:
            self._opening.cancel()
        if flow is not None:
            flow.close()
        return flow

    def cut(self, *, reset: bool) -> bool:
        """Break the flow under all lines; returns whether there was one."""
        flow = self._flow
        if flow is None or self._negotiated is None:
            return False
        if reset:
            flow.abort()
        else:
            flow.close()
        self.flow_lost(FlowLost("we cut the flow", kind="cut"))
        return True

    async def leave(self, line: Passenger) -> None:
        """Let a line go, and wait until what goes with it is closed."""
        flow = self.part(line)
        if not self._lines and self._opening is not None:
            await asyncio.wait([self._opening])
        if flow is not None:
            await flow.wait_closed()

    # The rider of the flow

    def flow_negotiating(self, flow: Flow) -> None:
        if self._lines:
            self._flow = flow
        for line in list(self._lines.values()):
            line.flow_negotiating(flow)

    def flow_opened(self, flow: Flow, negotiated: Negotiated) -> None:
        self._negotiated = negotiated
        for line in list(self._lines.values()):
            self._admit(line, flow, negotiated)
        self._pump()

    def flow_data(self, data: bytes) -> None:
        for account in self._trunk.receive_data(data, self._connector.now()):
            line = self._lines.get(account)
            if line is not None:
                line.pump()
        self._pump()

    def flow_failed(self, flow: Flow, error: SipsuaError) -> None:
        for line in self._end():
            line.flow_failed(flow, error)

    def flow_lost(self, error: FlowLost) -> None:
        for line in self._end():
            line.flow_lost(error)

    # The flow

    async def _connect(self, steps: Steps | None) -> None:
        try:
            target, policy, limits, source = self._key
            await self._connector.open(self, target, policy, limits, steps, source=source)
        except SipsuaError as error:
            for line in self._end():
                line.flow_unreachable(error)

    def _admit(self, line: Passenger, flow: Flow, negotiated: Negotiated) -> None:
        line.flow_opened(flow, negotiated)
        self._trunk.admit(line.account, self._connector.now())

    def _pump(self) -> None:
        flow = self._flow
        if flow is None:
            return
        data = self._trunk.data_to_send()
        if data:
            flow.send(data)
        reason = self._trunk.wants_close
        if reason is not None:
            flow.close()
            self.flow_lost(FlowLost(reason))
            return
        deadline = self._trunk.get_timer()
        if deadline is not None and (self._timer is None or deadline < self._timer.when()):
            if self._timer is not None:
                self._timer.cancel()
            self._timer = self._connector.loop.call_at(deadline, self._fire)

    def _fire(self) -> None:
        self._timer = None
        self._trunk.handle_timer(self._connector.now())
        self._pump()

    def _end(self) -> list[Passenger]:
        """No flow any more; the lines that were on it. Who wants a flow again joins another."""
        lines = list(self._lines.values())
        self._lines.clear()
        self._flow = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        current = _current.get(self._connector, {})
        if current.get(self._key) is self:
            del current[self._key]
        return lines


_Key = tuple[Target, Policy, Limits, str | None]
_current: WeakKeyDictionary[Connector, dict[_Key, SharedFlow]] = WeakKeyDictionary()
