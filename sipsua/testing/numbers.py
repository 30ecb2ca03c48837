"""The pocket PBX's special numbers: called like users, they do what tests want of the other side, and need no phone.

One `Number` says in data what happens to a call: how long it rings, what the answer is, when it hangs up. One `Attendant` is the phone of
all of them, a user agent server by RFC 3261 sections 8.2, 13.3 and 15 on a line of its own, which the exchange routes to as to any flow.
Pure: who speaks and listens is the `Desk`'s, which opens sockets and says when it has.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Protocol

from sipsua.account.persona import Dice
from sipsua.errors import BadConfiguration, MalformedMessage
from sipsua.sip.message import MAGIC_COOKIE, Header, Request, parse_message, respond
from sipsua.sip.timers import T1
from sipsua.testing.registrar import REASONS

if TYPE_CHECKING:
    from sipsua.testing.exchange import Exchange

MAX_CALLS = 5000
"""Calls of all numbers at a time; the next one gets 486. Each with media has two sockets, and a process seldom more than 10,000."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Number:
    """What becomes of a call to one number."""

    rings: float | None = 0.0
    """Seconds of ringing before the answer; 0: it comes at once, without a 180. None: it rings until the caller cancels."""
    status: int = 200
    """The answer: 200, or from 300 to 699."""
    contact: str = ""
    """The URI where a 3xx leads; empty: to the number `echo`."""
    talks: float | None = None
    """Seconds from the ACK until the number hangs up; None: it leaves that to the caller."""

    def __post_init__(self) -> None:
        if self.status != 200 and not 300 <= self.status <= 699:
            raise BadConfiguration(
                f"no call is answered with {self.status}", fix="give 200, or a status from 300 to 699"
            )
        if any(seconds is not None and seconds < 0 for seconds in (self.rings, self.talks)):
            raise BadConfiguration("a number rings or talks for less than no time", fix="give seconds of 0 or more")


ECHO, BUSY, SILENT, LATE, DECLINED, MOVED, GONE = "echo", "busy", "silent", "late", "declined", "moved", "gone"

NUMBERS: Mapping[str, Number] = {
    ECHO: Number(),
    BUSY: Number(status=486),
    SILENT: Number(rings=None),
    LATE: Number(rings=2.0),
    DECLINED: Number(status=603),
    MOVED: Number(status=302),
    GONE: Number(status=410),
}
"""The numbers that a pocket PBX has, if it is not given others. Those that answer send back what they hear."""


class Desk(Protocol):
    """Who speaks and listens for the numbers. Each answer comes by `reply`, at once or later: SDP, or the status of a refusal."""

    def take(self, call: NumberCall, offer: bytes, reply: Callable[[bytes | int], None]) -> None:
        """A call, or its new offer, is to be answered; an empty offer asks for one of ours."""

    def accept(self, call: NumberCall, answer: bytes) -> None:
        """The caller's answer to our offer, in its ACK."""

    def leave(self, call: NumberCall) -> None:
        """The call is over."""


class NoMedia:
    """A desk without media, whose calls are refused."""

    def take(self, call: NumberCall, offer: bytes, reply: Callable[[bytes | int], None]) -> None:
        reply(488)

    def accept(self, call: NumberCall, answer: bytes) -> None:
        pass

    def leave(self, call: NumberCall) -> None:
        pass


class State(StrEnum):
    """Where a call to a number stands."""

    RINGING = "ringing"
    OPENING = "opening"
    """The desk is at work."""
    ANSWERED = "answered"
    """Our 200 is sent, the ACK is to come."""
    CONFIRMED = "confirmed"
    OVER = "over"


class Input(StrEnum):
    """What can happen to it."""

    DUE = "due"
    """The time of this state is over."""
    READY = "ready"
    """The desk has an answer."""
    ACK = "ACK"
    CANCEL = "CANCEL"
    BYE = "BYE"
    LOST = "flow lost"


class Action(StrEnum):
    """What the attendant has to do."""

    OPEN = "open"
    """Ask the desk for an answer, or give the refusal that the number is for."""
    ANSWER = "answer"
    TALK = "talk"
    TERMINATE = "terminate"
    """Answer the INVITE with 487."""
    HANG_UP = "hang up"
    """Send a BYE."""
    CLOSE = "close"
    NOTHING = "nothing"


CALL: Mapping[tuple[State, Input], tuple[State, Action]] = {
    (State.RINGING, Input.DUE): (State.OPENING, Action.OPEN),
    (State.RINGING, Input.CANCEL): (State.OVER, Action.TERMINATE),
    (State.RINGING, Input.BYE): (State.OVER, Action.TERMINATE),
    (State.RINGING, Input.LOST): (State.OVER, Action.CLOSE),
    (State.OPENING, Input.READY): (State.ANSWERED, Action.ANSWER),
    (State.OPENING, Input.CANCEL): (State.OVER, Action.TERMINATE),
    (State.OPENING, Input.BYE): (State.OVER, Action.TERMINATE),
    (State.OPENING, Input.LOST): (State.OVER, Action.CLOSE),
    (State.ANSWERED, Input.ACK): (State.CONFIRMED, Action.TALK),
    (State.ANSWERED, Input.DUE): (State.OVER, Action.HANG_UP),
    (State.ANSWERED, Input.BYE): (State.OVER, Action.CLOSE),
    (State.ANSWERED, Input.LOST): (State.OVER, Action.CLOSE),
    (State.CONFIRMED, Input.DUE): (State.OVER, Action.HANG_UP),
    (State.CONFIRMED, Input.BYE): (State.OVER, Action.CLOSE),
    (State.CONFIRMED, Input.LOST): (State.OVER, Action.CLOSE),
}
"""What happens to a call; what is not here changes nothing."""


