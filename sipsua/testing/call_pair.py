"""Two accounts, each other's server: whole calls in a test without a socket, a loop or a wait.

What one account sends goes to the other as it is, so a call between them is what a call through a transparent proxy is. A test moves the
messages, or lets `pump` move them all; it may hold some back, change them, or put its own in between.

    pair = CallPair()
    call = pair.dial()
    pair.answer()
    assert pair.alice.call.stands
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import TypeVar

from sipsua.account.account import Account
from sipsua.account.call import Call
from sipsua.account.config import AccountConfig
from sipsua.errors import FlowLost, Misuse
from sipsua.events import CallOffered, Event, Negotiated
from sipsua.media.offer import Address
from sipsua.sip.framing import Framer
from sipsua.sip.message import Message, Request, Response
from sipsua.testing.clock import Clock
from sipsua.testing.pair import accepted
from sipsua.trust.policy import Policy
from sipsua.trust.store import TrustList

_E = TypeVar("_E", bound=Event)


class Party:
    """One of the two."""

    def __init__(self, config: AccountConfig, clock: Clock, seed: int) -> None:
        self.account = Account(config, random.Random(seed).getrandbits)
        self.clock = clock
        self.events: list[Event] = []
        """All that the account told, oldest first."""
        self.sent: list[Request | Response] = []
        """All that it sent, oldest first."""
        self.voice = Address("192.0.2.10", 4000 + 2 * seed)
        """Where its voice is."""
        self.local = (f"192.0.2.{seed}", 5061)
        self.framer = Framer(pings=True)

    @property
    def call(self) -> Call:
        """The only call. Raises Misuse where there is none, or several."""
        calls = list(self.account.calls)
        if len(calls) != 1:
            raise Misuse(f"there are {len(calls)} calls")
        return calls[0]

    def open_flow(self) -> None:
        """A flow stands."""
        self.account.flow_negotiating(self.clock.at)
        target = self.account.target
        negotiated = Negotiated(
            protocol="TLSv1.3",
            cipher="TLS_AES_256_GCM_SHA384",
            group="X25519",
            server_name=target.host,
            peer=f"192.0.2.99:{target.port}",
            local=self.local,
            at=self.clock.at,
        )
        self.framer = Framer(pings=True)
        self.account.flow_opened(
            accepted(target.host), negotiated, {"dns": 1.0, "tcp": 2.0, "tls": 3.0}, self.clock.now
        )

    def lose_flow(self) -> None:
        """The flow is gone."""
        self.account.flow_lost(FlowLost("the server closed the flow"), self.clock.now, self.clock.at)

    def take(self) -> list[Request | Response]:
        """What the account wants to send, as messages; events are gathered."""
        messages: list[Request | Response] = []
        self.framer.receive(self.account.data_to_send())
        while (frame := self.framer.next_frame()) is not None:
            if isinstance(frame, Message):
                messages.append(frame)
        self.sent += messages
        while (event := self.account.next_event()) is not None:
            self.events.append(event)
        return messages

    def give(self, message: Request | Response | bytes) -> None:
        """Bytes for the account."""
        self.account.receive_data(bytes(message), self.clock.now)

    def told(self, kind: type[_E]) -> list[_E]:
        """The events of a kind, oldest first."""
        return [event for event in self.events if isinstance(event, kind)]

    def answers(self, method: str) -> list[int]:
        """The statuses that it sent to requests of a method."""
        return [one.status for one in self.sent if isinstance(one, Response) and one.cseq.method == method]

    def requests(self, method: str) -> list[Request]:
        """The requests of a method that it sent."""
        return [one for one in self.sent if isinstance(one, Request) and one.method == method]


class CallPair:
    """Two accounts whose flows end in each other."""

    def __init__(
        self,
        alice: AccountConfig | None = None,
        bob: AccountConfig | None = None,
        *,
        clock: Clock | None = None,
    ) -> None:
        self.clock = clock or Clock()
        policy = Policy(anchors=TrustList.empty())
        self.alice = Party(alice or AccountConfig(uri="sips:alice@pbx.example.com", policy=policy), self.clock, 1)
        self.bob = Party(bob or AccountConfig(uri="sips:bob@pbx.example.com", policy=policy), self.clock, 2)
        self.lost: Callable[[Request | Response], bool] = lambda message: False
        """Says of a message whether it is lost on its way."""
        for party in (self.alice, self.bob):
            party.account.calls.taken = True
            party.open_flow()
        self.pump()

    def dial(self, to: str = "sips:bob@pbx.example.com") -> Call:
        """Alice calls, and it rings at Bob's."""
        call = self.alice.account.calls.dial(to, self.alice.voice, self.clock.now)
        self.pump()
        return call

    def ring(self) -> None:
        """Bob's phone says that it rings."""
        self.bob.account.calls[self.offered].ring(self.clock.now)
        self.pump()

    def answer(self) -> None:
        """Bob answers."""
        self.bob.account.calls[self.offered].answer(self.bob.voice, self.clock.now)
        self.pump()

    @property
    def offered(self) -> int:
        """The number of the last call that was offered to Bob."""
        return self.bob.told(CallOffered)[-1].call

    def pump(self) -> None:
        """Move messages until nobody has anything to say."""
        moved = True
        while moved:
            moved = False
            for one, other in ((self.alice, self.bob), (self.bob, self.alice)):
                for message in one.take():
                    moved = True
                    if not self.lost(message):
                        other.give(message)

    def wait(self, seconds: float) -> None:
        """Let time pass, firing each timer of both in its time."""
        end = self.clock.now + seconds
        while True:
            deadlines = [at for one in (self.alice, self.bob) if (at := one.account.get_timer()) is not None]
            at = min(deadlines, default=end)
            if at > end:
                break
            self.clock.advance(max(0.0, at - self.clock.now))
            for one in (self.alice, self.bob):
                due = one.account.get_timer()
                if due is not None and due <= self.clock.now:
                    self.clock.fire(one.account)
            self.pump()
            if at == end:
                break
        self.clock.advance(max(0.0, end - self.clock.now))
