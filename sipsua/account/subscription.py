"""A subscription to somebody's state as a table: the lamps of a phone. RFC 6665 section 4.1, for message-summary and dialog.

The server tells the state at once and at each change; we renew the subscription before its time, and begin anew when the server has
forgotten it, when the flow was lost, or when it says so. What is refused for good is told once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import StrEnum
from typing import TYPE_CHECKING

from sipsua.account import request as requests
from sipsua.account.asking import Answer, Asking
from sipsua.account.persona import fraction
from sipsua.account.reception import Pending
from sipsua.errors import Defect, MalformedMessage, NoAnswer, Refused, SipsuaError, printable
from sipsua.events import LampChanged, SubscriptionEnded, VoicemailChanged
from sipsua.sip.dialog import Dialog
from sipsua.sip.event_bodies import DIALOG_INFO, MESSAGE_SUMMARY, DialogInfo, DialogState, MessageSummary
from sipsua.sip.fields import Event, SubscriptionState
from sipsua.sip.message import Request
from sipsua.sip.timers import T1

if TYPE_CHECKING:
    from sipsua.account.call import Surroundings

TIMER_N = 64 * T1
"""Seconds for the first NOTIFY after the SUBSCRIBE (RFC 6665 section 4.1.2.4)."""
EXPIRES = 3600
"""Seconds that are asked for."""
MAX_WAIT = 86_400
"""The longest retry-after that is waited for, in seconds."""

PACKAGES: Mapping[str, str] = {"message-summary": MESSAGE_SUMMARY, "dialog": DIALOG_INFO}
"""The packages that we read, and the type of their bodies."""


class State(StrEnum):
    """Where a subscription stands (RFC 6665 figure 1)."""

    NOTIFY_WAIT = "notify wait"
    """Our SUBSCRIBE is under way, or answered; no NOTIFY has come."""
    PENDING = "pending"
    """The server has not decided yet."""
    ACTIVE = "active"
    WAITING = "waiting"
    """It is begun anew after a while, or with the next flow."""
    TERMINATED = "terminated"


class Input(StrEnum):
    """What can happen to a subscription."""

    ACCEPTED = "2xx"
    REFUSED = "refused"
    """For good."""
    FORGOTTEN = "481"
    """The server knows nothing of it any more."""
    UNAVAILABLE = "unavailable"
    """No answer, or one that may be another one later."""
    NOTIFY_ACTIVE = "NOTIFY active"
    NOTIFY_PENDING = "NOTIFY pending"
    NOTIFY_AGAIN = "NOTIFY terminated, again"
    """It has ended, and may be begun anew (deactivated, timeout, probation, giveup)."""
    NOTIFY_ENDED = "NOTIFY terminated, for good"
    TIMER = "timer"
    FLOW_LOST = "flow lost"
    FLOW_OPENED = "flow opened"
    UNWANTED = "unwanted"


class Action(StrEnum):
    """What an input makes the subscription do."""

    SUBSCRIBE = "subscribe"
    """SUBSCRIBE outside any dialog."""
    REFRESH = "refresh"
    """SUBSCRIBE in the dialog."""
    WAIT = "wait"
    """Begin anew after the back-off."""
    REST = "rest"
    """Begin anew when there is a flow."""
    LEAVE = "leave"
    """SUBSCRIBE for no time."""
    END = "end"
    """Tell that it is over."""
    NONE = "none"


TABLE: Mapping[tuple[State, Input], tuple[State, Action]] = {
    (State.NOTIFY_WAIT, Input.ACCEPTED): (State.NOTIFY_WAIT, Action.NONE),
    (State.NOTIFY_WAIT, Input.REFUSED): (State.TERMINATED, Action.END),
    (State.NOTIFY_WAIT, Input.FORGOTTEN): (State.WAITING, Action.WAIT),
    (State.NOTIFY_WAIT, Input.UNAVAILABLE): (State.WAITING, Action.WAIT),
    (State.NOTIFY_WAIT, Input.NOTIFY_ACTIVE): (State.ACTIVE, Action.NONE),
    (State.NOTIFY_WAIT, Input.NOTIFY_PENDING): (State.PENDING, Action.NONE),
    (State.NOTIFY_WAIT, Input.NOTIFY_AGAIN): (State.WAITING, Action.WAIT),
    (State.NOTIFY_WAIT, Input.NOTIFY_ENDED): (State.TERMINATED, Action.END),
    (State.NOTIFY_WAIT, Input.TIMER): (State.WAITING, Action.WAIT),
    (State.NOTIFY_WAIT, Input.FLOW_LOST): (State.WAITING, Action.REST),
    (State.NOTIFY_WAIT, Input.UNWANTED): (State.TERMINATED, Action.LEAVE),
    (State.PENDING, Input.ACCEPTED): (State.PENDING, Action.NONE),
    (State.PENDING, Input.REFUSED): (State.TERMINATED, Action.END),
    (State.PENDING, Input.FORGOTTEN): (State.NOTIFY_WAIT, Action.SUBSCRIBE),
    (State.PENDING, Input.UNAVAILABLE): (State.WAITING, Action.WAIT),
    (State.PENDING, Input.NOTIFY_ACTIVE): (State.ACTIVE, Action.NONE),
    (State.PENDING, Input.NOTIFY_PENDING): (State.PENDING, Action.NONE),
    (State.PENDING, Input.NOTIFY_AGAIN): (State.WAITING, Action.WAIT),
    (State.PENDING, Input.NOTIFY_ENDED): (State.TERMINATED, Action.END),
    (State.PENDING, Input.TIMER): (State.PENDING, Action.REFRESH),
    (State.PENDING, Input.FLOW_LOST): (State.WAITING, Action.REST),
    (State.PENDING, Input.UNWANTED): (State.TERMINATED, Action.LEAVE),
    (State.ACTIVE, Input.ACCEPTED): (State.ACTIVE, Action.NONE),
    (State.ACTIVE, Input.REFUSED): (State.TERMINATED, Action.END),
    (State.ACTIVE, Input.FORGOTTEN): (State.NOTIFY_WAIT, Action.SUBSCRIBE),
    (State.ACTIVE, Input.UNAVAILABLE): (State.WAITING, Action.WAIT),
    (State.ACTIVE, Input.NOTIFY_ACTIVE): (State.ACTIVE, Action.NONE),
    (State.ACTIVE, Input.NOTIFY_PENDING): (State.PENDING, Action.NONE),
    (State.ACTIVE, Input.NOTIFY_AGAIN): (State.WAITING, Action.WAIT),
    (State.ACTIVE, Input.NOTIFY_ENDED): (State.TERMINATED, Action.END),
    (State.ACTIVE, Input.TIMER): (State.ACTIVE, Action.REFRESH),
    (State.ACTIVE, Input.FLOW_LOST): (State.WAITING, Action.REST),
    (State.ACTIVE, Input.UNWANTED): (State.TERMINATED, Action.LEAVE),
    (State.WAITING, Input.TIMER): (State.NOTIFY_WAIT, Action.SUBSCRIBE),
    (State.WAITING, Input.FLOW_LOST): (State.WAITING, Action.REST),
    (State.WAITING, Input.FLOW_OPENED): (State.NOTIFY_WAIT, Action.SUBSCRIBE),
    (State.WAITING, Input.UNWANTED): (State.TERMINATED, Action.NONE),
}
"""Next state and action by state and input. What comes late, such as the answer to a request before the last, changes nothing."""

_AGAIN = frozenset({"deactivated", "probation", "timeout", "giveup", None})
"""Reasons of a terminated subscription that let it begin anew (RFC 6665 section 4.1.3); without a reason it may as well."""


class Subscription:
    """One subscription of one account."""

    __slots__ = (
        "_account",
        "_asking",
        "_cseq",
        "_dialog",
        "_dialogs",
        "_error",
        "_expires",
        "_failures",
        "_retry_after",
        "_version",
        "call_id",
        "deadline",
        "local_tag",
        "package",
        "state",
        "uri",
    )

    def __init__(self, account: Surroundings, package: str, uri: str, call_id: str, now: float) -> None:
        """Subscribe to `package` (of `PACKAGES`) of `uri`."""
        self._account = account
        self.package = package
        self.uri = uri
        self.call_id = call_id
        self.local_tag = ""
        self.deadline: float | None = None
        """When to call `handle_timer`, or None."""
        self.state = State.NOTIFY_WAIT
        self._dialog: Dialog | None = None
        self._dialogs: dict[str, DialogState] = {}
        self._version = -1
        self._asking: Asking | None = None
        self._cseq = account.dice(16)
        self._expires = EXPIRES
        self._failures = 0
        self._retry_after = 0
        self._error: SipsuaError | None = None
        self._subscribe(now)

    def unsubscribe(self, now: float) -> None:
        """It is not wanted any more."""
        if self.state is not State.TERMINATED:
            self.step(Input.UNWANTED, now)

    def step(self, given: Input, now: float) -> None:
        """Feed an input."""
        if self.state is State.TERMINATED:
            return
        try:
            self.state, action = TABLE[self.state, given]
        except KeyError:
            if given in _LATE:
                return
            expected = ", ".join(known for state, known in TABLE if state is self.state)
            raise Defect(f"{given} in subscription state {self.state}: expected {expected}") from None
        _ACTIONS[action](self, now)

    def receive(self, pending: Pending, now: float) -> None:
        """A NOTIFY for it. Raises MalformedMessage."""
        request = pending.request
        state = SubscriptionState.parse(request.required("subscription-state"))
        event = Event.parse(request.required("event"))
        if event.package != self.package or self.state in (State.TERMINATED, State.WAITING):
            pending.answer(481, "Subscription Does Not Exist", (), now)
            return
        if self._dialog is None:
            # It may overtake the answer to the SUBSCRIBE, and then makes the dialog (RFC 6665 section 4.4.1).
            self._dialog = Dialog.as_callee(request, self.local_tag)
            self._dialog.local_cseq = self._cseq
        elif self._dialog.remote_tag != (request.from_.tag or ""):
            # Another fork: one server is enough (section 4.1.2.4).
            pending.answer(481, "Subscription Does Not Exist", (), now)
            return
        elif (refusal := self._dialog.receive(request)) is not None:
            pending.answer(refusal, "CSeq Out Of Order", (), now)
            return
        self._read(request)
        pending.answer(200, "OK", [("Contact", self._account.contact)], now)
        self._failures = 0
        if state.state == "terminated":
            self._retry_after = min(state.retry_after or 0, MAX_WAIT)
            again = state.reason in _AGAIN
            if not again:
                self._error = Refused(
                    f"the server ended the subscription to {self.package} of {self.uri}: {state.reason}",
                    status=0,
                    fix="see whether this account may watch it",
                )
            self.step(Input.NOTIFY_AGAIN if again else Input.NOTIFY_ENDED, now)
            return
        if state.expires is not None:
            self._renew_within(state.expires, now)
        self.step(Input.NOTIFY_PENDING if state.state == "pending" else Input.NOTIFY_ACTIVE, now)

    def lose_flow(self, now: float) -> None:
        """The account's flow is gone."""
        self.step(Input.FLOW_LOST, now)

    def flow_opened(self, now: float) -> None:
        """The account has a flow again."""
        if self.state is State.WAITING:
            self.step(Input.FLOW_OPENED, now)

    def handle_timer(self, now: float) -> None:
        """Do what is due."""
        if self.deadline is not None and self.deadline <= now:
            self.deadline = None
            if self.state is State.NOTIFY_WAIT:
                self._error = NoAnswer(
                    f"no NOTIFY for {self.package} of {self.uri} came within {TIMER_N:g} s (Timer N)",
                    fix="see whether the server sends it to our Contact on our flow",
                )
            self.step(Input.TIMER, now)

    # The answers

    def _take(self, answer: Answer, now: float) -> None:
        status, response, error = answer
        if status < 200 or self.state in (State.TERMINATED, State.WAITING):
            return
        self._error = error
        if response is not None and status < 300:
            if self._dialog is None:
                assert self._asking is not None
                self._dialog = Dialog.as_caller(self._asking.request, response)
            else:
                self._dialog.receive_response(response)
            expires = response.expires
            self._renew_within(self._expires if expires is None else expires, now)
            if self.state is State.NOTIFY_WAIT:
                self.deadline = now + TIMER_N
            self.step(Input.ACCEPTED, now)
        elif response is not None and status == 423 and (least := response.min_expires) and least > self._expires:
            self._expires = min(least, MAX_WAIT)
            self._dialog = None
            self.state = State.NOTIFY_WAIT
            self._subscribe(now)
        elif status == 481:
            self.step(Input.FORGOTTEN, now)
        elif response is not None and (status in _FOR_GOOD or status >= 600):
            self.step(Input.REFUSED, now)
        else:
            self._retry_after = min(response.retry_after or 0, MAX_WAIT) if response is not None else 0
            self.step(Input.UNAVAILABLE, now)

    def _read(self, request: Request) -> None:
        """The state that a NOTIFY brings. Raises MalformedMessage."""
        if not request.body:
            return
        content = (request.first("content-type") or "").partition(";")[0].strip().lower()
        if content != PACKAGES[self.package]:
            raise MalformedMessage(f"{content[:60]!r} is not what {self.package} is told in", status=415)
        if self.package == "message-summary":
            self._account.emit(voicemail(request.body))
            return
        info = DialogInfo.parse(request.body)
        if info.full:
            self._dialogs = {}
        elif info.version <= self._version:
            return  # overtaken (RFC 4235 section 4.3)
        self._version = info.version
        for dialog in info.dialogs:
            self._dialogs[dialog.id] = dialog
        alive = [dialog for dialog in self._dialogs.values() if dialog.state != "terminated"]
        self._dialogs = {dialog.id: dialog for dialog in alive}
        most = max(alive, key=lambda dialog: _RANK.get(dialog.state, 0), default=None)
        self._account.emit(
            LampChanged(
                self.uri,
                printable(most.state) if most is not None else "terminated",
                printable(most.remote) if most is not None and most.remote is not None else None,
                most.direction if most is not None else None,
            )
        )

    def _renew_within(self, seconds: int, now: float) -> None:
        low, high = self._account.config.persona.refresh
        self.deadline = now + seconds * (low + (high - low) * fraction(self._account.dice))

    # What the actions do

    def _subscribe(self, now: float) -> None:
        account = self._account
        self._dialog = None
        self._dialogs, self._version = {}, -1
        self.local_tag = account.config.persona.tag.make(account.dice)
        account.subscriptions.keep(self)
        # Where no answer comes at all the transaction says so before.
        self.deadline = now + 2 * TIMER_N

        def make(via: str) -> Request:
            self._cseq += 1
            headers = [
                ("Via", via),
                ("Max-Forwards", "70"),
                *(("Route", route) for route in account.route),
                ("From", f"{requests.own_address(account.config, account.config.aor)};tag={self.local_tag}"),
                ("To", f"<{self.uri}>"),
                ("Call-ID", self.call_id),
                ("CSeq", f"{self._cseq} SUBSCRIBE"),
                ("Contact", account.contact),
                ("Event", self.package),
                ("Expires", str(self._expires)),
                ("Accept", PACKAGES[self.package]),
                ("Allow-Events", ", ".join(account.config.persona.allow_events)),
                ("User-Agent", account.config.user_agent or account.config.persona.user_agent),
                ("Content-Length", "0"),
            ]
            return Request("SUBSCRIBE", self.uri, headers)

        self._asking = Asking(account, make, self._take, now)

    def _refresh(self, now: float) -> None:
        self._ask_in_dialog(self._expires, now)

    def _ask_in_dialog(self, expires: int, now: float) -> None:
        account, dialog = self._account, self._dialog
        if dialog is None or not account.has_flow:
            return
        self.deadline = now + 2 * TIMER_N
        headers = [
            ("Event", self.package),
            ("Expires", str(expires)),
            ("Accept", PACKAGES[self.package]),
            ("User-Agent", account.config.user_agent or account.config.persona.user_agent),
        ]
        self._asking = Asking(
            account,
            lambda via: dialog.request("SUBSCRIBE", via, account.contact, extra=headers),
            self._take,
            now,
        )

    def _wait(self, now: float) -> None:
        self._failures += 1
        config = self._account.config
        delay = max(
            (config.backoff or config.persona.backoff).delay(self._failures, self._account.dice), self._retry_after
        )
        self._retry_after = 0
        self.deadline = now + delay
        if self._error is not None:
            self._account.emit(SubscriptionEnded(self.package, self.uri, self._error, retry_in=delay))
            self._error = None

    def _rest(self, _now: float) -> None:
        self.deadline = None

    def _leave(self, now: float) -> None:
        self._ask_in_dialog(0, now)
        self.deadline = None
        self._account.subscriptions.forget(self)

    def _end(self, _now: float) -> None:
        self.deadline = None
        self._account.subscriptions.forget(self)
        self._account.emit(SubscriptionEnded(self.package, self.uri, self._error, retry_in=None))

    def _none(self, _now: float) -> None:
        """The input changes nothing."""


