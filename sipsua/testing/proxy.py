"""A forked request and its branches: what the pocket PBX's proxy remembers of a request, and the texts that it sends on.

A `Fork` is the response context of RFC 3261 section 16.7 together with its server transaction, a `Branch` one client transaction of it.
The machine of a branch is a table: the INVITE client transaction of figure 5 with RFC 6026's Accepted, and with the CANCEL that a proxy
may owe it, which waits for the first provisional response (section 9.1). Branches of other methods use the same table: nothing but a
final response moves them, and they are never cancelled.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import NamedTuple, Protocol

from sipsua.sip.headers import bounded, split_list
from sipsua.sip.message import MAGIC_COOKIE, Header, Request, Response
from sipsua.testing.registrar import stamp


class Line(Protocol):
    """Where a phone is reached: what the exchange wants of a flow."""

    @property
    def address(self) -> str:
        """Host and port of the PBX's end, as Via and Record-Route name it."""

    @property
    def source(self) -> tuple[str, int]:
        """The phone's address and port."""

    @property
    def is_closing(self) -> bool:
        """Whether nothing can be sent any more."""

    def send(self, data: bytes) -> None:
        """Send one message."""


class Key(NamedTuple):
    """What a request is matched by (RFC 3261 section 17.2.3), the flow included: no phone can touch another's transactions."""

    line: Line
    branch: str
    sent_by: str
    method: str

    @classmethod
    def of(cls, line: Line, request: Request, method: str | None = None) -> Key:
        """The key of a request, or that of the INVITE which a CANCEL or ACK belongs to. Raises MalformedMessage."""
        via = request.via
        branch = via.branch
        if not branch.startswith(MAGIC_COOKIE) or branch == MAGIC_COOKIE:
            # An RFC 2543 peer: what is the same in an INVITE, its CANCEL and its ACK.
            branch = f"{branch} {request.call_id} {request.cseq.number} {request.required('from')} {request.uri_text}"
        return cls(line, branch, f"{via.host}:{via.port or 5061}".lower(), method or request.method)


class State(StrEnum):
    """States of a branch."""

    CALLING = "Calling"
    """Sent, and nothing has come back."""
    PROCEEDING = "Proceeding"
    """A provisional response has come."""
    DOOMED = "Doomed"
    """To be cancelled, as soon as a provisional response comes."""
    CANCELLING = "Cancelling"
    """The CANCEL is sent, the final response is to come."""
    COMPLETED = "Completed"
    """A final response from 300 to 699 has come."""
    ACCEPTED = "Accepted"
    """A 2xx has come; it may be repeated (RFC 6026 section 7.2)."""
    TERMINATED = "Terminated"


class Input(StrEnum):
    """What can happen to a branch."""

    PROVISIONAL = "1xx"
    SUCCESS = "2xx"
    FAILURE = "300-699"
    CANCEL = "cancel"
    """The caller has cancelled, or another branch has decided the request."""
    TIMER = "timer"
    """Timer B or F while nothing has come, Timer C while it rings, 64*T1 after a CANCEL."""
    LOST = "flow lost"


class Action(StrEnum):
    """What the exchange has to do."""

    PASS = "pass"
    """Send the response on to the caller."""
    COLLECT = "collect"
    """Acknowledge the response, and keep it until all branches have ended."""
    ACKNOWLEDGE = "acknowledge"
    """The response came again: so does the ACK."""
    CANCEL = "cancel"
    """Send a CANCEL."""
    GIVE_UP = "give up"
    """Count the branch as unanswered."""
    NOTHING = "nothing"


