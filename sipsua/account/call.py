"""One call as a table: from the INVITE, ours or theirs, to the end; RFC 3261 sections 9, 13 and 15.

What happens (an input) in which state gives the next state and an action. The call has legs (`account.leg`): one for each fork that has
answered, and one in the end. What goes on inside a call that stands has files of its own: offers and session timers (`account.change`),
reliable provisional responses (`account.reliable`), transfers (`account.transfer`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from enum import StrEnum
from typing import TYPE_CHECKING, Protocol

from sipsua.account import messages
from sipsua.account import request as requests
from sipsua.account.asking import Answer, Asking, content_headers
from sipsua.account.call_config import CallConfig, Reliability
from sipsua.account.change import Changes
from sipsua.account.config import AccountConfig, Target
from sipsua.account.dialling import redirect_target
from sipsua.account.leg import SDP, Leg, warning
from sipsua.account.persona import Dice
from sipsua.account.proof import Keyring
from sipsua.account.reception import Pending
from sipsua.account.reliable import Reliable
from sipsua.account.transfer import Transfers
from sipsua.errors import Defect, FlowLost, MalformedMessage, Misuse, Refused, SipsuaError, printable
from sipsua.events import (
    CallAnswered,
    CallEnded,
    CallMedia,
    CallProgressed,
    CallResumed,
    CallSuspended,
    EndedBy,
    Event,
)
from sipsua.media.offer import Address, Direction, Rejected, Session
from sipsua.sip.dialog import Dialog
from sipsua.sip.message import MAGIC_COOKIE, Header, Request, Response
from sipsua.sip.session_timer import Interval
from sipsua.sip.timers import T1, T2

if TYPE_CHECKING:
    from sipsua.account.calls import Calls
    from sipsua.account.subscriptions import Subscriptions

ANSWER_LIMIT = 64 * T1
"""Seconds that an answer of ours waits for its ACK, and a CANCEL for the end of what it cancels (RFC 3261 sections 13.3.1.4 and 9.1)."""
MAX_REDIRECTS = 5
"""3xx responses of one call that are followed: more is going round in circles (RFC 3261 section 8.1.3.4 leaves the number open)."""
MAX_FORKS = 16
"""Legs of one call: who answers with more To tags is no phone, and each costs memory."""


class State(StrEnum):
    """Where a call stands."""

    DIALLING = "dialling"
    """Our INVITE is under way, and nothing has come back."""
    RINGING = "ringing"
    """The other side has told of progress."""
    CANCELLING = "cancelling"
    """We have given up, and wait for the INVITE's own end (RFC 3261 section 9.1)."""
    OFFERED = "offered"
    """Their INVITE rings here."""
    ANSWERED = "answered"
    """We have answered; the ACK is to come."""
    RETRACTING = "retracting"
    """As `answered`, and we have hung up: a BYE may not go out before the ACK (section 15)."""
    ESTABLISHED = "established"
    CLOSING = "closing"
    """Our BYE is under way."""
    ENDED = "ended"


class Input(StrEnum):
    """What can happen to a call."""

    PROGRESS = "1xx"
    SUCCESS = "2xx"
    FAILURE = "300-699"
    """A final response that was not followed; also that none came, or that the flow broke (section 8.1.3.1)."""
    ACCEPT = "accept"
    REJECT = "reject"
    HANG_UP = "hang up"
    CANCEL = "CANCEL"
    ACK = "ACK"
    BYE = "BYE"
    GONE = "gone"
    """The answer to our BYE, whatever it is."""
    LATE = "late"
    """A time limit of this state is over."""
    FLOW_LOST = "flow lost"
    FLOW_OPENED = "flow opened"


class Action(StrEnum):
    """What an input makes the call do."""

    PROGRESS = "progress"
    """Tell of it."""
    ESTABLISH = "establish"
    """Tell that the call stands."""
    CANCEL = "cancel"
    """CANCEL our INVITE, where that may be done and was not."""
    ANSWER = "answer"
    """200 to their INVITE."""
    REJECT = "reject"
    """A final response that is no success to their INVITE."""
    BYE = "bye"
    SUSPEND = "suspend"
    """The call stands without a flow for a while."""
    RESUME = "resume"
    """Tell the other side the way of the new flow."""
    END = "end"
    NONE = "none"


