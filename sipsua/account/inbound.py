"""One connection that a caller opened to the phone, without the connection: what arrives is answered by the account that it is for.

A phone whose Contact names its listening port is called back there by a PBX that does not reuse the flow of the registration (RFC 3261
section 18 knows no other way; RFC 5626 came later). Such a caller is not the server that the account trusts, so it gets no more than
answers: it cannot touch the registration, and its responses go nowhere, since nothing was asked of it.

What the door calls on an account it calls here: `receive_data`, `handle_timer`, `get_timer`, `data_to_send`, `wants_close`.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

from sipsua.account import uas
from sipsua.account.account import Account
from sipsua.account.config import MAX_SECONDS
from sipsua.account.persona import Dice, Token
from sipsua.account.reception import Reception
from sipsua.account.roster import Roster
from sipsua.account.stream import Stream
from sipsua.errors import BadConfiguration, MalformedMessage
from sipsua.events import Event
from sipsua.sip.message import Request
from sipsua.trust.policy import check_types


@dataclass(frozen=True, slots=True, kw_only=True)
class InboundLimits:
    """What callers may take of a phone, together and each."""

    connections: int = 1000
    """At once, those in their handshake too: a PBX opens one or a few, and a thousand that do nothing take 50 MB."""
    per_source: int = 50
    """At once from one address (of IPv6: one /64, which is what one host has), so that nobody can take the places of all others. A PBX
    that opens a connection for each of its workers stays below."""
    handshake: float = 10.0
    """Seconds from TCP to the client's Finished: as long as we take for it as a client."""
    first: float = 32.0
    """Seconds to the first octets after the handshake: who opens one has something to say, and 64*T1 is the longest that SIP waits."""
    idle: float = 180.0
    """Seconds to the next octets: half as much again as the longest pause between two pings (120 s, RFC 5626 section 4.4.1)."""
    message: float = 32.0
    """Seconds to the rest of a message of which a part has come (64*T1)."""
    close: float = 2.0
    """Seconds to the client's close_notify after ours."""

    def __post_init__(self) -> None:
        check_types(self)
        for one in fields(self):
            if not 0 < (limit := getattr(self, one.name)) <= MAX_SECONDS:
                raise BadConfiguration(f"a limit of {limit} for {one.name}", fix="give more than 0")


class Inbound:
    """One caller, from the end of its handshake to its own end."""

    __slots__ = ("_dice", "_limits", "_out", "_quiet_until", "_reception", "_roster", "_stream", "wants_close")

    def __init__(self, roster: Roster, dice: Dice, limits: InboundLimits, source: str, now: float) -> None:
        """`roster`: who can be called here; it may change at any time. `source`: the caller's address and port."""
        self._roster = roster
        self._dice = dice
        self._limits = limits
        self._out: list[bytes] = []
        self._reception = Reception(self._out.append, source=source)
        self._stream = Stream(self._out.append, limits.message)
        self._quiet_until = now + limits.first
        self.wants_close: str | None = None
        """Why the door is to close the connection, when `data_to_send` has gone; None while it is to stand."""

    def receive_data(self, data: bytes, now: float) -> list[Account]:
        """Take bytes off the connection; the accounts that got a request, once for each request."""
        # Any octet is a sign of life: those of a message that never ends have their own limit.
        self._quiet_until = now + self._limits.idle
        reached: list[Account] = []
        stream = self._stream
        for message in stream.receive(data, now):
            if not isinstance(message, Request):
                continue  # a stray response, which RFC 3261 section 18.1.2 leaves to us: we have asked for none
            account = self._roster.find(message)
            if account is not None:
                account.receive_request(message, self._reception, now)
                reached.append(account)
            else:
                self._turn_away(message, now)
        if isinstance(stream.failure, MalformedMessage):
            if stream.broken is not None and self.wants_close is None:
                self._reception.reject(stream.broken, stream.failure, _TAG.make(self._dice))
            self.wants_close = stream.failure.what
        return reached

    def _turn_away(self, request: Request, now: float) -> None:
        """A request for nobody here."""
        if request.method != "ACK":
            to_tag = _TAG.make(self._dice)
            pending = self._reception.take(request, to_tag, now, _nobody)
            if pending is not None:
                pending.respond(uas.not_found(request, to_tag), now)

    def data_to_send(self) -> bytes:
        """The bytes that are to go out now; each are given once."""
        data = b"".join(self._out)
        self._out.clear()
        return data

    def get_timer(self) -> float:
        """When `handle_timer` is to be called."""
        unfinished = self._stream.deadline
        return self._quiet_until if unfinished is None else min(self._quiet_until, unfinished)

    def handle_timer(self, now: float) -> None:
        """Do what is due."""
        self._stream.handle_timer(now)
        if self._stream.failure is not None:
            self.wants_close = str(self._stream.failure)
        elif self._quiet_until <= now:
            self.wants_close = "nothing came from it any more"


def _nobody(event: Event) -> None:
    """Whom nobody here was asked for is told to nobody."""


_TAG = Token(64)
"""Of a To in an answer that is no account's."""