class NumberCall:
    """One call to a number."""

    __slots__ = ("address", "cseq", "deadline", "invite", "number", "offered", "renewal", "state", "tag", "user")

    def __init__(self, user: str, number: Number, invite: Request, tag: str, address: str) -> None:
        self.user = user
        self.address = address
        """Host and port of the PBX as the caller has reached them."""
        self.number = number
        self.invite = invite
        """The request that made it."""
        self.tag = tag
        """Ours."""
        self.state = State.RINGING
        self.offered = False
        """The last 200 held an offer of ours, whose answer the ACK brings."""
        self.renewal: Request | None = None
        """A request inside the call that waits for the desk."""
        self.cseq = 0
        self.deadline: float | None = None

    def __repr__(self) -> str:
        return f"<NumberCall to {self.user}, {self.state}>"

    def step(self, given: Input) -> Action:
        """Something happened."""
        self.state, action = CALL.get((self.state, given), (self.state, Action.NOTHING))
        return action


class Attendant:
    """The phone of all special numbers: a line of the exchange."""

    def __init__(self, exchange: Exchange, numbers: Mapping[str, Number], dice: Dice) -> None:
        self.numbers = dict(numbers)
        """What each number does; may be changed at any time, which counts for calls to come."""
        self.desk: Desk = NoMedia()
        """Who speaks for them."""
        self.address = "localhost:5061"
        """Host and port of the PBX, for Via."""
        self.source = ("127.0.0.1", 0)
        self.is_closing = False
        self._exchange = exchange
        self._dice = dice
        self._calls: dict[str, NumberCall] = {}
        self._ringing: dict[str, NumberCall] = {}

    @property
    def calls(self) -> list[NumberCall]:
        """The calls that are not over, oldest first."""
        return list(self._calls.values())

    def send(self, data: bytes) -> None:
        """A message from the exchange; what it sends out is well-formed."""
        message = parse_message(data)
        if isinstance(message, Request):
            self._receive(message)

    def due(self, call: NumberCall) -> None:
        """The call's time has come."""
        self._act(call, call.step(Input.DUE))

    def lose(self, call_id: str, caller_tag: str) -> None:
        """The caller's flow is gone."""
        for call in self.calls:
            if call.invite.call_id == call_id and call.invite.from_.tag == caller_tag:
                self._act(call, call.step(Input.LOST))

    def close(self) -> None:
        """The PBX stops: nothing is sent any more."""
        for call in self.calls:
            call.step(Input.LOST)
            self._end(call)

    def _receive(self, request: Request) -> None:
        method, tag = request.method, request.to.tag
        if method == "ACK":
            if tag is not None and (call := self._calls.get(tag)) is not None:
                self._acknowledged(call, request)
        elif method == "CANCEL":
            call = self._ringing.get(request.via.branch)
            self._say(request, 200 if call is not None else 481)
            if call is not None:
                self._act(call, call.step(Input.CANCEL))
        elif tag is not None:
            call = self._calls.get(tag)
            if call is None or call.invite.call_id != request.call_id:
                self._say(request, 481)
            else:
                self._inside(call, request)
        elif required := request.tokens("require"):
            self._say(request, 420, [("Unsupported", ", ".join(required))])
        elif method == "INVITE":
            self._called(request)
        elif method == "OPTIONS":
            self._say(request, 200, [("Allow", _ALLOW), ("Accept", "application/sdp"), ("Supported", "")])
        else:
            self._say(request, 405, [("Allow", _ALLOW)])

    def _called(self, invite: Request) -> None:
        user = invite.uri.decoded_user or ""
        number = self.numbers.get(user)
        if number is None or len(self._calls) >= MAX_CALLS:
            self._say(invite, 404 if number is None else 486)
            return
        if invite.body and (invite.first("content-type") or "").partition(";")[0].strip().lower() != "application/sdp":
            self._say(invite, 415, [("Accept", "application/sdp")])
            return
        call = NumberCall(user, number, invite, f"{self._dice(64):016x}", self._exchange.reached_at(invite))
        self._calls[call.tag] = self._ringing[invite.via.branch] = call
        if number.rings == 0:
            self._act(call, call.step(Input.DUE))
            return
        self._say(invite, 180, self._dialog_fields(call, invite), tag=call.tag)
        if number.rings is not None:
            self._exchange.agenda.set(call, self._exchange.now + number.rings)

    def _act(self, call: NumberCall, action: Action) -> None:
        invite = call.invite
        if action is Action.OPEN:
            if call.number.status == 200:
                call.offered = not invite.body
                self.desk.take(call, invite.body, lambda reply: self._ready(call, reply))
                return
            self._end(call)
            status = call.number.status
            target = call.number.contact or f"sip:{ECHO}@{call.address};transport=tls"
            self._say(invite, status, [("Contact", f"<{target}>")] if status < 400 else (), tag=call.tag)
        elif action is Action.TALK:
            call.deadline = None
            if call.number.talks is not None:
                self._exchange.agenda.set(call, self._exchange.now + call.number.talks)
        elif action is Action.TERMINATE:
            self._end(call)
            self._say(invite, 487, tag=call.tag)
        elif action is Action.HANG_UP:
            self._end(call)
            self._hang_up(call)
        elif action is Action.CLOSE:
            self._end(call)

    def _ready(self, call: NumberCall, reply: bytes | int) -> None:
        """The desk has an answer, perhaps when the call is over."""
        renewal, call.renewal = call.renewal, None
        if renewal is not None:
            self._say_media(call, renewal, reply if call.state is not State.OVER else 487)
        elif call.step(Input.READY) is Action.ANSWER:
            if isinstance(reply, int):
                call.state = State.OVER
                self._end(call)
            else:
                self._ringing.pop(call.invite.via.branch, None)
                self._exchange.agenda.set(call, self._exchange.now + 64 * T1)
            self._say_media(call, call.invite, reply)

    def _acknowledged(self, call: NumberCall, ack: Request) -> None:
        if call.offered:
            call.offered = False
            self.desk.accept(call, ack.body)
        self._act(call, call.step(Input.ACK))

    def _inside(self, call: NumberCall, request: Request) -> None:
        """A request inside the call."""
        method = request.method
        if method == "BYE":
            self._say(request, 200)
            self._act(call, call.step(Input.BYE))
        elif method in ("INVITE", "UPDATE"):
            if call.renewal is not None or call.state not in (State.ANSWERED, State.CONFIRMED):
                self._say(request, 500, [("Retry-After", str(1 + self._dice(3)))])  # RFC 3261 section 14.2
            elif method == "UPDATE" and not request.body:
                self._say(request, 200, self._dialog_fields(call, request))
            else:
                call.renewal = request
                call.offered = not request.body
                self.desk.take(call, request.body, lambda reply: self._ready(call, reply))
        elif method in ("INFO", "OPTIONS"):
            self._say(request, 200)
        else:
            self._say(request, 405, [("Allow", _ALLOW)])

    def _hang_up(self, call: NumberCall) -> None:
        """Send a BYE (RFC 3261 section 15.1.1): by the routes of the INVITE, to the Contact of the caller."""
        invite = call.invite
        try:
            contacts = invite.contacts
        except MalformedMessage:
            return
        if not contacts:
            return
        call.cseq += 1
        fields: list[Header] = [
            ("Via", f"SIP/2.0/TLS {self.address};branch={MAGIC_COOKIE}{self._dice(64):016x}"),
            *(("Route", route) for route in invite.values("record-route")),
            ("Max-Forwards", "70"),
            ("From", f"{invite.required('to')};tag={call.tag}"),
            ("To", invite.required("from")),
            ("Call-ID", invite.call_id),
            ("CSeq", f"{call.cseq} BYE"),
            ("Content-Length", "0"),
        ]
        self._exchange.receive_request(self, Request("BYE", contacts[0].uri_text, fields), self._exchange.now)

    def _end(self, call: NumberCall) -> None:
        call.deadline = None
        self._calls.pop(call.tag, None)
        self._ringing.pop(call.invite.via.branch, None)
        self.desk.leave(call)

    def _dialog_fields(self, call: NumberCall, request: Request) -> list[Header]:
        """What makes a dialog, or refreshes its target (RFC 3261 section 12.1.1)."""
        routes: list[Header] = [("Record-Route", route) for route in request.index.get("record-route", ())]
        return [*routes, ("Contact", f"<sip:{call.user}@{call.address};transport=tls>"), ("Allow", _ALLOW)]

    def _say_media(self, call: NumberCall, request: Request, reply: bytes | int) -> None:
        if isinstance(reply, int):
            self._say(request, reply, tag=call.tag)
            return
        fields = [*self._dialog_fields(call, request), ("Content-Type", "application/sdp")]
        self._say(request, 200, fields, tag=call.tag, body=reply)

    def _say(
        self, request: Request, status: int, extra: Iterable[Header] = (), *, tag: str = "", body: bytes = b""
    ) -> None:
        response = respond(
            request, status, REASONS.get(status, "Answer"), extra, to_tag=tag or f"{self._dice(64):016x}"
        )
        if body:
            response.headers[-1] = ("Content-Length", str(len(body)))
            response.body = body
        self._exchange.receive_response(self, response, self._exchange.now)


_ALLOW = "INVITE, ACK, BYE, CANCEL, OPTIONS, UPDATE, INFO"
