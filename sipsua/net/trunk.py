"""One flow shared by many accounts: how trunks behave, and how one machine holds more accounts than flows.

The trunk is the rider of the flow. It cuts the stream into messages once, pings once, and hands each message to its line: a response by
Call-ID, a request by the user of its Request-URI (or, behind a proxy that keeps its own there, of its To).
"""

from __future__ import annotations

import asyncio
from typing import Protocol
from weakref import WeakKeyDictionary

from sipsua.account.account import Account
from sipsua.account.config import Limits, Target
from sipsua.account.keepalive import KeepAlive, Pulse
from sipsua.errors import FlowLost, MalformedMessage, SipsuaError
from sipsua.events import Negotiated
from sipsua.net.connect import Connector
from sipsua.net.flow import Flow, Rider
from sipsua.net.tls import Steps
from sipsua.sip.framing import Framer
from sipsua.sip.framing import KeepAlive as Crlf
from sipsua.sip.message import Request, Response, respond
from sipsua.trust.policy import Policy


class Passenger(Rider, Protocol):
    """A line on a trunk: it is told of the flow as if it were its own, but gets messages instead of bytes."""

    account: Account

    def flow_unreachable(self, error: SipsuaError) -> None:
        """No TCP connection came about."""

    def flow_message(self, message: Request | Response) -> None:
        """A message for this account."""


class Trunk:
    """The lines on one shared flow."""

    def __init__(self, connector: Connector, target: Target, policy: Policy, limits: Limits) -> None:
        """Use `Trunk.of`."""
        self._connector = connector
        self._target = target
        self._policy = policy
        self._limits = limits
        self._lines: dict[Passenger, None] = {}
        self._by_call_id: dict[str, Passenger] = {}
        self._by_user: dict[str, Passenger] = {}
        self._opening: asyncio.Task[None] | None = None
        self._flow: Flow | None = None
        self._negotiated: Negotiated | None = None
        self._framer = Framer()
        self._keep_alive: KeepAlive | None = None
        self._timer: asyncio.TimerHandle | None = None

    @classmethod
    def of(cls, connector: Connector, target: Target, policy: Policy, limits: Limits) -> Trunk:
        """The trunk that all lines of a connector share which want the same server, policy and limits."""
        trunks = _trunks.setdefault(connector, {})
        key = (target, policy, limits)
        if key not in trunks:
            trunks[key] = cls(connector, target, policy, limits)
        return trunks[key]

    def join(self, line: Passenger, steps: Steps | None) -> None:
        """Take a line on, and open the flow where it is the first. `steps` sees the handshake of the first."""
        self._lines[line] = None
        if self._flow is not None and self._negotiated is not None:
            line.flow_negotiating(self._flow)
            self._admit(line, self._flow, self._negotiated)
        elif self._opening is None:
            self._opening = self._connector.loop.create_task(self._open(steps))

    async def leave(self, line: Passenger) -> None:
        """Let a line go; the flow closes with the last one."""
        self._lines.pop(line, None)
        for index in (self._by_call_id, self._by_user):
            for key in [key for key, other in index.items() if other is line]:
                del index[key]
        if self._lines:
            return
        if self._opening is not None:
            self._opening.cancel()
            await asyncio.wait([self._opening])
        flow = self._flow
        self._rest()
        if flow is not None:
            flow.close()
            await flow.wait_closed()

    # The rider of the flow

    def flow_negotiating(self, flow: Flow) -> None:
        for line in list(self._lines):
            line.flow_negotiating(flow)

    def flow_opened(self, flow: Flow, negotiated: Negotiated) -> None:
        self._flow = flow
        self._negotiated = negotiated
        self._framer = Framer()
        for line in list(self._lines):
            self._admit(line, flow, negotiated)

    def flow_data(self, data: bytes) -> None:
        framer = self._framer
        framer.receive(data)
        try:
            while (frame := framer.next_frame()) is not None:
                if isinstance(frame, Crlf):
                    self._receive_crlf(frame)
                else:
                    self._hand_over(frame)
        except MalformedMessage as error:
            self._drop(FlowLost(error.what, fix=error.fix))

    def flow_failed(self, flow: Flow, error: SipsuaError) -> None:
        self._rest()
        for line in self._leaving():
            line.flow_failed(flow, error)

    def flow_lost(self, error: FlowLost) -> None:
        self._rest()
        for line in self._leaving():
            line.flow_lost(error)

    # The lines

    def _admit(self, line: Passenger, flow: Flow, negotiated: Negotiated) -> None:
        account = line.account
        if self._keep_alive is None:
            # The first line's habits are the trunk's.
            self._keep_alive = KeepAlive(account.config, account.dice, self._connector.loop.time())
            self._set_timer()
        self._by_user[account.config.aor.user or ""] = line
        line.flow_opened(flow, negotiated)
        self._by_call_id[account.registration.call_id] = line

    def _leaving(self) -> list[Passenger]:
        """All lines, which have to join again for the next flow."""
        lines = list(self._lines)
        self._lines.clear()
        self._by_call_id.clear()
        self._by_user.clear()
        return lines

    def _hand_over(self, message: Request | Response) -> None:
        line = (
            self._by_call_id.get(message.first("call-id") or "")
            if isinstance(message, Response)
            else self._by_user.get(_user(message))
        )
        if line is not None:
            line.flow_message(message)
        elif isinstance(message, Request) and message.method != "ACK" and self._flow is not None:
            self._flow.send(bytes(respond(message, 404, "Not Found")))

    def _receive_crlf(self, crlf: Crlf) -> None:
        if crlf is Crlf.PING and self._flow is not None:
            self._flow.send(Crlf.PONG.value)
        elif crlf is Crlf.PONG and self._keep_alive is not None:
            self._keep_alive.receive_pong(self._connector.loop.time())

    # The flow

    async def _open(self, steps: Steps | None) -> None:
        try:
            await self._connector.open(self, self._target, self._policy, self._limits, steps)
        except SipsuaError as error:
            for line in self._leaving():
                line.flow_unreachable(error)
        finally:
            self._opening = None

    def _drop(self, error: FlowLost) -> None:
        if self._flow is not None:
            self._flow.close()
        self.flow_lost(error)

    def _rest(self) -> None:
        """No flow."""
        self._flow = None
        self._negotiated = None
        self._keep_alive = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _set_timer(self) -> None:
        if self._keep_alive is not None and self._keep_alive.deadline is not None:
            self._timer = self._connector.loop.call_at(self._keep_alive.deadline, self._fire)

    def _fire(self) -> None:
        self._timer = None
        if self._keep_alive is None or self._flow is None:
            return
        pulse = self._keep_alive.handle_timer(self._connector.loop.time())
        if pulse is Pulse.FAILED:
            self._drop(FlowLost("no pong came to our ping", fix="the flow is dead: a new one is opened"))
            return
        if pulse is Pulse.PING:
            self._flow.send(Crlf.PING.value)
        self._set_timer()


def _user(request: Request) -> str:
    """The user that a request is for."""
    try:
        return request.uri.user or request.to.uri.user or ""
    except MalformedMessage:
        return ""


_trunks: WeakKeyDictionary[Connector, dict[tuple[Target, Policy, Limits], Trunk]] = WeakKeyDictionary()