BRANCH: Mapping[tuple[State, Input], tuple[State, Action]] = {
    (State.CALLING, Input.PROVISIONAL): (State.PROCEEDING, Action.PASS),
    (State.CALLING, Input.SUCCESS): (State.ACCEPTED, Action.PASS),
    (State.CALLING, Input.FAILURE): (State.COMPLETED, Action.COLLECT),
    (State.CALLING, Input.CANCEL): (State.DOOMED, Action.NOTHING),
    (State.CALLING, Input.TIMER): (State.TERMINATED, Action.GIVE_UP),
    (State.CALLING, Input.LOST): (State.TERMINATED, Action.GIVE_UP),
    (State.PROCEEDING, Input.PROVISIONAL): (State.PROCEEDING, Action.PASS),
    (State.PROCEEDING, Input.SUCCESS): (State.ACCEPTED, Action.PASS),
    (State.PROCEEDING, Input.FAILURE): (State.COMPLETED, Action.COLLECT),
    (State.PROCEEDING, Input.CANCEL): (State.CANCELLING, Action.CANCEL),
    (State.PROCEEDING, Input.TIMER): (State.CANCELLING, Action.CANCEL),
    (State.PROCEEDING, Input.LOST): (State.TERMINATED, Action.GIVE_UP),
    (State.DOOMED, Input.PROVISIONAL): (State.CANCELLING, Action.CANCEL),
    (State.DOOMED, Input.SUCCESS): (State.ACCEPTED, Action.PASS),
    (State.DOOMED, Input.FAILURE): (State.COMPLETED, Action.COLLECT),
    (State.DOOMED, Input.CANCEL): (State.DOOMED, Action.NOTHING),
    (State.DOOMED, Input.TIMER): (State.TERMINATED, Action.GIVE_UP),
    (State.DOOMED, Input.LOST): (State.TERMINATED, Action.GIVE_UP),
    (State.CANCELLING, Input.PROVISIONAL): (State.CANCELLING, Action.NOTHING),
    (State.CANCELLING, Input.SUCCESS): (State.ACCEPTED, Action.PASS),
    (State.CANCELLING, Input.FAILURE): (State.COMPLETED, Action.COLLECT),
    (State.CANCELLING, Input.CANCEL): (State.CANCELLING, Action.NOTHING),
    (State.CANCELLING, Input.TIMER): (State.TERMINATED, Action.GIVE_UP),
    (State.CANCELLING, Input.LOST): (State.TERMINATED, Action.GIVE_UP),
    (State.COMPLETED, Input.FAILURE): (State.COMPLETED, Action.ACKNOWLEDGE),
    (State.ACCEPTED, Input.SUCCESS): (State.ACCEPTED, Action.PASS),
}
"""What happens to a branch. What is not here is let pass: it is late, and changes nothing."""

PENDING = frozenset({State.CALLING, State.PROCEEDING, State.DOOMED, State.CANCELLING})
"""States in which a final response is still to come."""


class Branch:
    """The request as it went to one phone."""

    __slots__ = ("deadline", "fork", "id", "line", "overdue", "state", "target")

    def __init__(self, fork: Fork, branch: str, target: str, line: Line) -> None:
        self.fork = fork
        self.id = branch
        """The branch parameter of our Via."""
        self.target = target
        """The Request-URI."""
        self.line = line
        self.state = State.CALLING
        self.deadline: float | None = None
        self.overdue = False
        """It was cancelled because Timer C fired, and by nobody else."""

    def step(self, given: Input) -> Action:
        """Something happened."""
        self.state, action = BRANCH.get((self.state, given), (self.state, Action.NOTHING))
        return action


class Fork:
    """A request on its way: who sent it, where it went, and what came back."""

    __slots__ = (
        "branches",
        "callee",
        "cancelled",
        "deadline",
        "final",
        "finals",
        "key",
        "last_sent",
        "line",
        "reason",
        "request",
        "routes",
    )

    def __init__(self, key: Key, request: Request, routes: list[str], callee: str) -> None:
        self.key = key
        self.line = key.line
        self.request = request
        self.routes = "".join(f"Route: {route}\r\n" for route in routes)
        """The Route header fields that went on with it."""
        self.callee = callee
        """The user who is called; empty where that is not known."""
        self.branches: list[Branch] = []
        self.finals: list[tuple[int, Response | None]] = []
        """The final responses so far, without 2xx; those that we count without having got one are None."""
        self.final = 0
        """The status of the final response that the caller got, the last one of several 2xx; 0 before."""
        self.last_sent = b""
        """What a repeat of the request is answered with."""
        self.cancelled = False
        """By the caller."""
        self.reason = ""
        """Why it is cancelled: the value of a Reason (RFC 3326), so that a phone does not list a call that another one took as missed."""
        self.deadline: float | None = None

    @property
    def is_invite(self) -> bool:
        """Whether it asks for a call."""
        return self.request.method == "INVITE"

    @property
    def is_pending(self) -> bool:
        """Whether a final response is still to come from a branch."""
        return any(branch.state in PENDING for branch in self.branches)

    def best(self) -> tuple[int, Response | None]:
        """The response to send when all branches have ended without a 2xx (RFC 3261 section 16.7, item 6); 408 where there is none."""
        if not self.finals:
            return 408, None
        return min(self.finals, key=_rank)

    def hop_by_hop(self, method: str, branch: Branch, to: str) -> bytes:
        """A CANCEL or an ACK for a branch: to the same place, with the same Via (RFC 3261 sections 9.1 and 17.1.1.3)."""
        request = self.request
        text = (
            f"{method} {branch.target} SIP/2.0\r\n"
            f"Via: SIP/2.0/TLS {branch.line.address};branch={branch.id}\r\n"
            f"{self.routes}"
            f"Max-Forwards: 70\r\n"
            f"From: {request.required('from')}\r\n"
            f"To: {to}\r\n"
            f"Call-ID: {request.call_id}\r\n"
            f"CSeq: {request.cseq.number} {method}\r\n"
            f"{f'Reason: {self.reason}{chr(13)}{chr(10)}' if method == 'CANCEL' and self.reason else ''}"
            f"Content-Length: 0\r\n\r\n"
        )
        return text.encode("utf-8", "surrogateescape")