def voicemail(body: bytes) -> VoicemailChanged:
    """What a message summary tells. Raises MalformedMessage."""
    summary = MessageSummary.parse(body)
    voice = summary.classes.get("voice-message")
    return VoicemailChanged(
        summary.waiting,
        voice.new if voice is not None else None,
        voice.old if voice is not None else None,
        printable(summary.account) if summary.account is not None else None,
    )


_LATE = frozenset({Input.ACCEPTED, Input.REFUSED, Input.FORGOTTEN, Input.UNAVAILABLE, Input.FLOW_OPENED})
_FOR_GOOD = frozenset({400, 403, 404, 405, 406, 410, 415, 416, 420, 485, 489, 501, 505, 401, 407})
"""Answers that another try cannot mend."""
_RANK = {"trying": 1, "proceeding": 2, "early": 3, "confirmed": 4}
"""Of several calls of one phone its lamp shows the one that has come furthest."""

_ACTIONS: Mapping[Action, Callable[[Subscription, float], None]] = {
    Action.SUBSCRIBE: Subscription._subscribe,
    Action.REFRESH: Subscription._refresh,
    Action.WAIT: Subscription._wait,
    Action.REST: Subscription._rest,
    Action.LEAVE: Subscription._leave,
    Action.END: Subscription._end,
    Action.NONE: Subscription._none,
}
