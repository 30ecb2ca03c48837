"""The INVITE transactions of RFC 3261 sections 17.1.1 and 17.2.1 as tables, as RFC 6026 has corrected them.

They differ from the others in what follows the final response: the client acknowledges one that is no success by itself, from the INVITE
that it sent, and both stay for a while in which responses or requests that come again are told apart from new ones. A 2xx is repeated and
acknowledged end to end, past the transaction: so in state Accepted each one is handed up. Timers bear the RFCs' letters; over TLS A and G
are never set, and D, I are zero.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

from sipsua.errors import Defect
from sipsua.sip.message import Header, Request, Response, canonical_name, parse_message
from sipsua.sip.timers import T1, T2, T4

TIMER_D = 32.0
"""Seconds that a client waits for final responses that come again over an unreliable transport (RFC 3261 section 17.1.1.2)."""


class State(StrEnum):
    """States of both INVITE machines (RFC 6026 figures 3 and 5)."""

    CALLING = "Calling"
    PROCEEDING = "Proceeding"
    COMPLETED = "Completed"
    """The final response was no success."""
    CONFIRMED = "Confirmed"
    """Its ACK has come (server only)."""
    ACCEPTED = "Accepted"
    """It was a 2xx."""
    TERMINATED = "Terminated"


class Input(StrEnum):
    """What can happen to a transaction."""

    PROVISIONAL = "1xx"
    SUCCESS = "2xx"
    FAILURE = "300-699"
    REQUEST = "INVITE"
    """The request came again (server only)."""
    ACK = "ACK"
    TIMER_A = "Timer A"
    TIMER_B = "Timer B"
    TIMER_D = "Timer D"
    TIMER_G = "Timer G"
    TIMER_H = "Timer H"
    TIMER_I = "Timer I"
    TIMER_L = "Timer L"
    TIMER_M = "Timer M"
    TRANSPORT_ERROR = "transport error"


class Outcome(StrEnum):
    """What the transaction asks its user to do."""

    DELIVER = "deliver"
    """Hand the response up."""
    DELIVER_ACK = "deliver, ACK"
    """Hand the response up, and send the ACK."""
    ACK = "ACK"
    """Send the ACK again."""
    RETRANSMIT = "retransmit"
    """Send the last message again."""
    SEND = "send"
    """Send the response."""
    TIMEOUT = "timeout"
    """Tell the user that no answer, or no ACK, came."""
    FAILED = "failed"
    """Tell the user that the transport is gone."""
    NOTHING = "nothing"


_Table = Mapping[tuple[State, Input], tuple[State, Outcome]]

CLIENT: _Table = {
    (State.CALLING, Input.TIMER_A): (State.CALLING, Outcome.RETRANSMIT),
    (State.CALLING, Input.TIMER_B): (State.TERMINATED, Outcome.TIMEOUT),
    (State.CALLING, Input.PROVISIONAL): (State.PROCEEDING, Outcome.DELIVER),
    (State.CALLING, Input.SUCCESS): (State.ACCEPTED, Outcome.DELIVER),
    (State.CALLING, Input.FAILURE): (State.COMPLETED, Outcome.DELIVER_ACK),
    (State.CALLING, Input.TRANSPORT_ERROR): (State.TERMINATED, Outcome.FAILED),
    (State.PROCEEDING, Input.PROVISIONAL): (State.PROCEEDING, Outcome.DELIVER),
    (State.PROCEEDING, Input.SUCCESS): (State.ACCEPTED, Outcome.DELIVER),
    (State.PROCEEDING, Input.FAILURE): (State.COMPLETED, Outcome.DELIVER_ACK),
    (State.PROCEEDING, Input.TRANSPORT_ERROR): (State.TERMINATED, Outcome.FAILED),
    (State.COMPLETED, Input.PROVISIONAL): (State.COMPLETED, Outcome.NOTHING),
    (State.COMPLETED, Input.SUCCESS): (State.COMPLETED, Outcome.NOTHING),
    (State.COMPLETED, Input.FAILURE): (State.COMPLETED, Outcome.ACK),
    (State.COMPLETED, Input.TIMER_D): (State.TERMINATED, Outcome.NOTHING),
    (State.COMPLETED, Input.TRANSPORT_ERROR): (State.TERMINATED, Outcome.NOTHING),
    (State.ACCEPTED, Input.PROVISIONAL): (State.ACCEPTED, Outcome.NOTHING),
    (State.ACCEPTED, Input.SUCCESS): (State.ACCEPTED, Outcome.DELIVER),
    (State.ACCEPTED, Input.FAILURE): (State.ACCEPTED, Outcome.NOTHING),
    (State.ACCEPTED, Input.TIMER_M): (State.TERMINATED, Outcome.NOTHING),
    (State.ACCEPTED, Input.TRANSPORT_ERROR): (State.TERMINATED, Outcome.NOTHING),
}
"""The INVITE client transaction, RFC 6026 figure 3. A transport that breaks after the final response is no news to the user any more."""

SERVER: _Table = {
    (State.PROCEEDING, Input.REQUEST): (State.PROCEEDING, Outcome.RETRANSMIT),
    (State.PROCEEDING, Input.ACK): (State.PROCEEDING, Outcome.NOTHING),
    (State.PROCEEDING, Input.PROVISIONAL): (State.PROCEEDING, Outcome.SEND),
    (State.PROCEEDING, Input.SUCCESS): (State.ACCEPTED, Outcome.SEND),
    (State.PROCEEDING, Input.FAILURE): (State.COMPLETED, Outcome.SEND),
    (State.PROCEEDING, Input.TRANSPORT_ERROR): (State.TERMINATED, Outcome.FAILED),
    (State.COMPLETED, Input.REQUEST): (State.COMPLETED, Outcome.RETRANSMIT),
    (State.COMPLETED, Input.PROVISIONAL): (State.COMPLETED, Outcome.NOTHING),
    (State.COMPLETED, Input.SUCCESS): (State.COMPLETED, Outcome.NOTHING),
    (State.COMPLETED, Input.FAILURE): (State.COMPLETED, Outcome.NOTHING),
    (State.COMPLETED, Input.TIMER_G): (State.COMPLETED, Outcome.RETRANSMIT),
    (State.COMPLETED, Input.ACK): (State.CONFIRMED, Outcome.NOTHING),
    (State.COMPLETED, Input.TIMER_H): (State.TERMINATED, Outcome.TIMEOUT),
    (State.COMPLETED, Input.TRANSPORT_ERROR): (State.TERMINATED, Outcome.FAILED),
    (State.CONFIRMED, Input.REQUEST): (State.CONFIRMED, Outcome.NOTHING),
    (State.CONFIRMED, Input.PROVISIONAL): (State.CONFIRMED, Outcome.NOTHING),
    (State.CONFIRMED, Input.SUCCESS): (State.CONFIRMED, Outcome.NOTHING),
    (State.CONFIRMED, Input.FAILURE): (State.CONFIRMED, Outcome.NOTHING),
    (State.CONFIRMED, Input.ACK): (State.CONFIRMED, Outcome.NOTHING),
    (State.CONFIRMED, Input.TIMER_I): (State.TERMINATED, Outcome.NOTHING),
    (State.CONFIRMED, Input.TRANSPORT_ERROR): (State.TERMINATED, Outcome.NOTHING),
    (State.ACCEPTED, Input.REQUEST): (State.ACCEPTED, Outcome.NOTHING),
    (State.ACCEPTED, Input.ACK): (State.ACCEPTED, Outcome.NOTHING),
    (State.ACCEPTED, Input.PROVISIONAL): (State.ACCEPTED, Outcome.NOTHING),
    (State.ACCEPTED, Input.SUCCESS): (State.ACCEPTED, Outcome.SEND),
    (State.ACCEPTED, Input.FAILURE): (State.ACCEPTED, Outcome.NOTHING),
    (State.ACCEPTED, Input.TIMER_L): (State.TERMINATED, Outcome.NOTHING),
    (State.ACCEPTED, Input.TRANSPORT_ERROR): (State.TERMINATED, Outcome.FAILED),
}
"""The INVITE server transaction, RFC 6026 figure 5. Who answers twice with different statuses is not sent again."""


class InviteClient:
    """An INVITE of ours and the answers to it (RFC 3261 section 17.1.1, RFC 6026 section 7.2)."""

    __slots__ = (
        "_give_up_at",
        "_interval",
        "_reliable",
        "_t1",
        "ack",
        "branch",
        "deadline",
        "last_sent",
        "owner",
        "state",
    )

    method = "INVITE"

    def __init__(
        self, branch: str, sent: bytes, now: float, *, owner: object = None, reliable: bool = True, t1: float = T1
    ) -> None:
        self.branch = branch
        self.last_sent = sent
        self.owner = owner
        """Who is told what comes of it."""
        self.ack = b""
        """The ACK to a final response that is no success; empty before that."""
        self.state = State.CALLING
        self._give_up_at = now + 64 * t1
        self.deadline: float | None = self._give_up_at if reliable else now + t1
        """When the next timer fires, or None."""
        self._interval = t1
        self._reliable = reliable
        self._t1 = t1

    def receive(self, response: Response, now: float) -> Outcome:
        """A response came."""
        status = response.status
        if status < 200:
            outcome = self._step(Input.PROVISIONAL)
            if self.state is State.PROCEEDING:
                # Who has told of progress may ring for ever: from here on the time is the user's to limit.
                self.deadline = None
        elif status < 300:
            first = self.state is not State.ACCEPTED
            outcome = self._step(Input.SUCCESS)
            if first and self.state is State.ACCEPTED:
                self.deadline = now + 64 * self._t1  # Timer M
        else:
            outcome = self._step(Input.FAILURE)
            if outcome is Outcome.DELIVER_ACK:
                self.ack = acknowledgement(self.last_sent, response)
                self.deadline = now + (0.0 if self._reliable else TIMER_D)
        return outcome

    def handle_timer(self, now: float) -> Outcome:
        """Fire the timer that is due, if one is. Call again until `deadline` lies ahead."""
        if self.deadline is None or self.deadline > now:
            return Outcome.NOTHING
        match self.state:
            case State.COMPLETED:
                return self._step(Input.TIMER_D)
            case State.ACCEPTED:
                return self._step(Input.TIMER_M)
        if self._give_up_at <= now:
            return self._step(Input.TIMER_B)
        self._interval *= 2
        self.deadline = min(now + self._interval, self._give_up_at)
        return self._step(Input.TIMER_A)

    def lose_transport(self) -> Outcome:
        """The flow under the transaction is gone."""
        return Outcome.NOTHING if self.state is State.TERMINATED else self._step(Input.TRANSPORT_ERROR)

    def _step(self, given: Input) -> Outcome:
        self.state, outcome = _next(CLIENT, self.state, given)
        if self.state is State.TERMINATED:
            self.deadline = None
        return outcome


class InviteServer:
    """An INVITE of the peer and our answers to it (RFC 3261 section 17.2.1, RFC 6026 section 7.1)."""

    __slots__ = ("_give_up_at", "_interval", "_reliable", "_t1", "deadline", "key", "last_sent", "state")

    def __init__(self, key: tuple[str, str, str], *, reliable: bool = True, t1: float = T1) -> None:
        self.key = key
        self.last_sent = b""
        self.state = State.PROCEEDING
        self.deadline: float | None = None
        """When the next timer fires, or None."""
        self._give_up_at = 0.0
        self._interval = t1
        self._reliable = reliable
        self._t1 = t1

    def receive(self) -> Outcome:
        """The INVITE came again. RETRANSMIT tells the caller to send `last_sent`."""
        return self._step(Input.REQUEST)

    def receive_ack(self, now: float) -> bool:
        """An ACK with our branch came. Whether it was for us: that to a 2xx is its dialog's."""
        if self.state not in (State.COMPLETED, State.CONFIRMED):
            return False
        if self.state is State.COMPLETED:
            self.deadline = now + (0.0 if self._reliable else T4)  # Timer I
        self._step(Input.ACK)
        return True

    def respond(self, status: int, response: bytes, now: float) -> Outcome:
        """Our answer. SEND tells the caller to send it."""
        if status < 200:
            outcome = self._step(Input.PROVISIONAL)
        elif status < 300:
            first = self.state is State.PROCEEDING
            outcome = self._step(Input.SUCCESS)
            if first:
                self.deadline = now + 64 * self._t1  # Timer L
        else:
            outcome = self._step(Input.FAILURE)
            if outcome is Outcome.SEND:
                self._give_up_at = now + 64 * self._t1  # Timer H
                self.deadline = self._give_up_at if self._reliable else now + self._t1
        if outcome is Outcome.SEND:
            self.last_sent = response
        return outcome

    def handle_timer(self, now: float) -> Outcome:
        """Fire the timer that is due, if one is. Call again until `deadline` lies ahead."""
        if self.deadline is None or self.deadline > now:
            return Outcome.NOTHING
        match self.state:
            case State.CONFIRMED:
                return self._step(Input.TIMER_I)
            case State.ACCEPTED:
                return self._step(Input.TIMER_L)
        if self._give_up_at <= now:
            return self._step(Input.TIMER_H)
        self._interval = min(2 * self._interval, T2)
        self.deadline = min(now + self._interval, self._give_up_at)
        return self._step(Input.TIMER_G)

    def lose_transport(self) -> Outcome:
        """The flow under the transaction is gone."""
        return Outcome.NOTHING if self.state is State.TERMINATED else self._step(Input.TRANSPORT_ERROR)

    def _step(self, given: Input) -> Outcome:
        self.state, outcome = _next(SERVER, self.state, given)
        if self.state is State.TERMINATED:
            self.deadline = None
        return outcome


def acknowledgement(invite: bytes, response: Response) -> bytes:
    """The ACK to a final response that is no success, from the INVITE as it was sent (RFC 3261 section 17.1.1.3)."""
    request = parse_message(invite)
    assert isinstance(request, Request)
    headers: list[Header] = []
    for name, value in request.headers:
        match canonical_name(name):
            case "via":
                if not headers:
                    headers.append((name, value))
            case "from" | "call-id" | "max-forwards" | "route":
                headers.append((name, value))
            case "to":
                headers.append((name, response.required("to")))
            case "cseq":
                headers.append((name, f"{request.cseq.number} ACK"))
    return bytes(Request("ACK", request.uri_text, [*headers, ("Content-Length", "0")]))


def _next(table: _Table, state: State, given: Input) -> tuple[State, Outcome]:
    try:
        return table[state, given]
    except KeyError:
        expected = ", ".join(known for known_state, known in table if known_state is state) or "nothing"
        raise Defect(f"{given} in state {state} of an INVITE transaction: expected {expected}") from None
