"""The requests of one flow and the answers that go back on it: RFC 3261 sections 17.2.2 and 18.2.2.

A request is matched and answered the same way wherever it arrived: on an account's own flow, or on one that a caller opened to the
phone. What is answered later, such as a call that rings, is kept as `Pending`: the transaction and the way back are in it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple

from sipsua.account import uas
from sipsua.errors import MalformedMessage
from sipsua.events import Event, RequestAnswered
from sipsua.sip.invite import InviteServer
from sipsua.sip.message import Header, Request, Response, canonical_name, respond
from sipsua.sip.transactions import ServerTransaction, Transactions

_DIALOG_MAKERS = frozenset({"INVITE", "SUBSCRIBE", "REFER", "NOTIFY"})


class Reception:
    """Where the requests of one flow are answered."""

    __slots__ = ("send", "source", "transactions")

    def __init__(
        self, send: Callable[[bytes], None], transactions: Transactions | None = None, source: str | None = None
    ) -> None:
        self.send = send
        """Takes bytes that go back on the flow."""
        self.transactions = transactions if transactions is not None else Transactions(send)
        self.source = source
        """Address and port of who opened the flow to us; None where we opened it."""

    def take(self, request: Request, to_tag: str, now: float, tell: Callable[[Event], None]) -> Pending | None:
        """A request that is no ACK, to be answered; None where it is done with: seen before, or so wrong that it was refused."""
        try:
            matched = self.transactions.match_request(request, now)
        except MalformedMessage as error:
            # Without a readable Via there is no transaction; the flow itself is the way back.
            tell(RequestAnswered(request.method, self.reject(request, error, to_tag), self.source))
            return None
        if matched is None or isinstance(matched, bytes):
            if matched:
                self.send(matched)
            return None
        pending = Pending(request, matched, self, tell)
        try:
            request.check()
        except MalformedMessage as error:
            pending.reject(error, to_tag, now)
            return None
        return pending

    def reject(self, request: Request, error: MalformedMessage, to_tag: str) -> int:
        """Answer a request that no transaction can be made of; the status."""
        response = uas.reject(request, error, to_tag)
        self.send(bytes(response))
        return response.status


class Pending(NamedTuple):
    """A request that waits for our answer."""

    request: Request
    transaction: ServerTransaction | InviteServer
    reception: Reception
    tell: Callable[[Event], None]
    """Hears that it was answered."""

    @property
    def foreign(self) -> bool:
        """Whether it came on a connection to the listening port, and not on the account's own flow."""
        return self.reception.source is not None

    def answer(
        self,
        status: int,
        reason: str,
        headers: Iterable[Header],
        now: float,
        *,
        body: bytes | None = None,
        content_type: str = "application/sdp",
        to_tag: str = "",
    ) -> bytes:
        """Send a response, and give its bytes. `to_tag` is for a request that has none.

        Where it begins a dialog the Record-Route goes back (RFC 3261 section 12.1.1).
        """
        request = self.request
        extra: list[Header] = []
        if 100 < status < 300 and request.method in _DIALOG_MAKERS:
            extra = [field for field in request.headers if canonical_name(field[0]) == "record-route"]
        extra += headers
        if body:
            extra.append(("Content-Type", content_type))
        return self.respond(respond(request, status, reason, extra, to_tag=to_tag, body=body or b""), now)

    def reject(self, error: MalformedMessage, to_tag: str, now: float) -> None:
        """Answer what is wrong with the request."""
        self.respond(uas.reject(self.request, error, to_tag), now)

    def respond(self, response: Response, now: float) -> bytes:
        """Send a response that was made elsewhere."""
        data = self.reception.transactions.respond(self.transaction, response, now)
        if data:
            self.reception.send(data)
            if response.status >= 200:
                self.tell(RequestAnswered(self.request.method, response.status, self.reception.source))
        return data

    def send(self, data: bytes) -> None:
        """Send once more what was sent before."""
        self.reception.send(data)
