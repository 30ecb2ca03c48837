"""The bytes of one flow as messages, and the flow kept alive: what an account on its own flow, a trunk and a caller have in common.

Pings are sent and answered here; what makes the flow useless (no pong, a message begun and not finished, bytes that are no SIP) is told
as `failure`, after the messages that came before it.
"""

from __future__ import annotations

from collections.abc import Callable

from sipsua.account.keepalive import KeepAlive, Pulse
from sipsua.errors import MalformedMessage
from sipsua.sip.framing import Framer
from sipsua.sip.framing import KeepAlive as Crlf
from sipsua.sip.message import Message, Request, Response


class Stream:
    """One flow's stream, from its opening to its end."""

    __slots__ = ("_framer", "_keep_alive", "_patience", "_send", "_unfinished_until", "failure")

    def __init__(self, send: Callable[[bytes], None], patience: float, keep_alive: KeepAlive | None = None) -> None:
        """`send` takes pings and pongs; `patience` is seconds for the rest of a message of which a part has come.

        `keep_alive` is our pulse where we opened the flow; None: the peer did, and pings us (RFC 5626 section 3.5.1).
        """
        self._framer = Framer(pings=keep_alive is None)
        self._keep_alive = keep_alive
        self._patience = patience
        self._send = send
        self._unfinished_until: float | None = None
        self.failure: MalformedMessage | str | None = None
        """Why the flow is of no use any more; None while it is."""

    def receive(self, data: bytes, now: float) -> list[Request | Response]:
        """Take bytes off the flow; the messages that are whole now, in order. Nothing after a failure."""
        messages: list[Request | Response] = []
        if self.failure is not None:
            return messages
        framer = self._framer
        framer.receive(data)
        try:
            while (frame := framer.next_frame()) is not None:
                self._unfinished_until = None
                if isinstance(frame, Message):
                    messages.append(frame)
                elif frame is Crlf.PING:
                    self._send(Crlf.PONG.value)
                elif self._keep_alive is not None:
                    self._keep_alive.receive_pong(now)
        except MalformedMessage as error:
            self.failure = error
            return messages
        if framer.incomplete and self._unfinished_until is None:
            self._unfinished_until = now + self._patience
        return messages

    @property
    def broken(self) -> Request | None:
        """The request whose framing was lost, where its head could be read: it is to be answered before the flow is closed."""
        message = self._framer.broken
        return message if isinstance(message, Request) and message.method != "ACK" else None

    @property
    def deadline(self) -> float | None:
        """When to call `handle_timer`, or None."""
        pulse = self._keep_alive.deadline if self._keep_alive is not None else None
        unfinished = self._unfinished_until
        if pulse is None or unfinished is None:
            return unfinished if pulse is None else pulse
        return min(pulse, unfinished)

    def handle_timer(self, now: float) -> None:
        """Do what is due."""
        pulse = self._keep_alive.handle_timer(now) if self._keep_alive is not None else Pulse.NOTHING
        if pulse is Pulse.PING:
            self._send(Crlf.PING.value)
        elif pulse is Pulse.FAILED:
            self.failure = "no pong came to our ping"
        if self._unfinished_until is not None and self._unfinished_until <= now:
            self._unfinished_until = None
            self.failure = "a message was begun and not finished"