TABLE: Mapping[tuple[State, Input], tuple[State, Action]] = {
    (State.DIALLING, Input.PROGRESS): (State.RINGING, Action.PROGRESS),
    (State.DIALLING, Input.SUCCESS): (State.ESTABLISHED, Action.ESTABLISH),
    (State.DIALLING, Input.FAILURE): (State.ENDED, Action.END),
    (State.DIALLING, Input.HANG_UP): (State.CANCELLING, Action.NONE),
    (State.DIALLING, Input.LATE): (State.CANCELLING, Action.NONE),
    (State.DIALLING, Input.FLOW_LOST): (State.DIALLING, Action.NONE),
    (State.RINGING, Input.PROGRESS): (State.RINGING, Action.PROGRESS),
    (State.RINGING, Input.SUCCESS): (State.ESTABLISHED, Action.ESTABLISH),
    (State.RINGING, Input.FAILURE): (State.ENDED, Action.END),
    (State.RINGING, Input.HANG_UP): (State.CANCELLING, Action.CANCEL),
    (State.RINGING, Input.LATE): (State.CANCELLING, Action.CANCEL),
    (State.RINGING, Input.BYE): (State.RINGING, Action.NONE),
    (State.RINGING, Input.FLOW_LOST): (State.RINGING, Action.NONE),
    (State.CANCELLING, Input.PROGRESS): (State.CANCELLING, Action.CANCEL),
    (State.CANCELLING, Input.SUCCESS): (State.CLOSING, Action.BYE),
    (State.CANCELLING, Input.FAILURE): (State.ENDED, Action.END),
    (State.CANCELLING, Input.HANG_UP): (State.CANCELLING, Action.NONE),
    (State.CANCELLING, Input.BYE): (State.CANCELLING, Action.NONE),
    (State.CANCELLING, Input.LATE): (State.ENDED, Action.END),
    (State.CANCELLING, Input.FLOW_LOST): (State.ENDED, Action.END),
    (State.OFFERED, Input.ACCEPT): (State.ANSWERED, Action.ANSWER),
    (State.OFFERED, Input.REJECT): (State.ENDED, Action.REJECT),
    (State.OFFERED, Input.HANG_UP): (State.ENDED, Action.REJECT),
    (State.OFFERED, Input.CANCEL): (State.ENDED, Action.REJECT),
    (State.OFFERED, Input.BYE): (State.ENDED, Action.REJECT),
    (State.OFFERED, Input.LATE): (State.ENDED, Action.REJECT),
    (State.OFFERED, Input.FLOW_LOST): (State.ENDED, Action.END),
    (State.ANSWERED, Input.ACK): (State.ESTABLISHED, Action.ESTABLISH),
    (State.ANSWERED, Input.HANG_UP): (State.RETRACTING, Action.NONE),
    (State.ANSWERED, Input.CANCEL): (State.ANSWERED, Action.NONE),
    (State.ANSWERED, Input.BYE): (State.ENDED, Action.END),
    (State.ANSWERED, Input.LATE): (State.CLOSING, Action.BYE),
    (State.ANSWERED, Input.FLOW_LOST): (State.ENDED, Action.END),
    (State.RETRACTING, Input.ACK): (State.CLOSING, Action.BYE),
    (State.RETRACTING, Input.HANG_UP): (State.RETRACTING, Action.NONE),
    (State.RETRACTING, Input.CANCEL): (State.RETRACTING, Action.NONE),
    (State.RETRACTING, Input.BYE): (State.ENDED, Action.END),
    (State.RETRACTING, Input.LATE): (State.CLOSING, Action.BYE),
    (State.RETRACTING, Input.FLOW_LOST): (State.ENDED, Action.END),
    (State.ESTABLISHED, Input.ACK): (State.ESTABLISHED, Action.NONE),
    (State.ESTABLISHED, Input.CANCEL): (State.ESTABLISHED, Action.NONE),
    (State.ESTABLISHED, Input.HANG_UP): (State.CLOSING, Action.BYE),
    (State.ESTABLISHED, Input.BYE): (State.ENDED, Action.END),
    (State.ESTABLISHED, Input.LATE): (State.CLOSING, Action.BYE),
    (State.ESTABLISHED, Input.FLOW_LOST): (State.ESTABLISHED, Action.SUSPEND),
    (State.ESTABLISHED, Input.FLOW_OPENED): (State.ESTABLISHED, Action.RESUME),
    (State.CLOSING, Input.ACK): (State.CLOSING, Action.NONE),
    (State.CLOSING, Input.HANG_UP): (State.CLOSING, Action.NONE),
    (State.CLOSING, Input.BYE): (State.CLOSING, Action.NONE),
    (State.CLOSING, Input.GONE): (State.ENDED, Action.END),
    (State.CLOSING, Input.LATE): (State.ENDED, Action.END),
    (State.CLOSING, Input.FLOW_LOST): (State.ENDED, Action.END),
}
"""Next state and action by state and input."""


class Timer(StrEnum):
    """What a call waits for."""

    LIMIT = "limit"
    """The longest that its state may last: ringing, an ACK, the end of a CANCEL, a flow."""
    RESEND = "resend"
    """Our 200 goes out again, as no ACK has come: RFC 3261 section 13.3.1.4, which wants that over TLS, too."""
    PROVISIONAL = "provisional"
    """Our reliable provisional response goes out again (RFC 3262 section 3)."""
    REFRESH = "refresh"
    """The session is ours to refresh (RFC 4028 section 10)."""
    EXPIRY = "expiry"
    """The session has run out."""
    RETRY = "retry"
    """A change that met one of theirs is tried again (RFC 3261 section 14.1)."""