def _rank(final: tuple[int, Response | None]) -> tuple[int, int]:
    """6xx first, then the lowest class; in a class what tells the caller how to ask again, and a 503 last: it speaks of one phone only."""
    status, _ = final
    kind = status // 100
    place = 1
    if status in _ASKING_AGAIN:
        place = 0
    elif status in _LAST:
        place = 2
    return (0 if kind == 6 else kind, place)


_ASKING_AGAIN = frozenset({401, 407, 415, 420, 484})
_LAST = frozenset({408, 487, 503})
"""What says least of all: that a branch did not answer, or was cancelled."""

_CHALLENGES = ("www-authenticate", "proxy-authenticate")


def request_for(request: Request, target: str, via: str, record_route: str, fields: str) -> bytes:
    """The request as it goes to one target: RFC 3261 section 16.6. `record_route` is a URI or empty, `fields` are those of `fields_of`."""
    text = f"{request.method} {target} SIP/2.0\r\nVia: SIP/2.0/TLS {via}\r\n"
    if record_route:
        text += f"Record-Route: <{record_route}>\r\n"
    return f"{text}{fields}\r\n".encode("utf-8", "surrogateescape") + request.body


def hops_left(request: Request) -> int:
    """The value of Max-Forwards; where there is none, one that becomes 70 (RFC 3261 section 16.6, item 3)."""
    value = request.first("max-forwards")
    return 71 if value is None else bounded(value, 255, "Max-Forwards")


def fields_of(request: Request, source: tuple[str, int], routes: list[str], realm: str) -> str:
    """The header fields that all targets get: Via stamped, Max-Forwards one less, the Routes that are left, no credentials for us."""
    text = "".join(f"Route: {route}\r\n" for route in routes)
    text += f"Max-Forwards: {hops_left(request) - 1}\r\n"
    stamped = False
    for name, value in request.headers:
        key = name.lower()
        if key in ("via", "v") and not stamped:
            stamped = True
            value = stamp(value, *source)
        elif key in ("route", "max-forwards") or (key == "proxy-authorization" and realm in value):
            continue
        text += f"{name}: {value}\r\n"
    return text


def response_for(response: Response, status: int, reason: str, extra: Iterable[Header] = ()) -> bytes:
    """The response as it goes on to the caller: without our Via (RFC 3261 section 16.7, item 3). It must have another."""
    text = f"SIP/2.0 {status} {reason}\r\n"
    ours = True
    for name, value in response.headers:
        if ours and name.lower() in ("via", "v"):
            ours = False
            if "," not in value:
                continue
            value = ", ".join(split_list(value)[1:])
        text += f"{name}: {value}\r\n"
    for name, value in extra:
        text += f"{name}: {value}\r\n"
    return f"{text}\r\n".encode("utf-8", "surrogateescape") + response.body


def other_challenges(fork: Fork, chosen: Response) -> list[Header]:
    """The challenges of all other branches, which go along with a 401 or 407 (RFC 3261 section 16.7, item 7)."""
    names = {"www-authenticate": "WWW-Authenticate", "proxy-authenticate": "Proxy-Authenticate"}
    return [
        (names[name], value)
        for status, response in fork.finals
        if status in (401, 407) and response is not None and response is not chosen
        for name in _CHALLENGES
        for value in response.index.get(name, ())
    ]
