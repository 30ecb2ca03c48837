"""The calls of one account: found by what a message says, begun by us or by somebody, and what comes to the account outside any call.

A call is found by Call-ID and our own tag: the other side's differs with each fork. What names a dialog that is not here is answered 481
before anything else is looked at (RFC 3261 section 12.2.2).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from sipsua.account import dialling, uas
from sipsua.account.call import Call, State
from sipsua.account.leg import warning
from sipsua.account.reception import Pending
from sipsua.errors import FlowLost, MalformedMessage, Misuse, printable
from sipsua.events import CallDialled, CallDigits, CallOffered
from sipsua.media.dtmf import parse_info
from sipsua.media.offer import Address, Direction, Rejected, Session
from sipsua.media.sdp import Description
from sipsua.sip.fields import Replaces
from sipsua.sip.invite import InviteServer
from sipsua.sip.message import Header, Request

if TYPE_CHECKING:
    from sipsua.account.call import Surroundings

_INFO = ("application/dtmf-relay", "application/dtmf")
_NOWHERE = Address("0.0.0.0", 9)


class Calls:
    """All calls of one account."""

    __slots__ = ("_account", "_by_dialog", "_by_number", "_last", "taken")

    def __init__(self, account: Surroundings) -> None:
        self._account = account
        self._by_number: dict[int, Call] = {}
        self._by_dialog: dict[tuple[str, str], Call] = {}
        self._last = 0
        self.taken = False
        """Somebody is there to answer calls; without, they are refused with 480."""

    def __getitem__(self, number: int) -> Call:
        """A call by its number. Raises Misuse where it is over, or never was."""
        call = self._by_number.get(number)
        if call is None:
            raise Misuse(f"there is no call {number}", fix="it is over: its CallEnded told so")
        return call

    def __len__(self) -> int:
        return len(self._by_number)

    def __iter__(self) -> Iterator[Call]:
        return iter(list(self._by_number.values()))

    # The user

    def dial(
        self,
        uri: str,
        local: Address,
        now: float,
        *,
        extra: Sequence[Header] = (),
        direction: Direction = Direction.SENDRECV,
    ) -> Call:
        """Call `uri` with the voice at `local`.

        Raises Misuse without a flow and for one call too many, BadConfiguration for what cannot be called.
        """
        return self._dial(uri, local, now, extra, None, direction)

    def follow(self, call: Call, local: Address, now: float) -> Call:
        """Call whom the other side of `call` has asked us to call, with the voice at `local`. Raises as `dial`."""
        uri, extra = call.transfers.follow()
        return self._dial(uri, local, now, extra, call, Direction.SENDRECV)

    def _dial(
        self,
        uri: str,
        local: Address,
        now: float,
        extra: Sequence[Header],
        referred: Call | None,
        direction: Direction,
    ) -> Call:
        account = self._account
        if not account.has_flow:
            raise Misuse("there is no flow to call on", fix="register first")
        if len(self) >= account.config.calls.calls:
            raise Misuse(f"there are {len(self)} calls already", fix="end one, or allow more")
        target = dialling.call_target(account.config, uri)
        self._last += 1
        call = Call.dial(
            account,
            self._last,
            dialling.fresh_call_id(account.config, account.dice, account.sent_by),
            target,
            local,
            now,
            extra=extra,
            referred=referred,
            direction=direction,
        )
        self._keep(call)
        account.emit(CallDialled(call.number, target, referred.number if referred is not None else None))
        return call

    # The wire

    def find(self, request: Request) -> Call | None:
        """The call in whose dialog a request is."""
        tag = request.to.tag
        return self._by_dialog.get((request.call_id, tag)) if tag is not None else None

    def cancel(self, invite: InviteServer, now: float) -> None:
        """The INVITE of a caller is cancelled."""
        for call in list(self._by_number.values()):
            if call.pending is not None and call.pending.transaction is invite:
                call.receive_cancel(now)

    def offer(self, pending: Pending, now: float) -> None:
        """An INVITE outside any dialog that nothing objects to: it rings, or is refused."""
        account, invite = self._account, pending.request
        config = account.config.calls
        tag = account.config.persona.tag.make(account.dice)
        replaced: Call | None = None
        if not self.taken and "replaces" not in invite.index:
            pending.answer(480, "Temporarily Unavailable", (), now, to_tag=tag)
            return
        try:
            replaces = invite.first("replaces")
            if replaces is not None:
                replaced, status = self._replaced(Replaces.parse(replaces))
                if replaced is None:
                    pending.answer(status, "Call/Transaction Does Not Exist", (), now, to_tag=tag)
                    return
            if not invite.contacts:
                raise MalformedMessage("an INVITE without Contact")
            if invite.body:
                # What cannot be answered is refused before anybody is disturbed.
                Session(config.media, _NOWHERE, account.dice).answer(Description.parse(invite.body))
        except (Rejected, MalformedMessage) as error:
            status = error.status or 488
            pending.answer(status, uas.reason(status), warning(error), now, to_tag=tag)
            return
        if replaced is None and len(self) >= config.calls:
            pending.answer(486, "Busy Here", (), now, to_tag=tag)
            return
        self._last += 1
        call = Call.offered(account, self._last, pending, now)
        call.replaced = replaced
        self._keep(call)
        caller = invite.from_
        account.emit(
            CallOffered(
                call.number,
                caller=printable(caller.uri_text),
                display=printable(caller.display),
                called=printable(invite.uri_text),
                replaces=replaced.number if replaced is not None else None,
                auto_answer=dialling.wants_auto_answer(invite),
                secure=invite.uri_text[:5].lower() == "sips:",
            )
        )

    def receive_info(self, call: Call, pending: Pending, now: float) -> None:
        """Keys that were pressed on the other side (INFO)."""
        request = pending.request
        content = (request.first("content-type") or "").partition(";")[0].strip().lower()
        if request.body and content not in _INFO:
            pending.answer(415, "Unsupported Media Type", [("Accept", ", ".join(_INFO))], now)
            return
        digits = parse_info(content, request.body) if request.body else ""
        pending.answer(200, "OK", (), now)
        if digits:
            self._account.emit(CallDigits(call.number, digits, by_info=True))

    # The flow

    def lose_flow(self, error: FlowLost, now: float) -> None:
        """The account's flow is gone."""
        for call in list(self._by_number.values()):
            call.lose_flow(error, now)

    def flow_opened(self, now: float) -> None:
        """The account has a flow again."""
        for call in list(self._by_number.values()):
            call.flow_opened(now)

    # The clock

    @property
    def deadline(self) -> float | None:
        """When to call `handle_timer`, or None."""
        return min(
            (deadline for call in self._by_number.values() if (deadline := call.deadline) is not None), default=None
        )

    def handle_timer(self, now: float) -> None:
        """Do what is due."""
        for call in list(self._by_number.values()):
            deadline = call.deadline
            if deadline is not None and deadline <= now:
                call.handle_timer(now)

    # The calls

    def forget(self, call: Call) -> None:
        """A call is over."""
        self._by_number.pop(call.number, None)
        self._by_dialog.pop((call.call_id, call.local_tag), None)

    def _keep(self, call: Call) -> None:
        self._by_number[call.number] = call
        self._by_dialog[call.call_id, call.local_tag] = call

    def _replaced(self, replaces: Replaces) -> tuple[Call | None, int]:
        """The call that an INVITE is to take the place of, or the status that refuses it (RFC 3891 section 3)."""
        call = self._by_dialog.get((replaces.call_id, replaces.to_tag))
        if call is None or call.leg is None or call.leg.dialog.remote_tag != replaces.from_tag:
            return None, 481
        if call.state is State.ESTABLISHED:
            return (None, 486) if replaces.early_only else (call, 0)
        # An early dialog may be replaced only where we are the caller; one that rings here is none of the others' business.
        return (call, 0) if call.outgoing else (None, 481)