class Surroundings(Protocol):
    """What a call needs of its account."""

    config: AccountConfig
    dice: Dice
    target: Target
    sent_by: str

    @property
    def calls(self) -> Calls:
        """All calls of the account."""

    @property
    def subscriptions(self) -> Subscriptions:
        """All subscriptions of the account."""

    @property
    def host(self) -> str:
        """Our own address on the flow."""

    @property
    def keyring(self) -> Keyring:
        """Its credentials."""

    @property
    def has_flow(self) -> bool:
        """True while a flow stands."""

    @property
    def contact(self) -> str:
        """Our Contact value on the flow."""

    @property
    def route(self) -> Sequence[str]:
        """Route values that a request outside any dialog starts with (RFC 3608)."""

    def emit(self, event: Event) -> None:
        """Tell the outside."""

    def send_request(self, branch: str, method: str, data: bytes, now: float, owner: object) -> None:
        """Send a request and begin its transaction."""

    def send(self, data: bytes) -> None:
        """Send what begins no transaction: an ACK to a 2xx."""


class Call:
    """One call of one account."""

    __slots__ = (
        "_ack",
        "_cancelled",
        "_cause",
        "_cseq",
        "_interval",
        "_offer",
        "_ok",
        "_redirects",
        "_resend_until",
        "_status",
        "account",
        "asking",
        "call_id",
        "changes",
        "config",
        "invite",
        "leg",
        "legs",
        "local_tag",
        "number",
        "outgoing",
        "pending",
        "referred",
        "reliable",
        "replaced",
        "session",
        "state",
        "timers",
        "transfers",
        "uri",
    )

    def __init__(self, account: Surroundings, number: int, call_id: str, *, outgoing: bool, uri: str) -> None:
        """See `dial` and `offered`. `uri`: of the other side."""
        self.account = account
        self.config: CallConfig = account.config.calls
        self.number = number
        self.outgoing = outgoing
        self.uri = uri
        self.call_id = call_id
        self.local_tag = account.config.persona.tag.make(account.dice)
        self.state = State.DIALLING if outgoing else State.OFFERED
        self.legs: dict[str, Leg] = {}
        """Legs by the other side's tag: forks of our INVITE that have told of themselves."""
        self.leg: Leg | None = None
        """The leg that the call stands on."""
        self.session: Session | None = None
        """Our side of the first offer and answer; the legs have copies."""
        self.timers: dict[Timer, float] = {}
        """When to do what."""
        self.pending: Pending | None = None
        """Their INVITE, until it is answered."""
        self.invite: Request | None = None
        """Our INVITE or theirs, the first one."""
        self.asking: Asking | None = None
        """Our INVITE that is under way."""
        self.referred: Call | None = None
        """The call in which the other side asked for this one: it is told how it goes."""
        self.replaced: Call | None = None
        """The call that this one takes the place of (RFC 3891)."""
        self.changes = Changes(self)
        self.reliable = Reliable(self)
        self.transfers = Transfers(self)
        self._cseq = account.dice(16)
        self._redirects = 0
        self._offer = b""
        self._ok = b""
        self._ack = b""
        self._interval = 0.0
        self._resend_until = 0.0
        self._cancelled = False
        self._status = 0
        self._cause: tuple[EndedBy, str, SipsuaError | None] | None = None

    # The user

    @classmethod
    def dial(
        cls,
        account: Surroundings,
        number: int,
        call_id: str,
        uri: str,
        local: Address,
        now: float,
        *,
        extra: Sequence[Header] = (),
        referred: Call | None = None,
        direction: Direction = Direction.SENDRECV,
    ) -> Call:
        """Call `uri`, with the voice at `local`. `extra` are more header fields of the INVITE; `referred` is the call of a REFER."""
        call = cls(account, number, call_id, outgoing=True, uri=uri)
        call.referred = referred
        call.session = Session(call.config.media, local, account.dice)
        call._offer = bytes(call.session.offer(direction))
        call.timers[Timer.LIMIT] = now + call.config.wait_limit
        call._invite(uri, tuple(extra), now)
        return call

    @classmethod
    def offered(cls, account: Surroundings, number: int, pending: Pending, now: float) -> Call:
        """Take up an INVITE of somebody: it rings."""
        invite = pending.request
        call = cls(account, number, invite.call_id, outgoing=False, uri=invite.from_.uri_text)
        call.pending = pending
        call.invite = invite
        call.timers[Timer.LIMIT] = now + call.config.ring_limit
        return call

    def ring(self, now: float, local: Address | None = None) -> None:
        """Tell the caller that it rings here: 180; with `local` 183 and the voice already. Raises Misuse where it does not ring."""
        pending = self._ringing
        leg = self._take_up(pending)
        body = b""
        if local is not None and leg.agreed is None:
            body = self._describe(leg, local, now)
        status, reason = (183, "Session Progress") if local is not None else (180, "Ringing")
        self.reliable.provide(status, reason, body, now)
        if body and leg.agreed is not None:
            self.account.emit(CallMedia(self.number, leg.agreed, early=True))

    def answer(self, local: Address, now: float) -> None:
        """Answer the call, with the voice at `local`. Raises Misuse where it does not ring, Rejected where there is no common ground."""
        pending = self._ringing
        leg = self._take_up(pending)
        body = b""
        if leg.agreed is None:
            body = self._describe(leg, local, now)
        headers = [
            ("Contact", self.account.contact),
            *self.capabilities(),
            *self.changes.accept_timer(pending.request, now),
        ]
        self._ok = pending.answer(200, "OK", headers, now, body=body, to_tag=self.local_tag)
        self.step(Input.ACCEPT, now)

    def reject(self, status: int, now: float, reason: str = "", extra: Sequence[Header] = ()) -> None:
        """Refuse the call: 486 busy, 603 declined, 302 with a Contact in `extra` ... Raises Misuse where it does not ring."""
        _ = self._ringing
        if not 300 <= status <= 699:
            raise Misuse(f"a call cannot be refused with {status}", fix="give a status from 300 to 699")
        self.end_by(EndedBy.US, reason or REASONS.get(status, "Declined"), status=status)
        self._reject(status, reason or REASONS.get(status, "Declined"), extra, now)
        self.step(Input.REJECT, now)

    def hang_up(self, now: float) -> None:
        """End the call, wherever it stands."""
        if self.state is State.ENDED:
            return
        if self.state is State.OFFERED:
            self.reject(480, now)
            return
        self.end_by(EndedBy.US, "hung up")
        self.step(Input.HANG_UP, now)

    def send_info(self, body: bytes, content_type: str, now: float) -> None:
        """Send an INFO. Raises Misuse where the call does not stand."""
        if self.leg is None or not self.stands:
            raise Misuse(f"call {self.number} does not stand: it is {self.state}", fix="wait until it is established")
        self.ask(self.leg, "INFO", _ignore, now, body=body, content_type=content_type)

    # The wire

    def take(self, answer: Answer, now: float) -> None:
        """What came of our INVITE."""
        status, response, error = answer
        if response is None:
            self.end_by(EndedBy.NOBODY, "no answer" if status == 408 else "flow lost", error, status=status)
            self.step(Input.FAILURE, now)
        elif status < 200:
            self._progress(response, now)
        elif status < 300:
            self._succeed(response, now)
        elif not self._follow(response, now) and not self.changes.retry_longer(response, now):
            self.end_by(EndedBy.THEM, printable(response.reason), error, status=status)
            self.step(Input.FAILURE, now)

    def receive(self, pending: Pending, now: float) -> None:
        """A request of theirs in this call."""
        request = pending.request
        leg = self.find(request)
        if leg is None:
            pending.answer(481, "Call/Transaction Does Not Exist", (), now)
            return
        refusal = leg.dialog.receive(request)
        if refusal is not None:
            pending.answer(refusal, "CSeq Out Of Order", (), now)
            return
        handler = _METHODS.get(request.method)
        if handler is None:
            pending.answer(405, "Method Not Allowed", [("Allow", ", ".join(self.account.config.persona.allow))], now)
            return
        handler(self, leg, pending, now)

    def receive_ack(self, request: Request, now: float) -> None:
        """The ACK to a 2xx of ours."""
        leg = self.find(request)
        if leg is None:
            return
        self.timers.pop(Timer.RESEND, None)
        if self.state in (State.ANSWERED, State.RETRACTING):
            if not self._take_answer(leg, request, now):
                return
            self.step(Input.ACK, now)
        else:
            self.changes.receive_ack(leg, request, now)

    def receive_cancel(self, now: float) -> None:
        """Their CANCEL of the INVITE that rings here; what comes later changes nothing (RFC 3261 section 9.2)."""
        if self.state is State.OFFERED:
            self.end_by(EndedBy.THEM, "cancelled", status=487)
            self._reject(487, "Request Terminated", (), now)
        self.step(Input.CANCEL, now)

    def lose_flow(self, error: FlowLost, now: float) -> None:
        """The account's flow is gone. What was under way has been told so by itself."""
        if self.state is State.ENDED or (self.pending is not None and self.pending.foreign):
            return
        if self.state is not State.ESTABLISHED:
            self.end_by(EndedBy.NOBODY, "flow lost", error)
        self.step(Input.FLOW_LOST, now)

    def flow_opened(self, now: float) -> None:
        """The account has a flow again."""
        if self.state is State.ESTABLISHED:
            self.step(Input.FLOW_OPENED, now)

    @property
    def deadline(self) -> float | None:
        """When to call `handle_timer`, or None."""
        return min(self.timers.values(), default=None)

    def handle_timer(self, now: float) -> None:
        """Do what is due."""
        for timer in [timer for timer, at in self.timers.items() if at <= now]:
            if timer not in self.timers:
                continue  # what was due before has ended it
            del self.timers[timer]
            _TIMERS[timer](self, now)

    # The legs

    def find(self, message: Request) -> Leg | None:
        """The leg of a request of theirs."""
        tag = message.from_.tag or ""
        if self.leg is not None and self.leg.dialog.remote_tag == tag:
            return self.leg
        return self.legs.get(tag)

    def step(self, given: Input, now: float) -> None:
        """Feed an input."""
        try:
            state, action = TABLE[self.state, given]
        except KeyError:
            expected = ", ".join(known for state, known in TABLE if state is self.state) or "nothing"
            raise Defect(f"{given} in call state {self.state}: expected {expected}") from None
        entered = state is not self.state
        self.state = state
        if entered:
            self._enter(now)
        _ACTIONS[action](self, now)

    def end_by(self, by: EndedBy, reason: str, error: SipsuaError | None = None, *, status: int = 0) -> None:
        """Why the call is about to end: the first word counts."""
        if self._cause is None:
            self._cause = (by, reason, error)
            self._status = status or self._status

    def ask(
        self,
        leg: Leg,
        method: str,
        take: Callable[[Answer, float], None],
        now: float,
        *,
        extra: Sequence[Header] = (),
        body: bytes = b"",
        content_type: str | None = None,
    ) -> Asking:
        """Send a request in a leg."""
        account, dialog = self.account, leg.dialog

        def make(via: str) -> Request:
            headers = [*extra, ("User-Agent", account.config.user_agent or account.config.persona.user_agent)]
            return dialog.request(method, via, account.contact, extra=headers, body=body, content_type=content_type)

        return Asking(account, make, take, now)

    def acknowledge(self, leg: Leg, invite: Request, now: float, body: bytes = b"") -> bytes:
        """ACK a 2xx to our INVITE; the ACK, which is to be sent again when the 2xx comes again."""
        account, persona = self.account, self.account.config.persona
        branch = MAGIC_COOKIE + persona.branch.make(account.dice)
        via = f"SIP/2.0/TLS {account.sent_by};branch={branch}" + (";rport" if persona.rport else "")
        ack = bytes(leg.dialog.ack(invite, via, body=body, content_type=SDP if body else None))
        account.send(ack)
        return ack

    def capabilities(self) -> list[Header]:
        """What our side of a dialog is able to do."""
        supported = ["replaces", "norefersub"]
        if self.config.reliability is not Reliability.OFF:
            supported.insert(0, "100rel")
        if self.config.session_expires:
            supported.append("timer")
        return [
            ("Allow", ", ".join(self.account.config.persona.allow)),
            ("Supported", ", ".join(supported)),
            ("User-Agent", self.account.config.user_agent or self.account.config.persona.user_agent),
        ]

    def tell_media(self, leg: Leg, *, early: bool = False) -> None:
        """Tell what was agreed."""
        if leg.agreed is not None:
            self.account.emit(CallMedia(self.number, leg.agreed, early=early))

    # What the parts of the call ask

    @property
    def stands(self) -> bool:
        """Answered, and not about to end."""
        return self.state is State.ESTABLISHED

    @property
    def rings(self) -> bool:
        """Their INVITE waits for our answer."""
        return self.state is State.OFFERED

    @property
    def answers(self) -> bool:
        """Our answer to their first INVITE waits for its ACK."""
        return self.state in (State.ANSWERED, State.RETRACTING)

    @property
    def waits_to_retry(self) -> bool:
        """A change that met one of theirs waits for its time."""
        return Timer.RETRY in self.timers

    def retry_at(self, at: float) -> None:
        """Try the change again then."""
        self.timers[Timer.RETRY] = at

    def provisional_at(self, at: float | None) -> None:
        """Send the provisional response again then; None: not any more."""
        if at is None:
            self.timers.pop(Timer.PROVISIONAL, None)
        else:
            self.timers[Timer.PROVISIONAL] = at

    def session_until(self, interval: Interval | None, now: float) -> None:
        """The session interval begins anew."""
        self.timers.pop(Timer.REFRESH, None)
        self.timers.pop(Timer.EXPIRY, None)
        if interval is None:
            return
        if interval.ours:
            self.timers[Timer.REFRESH] = now + interval.refresh_after
        # Ours too: a refresh that nobody answers must not keep the call for ever.
        self.timers[Timer.EXPIRY] = now + (interval.seconds if interval.ours else interval.expire_after)

    def resend_ok(self, ok: bytes, pending: Pending, now: float) -> None:
        """Send a 200 to their INVITE again until its ACK comes."""
        self._ok, self.pending = ok, pending
        self._interval = T1
        self._resend_until = now + ANSWER_LIMIT
        self.timers[Timer.RESEND] = now + T1

    def give_up(self, status: int, reason: str, why: str, now: float) -> None:
        """Refuse the INVITE that rings here, for something that went wrong."""
        if self.state is State.OFFERED:
            self.end_by(EndedBy.NOBODY, why, status=status)
            self._reject(status, reason, (), now)
            self.step(Input.REJECT, now)

    def lose(self, error: SipsuaError, now: float) -> None:
        """The other side has no such call any more: it ends, with a BYE for who has it yet (RFC 3261 section 12.2.1.2)."""
        if self.state is State.ESTABLISHED:
            self.end_by(EndedBy.NOBODY, error.what, error)
            self.step(Input.HANG_UP, now)

    # Calling

    def _invite(self, uri: str, extra: Sequence[Header], now: float) -> None:
        account = self.account

        def make(via: str) -> Request:
            self._cseq += 1
            required = [("Require", "100rel")] if self.config.reliability is Reliability.REQUIRED else []
            headers = [
                ("Via", via),
                ("Max-Forwards", "70"),
                *(("Route", route) for route in account.route),
                ("From", f"{requests.own_address(account.config, account.config.aor)};tag={self.local_tag}"),
                ("To", f"<{uri}>"),
                ("Call-ID", self.call_id),
                ("CSeq", f"{self._cseq} INVITE"),
                ("Contact", account.contact),
                *self.capabilities(),
                *required,
                *self.changes.ask_timer(),
                *extra,
                *content_headers(SDP, self._offer),
            ]
            return Request("INVITE", uri, headers, self._offer)

        self.asking = Asking(account, make, self.take, now)
        self.invite = self.asking.request

    def _progress(self, response: Response, now: float) -> None:
        tag = response.to.tag
        self._status = response.status
        if tag is not None and response.status > 100:
            leg = self._fork(tag, response)
            if leg is None or not self.reliable.receive(leg, response, now):
                return
            if not leg.answered and leg.offered and response.body:
                try:
                    leg.take(response)
                    self.tell_media(leg, early=True)
                except (Rejected, MalformedMessage):
                    # The final answer will say it again, and then it counts.
                    pass
        self.step(Input.PROGRESS, now)
        if self.state is State.RINGING:
            self.account.emit(CallProgressed(self.number, response.status, printable(response.reason)))
            if self.referred is not None and response.status > 100:
                self.referred.transfers.tell(response.status, response.reason, now)

    def _succeed(self, response: Response, now: float) -> None:
        assert self.asking is not None
        tag = response.to.tag or ""
        if self.leg is not None and self.leg.dialog.remote_tag == tag:
            self.account.send(self._ack)  # it came again: our ACK was lost on its way
            return
        leg = self._fork(tag, response)
        if leg is None:
            return
        invite = self.asking.request
        if self.leg is not None:
            # Another fork has answered, too: it is told that it came too late (RFC 3261 section 13.2.2.4).
            leg.dialog.receive_response(response)
            self.acknowledge(leg, invite, now)
            self.ask(leg, "BYE", _ignore, now)
            return
        leg.dialog.receive_response(response)
        self.leg = leg
        self.legs.clear()
        self._status = response.status
        self._ack = self.acknowledge(leg, invite, now)
        if self.state is State.CANCELLING:
            self.step(Input.SUCCESS, now)
            return
        assert self.session is not None
        if leg.answered and not leg.reliable and response.body:
            leg.ask_again(self.session)
        if not self._take_answer(leg, response, now):
            return
        self.changes.start_timer(response, now)
        self.step(Input.SUCCESS, now)

    def _take_answer(self, leg: Leg, message: Request | Response, now: float) -> bool:
        """The answer to our offer in a 2xx, or in an ACK. False where the call cannot go on: a BYE ends it."""
        error: SipsuaError
        try:
            leg.take(message)
            if not leg.offered:
                return True
            error = Refused("the answer to our offer is missing", status=200, fix="see why the other side sends no SDP")
        except Rejected as rejected:
            error = rejected
        except MalformedMessage as malformed:
            error = Refused(f"the answer to our offer cannot be read: {malformed.what}", status=200, fix="see its SDP")
        self.end_by(EndedBy.US, error.what, error, status=488)
        self.state = State.CLOSING
        self._enter(now)
        self._bye(now)
        return False

    def _fork(self, tag: str, response: Response) -> Leg | None:
        """The leg that a response belongs to, new where it is the first of its fork; None where it cannot be taken."""
        leg = self.legs.get(tag)
        if leg is not None:
            return leg
        if self.leg is not None and self.leg.dialog.remote_tag == tag:
            return self.leg
        if len(self.legs) >= MAX_FORKS or self.asking is None or self.session is None:
            return None
        leg = Leg(Dialog.as_caller(self.asking.request, response), self.session, offered=True)
        self.legs[tag] = leg
        return leg

    def _follow(self, response: Response, now: float) -> bool:
        """Call the address that a 3xx names; False where that is not to be."""
        if not 300 <= response.status < 400 or not self.config.follow_redirects or self.state is State.CANCELLING:
            return False
        target = redirect_target(self.account.config, response)
        if target is None or self._redirects >= MAX_REDIRECTS:
            return False
        self._redirects += 1
        self._restart(target, now)
        return True

    def _restart(self, uri: str, now: float) -> None:
        """Our INVITE once more: the same call, another request (RFC 3261 section 8.1.3.4)."""
        self.legs.clear()
        self.state = State.DIALLING
        self._invite(uri, (), now)

    def invite_again(self, now: float) -> None:
        """The INVITE once more to the same address, changed as the last answer asked for."""
        assert self.asking is not None
        self._restart(self.asking.request.uri_text, now)

    # Being called

    @property
    def _ringing(self) -> Pending:
        if self.state is not State.OFFERED or self.pending is None:
            raise Misuse(
                f"call {self.number} does not ring: it is {self.state}", fix="answer a call once, while it rings"
            )
        return self.pending

    def _take_up(self, pending: Pending) -> Leg:
        """The one leg of a call that came in."""
        if self.leg is None:
            # Its session comes with the address of the voice.
            dialog = Dialog.as_callee(pending.request, self.local_tag)
            self.leg = Leg(dialog, Session(self.config.media, _NOWHERE, self.account.dice), offered=False)
        return self.leg

    def _describe(self, leg: Leg, local: Address, now: float) -> bytes:
        """Our description with the voice at `local`: the answer to their offer, or an offer. Ends the call where it cannot be given."""
        pending = self._ringing
        leg.session = Session(self.config.media, local, self.account.dice)
        try:
            return leg.take(pending.request) or leg.offer()
        except (Rejected, MalformedMessage) as error:
            self.refuse_offer(error, now)
            raise

    def refuse_offer(self, error: Rejected | MalformedMessage, now: float) -> None:
        """Their first offer cannot be taken."""
        status = error.status or 488
        self.end_by(EndedBy.US, error.what, error, status=status)
        self._reject(status, REASONS.get(status, "Not Acceptable Here"), warning(error), now)
        self.step(Input.REJECT, now)

    def _reject(self, status: int, reason: str, extra: Sequence[Header], now: float) -> None:
        if self.pending is not None:
            self.pending.answer(status, reason, extra, now, to_tag=self.local_tag)

    # In the call

    def _receive_bye(self, leg: Leg, pending: Pending, now: float) -> None:
        pending.answer(200, "OK", (), now)
        if self.leg is not leg:
            # A fork that rang has left by itself (RFC 3261 section 15.1.2).
            self.legs.pop(leg.dialog.remote_tag or "", None)
            return
        why = pending.request.first("reason")
        self.end_by(EndedBy.THEM, printable(why[:200]) if why else "hung up")
        if self.state is State.OFFERED:
            self._reject(487, "Request Terminated", (), now)
        self.step(Input.BYE, now)

    def _receive_offer(self, leg: Leg, pending: Pending, now: float) -> None:
        self.changes.receive(leg, pending, now)

    def _receive_prack(self, leg: Leg, pending: Pending, now: float) -> None:
        self.reliable.receive_prack(leg, pending, now)

    def _receive_refer(self, _leg: Leg, pending: Pending, now: float) -> None:
        self.transfers.receive(pending, now)

    def _receive_notify(self, _leg: Leg, pending: Pending, now: float) -> None:
        self.transfers.receive_notify(pending, now)

    def _receive_info(self, _leg: Leg, pending: Pending, now: float) -> None:
        self.account.calls.receive_info(self, pending, now)

    def _receive_options(self, _leg: Leg, pending: Pending, now: float) -> None:
        pending.answer(200, "OK", [("Accept", SDP), *self.capabilities()], now)

    def _receive_message(self, _leg: Leg, pending: Pending, now: float) -> None:
        messages.receive(self.account, pending, now)

    # What the states and the timers want

    def _enter(self, now: float) -> None:
        """A new state has its own limits."""
        timers = self.timers
        timers.pop(Timer.LIMIT, None)
        timers.pop(Timer.PROVISIONAL, None)
        if self.state is not State.RETRACTING:
            timers.pop(Timer.RESEND, None)
        match self.state:
            case State.RINGING:
                timers[Timer.LIMIT] = now + self.config.wait_limit
            case State.CANCELLING | State.CLOSING:
                # Without a provisional response there is nothing to cancel yet: Timer B ends the INVITE by then.
                timers.pop(Timer.REFRESH, None)
                timers.pop(Timer.EXPIRY, None)
                timers[Timer.LIMIT] = now + ANSWER_LIMIT + T2
            case State.ANSWERED:
                timers[Timer.LIMIT] = now + ANSWER_LIMIT
                self._interval = T1
                self._resend_until = now + ANSWER_LIMIT
                timers[Timer.RESEND] = now + T1
            case State.RETRACTING:
                timers[Timer.LIMIT] = now + ANSWER_LIMIT
            case State.ENDED:
                timers.clear()

    def _late(self, now: float) -> None:
        match self.state:
            case State.DIALLING | State.RINGING:
                self.end_by(EndedBy.US, f"no answer within {self.config.wait_limit:g} s", _no_answer(self), status=408)
            case State.OFFERED:
                self.end_by(EndedBy.US, f"not answered within {self.config.ring_limit:g} s", status=480)
                self._reject(480, "Temporarily Unavailable", (), now)
            case State.ANSWERED | State.RETRACTING:
                self.end_by(EndedBy.NOBODY, f"no ACK within {ANSWER_LIMIT:g} s", _no_ack(self))
            case State.ESTABLISHED:
                self.end_by(EndedBy.NOBODY, f"no flow within {self.config.flow_limit:g} s", _no_flow(self))
            case State.ENDED:
                return
        self.step(Input.LATE, now)

    def _resend(self, now: float) -> None:
        if now >= self._resend_until:
            # Of the first INVITE the state's own limit tells; this is a change of theirs (RFC 3261 section 14.2).
            self.changes.no_ack(now)
            return
        if self.pending is not None:
            self.pending.send(self._ok)
        self._interval = min(2 * self._interval, T2)
        self.timers[Timer.RESEND] = now + self._interval

    def _resend_provisional(self, now: float) -> None:
        self.reliable.handle_timer(now)

    def _refresh(self, now: float) -> None:
        self.changes.refresh(now)

    def _expire(self, now: float) -> None:
        if self.state is State.ESTABLISHED:
            self.end_by(EndedBy.NOBODY, "the session was not refreshed in time", _expired(self), status=408)
            self.step(Input.LATE, now)

    def _retry(self, now: float) -> None:
        self.changes.retry(now)

    # What the actions do

    def _tell_progress(self, _now: float) -> None:
        """The response itself is told with its status where it came."""

    def _establish(self, now: float) -> None:
        assert self.leg is not None
        self._status = 200
        self.tell_media(self.leg)
        self.account.emit(CallAnswered(self.number, self.leg.dialog.remote_uri))
        if self.referred is not None:
            self.referred.transfers.tell(200, "OK", now)
            self.referred = None
        if self.replaced is not None:
            self.replaced.hang_up(now)
            self.replaced = None

    def _cancel(self, now: float) -> None:
        """CANCEL (RFC 3261 section 9.1): the INVITE's Request-URI, Via, From, To, Call-ID, Route, and its CSeq number."""
        if self._cancelled or self.asking is None:
            return
        self._cancelled = True
        invite = self.asking.request
        kept = {"via", "from", "to", "call-id", "max-forwards", "route"}
        headers = [(name, value) for name, value in invite.headers if name.lower() in kept]
        cseq = ("CSeq", f"{invite.cseq.number} CANCEL")
        cancel = Request("CANCEL", invite.uri_text, [*headers, cseq, ("Content-Length", "0")])
        self.account.send_request(self.asking.branch, "CANCEL", bytes(cancel), now, None)

    def _none(self, _now: float) -> None:
        """The input changes nothing."""

    def _bye(self, now: float) -> None:
        assert self.leg is not None
        if self.account.has_flow:
            self.ask(self.leg, "BYE", self._gone, now)
        else:
            self.step(Input.GONE, now)

    def _gone(self, answer: Answer, now: float) -> None:
        if answer.status >= 200 and self.state is State.CLOSING:
            self.step(Input.GONE, now)

    def _suspend(self, now: float) -> None:
        if Timer.LIMIT not in self.timers:
            self.timers[Timer.LIMIT] = now + self.config.flow_limit
            self.account.emit(CallSuspended(self.number))

    def _resume(self, now: float) -> None:
        if self.timers.pop(Timer.LIMIT, None) is not None:
            self.account.emit(CallResumed(self.number))
            self.changes.refresh(now)

    def _end(self, now: float) -> None:
        by, reason, error = self._cause or (EndedBy.NOBODY, "ended", None)
        self.account.calls.forget(self)
        self.account.emit(CallEnded(self.number, by, self._status, reason, error))
        if self.referred is not None:
            self.referred.transfers.tell(self._status if self._status >= 300 else 487, reason, now)


