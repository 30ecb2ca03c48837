"""The non-INVITE transactions of RFC 3261 section 17 as tables, and the matching of messages to them and to those of INVITEs.

Each machine is a table: what happens (an input) in which state gives the next state and what the transaction user is told. A pair that
is not in the table is ignored where the RFC says so and a `Defect` where it cannot come about. Timers bear the RFC's letters: F gives a
client up after 64*T1; E retransmits, K and J absorb repeats, and all three are only for unreliable transports. sipsua sends over TLS, so
a transaction ends with its final response; but the tables are whole, and `reliable` chooses.

INVITE's own tables are in `sip.invite`. `Transactions` is the index of one account: responses find their client transaction by branch
and CSeq method (section 17.1.3), requests their server transaction by branch, sent-by and method (section 17.2.3). A phone's responses
come by thousands, so of what comes back of our own Via and CSeq no more than these is read, where both look as we wrote them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from enum import StrEnum
from typing import ClassVar, NamedTuple

from sipsua.errors import Defect, MalformedMessage
from sipsua.sip import invite
from sipsua.sip.invite import InviteClient, InviteServer
from sipsua.sip.message import MAGIC_COOKIE, Request, Response
from sipsua.sip.timers import T1, T2, T4


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

    __slots__ = ("_give_up_at", "_interval", "_reliable", "branch", "method", "owner")

    _table = CLIENT

    def __init__(
        self,
        branch: str,
        method: str,
        sent: bytes,
        now: float,
        *,
        owner: object = None,
        reliable: bool = True,
        t1: float = T1,
    ) -> None:
        self.branch = branch
        self.method = method
        self.owner = owner
        """Who is told what comes of it."""
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
    """All transactions of one flow's user: an account, or the phone's side of a caller's connection."""

    __slots__ = ("_answered", "_clients", "_invites", "_send", "_servers")

    MAX_ANSWERED = 8
    """How many answers are kept for peers that repeat a request on a reliable transport. RFC 3261 lets the transaction end at once
    there, but session border controllers are seen to retransmit over TLS, and a repeat must not be processed twice."""

    def __init__(self, send: Callable[[bytes], None] | None = None) -> None:
        """`send` takes what a transaction sends by itself: the ACK to a final response that is no success."""
        self._send = send
        self._clients: dict[str, ClientTransaction | InviteClient] = {}
        self._servers: dict[Key, ServerTransaction] = {}
        self._invites: dict[Key, InviteServer] = {}
        self._answered: dict[Key, bytes] = {}

    @property
    def deadline(self) -> float | None:
        """When the next timer of any transaction fires, or None. Over TLS those of the server have none but for INVITE."""
        earliest = None
        for transaction in self._clients.values():
            deadline = transaction.deadline
            if earliest is None or (deadline is not None and deadline < earliest):
                earliest = deadline
        for server in self._invites.values():
            deadline = server.deadline
            if earliest is None or (deadline is not None and deadline < earliest):
                earliest = deadline
        return earliest

    def open_client(
        self, branch: str, method: str, sent: bytes, now: float, owner: object = None
    ) -> ClientTransaction | InviteClient:
        """Begin the transaction of a request that is being sent over TLS; `owner` is told what comes of it.

        A CANCEL has the branch of the INVITE that it cancels (section 9.1), and a transaction of its own.
        """
        transaction: ClientTransaction | InviteClient
        if method == "INVITE":
            transaction = InviteClient(branch, sent, now, owner=owner)
        else:
            transaction = ClientTransaction(branch, method, sent, now, owner=owner)
        self._clients[branch if method != "CANCEL" else f"{branch} CANCEL"] = transaction
        return transaction

    def match_response(self, response: Response, now: float) -> ClientTransaction | InviteClient | None:
        """The client transaction that the response belongs to and that wants it handed up, else None.

        Of an INVITE each 1xx is handed up, the first failure, whose ACK is sent here, and each 2xx: another one may be another fork's, and
        the same again asks for our ACK again.

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
        branch = own[1] if own is not None else response.via.branch
        transaction = self._clients.get(branch)
        number, _, method = index.get("cseq", ("",))[0].partition(" ")
        if method == "CANCEL":
            branch = f"{branch} CANCEL"
            transaction = self._clients.get(branch)
        if transaction is None or method != transaction.method or not number.isdigit():
            method = response.cseq.method
            if transaction is None or method != transaction.method:
                return None
        if isinstance(transaction, InviteClient):
            return self._match_invite(transaction, response, now)
        outcome = transaction.receive(response.status, now)
        if transaction.deadline is None:
            del self._clients[branch]
        return transaction if outcome is Outcome.DELIVER else None

    def _match_invite(self, transaction: InviteClient, response: Response, now: float) -> InviteClient | None:
        outcome = transaction.receive(response, now)
        if outcome in (invite.Outcome.DELIVER_ACK, invite.Outcome.ACK) and self._send is not None:
            self._send(transaction.ack)
        return transaction if outcome in (invite.Outcome.DELIVER, invite.Outcome.DELIVER_ACK) else None

    def match_request(self, request: Request, now: float) -> ServerTransaction | InviteServer | bytes | None:
        """A new server transaction for a request; or, for one that was seen before, the bytes to send again (None: none yet).

        Raises `MalformedMessage` where the Via cannot be read, and for another version, whose Via is not ours to read.
        """
        if request.version != "SIP/2.0":
            raise MalformedMessage(f"{request.version} is not SIP/2.0", status=505)
        key = self._key(request, request.method)
        if request.method == "INVITE":
            return self._match_offer(key)
        answered = self._answered.get(key)
        if answered is not None:
            return answered
        known = self._servers.get(key)
        if known is not None:
            return known.last_sent if known.receive() is Outcome.RETRANSMIT else None
        transaction = ServerTransaction(key)
        self._servers[key] = transaction
        return transaction

    def match_ack(self, request: Request, now: float) -> bool:
        """Whether an ACK is one to a final response of ours that was no success: then it is dealt with. One to a 2xx is its dialog's.

        Raises `MalformedMessage` where the Via cannot be read.
        """
        transaction = self._invites.get(self._key(request, "INVITE"))
        return transaction is not None and transaction.receive_ack(now)

    def find_invite(self, cancel: Request) -> InviteServer | None:
        """The INVITE that a CANCEL is about and that is still known here (section 9.2)."""
        return self._invites.get(self._key(cancel, "INVITE"))

    def _match_offer(self, key: Key) -> InviteServer | bytes | None:
        known = self._invites.get(key)
        if known is not None:
            return known.last_sent if known.receive() is invite.Outcome.RETRANSMIT else None
        transaction = InviteServer(key)
        self._invites[key] = transaction
        return transaction

    @staticmethod
    def _key(request: Request, method: str) -> Key:
        via = request.via
        branch = via.branch
        if not branch.startswith(MAGIC_COOKIE) or branch == MAGIC_COOKIE:
            # An RFC 2543 peer: what its rules match by, in one text (section 17.2.3).
            number = request.cseq.number
            branch = f"{branch} {request.call_id} {number} {request.required('from')} {request.uri_text}"
        return Key(branch, f"{via.host}:{via.port or 5061}".lower(), method)

    def respond(self, transaction: ServerTransaction | InviteServer, response: Response, now: float) -> bytes:
        """Answer a request: the bytes to send (empty where it was answered before)."""
        data = bytes(response)
        if isinstance(transaction, InviteServer):
            return data if transaction.respond(response.status, data, now) is invite.Outcome.SEND else b""
        if transaction.respond(response.status, data, now) is not Outcome.SEND:
            return b""
        if response.status >= 200:
            self._servers.pop(transaction.key, None)
            self._answered[transaction.key] = data
            if len(self._answered) > self.MAX_ANSWERED:
                del self._answered[next(iter(self._answered))]
        return data

    def handle_timer(self, now: float) -> list[ClientTransaction | InviteClient]:
        """Fire what is due; the client transactions that no answer came to (Timers B and F)."""
        timed_out = []
        for branch, transaction in list(self._clients.items()):
            while (deadline := transaction.deadline) is not None and deadline <= now:
                if transaction.handle_timer(now) in _TIMEOUTS:
                    timed_out.append(transaction)
            if transaction.state in _TERMINATED:
                del self._clients[branch]
        for key, server in list(self._invites.items()):
            while (deadline := server.deadline) is not None and deadline <= now:
                server.handle_timer(now)
            if server.state is invite.State.TERMINATED:
                del self._invites[key]
        return timed_out

    def lose_transport(self) -> list[ClientTransaction | InviteClient]:
        """The flow is gone and every transaction with it; those of the client that had no final answer yet."""
        failed = [client for client in self._clients.values() if client.lose_transport() in _FAILED]
        self._clients.clear()
        for server in self._servers.values():
            server.lose_transport()
        for offered in self._invites.values():
            offered.lose_transport()
        self._servers.clear()
        self._invites.clear()
        self._answered.clear()
        return failed


_TIMEOUTS = frozenset({Outcome.TIMEOUT, invite.Outcome.TIMEOUT})
_FAILED = frozenset({Outcome.FAILED, invite.Outcome.FAILED})
_TERMINATED = frozenset({State.TERMINATED, invite.State.TERMINATED})
