"""What is changed in a call that stands: hold and resume, new addresses, session refreshes, from both sides; RFC 3261 section 14, RFC 3311,
RFC 4028.

One change at a time: who asks while another change is under way gets 491, and who got it tries again after a while that depends on who
began the call (section 14.1), so that two who hold each other at once do not meet for ever. A refused change changes nothing.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING

from sipsua.account.asking import Answer, Asking
from sipsua.account.leg import SDP, Leg, description, warning
from sipsua.account.persona import fraction
from sipsua.account.reception import Pending
from sipsua.errors import MalformedMessage, Misuse, NoAnswer, SipsuaError
from sipsua.events import CallChangeRefused, CallHoldChanged
from sipsua.media.offer import Direction, Rejected
from sipsua.sip import session_timer
from sipsua.sip.message import Header, Request, Response
from sipsua.sip.session_timer import Interval

if TYPE_CHECKING:
    from sipsua.account.call import Call

LONGEST = 86_400
"""Seconds: a session interval that a 422 asks for is followed up to a day."""
MAX_GLARES = 8
"""491 that one change takes: two phones that meet so often do not wait for random times."""


class Change(StrEnum):
    """What we want to change."""

    HOLD = "hold"
    RESUME = "resume"
    REFRESH = "refresh"
    """The session interval begins anew, and the other side learns our Contact."""


class Changes:
    """The changes of one call."""

    __slots__ = (
        "_ack_wanted",
        "_asked_interval",
        "_asking",
        "_call",
        "_glares",
        "_held",
        "_min_se",
        "_ok",
        "_under_way",
        "_updates",
        "_waiting",
        "interval",
    )

    def __init__(self, call: Call) -> None:
        self._call = call
        self._asking: Asking | None = None
        self._under_way: Change | None = None
        self._waiting: list[Change] = []
        self._glares = 0
        self._ack_wanted: Pending | None = None
        self._ok = b""
        self._held = (False, False)
        self._updates = False
        # the session timer
        self._asked_interval = call.config.session_expires
        self._min_se = call.config.min_se
        self.interval: Interval | None = None
        """The session interval that holds; None: there is none."""

    # Ours

    def hold(self, now: float) -> None:
        """Ask the other side to be silent. Raises Misuse where the call does not stand."""
        self._want(Change.HOLD, now)

    def resume(self, now: float) -> None:
        """Talk again. Raises Misuse where the call does not stand."""
        self._want(Change.RESUME, now)

    def refresh(self, now: float) -> None:
        """Refresh the session, and tell our Contact."""
        self._want(Change.REFRESH, now)

    def retry(self, now: float) -> None:
        """The wait after a 491 is over."""
        self._next(now)

    @property
    def on_hold(self) -> tuple[bool, bool]:
        """Whether we hold the other side, and whether it holds us."""
        return self._held

    def _want(self, change: Change, now: float) -> None:
        call = self._call
        if call.leg is None or not call.stands:
            raise Misuse(
                f"call {call.number} cannot be changed: it is {call.state}", fix="wait until it is established"
            )
        if change not in self._waiting:
            self._waiting.append(change)
        self._next(now)

    def _next(self, now: float) -> None:
        call, leg = self._call, self._call.leg
        busy = self._under_way is not None or self._ack_wanted is not None or call.waits_to_retry
        if busy or leg is None or not self._waiting or not call.stands or not call.account.has_flow:
            return
        change = self._waiting.pop(0)
        if change is not Change.REFRESH:
            leg.wish = Direction.SENDONLY if change is Change.HOLD else Direction.SENDRECV
        self._under_way = change
        # A refresh that changes nothing of the voice goes without a description where UPDATE is known (RFC 4028 section 7.4).
        bare = change is Change.REFRESH and self._updates
        body = b"" if bare else leg.offer()
        self._asking = call.ask(
            leg,
            "UPDATE" if bare else "INVITE",
            self._take,
            now,
            extra=[*call.capabilities(), *self.ask_timer()],
            body=body,
            content_type=SDP if body else None,
        )

    def _take(self, answer: Answer, now: float) -> None:
        call, leg, asking, change = self._call, self._call.leg, self._asking, self._under_way
        status, response, error = answer
        if leg is None or asking is None or status < 200:
            return
        invited = asking.request.method == "INVITE"
        if change is None:
            if invited and response is not None and status < 300:
                call.acknowledge(leg, asking.request, now)  # it came again
            return
        self._under_way = None
        if response is not None and status < 300:
            self._glares = 0
            leg.dialog.receive_response(response)
            if invited:
                call.acknowledge(leg, asking.request, now)
            self.start_timer(response, now)
            error = self._accept(leg, response)
            if error is None:
                self._tell(leg)
                self._next(now)
                return
        leg.abandon()
        if status == 491 and self._glares < MAX_GLARES:
            self._glares += 1
            self._waiting.insert(0, change)
            # RFC 3261 section 14.1: 2.1 to 4 s for who began the call, up to 2 s for the other, in steps of 10 ms.
            low, high = (2.1, 4.0) if call.outgoing else (0.0, 2.0)
            call.retry_at(now + round(low + (high - low) * fraction(call.account.dice), 2))
            return
        if status == 422 and response is not None and self._longer(response):
            self._waiting.insert(0, change)
            self._next(now)
            return
        if change is Change.HOLD:
            leg.wish = Direction.SENDRECV
        elif change is Change.RESUME:
            leg.wish = Direction.SENDONLY
        if response is None and status == 503:
            return  # the flow broke: what comes with the next one tells more
        assert error is not None
        call.account.emit(CallChangeRefused(call.number, error))
        if status in (408, 481):
            # RFC 3261 section 12.2.1.2: the other side has no such call any more.
            call.lose(error, now)
            return
        self._next(now)

    def _accept(self, leg: Leg, response: Response) -> SipsuaError | None:
        if not leg.offered:
            return None
        try:
            leg.take(response)
        except (Rejected, MalformedMessage) as error:
            return error
        return None

    # Theirs

    def receive(self, leg: Leg, pending: Pending, now: float) -> None:
        """An INVITE or an UPDATE in the call."""
        call, request = self._call, pending.request
        body = None
        self.note(request)
        if self._ack_wanted is not None or call.answers:
            # RFC 3261 section 14.2: the one before is not finished.
            pending.answer(500, "Server Internal Error", [("Retry-After", str(call.account.dice(3) + 1))], now)
            return
        offers = bool(request.body) or request.method == "INVITE"
        if offers and (self._under_way is not None or leg.offered):
            pending.answer(491, "Request Pending", (), now)
            return
        if session_timer.too_small(request, call.config.min_se):
            pending.answer(422, "Session Interval Too Small", [("Min-SE", str(call.config.min_se))], now)
            return
        try:
            if request.body and description(request) is None:
                pending.answer(415, "Unsupported Media Type", [("Accept", SDP)], now)
                return
            if request.body:
                body = leg.take(request)
            elif request.method == "INVITE":
                body = leg.offer()
        except (Rejected, MalformedMessage) as error:
            pending.answer(error.status or 488, "Not Acceptable Here", warning(error), now)
            return
        headers = [
            ("Contact", call.account.contact),
            *call.capabilities(),
            *self.accept_timer(request, now),
        ]
        self._ok = pending.answer(200, "OK", headers, now, body=body)
        if request.method == "INVITE":
            self._ack_wanted = pending
            call.resend_ok(self._ok, pending, now)
        if not leg.offered:
            self._tell(leg)

    def receive_ack(self, leg: Leg, request: Request, now: float) -> None:
        """The ACK to our 2xx of a change."""
        if self._ack_wanted is None:
            return
        self._ack_wanted = None
        call = self._call
        if leg.offered:
            try:
                leg.take(request)
            except (Rejected, MalformedMessage) as error:
                leg.abandon()
                call.account.emit(CallChangeRefused(call.number, error))
            else:
                leg.offered = False
                self._tell(leg)
        self._next(now)

    def no_ack(self, now: float) -> None:
        """It has not come in time: the other side is gone (RFC 3261 section 14.2)."""
        self._ack_wanted = None
        call = self._call
        error = NoAnswer(
            f"{call.uri} did not acknowledge our answer to its change",
            fix="see whether the ACK gets lost at a proxy: our Contact and the Record-Route are its way",
        )
        call.lose(error, now)

    def _tell(self, leg: Leg) -> None:
        call, agreed = self._call, leg.agreed
        if agreed is None:
            return
        call.tell_media(leg)
        held = (not leg.wish.receives, leg.session.held_by_remote)
        if held != self._held:
            self._held = held
            call.account.emit(CallHoldChanged(call.number, by_us=held[0], by_them=held[1]))

    # The session timer

    def note(self, message: Request | Response) -> None:
        """What the other side is able to do."""
        allowed = message.tokens("allow")
        if allowed:
            self._updates = "UPDATE" in allowed

    def ask_timer(self) -> list[Header]:
        """The fields by which we ask for a session interval: in an INVITE, or in a refresh, which keeps the refresher (RFC 4028
        section 7.4)."""
        call = self._call
        refresher = None
        if self.interval is not None:
            # Who sends the refresh is its UAC, whoever called.
            refresher = "uac" if self.interval.ours else "uas"
        elif call.config.refresh_here is not None:
            refresher = "uac" if call.config.refresh_here else "uas"
        seconds = self.interval.seconds if self.interval is not None else self._asked_interval
        return session_timer.ask(max(seconds, self._min_se) if seconds else 0, self._min_se, refresher)

    def accept_timer(self, request: Request, now: float) -> list[Header]:
        """The fields of our 2xx to an INVITE or UPDATE; the interval begins with it."""
        call = self._call
        self.note(request)
        headers, interval = session_timer.answer(
            request, call.config.session_expires, self._min_se, ours=call.config.refresh_here
        )
        self._set_interval(interval, now)
        return headers

    def start_timer(self, response: Response, now: float) -> None:
        """A 2xx to our INVITE or UPDATE: the interval begins anew."""
        self.note(response)
        self._set_interval(session_timer.agreed(response, self._asked_interval), now)

    def retry_longer(self, response: Response, now: float) -> bool:
        """Ask again with the longer interval that a 422 to the first INVITE wants; False where it is none, or says nothing new."""
        if response.status != 422 or not self._longer(response):
            return False
        self._call.invite_again(now)
        return True

    def _longer(self, response: Response) -> bool:
        least = session_timer.longer(response)
        if least is None or not max(self._min_se, self._asked_interval) < least <= LONGEST:
            return False
        self._min_se = self._asked_interval = least
        if self.interval is not None:
            self.interval = Interval(least, self.interval.ours)
        return True

    def _set_interval(self, interval: Interval | None, now: float) -> None:
        self.interval = interval
        self._call.session_until(interval, now)