_NOWHERE = Address("0.0.0.0", 9)
"""Where a voice is before it has a place (RFC 863's port)."""

REASONS = {
    302: "Moved Temporarily",
    404: "Not Found",
    415: "Unsupported Media Type",
    480: "Temporarily Unavailable",
    486: "Busy Here",
    487: "Request Terminated",
    488: "Not Acceptable Here",
    600: "Busy Everywhere",
    603: "Decline",
    606: "Not Acceptable",
}
"""Reason phrases of RFC 3261 section 21 for what a phone says to a call."""


def _ignore(answer: Answer, now: float) -> None:
    """Nobody waits for this answer."""


def _no_answer(call: Call) -> SipsuaError:
    return Refused(
        f"{call.uri} did not answer within {call.config.wait_limit:g} s",
        status=408,
        fix="see whether its phone rings; wait_limit is how long we wait",
    )


def _no_ack(call: Call) -> SipsuaError:
    return Refused(
        f"{call.uri} did not acknowledge our answer within {ANSWER_LIMIT:g} s",
        status=408,
        fix="see whether the ACK gets lost at a proxy: the Contact and the Record-Route of our 200 are its way",
    )


def _no_flow(call: Call) -> SipsuaError:
    return FlowLost(
        f"the account has had no flow for {call.config.flow_limit:g} s",
        fix="see why it does not come back: the events of the registration tell",
    )


