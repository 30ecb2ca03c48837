"""Many accounts on one flow, without the flow: how trunks behave, and how one machine holds more accounts than flows.

The stream is cut into messages once, one ping goes out for all, and each message is handed to its account: a response by Call-ID and From
tag, a request by the user of its Request-URI (or, where that names none, of its To). What the door calls on an account with a flow of
its own it calls here: `receive_data`, `handle_timer`, `get_timer`, `data_to_send`, `wants_close`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from sipsua.account import uas
from sipsua.account.account import Account
from sipsua.account.keepalive import KeepAlive
from sipsua.account.roster import Roster
from sipsua.account.stream import Stream
from sipsua.errors import MalformedMessage
from sipsua.sip.message import Request, Response


class Trunk:
    """The accounts on one flow, from its opening to its end."""

    __slots__ = ("_by_sender", "_out", "_roster", "_stream", "_tag")

    def __init__(self) -> None:
        self._by_sender: dict[tuple[str, str], Account] = {}
        self._roster = Roster()
        self._stream: Stream | None = None
        self._out: list[bytes] = []
        self._tag: Callable[[], str] = str

    @property
    def wants_close(self) -> str | None:
        """Why the door is to close the flow, or None."""
        failure = self._stream.failure if self._stream is not None else None
        return str(failure) if failure is not None else None

    def admit(self, account: Account, now: float) -> None:
        """Take on an account whose flow has been opened. The first one's keep-alive is the trunk's."""
        if self._stream is None:
            config, dice = account.config, account.dice
            self._stream = Stream(self._out.append, config.limits.message, KeepAlive(config, dice, now))
            self._tag = partial(config.persona.tag.make, dice)
        self._by_sender[account.registration.call_id, account.registration.from_tag] = account
        self._roster.admit(account)

    def dismiss(self, account: Account) -> None:
        """Let an account go: no message reaches it any more."""
        self._by_sender.pop((account.registration.call_id, account.registration.from_tag), None)
        self._roster.dismiss(account)

    def receive_data(self, data: bytes, now: float) -> list[Account]:
        """Take bytes off the flow; the accounts that got a message, once for each message."""
        reached: list[Account] = []
        if self._stream is None:
            return reached
        for message in self._stream.receive(data, now):
            account = self._addressee(message)
            if account is not None:
                account.receive_message(message, now)
                reached.append(account)
            elif isinstance(message, Request):
                self._answer_stranger(message)
        broken = self._stream.broken
        if isinstance(self._stream.failure, MalformedMessage) and broken is not None:
            self._out.append(bytes(uas.reject(broken, self._stream.failure, self._tag())))
        return reached

    def data_to_send(self) -> bytes:
        """The trunk's own bytes: pings, pongs, and answers to requests for nobody here."""
        data = b"".join(self._out)
        self._out.clear()
        return data

    def get_timer(self) -> float | None:
        """When `handle_timer` is to be called, or None."""
        return self._stream.deadline if self._stream is not None else None

    def handle_timer(self, now: float) -> None:
        """Do what is due."""
        if self._stream is not None:
            self._stream.handle_timer(now)

    def _answer_stranger(self, request: Request) -> None:
        """A request for nobody here."""
        if request.method == "ACK":
            return
        try:
            response = uas.not_found(request.check(), self._tag())
        except MalformedMessage as error:
            response = uas.reject(request, error, self._tag())
        self._out.append(bytes(response))

    def _addressee(self, message: Request | Response) -> Account | None:
        if isinstance(message, Request):
            return self._roster.find(message)
        try:
            # The Call-ID alone is not enough: a persona's may have no more than 32 random bits.
            return self._by_sender.get((message.call_id, message.from_.tag or ""))
        except MalformedMessage:
            return None
