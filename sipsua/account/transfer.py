"""Transfers, both ways: REFER in a call with its implicit subscription (RFC 3515) or without one (RFC 4488), and Replaces (RFC 3891).

Who transfers hears how the new call goes by NOTIFY, and hangs up when that stands; who is transferred makes the new call and tells. The old
call is the transferor's to end (RFC 5589 section 6).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from sipsua.account.asking import Answer
from sipsua.account.dialling import call_target
from sipsua.account.reception import Pending
from sipsua.errors import BadConfiguration, MalformedMessage, Misuse, printable
from sipsua.events import CallAnswerAsked, CallTransferAsked, CallTransferProgressed
from sipsua.sip.fields import Event, ReferTo, Replaces, SubscriptionState, parse_status_line, status_line
from sipsua.sip.headers import NameAddr
from sipsua.sip.message import Header

if TYPE_CHECKING:
    from sipsua.account.call import Call

SIPFRAG = "message/sipfrag;version=2.0"
LIFE = 180
"""Seconds of the implicit subscription: as long as a phone rings."""


class Transfers:
    """The transfers of one call."""

    __slots__ = ("_asked_id", "_call", "_target", "_told", "asked")

    def __init__(self, call: Call) -> None:
        self._call = call
        self._target: ReferTo | None = None
        self._asked_id: int | None = None
        self._told = False
        self.asked = False
        """We have asked the other side to call somebody, and hear how that goes."""

    # Ours

    def transfer(self, uri: str, now: float, other: Call | None = None) -> None:
        """Ask the other side to call `uri`; with `other` in place of the one that we talk to there.

        Raises Misuse where the call does not stand, or a transfer is under way.
        """
        call = self._call
        if call.leg is None or not call.stands:
            raise Misuse(
                f"call {call.number} cannot be transferred: it is {call.state}", fix="wait until it is established"
            )
        if self.asked:
            raise Misuse(f"call {call.number} is being transferred", fix="wait for its end")
        target = ReferTo(uri)
        if other is not None:
            if other.leg is None or not other.stands:
                raise Misuse(
                    f"call {other.number} cannot be joined: it is {other.state}", fix="wait until it is established"
                )
            dialog = other.leg.dialog
            # As the other side of the other call sees its dialog.
            replaces = Replaces(dialog.call_id, dialog.remote_tag or "", dialog.local_tag)
            target = ReferTo(dialog.remote_target, replaces=replaces)
        self.asked = True
        extra: Sequence[Header] = [("Refer-To", str(target)), ("Referred-By", f"<{call.account.config.aor}>")]
        call.ask(call.leg, "REFER", self._take, now, extra=extra)

    def _take(self, answer: Answer, now: float) -> None:
        if answer.status < 200:
            return
        call, response = self._call, answer.response
        if response is None or answer.status >= 300:
            self._progress(answer.status, answer.error.what if answer.error else "", True, now)
        elif (response.first("refer-sub") or "").strip().lower() == "false":
            # RFC 4488: nothing will be told, and the transfer is theirs from here on.
            self._progress(200, "OK", True, now)
        else:
            call.account.emit(CallTransferProgressed(call.number, answer.status, printable(response.reason), False))

    def receive_notify(self, pending: Pending, now: float) -> None:
        """How the transfer goes that we asked for."""
        request = pending.request
        event = Event.parse(request.required("event"))
        if event.package != "refer":
            self._obey(event.package, pending, now)
            return
        if not self.asked:
            pending.answer(481, "Subscription Does Not Exist", (), now)
            return
        pending.answer(200, "OK", (), now)
        state = SubscriptionState.parse(request.required("subscription-state"))
        status, reason = parse_status_line(request.body)
        self._progress(status, reason, status >= 200 or state.state == "terminated", now)

    def _obey(self, package: str, pending: Pending, now: float) -> None:
        """The remote control of desk phones: the PBX presses the key that answers or resumes, or the one that holds."""
        call = self._call
        if package not in ("talk", "hold"):
            pending.answer(489, "Bad Event", [("Allow-Events", "refer, talk, hold")], now)
            return
        pending.answer(200, "OK", (), now)
        if call.rings and package == "talk":
            call.account.emit(CallAnswerAsked(call.number))
        elif call.stands:
            (call.changes.resume if package == "talk" else call.changes.hold)(now)

    def _progress(self, status: int, reason: str, final: bool, now: float) -> None:
        call = self._call
        if final:
            self.asked = False
        call.account.emit(CallTransferProgressed(call.number, status, printable(reason), final))
        if final and 200 <= status < 300:
            call.hang_up(now)

    # Theirs

    def receive(self, pending: Pending, now: float) -> None:
        """They ask us to call somebody."""
        call, request = self._call, pending.request
        values = request.values("refer-to")
        if len(values) != 1:
            raise MalformedMessage(f"{len(values)} Refer-To where there must be one")
        target = ReferTo.parse(values[0])
        if not call.config.accept_transfers or self._target is not None or not call.stands:
            pending.answer(603, "Decline", (), now)
            return
        try:
            call_target(call.account.config, target.uri)
            wrong = target.method != "INVITE"
        except BadConfiguration:
            wrong = True
        if wrong:
            pending.answer(403, "Forbidden", (), now)
            return
        silent = (request.first("refer-sub") or "").strip().lower() == "false"
        contact = ("Contact", call.account.contact)
        pending.answer(202, "Accepted", [contact, ("Refer-Sub", "false")] if silent else [contact], now)
        self._target = target
        self._told = silent
        self._asked_id = request.cseq.number
        self.tell(100, "Trying", now)
        referred_by = request.first("referred-by")
        shown = NameAddr.parse(referred_by).uri_text if referred_by else call.uri
        call.account.emit(
            CallTransferAsked(call.number, target.uri, replaces=target.replaces is not None, referred_by=shown)
        )

    def follow(self) -> tuple[str, list[Header]]:
        """The address that we were asked to call, and what the INVITE has to say. Raises Misuse where we were not."""
        call, target = self._call, self._target
        if target is None:
            raise Misuse(f"call {call.number} is not being transferred")
        headers: list[Header] = [("Referred-By", f"<{call.uri}>")]
        if target.replaces is not None:
            headers.append(("Replaces", str(target.replaces)))
            headers.append(("Require", "replaces"))
        return target.uri, headers

    def decline(self, now: float) -> None:
        """We do not follow after all."""
        self.tell(603, "Decline", now)

    def tell(self, status: int, reason: str, now: float) -> None:
        """Tell who asked how the new call goes."""
        call = self._call
        if self._told or self._target is None or call.leg is None or not call.stands:
            return
        final = status >= 200
        state = (
            SubscriptionState("terminated", reason="noresource") if final else SubscriptionState("active", expires=LIFE)
        )
        extra: Sequence[Header] = [("Event", "refer"), ("Subscription-State", str(state))]
        call.ask(call.leg, "NOTIFY", _ignore, now, extra=extra, body=status_line(status, reason), content_type=SIPFRAG)
        if final:
            self._target = None


def _ignore(answer: Answer, now: float) -> None:
    """Who does not want to hear need not."""
