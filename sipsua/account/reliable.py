"""Reliable provisional responses, both ways: RFC 3262.

Ours are numbered by RSeq and sent again, over TLS too, until a PRACK comes, as the hop behind the server may be unreliable; theirs are
taken in their order and acknowledged.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sipsua.account.asking import Answer
from sipsua.account.call_config import Reliability
from sipsua.account.leg import SDP, Leg, warning
from sipsua.account.reception import Pending
from sipsua.errors import MalformedMessage
from sipsua.events import EndedBy
from sipsua.media.offer import Rejected
from sipsua.sip.fields import RAck, parse_rseq
from sipsua.sip.message import Header, Response
from sipsua.sip.timers import T1

if TYPE_CHECKING:
    from sipsua.account.call import Call


class Reliable:
    """The provisional responses of one call."""

    __slots__ = ("_call", "_give_up_at", "_interval", "_rseq", "_unacknowledged", "_waiting")

    def __init__(self, call: Call) -> None:
        self._call = call
        self._rseq = 0
        self._unacknowledged: tuple[RAck, bytes] | None = None
        """What a PRACK has to name, and the response that is sent again until then."""
        self._waiting: list[tuple[int, str, bytes]] = []
        """Responses that may go out when the one before is acknowledged (RFC 3262 section 3)."""
        self._interval = T1
        self._give_up_at = 0.0

    # Ours

    def provide(self, status: int, reason: str, body: bytes, now: float) -> None:
        """Send a provisional response to the INVITE that rings here, reliably where the caller is able to hear it so."""
        call = self._call
        pending = call.pending
        assert pending is not None
        if self._unacknowledged is not None:
            self._waiting.append((status, reason, body))
            return
        invite = pending.request
        able = "100rel" in invite.tokens("supported") or "100rel" in invite.tokens("require")
        headers: list[Header] = [("Contact", call.account.contact), *call.capabilities()]
        if able and call.config.reliability is not Reliability.OFF:
            self._rseq = (self._rseq or call.account.dice(16)) + 1
            headers += [("Require", "100rel"), ("RSeq", str(self._rseq))]
        sent = pending.answer(status, reason, headers, now, body=body, to_tag=call.local_tag)
        if able and call.config.reliability is not Reliability.OFF:
            cseq = invite.cseq
            self._unacknowledged = RAck(self._rseq, cseq.number, cseq.method), sent
            self._interval = T1
            self._give_up_at = now + 64 * T1
            call.provisional_at(now + T1)

    def handle_timer(self, now: float) -> None:
        """No PRACK has come yet: the response goes out again; or, after 64*T1, the INVITE is refused with 504 (RFC 3262 section 3)."""
        call = self._call
        if self._unacknowledged is None or call.pending is None:
            return
        if now >= self._give_up_at:
            self._unacknowledged = None
            call.give_up(504, "Server Time-out", "no PRACK came", now)
            return
        call.pending.send(self._unacknowledged[1])
        self._interval *= 2
        call.provisional_at(min(now + self._interval, self._give_up_at))

    def receive_prack(self, leg: Leg, pending: Pending, now: float) -> None:
        """A PRACK: 200 where it names the response that waits for it, else 481 (RFC 3262 section 3)."""
        call = self._call
        rack = RAck.parse(pending.request.required("rack"))
        if self._unacknowledged is None or self._unacknowledged[0] != rack:
            pending.answer(481, "Call/Transaction Does Not Exist", (), now)
            return
        self._unacknowledged = None
        call.provisional_at(None)
        body = None
        if pending.request.body:
            try:
                body = leg.take(pending.request)
            except (Rejected, MalformedMessage) as error:
                pending.answer(error.status or 488, "Not Acceptable Here", warning(error), now)
                return
        pending.answer(200, "OK", (), now, body=body)
        if self._waiting and call.rings:
            self.provide(*self._waiting.pop(0), now)

    # Theirs

    def receive(self, leg: Leg, response: Response, now: float) -> bool:
        """A provisional response in a leg; PRACK goes out where it is a reliable one. False where it is to be passed over: it came again,
        or one before it is missing (RFC 3262 section 4)."""
        if "100rel" not in response.tokens("require") or response.first("rseq") is None:
            return True
        number = parse_rseq(response.required("rseq"))
        if leg.remote_rseq is not None and number != leg.remote_rseq + 1:
            return False
        leg.remote_rseq = number
        call = self._call
        answer = None
        if response.body:
            try:
                answer = leg.take(response)
                leg.reliable = leg.answered
                call.tell_media(leg, early=True)
            except (Rejected, MalformedMessage) as error:
                # There is no way to say so but to give the call up.
                call.end_by(EndedBy.US, error.what, error, status=488)
                call.hang_up(now)
        cseq = response.cseq
        call.ask(
            leg,
            "PRACK",
            _ignore,
            now,
            extra=[("RAck", str(RAck(number, cseq.number, cseq.method)))],
            body=answer or b"",
            content_type=SDP if answer else None,
        )
        return True


def _ignore(answer: Answer, now: float) -> None:
    """A PRACK that is refused changes nothing: the INVITE's own end comes."""