def _expired(call: Call) -> SipsuaError:
    return Refused(
        "the session has run out: nobody refreshed it (RFC 4028)",
        status=408,
        fix="see why the refresher is silent, or why its refresh does not arrive",
    )


_Receiver = Callable[[Call, Leg, Pending, float], None]

_METHODS: Mapping[str, _Receiver] = {
    "BYE": Call._receive_bye,
    "INVITE": Call._receive_offer,
    "UPDATE": Call._receive_offer,
    "PRACK": Call._receive_prack,
    "REFER": Call._receive_refer,
    "NOTIFY": Call._receive_notify,
    "INFO": Call._receive_info,
    "OPTIONS": Call._receive_options,
    "MESSAGE": Call._receive_message,
}
"""Who deals with a request in a call."""

_ACTIONS: Mapping[Action, Callable[[Call, float], None]] = {
    Action.PROGRESS: Call._tell_progress,
    Action.ESTABLISH: Call._establish,
    Action.CANCEL: Call._cancel,
    Action.ANSWER: Call._none,
    Action.REJECT: Call._end,
    Action.BYE: Call._bye,
    Action.SUSPEND: Call._suspend,
    Action.RESUME: Call._resume,
    Action.END: Call._end,
    Action.NONE: Call._none,
}

_TIMERS: Mapping[Timer, Callable[[Call, float], None]] = {
    Timer.LIMIT: Call._late,
    Timer.RESEND: Call._resend,
    Timer.PROVISIONAL: Call._resend_provisional,
    Timer.REFRESH: Call._refresh,
    Timer.EXPIRY: Call._expire,
    Timer.RETRY: Call._retry,
}
