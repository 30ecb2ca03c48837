"""The requests of one flow and the answers that go back on it: RFC 3261 sections 17.2.2 and 18.2.2.

A request is matched and answered the same way wherever it arrived: on an account's own flow, or on one that a caller opened to the
phone. What differs is who answers, so that is an argument. An account that will answer later, such as a call that rings, keeps the
reception of its request: the transaction and the way back are here.
"""

from __future__ import annotations

from collections.abc import Callable

from sipsua.account import uas
from sipsua.errors import MalformedMessage
from sipsua.sip.message import Request, Response
from sipsua.sip.transactions import Transactions


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

    def answer(self, request: Request, reply: Callable[[Request], Response], to_tag: str, now: float) -> int | None:
        """Answer a request once: with the final response that `reply` makes, or with the one that what is wrong with it asks for.

        The status of the answer; None where there was nothing new to say: to an ACK, or to a request that was seen before.
        """
        try:
            if request.method == "ACK":
                self.transactions.match_ack(request, now)
                return None
            matched = self.transactions.match_request(request, now)
        except MalformedMessage as error:
            if request.method == "ACK":
                return None
            # Without a readable Via there is no transaction; the flow itself is the way back.
            return self.reject(request, error, to_tag)
        if matched is None or isinstance(matched, bytes):
            if matched:
                self.send(matched)
            return None
        try:
            response = reply(request.check())
        except MalformedMessage as error:
            response = uas.reject(request, error, to_tag)
        self.send(self.transactions.respond(matched, response, now))
        return response.status

    def reject(self, request: Request, error: MalformedMessage, to_tag: str) -> int:
        """Answer a request that no transaction can be made of; the status."""
        response = uas.reject(request, error, to_tag)
        self.send(bytes(response))
        return response.status
