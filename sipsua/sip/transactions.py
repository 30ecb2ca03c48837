"""The non-INVITE transactions of RFC 3261 section 17 as tables, and the matching of messages to them.

Each machine is a table: what happens (an input) in which state gives the next state and what the transaction user is told. A pair that
is not in the table is ignored where the RFC says so and a `Defect` where it cannot come about. Timers bear the RFC's letters: T1 = 0.5 s;
F = 64*T1 gives a client up; E retransmits, K and J absorb repeats, and all three are only for unreliable transports. sipsua sends over
TLS, so a transaction ends with its final response; but the tables are whole, and `reliable` chooses.

`Transactions` is the index of one account: responses find their client transaction by branch and CSeq method (section 17.1.3), requests
their server transaction by branch, sent-by and method (section 17.2.3). A phone's responses come by thousands, so of what comes back of
our own Via and CSeq no more than these is read, where both look as we wrote them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import StrEnum
from typing import ClassVar, NamedTuple

from sipsua.errors import Defect, MalformedMessage
from sipsua.sip.message import MAGIC_COOKIE, Request, Response

T1 = 0.5
"""Round-trip estimate in seconds (RFC 3261 section 17.1.1.1)."""
T2 = 4.0
"""Longest interval between retransmissions of a non-INVITE request, in seconds."""
T4 = 5.0
"""How long a message stays in the network, in seconds."""


class State(StrEnum):
    """States of both non-INVITE machines (figures 6 and 8)."""

    TRYING = "Trying"
    PROCEEDING = "Proceeding"
    COMPLETED = "Completed"
    TERMINATED = "Terminated"


class Input(StrEnum):
    """What can happen to a transaction."""

    PROVISIONAL = "1xx"
    FINAL = "200-699"
    REQUEST = "request"
    """The request came again (server only)."""
    TIMER_E = "Timer E"
    TIMER_F = "Timer F"
    TIMER_J = "Timer J"
    TIMER_K = "Timer K"
    TRANSPORT_ERROR = "transport error"


class Outcome(StrEnum):
    """What the transaction asks its user to do."""

    DELIVER = "deliver"
    """Hand the response up."""
    RETRANSMIT = "retransmit"
    """Send the last message again."""
    SEND = "send"
    """Send the response."""
    TIMEOUT = "timeout"
    """Tell the user that no answer came."""
    FAILED = "failed"
    """Tell the user that the transport is gone."""
    NOTHING = "nothing"


_Table = Mapping[tuple[State, Input], tuple[State, Outcome]]

CLIENT: _Table = {
    (State.TRYING, Input.TIMER_E): (State.TRYING, Outcome.RETRANSMIT),
    (State.TRYING, Input.PROVISIONAL): (State.PROCEEDING, Outcome.DELIVER),
    (State.TRYING, Input.FINAL): (State.COMPLETED, Outcome.DELIVER),
    (State.TRYING, Input.TIMER_F): (State.TERMINATED, Outcome.TIMEOUT),
    (State.TRYING, Input.TRANSPORT_ERROR): (State.TERMINATED, Outcome.FAILED),
    (State.PROCEEDING, Input.TIMER_E): (State.PROCEEDING, Outcome.RETRANSMIT),
    (State.PROCEEDING, Input.PROVISIONAL): (State.PROCEEDING, Outcome.DELIVER),
    (State.PROCEEDING, Input.FINAL): (State.COMPLETED, Outcome.DELIVER),
    (State.PROCEEDING, Input.TIMER_F): (State.TERMINATED, Outcome.TIMEOUT),
    (State.PROCEEDING, Input.TRANSPORT_ERROR): (State.TERMINATED, Outcome.FAILED),
    (State.COMPLETED, Input.PROVISIONAL): (State.COMPLETED, Outcome.NOTHING),
    (State.COMPLETED, Input.FINAL): (State.COMPLETED, Outcome.NOTHING),
    (State.COMPLETED, Input.TIMER_K): (State.TERMINATED, Outcome.NOTHING),
    (State.COMPLETED, Input.TRANSPORT_ERROR): (State.TERMINATED, Outcome.NOTHING),
}
"""The non-INVITE client transaction, RFC 3261 figure 6."""

SERVER: _Table = {
    (State.TRYING, Input.REQUEST): (State.TRYING, Outcome.NOTHING),
    (State.TRYING, Input.PROVISIONAL): (State.PROCEEDING, Outcome.SEND),
    (State.TRYING, Input.FINAL): (State.COMPLETED, Outcome.SEND),
    (State.TRYING, Input.TRANSPORT_ERROR): (State.TERMINATED, Outcome.FAILED),
    (State.PROCEEDING, Input.REQUEST): (State.PROCEEDING, Outcome.RETRANSMIT),
    (State.PROCEEDING, Input.PROVISIONAL): (State.PROCEEDING, Outcome.SEND),
    (State.PROCEEDING, Input.FINAL): (State.COMPLETED, Outcome.SEND),
    (State.PROCEEDING, Input.TRANSPORT_ERROR): (State.TERMINATED, Outcome.FAILED),
    (State.COMPLETED, Input.REQUEST): (State.COMPLETED, Outcome.RETRANSMIT),
    (State.COMPLETED, Input.FINAL): (State.COMPLETED, Outcome.NOTHING),
    (State.COMPLETED, Input.TIMER_J): (State.TERMINATED, Outcome.NOTHING),
    (State.COMPLETED, Input.TRANSPORT_ERROR): (State.TERMINATED, Outcome.FAILED),
}
"""The non-INVITE server transaction, RFC 3261 figure 8."""


class Key(NamedTuple):
    """What a request is matched by (RFC 3261 section 17.2.3)."""

    branch: str
    sent_by: str
    method: str


class _Transaction:
    """What the two machines share: a state, a table, and the time of the next timer."""

    __slots__ = ("deadline", "last_sent", "state")

    _table: ClassVar[_Table]

    deadline: float | None
    """When the next timer fires, or None."""
    last_sent: bytes
    """What a retransmission repeats."""
    state: State

    def lose_transport(self) -> Outcome:
        """The flow under the transaction is gone."""
        if self.state is State.TERMINATED:
            return Outcome.NOTHING
        return self._step(Input.TRANSPORT_ERROR)

    def _step(self, given: Input) -> Outcome:
        try:
            self.state, outcome = self._table[self.state, given]
        except KeyError:
            expected = ", ".join(known for state, known in self._table if state is self.state) or "nothing"
            raise Defect(f"{given} in state {self.state} of a transaction: expected {expected}") from None
        if self.state is State.TERMINATED:
            self.deadline = None
        return outcome


class ClientTransaction(_Transaction):
    """One request of ours and the answers to it (RFC 3261 section 17.1.2)."""

    __slots__ = ("_give_up_at", "_interval", "_reliable", "branch", "method")

    _table = CLIENT

    def __init__(
        self, branch: str, method: str, sent: bytes, now: float, *, reliable: bool = True, t1: float = T1
    ) -> None:
        self.branch = branch
        self.method = method
        self.last_sent = sent
        self.state = State.TRYING
        self._give_up_at = now + 64 * t1
        self.deadline = self._give_up_at if reliable else now + t1
        self._reliable = reliable
        self._interval = t1

    def receive(self, status: int, now: float) -> Outcome:
        """A response came. DELIVER tells the caller to hand it up."""
        if status < 200:
            self._interval = T2
            return self._step(Input.PROVISIONAL)
        outcome = self._step(Input.FINAL)
        if outcome is Outcome.DELIVER:
            if self._reliable:
                # Timer K is zero seconds here (section 17.1.2.2): the transaction ends with its answer.
                self._step(Input.TIMER_K)
            else:
                self.deadline = now + T4
        return outcome

    def handle_timer(self, now: float) -> Outcome:
        """Fire the timer that is due, if one is. Call again until `deadline` lies ahead."""
        if self.deadline is None or self.deadline > now:
            return Outcome.NOTHING
        if self.state is State.COMPLETED:
            return self._step(Input.TIMER_K)
        if self._give_up_at <= now:
            return self._step(Input.TIMER_F)
        self._interval = min(2 * self._interval, T2)
        self.deadline = min(now + self._interval, self._give_up_at)
        return self._step(Input.TIMER_E)


class ServerTransaction(_Transaction):
    """One request of the peer and our answer to it (RFC 3261 section 17.2.2)."""

    __slots__ = ("_reliable", "_t1", "key")

    _table = SERVER

    def __init__(self, key: Key, *, reliable: bool = True, t1: float = T1) -> None:
        self.key = key
        self.last_sent = b""
        self.state = State.TRYING
        self.deadline = None
        self._reliable = reliable
        self._t1 = t1

    def receive(self) -> Outcome:
        """The request came again. RETRANSMIT tells the caller to send `last_sent`."""
        return self._step(Input.REQUEST)

    def respond(self, status: int, response: bytes, now: float) -> Outcome:
        """Our answer. SEND tells the caller to send it; a second final answer is NOTHING."""
        final = status >= 200
        outcome = self._step(Input.FINAL if final else Input.PROVISIONAL)
        if outcome is Outcome.SEND:
            self.last_sent = response
            if final:
                # Timer J is zero seconds on a reliable transport (section 17.2.2).
                self.deadline = now + (0.0 if self._reliable else 64 * self._t1)
        return outcome

    def handle_timer(self, now: float) -> Outcome:
        """Fire Timer J, if it is due."""
        if self.deadline is None or self.deadline > now:
            return Outcome.NOTHING
        return self._step(Input.TIMER_J)


_OWN_VIA = re.compile(r'SIP/2\.0/TLS [^\s",;]++;branch=([^\s",;]++)[^",]*+').fullmatch
"""Our own Via as it comes back, whatever the server added behind it, with its branch; no comma, so no second Via."""


class Transactions:
    """All transactions of one account."""

    __slots__ = ("_answered", "_clients", "_servers")

    MAX_ANSWERED = 8
    """How many answers are kept for peers that repeat a request on a reliable transport. RFC 3261 lets the transaction end at once
    there, but session border controllers are seen to retransmit over TLS, and a repeat must not be processed twice."""

    def __init__(self) -> None:
        self._clients: dict[str, ClientTransaction] = {}
        self._servers: dict[Key, ServerTransaction] = {}
        self._answered: dict[Key, bytes] = {}

    @property
    def deadline(self) -> float | None:
        """When the next timer of any transaction fires, or None. Over TLS those of the server have none."""
        earliest = None
        for transaction in self._clients.values():
            deadline = transaction.deadline
            if earliest is None or (deadline is not None and deadline < earliest):
                earliest = deadline
        return earliest

    def open_client(self, branch: str, method: str, sent: bytes, now: float) -> ClientTransaction:
        """Begin the transaction of a request that is being sent over TLS."""
        transaction = ClientTransaction(branch, method, sent, now)
        self._clients[branch] = transaction
        return transaction

    def match_response(self, response: Response, now: float) -> ClientTransaction | None:
        """The client transaction that the response belongs to and that wants it handed up, else None.

        Raises `MalformedMessage` for one that was not meant for us (section 8.1.3.3), or whose branch or CSeq cannot be read.
        """
        if response.defect is not None:
            raise response.defect
        if response.version != "SIP/2.0":
            raise MalformedMessage(f"{response.version} is not SIP/2.0")
        index = response.index
        vias = index.get("via", ())
        own = _OWN_VIA(vias[0]) if len(vias) == 1 else None
        if own is None and len(response.values("via")) > 1:
            raise MalformedMessage("it has more than one Via: it was not meant for us")
        transaction = self._clients.get(own[1] if own is not None else response.via.branch)
        number, _, method = index.get("cseq", ("",))[0].partition(" ")
        if transaction is None or method != transaction.method or not number.isdigit():
            method = response.cseq.method
            if transaction is None or method != transaction.method:
                return None
        outcome = transaction.receive(response.status, now)
        if transaction.deadline is None:
            del self._clients[transaction.branch]
        return transaction if outcome is Outcome.DELIVER else None

    def match_request(self, request: Request, now: float) -> ServerTransaction | bytes | None:
        """A new server transaction for a request; or, for one that was seen before, the bytes to send again (None: none yet).

        Raises `MalformedMessage` where the Via cannot be read, and for another version, whose Via is not ours to read.
        """
        if request.version != "SIP/2.0":
            raise MalformedMessage(f"{request.version} is not SIP/2.0", status=505)
        via = request.via
        branch = via.branch
        if not branch.startswith(MAGIC_COOKIE) or branch == MAGIC_COOKIE:
            # An RFC 2543 peer: what its rules match by, in one text (section 17.2.3).
            branch = (
                f"{branch} {request.call_id} {request.required('cseq')} {request.required('from')} {request.uri_text}"
            )
        key = Key(branch, f"{via.host}:{via.port or 5061}".lower(), request.method)
        answered = self._answered.get(key)
        if answered is not None:
            return answered
        known = self._servers.get(key)
        if known is not None:
            return known.last_sent if known.receive() is Outcome.RETRANSMIT else None
        transaction = ServerTransaction(key)
        self._servers[key] = transaction
        return transaction

    def respond(self, transaction: ServerTransaction, response: Response, now: float) -> bytes:
        """Answer a request: the bytes to send (empty where it was answered before)."""
        data = bytes(response)
        if transaction.respond(response.status, data, now) is not Outcome.SEND:
            return b""
        if response.status >= 200:
            self._servers.pop(transaction.key, None)
            self._answered[transaction.key] = data
            if len(self._answered) > self.MAX_ANSWERED:
                del self._answered[next(iter(self._answered))]
        return data

    def handle_timer(self, now: float) -> list[ClientTransaction]:
        """Fire what is due; the client transactions that no answer came to (Timer F)."""
        timed_out = []
        for transaction in list(self._clients.values()):
            while (deadline := transaction.deadline) is not None and deadline <= now:
                if transaction.handle_timer(now) is Outcome.TIMEOUT:
                    timed_out.append(transaction)
            if transaction.state is State.TERMINATED:
                del self._clients[transaction.branch]
        return timed_out

    def lose_transport(self) -> None:
        """The flow is gone and every transaction with it."""
        for transaction in (*self._clients.values(), *self._servers.values()):
            transaction.lose_transport()
        self._clients.clear()
        self._servers.clear()
        self._answered.clear()
