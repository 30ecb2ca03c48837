"""The hub: one account, whole, without a socket or a clock.

Three drive it. A user: `register`, `unregister`. The door (`net`): `flow_negotiating`, `flow_opened`, `flow_failed`, `flow_lost`, and
`receive_data` for bytes off the wire. The clock: `handle_timer`, at the time that `get_timer` names. After each of these calls the
door takes what there is to do: `data_to_send`, `wants_flow`, `wants_close`, `next_event`.

    receive_data → stream → receive_message → transactions.match → registration, a call, a subscription → event

`now` is seconds on any clock that never goes back; `at` is the time of day, UTC, for people.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from sipsua.account import lock as locks
from sipsua.account import messages, uas
from sipsua.account import request as requests
from sipsua.account.asking import Asking
from sipsua.account.call_config import Reliability
from sipsua.account.calls import Calls
from sipsua.account.config import AccountConfig, Connection, Target
from sipsua.account.keepalive import KeepAlive
from sipsua.account.lock import Turn
from sipsua.account.persona import Dice
from sipsua.account.proof import Keyring
from sipsua.account.reception import Pending, Reception
from sipsua.account.registration import Input, Registration, State
from sipsua.account.stream import Stream
from sipsua.account.subscriptions import Subscriptions
from sipsua.errors import FlowLost, MalformedMessage, Misuse, NoAnswer, SipsuaError, Untrusted
from sipsua.events import (
    Event,
    FlowClosed,
    FlowFailed,
    FlowOpened,
    Lock,
    LockChanged,
    LockState,
    MessageDropped,
    Negotiated,
    RequestAnswered,
)
from sipsua.sip.message import Request, Response
from sipsua.sip.timers import T1
from sipsua.sip.transactions import Transactions
from sipsua.trust.verdict import Verdict


class Account:
    """One account."""

    __slots__ = (
        "_calls",
        "_closing",
        "_events",
        "_flow_target",
        "_keyring",
        "_out",
        "_reception",
        "_stream",
        "_subscriptions",
        "_transactions",
        "config",
        "dice",
        "listening",
        "lock",
        "registration",
        "sent_by",
        "target",
        "verdict",
        "wants_flow",
    )

    def __init__(self, config: AccountConfig, dice: Dice) -> None:
        # what it is
        self.config = config
        self.dice = dice
        # where it stands
        self.lock = Lock()
        """The padlock."""
        self.verdict: Verdict | None = None
        """Of the last handshake that came as far as a certificate."""
        self.target: Target = config.target
        """Where the next flow leads."""
        self.listening: tuple[str, int] | None = None
        """Address and port where the phone takes connections, which Via and Contact then say in place of our own end of the flow; an
        empty address is that of the flow. Counts from the next flow on."""
        self.sent_by = ""
        """Our own address and port as Via and Contact have them; empty before the first flow."""
        self.registration = Registration(self)
        self._calls: Calls | None = None
        self._subscriptions: Subscriptions | None = None
        self._keyring: Keyring | None = None
        # the flow
        self._flow_target: Target | None = None
        self._stream: Stream | None = None
        # what there is to do
        self.wants_flow = False
        """The door is to open a flow to `target`; it sets this back when it begins."""
        self._closing: FlowLost | None = None
        self._out: list[bytes] = []
        self._transactions = Transactions(self._out.append)
        self._reception = Reception(self._out.append, self._transactions)
        self._events: list[Event] = []

    # The user

    def register(self, now: float) -> None:
        """Wish for a binding, and keep it until `unregister`. Raises `Misuse` while a removal is under way."""
        if self.registration.state is State.UNREGISTERING:
            raise Misuse("the binding is being removed", fix="wait for Unregistered, then register")
        self.registration.step(Input.WANTED, now)

    def unregister(self, now: float) -> None:
        """Wish for no binding. `Unregistered` follows where there was, or may have been, one."""
        self.wants_flow = False
        self.registration.withdraw(now)

    def refresh(self, now: float) -> bool:
        """Renew the binding now, before its time. Returns whether that has begun: not where none stands, or it is being renewed."""
        return self.registration.refresh(now)

    # The door

    @property
    def wants_close(self) -> str | None:
        """The door is to close the flow, when `data_to_send` has gone, for this reason; None where it is to stand."""
        return self._closing.what if self._closing is not None else None

    @property
    def has_flow(self) -> bool:
        """True while a flow stands."""
        return self._flow_target is not None

    @property
    def flow_serves(self) -> bool:
        """True while a flow to `target` stands and is not about to be closed."""
        return self._flow_target is not None and self._flow_target == self.target and self._closing is None

    def flow_negotiating(self, at: datetime) -> None:
        """TCP stands, the handshake begins."""
        self._turn(locks.turn(self.lock, Turn.NEGOTIATE, at))

    def flow_opened(
        self,
        verdict: Verdict,
        negotiated: Negotiated,
        timings_ms: dict[str, float],
        now: float,
        target: Target | None = None,
    ) -> None:
        """The handshake is finished. `timings_ms`: what `dns`, `tcp` and `tls` took; `target`: where the flow leads, None for `target`.

        A flow that leads elsewhere, because the wish changed while it was being opened, is given up for the right one.
        """
        self.verdict = verdict
        self.wants_flow = False
        self._turn(locks.close(self.lock, verdict, negotiated))
        self.emit(FlowOpened(verdict, timings_ms))
        self._flow_target = target or self.target
        if self.config.connection is Connection.OWN:
            keep_alive = KeepAlive(self.config, self.dice, now)
            self._stream = Stream(self._out.append, self.config.limits.message, keep_alive)
        host, port = negotiated.local
        if self.listening is not None:
            host, port = self.listening[0] or host, self.listening[1]
        self.sent_by = requests.sent_by(host, port)
        self.registration.flow_ready(host, port)
        if self._calls is not None:
            self._calls.flow_opened(now)
        if self._subscriptions is not None:
            self._subscriptions.flow_opened(now)
        if self.flow_serves:
            self.registration.step(Input.FLOW_OPENED, now)
        elif self.registration.state is State.CONNECTING:
            self.connect(now)

    def flow_failed(self, error: SipsuaError, verdict: Verdict | None, now: float, at: datetime) -> None:
        """No flow came about: name, TCP, handshake or certificate. `verdict` where it came as far as a certificate."""
        if verdict is not None:
            self.verdict = verdict
        # A wish that was taken back and made again while the door was at work is answered by this failure, too.
        self.wants_flow = False
        shaken = self.lock.state is LockState.NEGOTIATING
        self._turn(locks.turn(self.lock, Turn.REFUSE if shaken else Turn.LOSE, at))
        self.emit(FlowFailed(error))
        self.registration.step(Input.FLOW_REFUSED if isinstance(error, Untrusted) else Input.FLOW_FAILED, now, error)

    def flow_lost(self, error: FlowLost, now: float, at: datetime) -> None:
        """The flow is gone, by whomever; or the door gave up a handshake because we leave."""
        # Where the door only does what we wished for, we know the reason best.
        error = self._closing or error
        self._closing = None
        self._flow_target = None
        self._stream = None
        self._out.clear()
        unanswered = self._transactions.lose_transport()
        self._turn(locks.turn(self.lock, Turn.LOSE, at))
        self.emit(FlowClosed(error.what))
        for transaction in unanswered:
            if isinstance(transaction.owner, Asking):
                transaction.owner.lose_flow(error, now)
        if self._calls is not None:
            self._calls.lose_flow(error, now)
        if self._subscriptions is not None:
            self._subscriptions.lose_flow(now)
        self.registration.step(Input.FLOW_LOST, now, error)

    def receive_data(self, data: bytes, now: float) -> None:
        """Bytes off the account's own flow."""
        stream = self._stream
        if stream is None:
            return
        for message in stream.receive(data, now):
            self.receive_message(message, now)
        if stream.failure is not None:
            self._end(stream)

    def receive_message(self, message: Request | Response, now: float) -> None:
        """A message for this account, off its own flow or handed over by a shared one."""
        if isinstance(message, Request):
            self.receive_request(message, self._reception, now)
            return
        try:
            transaction = self._transactions.match_response(message, now)
        except MalformedMessage as error:
            self.emit(MessageDropped(f"response {message.status}: {error.what}"))
            return
        if transaction is None:
            return
        owner = transaction.owner
        if owner is self.registration:
            self.registration.receive(message, now)
        elif isinstance(owner, Asking):
            try:
                owner.receive(message, now)
            except MalformedMessage as error:
                self.emit(MessageDropped(f"response {message.status} to {transaction.method}: {error.what}"))

    def receive_request(self, request: Request, reception: Reception, now: float) -> None:
        """A request for this account, on any flow: answered where it was received."""
        try:
            if request.method == "ACK":
                self._receive_ack(request, reception, now)
                return
            to_tag = self.config.persona.tag.make(self.dice)
            pending = reception.take(request, to_tag, now, self.emit)
        except MalformedMessage as error:
            self.emit(MessageDropped(f"{request.method}: {error.what}"))
            return
        if pending is None:
            return
        try:
            self._serve(pending, to_tag, now)
        except MalformedMessage as error:
            pending.reject(error, to_tag, now)

    def data_to_send(self) -> bytes:
        """The bytes that are to go to the wire now; each are given once."""
        out = self._out
        if not out:
            return b""
        data = out[0] if len(out) == 1 else b"".join(out)
        out.clear()
        return data

    def next_event(self) -> Event | None:
        """The next event, oldest first; each is given once."""
        return self._events.pop(0) if self._events else None

    # The clock

    def get_timer(self) -> float | None:
        """When `handle_timer` is to be called, or None."""
        deadline = self._transactions.deadline
        for other in (
            self.registration.deadline,
            self._stream.deadline if self._stream is not None else None,
            self._calls.deadline if self._calls is not None else None,
            self._subscriptions.deadline if self._subscriptions is not None else None,
        ):
            if other is not None and (deadline is None or other < deadline):
                deadline = other
        return deadline

    def handle_timer(self, now: float) -> None:
        """Do what is due."""
        for transaction in self._transactions.handle_timer(now):
            if isinstance(transaction.owner, Asking):
                transaction.owner.time_out(now)
                continue
            if transaction.owner is not self.registration:
                continue  # a CANCEL: its INVITE has its own end
            error = NoAnswer(
                f"{self.target} gave no final answer to {transaction.method} within {64 * T1:g} s (Timer F)",
                fix="see whether the server handles requests at all on this port, and look at its log",
                kind=f"to {transaction.method}",
            )
            self.registration.step(Input.NO_ANSWER, now, error)
        self.registration.handle_timer(now)
        if self._calls is not None:
            self._calls.handle_timer(now)
        if self._subscriptions is not None:
            self._subscriptions.handle_timer(now)
        stream = self._stream
        if stream is not None:
            stream.handle_timer(now)
            if stream.failure is not None:
                self._end(stream)

    # The spokes

    def emit(self, event: Event) -> None:
        """Tell the outside."""
        self._events.append(event)

    def connect(self, now: float) -> None:
        """Wish for a flow to `target`; the registration goes on at once where one stands."""
        if self.flow_serves:
            self.registration.step(Input.FLOW_OPENED, now)
            return
        self.wants_flow = True
        self.drop_flow("the registrar lies elsewhere")

    def drop_flow(self, reason: str, fix: str = "", kind: str = "") -> None:
        """The flow is of no use any more."""
        if self._flow_target is not None and self._closing is None:
            self._closing = FlowLost(reason, fix=fix, kind=kind)

    def send_request(self, branch: str, method: str, data: bytes, now: float, owner: object) -> None:
        """Send a request and begin its transaction, whose answers are for `owner`."""
        self._transactions.open_client(branch, method, data, now, owner)
        self._out.append(data)

    def send(self, data: bytes) -> None:
        """Send what begins no transaction: an ACK to a 2xx."""
        self._out.append(data)

    @property
    def calls(self) -> Calls:
        """The calls. An account that has none carries nothing for them."""
        if self._calls is None:
            self._calls = Calls(self)
        return self._calls

    @property
    def subscriptions(self) -> Subscriptions:
        """The subscriptions. An account that has none carries nothing for them."""
        if self._subscriptions is None:
            self._subscriptions = Subscriptions(self)
        return self._subscriptions

    def unsubscribe_all(self, now: float) -> None:
        """Watch nobody any more."""
        if self._subscriptions is not None:
            for subscription in self._subscriptions:
                subscription.unsubscribe(now)

    @property
    def has_calls(self) -> bool:
        """Whether there is a call."""
        return self._calls is not None and len(self._calls) > 0

    @property
    def keyring(self) -> Keyring:
        """The credentials of requests other than REGISTER."""
        if self._keyring is None:
            self._keyring = Keyring(self.config, "the server")
        return self._keyring

    @property
    def host(self) -> str:
        """Our own address on the flow, without brackets; where the voice can be reached, too."""
        return self.sent_by.rpartition(":")[0].strip("[]")

    @property
    def contact(self) -> str:
        """Our Contact value on the flow."""
        return self.registration.contact

    @property
    def route(self) -> Sequence[str]:
        """Route values that a request outside any dialog starts with (RFC 3608)."""
        return self.registration.service_route

    # What requests ask

    def _serve(self, pending: Pending, to_tag: str, now: float) -> None:
        """Give a well-formed request to whom it is for, or answer it."""
        request, config = pending.request, self.config
        if request.method == "CANCEL":
            invite = pending.reception.transactions.find_invite(request)
            if invite is not None:
                pending.answer(200, "OK", (), now, to_tag=to_tag)
                self.calls.cancel(invite, now)
                return
        call = self._calls.find(request) if self._calls is not None else None
        watched = self._subscriptions.find(request) if self._subscriptions is not None else None
        in_dialog = call is not None or (watched is not None and request.method == "NOTIFY")
        objection = uas.objection(request, config.persona, self._extensions, in_dialog=in_dialog)
        if objection is None and call is not None:
            call.receive(pending, now)
            return
        if objection is None and watched is not None:
            watched.receive(pending, now)
            return
        if objection is None:
            match request.method:
                case "INVITE":
                    self.calls.offer(pending, now)
                    return
                case "MESSAGE":
                    messages.receive(self, pending, now, to_tag)
                    return
                case "NOTIFY" if "event" in request.index:
                    if self.subscriptions.receive_unasked(pending, to_tag, now):
                        return
            objection = uas.final(request, config.persona, self._extensions)
        status, reason, headers = objection
        user_agent = ("User-Agent", config.user_agent or config.persona.user_agent)
        pending.answer(status, reason, [*headers, user_agent], now, to_tag=to_tag)

    def _receive_ack(self, request: Request, reception: Reception, now: float) -> None:
        if reception.transactions.match_ack(request, now):
            return
        call = self._calls.find(request) if self._calls is not None else None
        if call is not None:
            call.receive_ack(request, now)

    @property
    def _extensions(self) -> frozenset[str]:
        """Option tags that a request may require."""
        return _EXTENSIONS - {"100rel"} if self.config.calls.reliability is Reliability.OFF else _EXTENSIONS

    def _turn(self, lock: Lock) -> None:
        if lock is not self.lock:
            self.lock = lock
            self.emit(LockChanged(lock))

    def _end(self, stream: Stream) -> None:
        """Nothing more can be read off the flow, or nobody answers on it."""
        failure = stream.failure
        if isinstance(failure, MalformedMessage):
            if (request := stream.broken) is not None:
                status = self._reception.reject(request, failure, self.config.persona.tag.make(self.dice))
                self.emit(RequestAnswered(request.method, status))
            self.emit(MessageDropped(failure.what))
            fix = failure.fix or "look at the server's log: it sent what is no whole message"
            self.drop_flow(failure.what, fix, "not SIP")
        else:
            reason = str(failure)
            self.drop_flow(reason, "look at the server's log, and at what lies between: the flow is dead", reason)
        self._stream = None


_EXTENSIONS = frozenset({"100rel", "norefersub", "replaces", "timer"})
