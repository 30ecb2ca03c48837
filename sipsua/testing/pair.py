"""An account and its registrar, joined by hand-moved bytes: whole registrations in a test without a socket, a loop or a wait.

The pair is the door and the server in one. As the door it carries out what the account wishes after each call, opens the flow with a
made-up accepted Verdict when told to, and turns the clock. As the server it reads each REGISTER off the account's bytes and answers it
when told to; not to answer is how a message is lost.

    pair = AccountPair(config)
    pair.register()
    pair.challenge()
    pair.answer(200, expires=600)
    assert pair.account.lock.locked
    pair.wait_for_request()       # the refresh
    pair.answer(503, headers=[("Retry-After", "120")])
"""

from __future__ import annotations

import random
from collections.abc import Sequence

from sipsua.account.account import Account
from sipsua.account.config import AccountConfig
from sipsua.account.persona import Dice
from sipsua.errors import FlowLost, HandshakeFailed, Misuse, SipsuaError
from sipsua.events import Event, Negotiated
from sipsua.sip.digest import Challenge
from sipsua.sip.framing import Framer, KeepAlive
from sipsua.sip.message import Header, Message, Request, Response, respond
from sipsua.testing.clock import Clock
from sipsua.trust.verdict import CertificateRefused, Problem, ProblemCode, Verdict

REASONS = {
    100: "Trying",
    200: "OK",
    302: "Moved Temporarily",
    401: "Unauthorized",
    403: "Forbidden",
    404: "Not Found",
    405: "Method Not Allowed",
    407: "Proxy Authentication Required",
    423: "Interval Too Brief",
    500: "Server Internal Error",
    501: "Not Implemented",
    503: "Service Unavailable",
}
"""Reason phrases of RFC 3261 section 21; other statuses get `Answer`."""


class AccountPair:
    """One account, the door to it, and the server at the other end."""

    def __init__(
        self,
        config: AccountConfig,
        *,
        clock: Clock | None = None,
        dice: Dice | None = None,
        local: tuple[str, int] = ("192.0.2.1", 40000),
    ) -> None:
        """`dice` are seeded unless given; `local` is the account's own end of each flow (a new port for each, counted up)."""
        self.clock = clock or Clock()
        self.account = Account(config, dice or random.Random(5061).getrandbits)
        self.events: list[Event] = []
        """All events of the account so far, oldest first."""
        self.received: list[Request | Response | KeepAlive] = []
        """All that the server read off the account's bytes so far, oldest first."""
        self.wire = bytearray()
        """All bytes that the account sent so far."""
        self.local = local
        self.closings: list[str] = []
        """Why the account wished for each end of its flow, so far."""
        self._framer = Framer(pings=True)

    @property
    def config(self) -> AccountConfig:
        """The account's."""
        return self.account.config

    @property
    def requests(self) -> list[Request]:
        """The requests among `received`."""
        return [frame for frame in self.received if isinstance(frame, Request)]

    @property
    def responses(self) -> list[Response]:
        """The responses among `received`."""
        return [frame for frame in self.received if isinstance(frame, Response)]

    @property
    def request(self) -> Request:
        """The last request. Raises `Misuse` where there was none."""
        requests = self.requests
        if not requests:
            raise Misuse("the account has sent no request yet", fix="call register() first")
        return requests[-1]

    # The user

    def register(self) -> None:
        """Wish for a binding; where that takes a flow, open it: the first REGISTER is on the wire then."""
        self.wish()
        if self.account.wants_flow:
            self.open_flow()

    def wish(self) -> None:
        """Wish for a binding, and leave the flow to the test."""
        self.account.register(self.clock.now)
        self.pump()

    def unregister(self) -> None:
        """Wish for no binding."""
        self.account.unregister(self.clock.now)
        self.pump()

    # The door

    def begin_flow(self) -> None:
        """Take up the wish for a flow: TCP stands, the handshake begins."""
        self.account.wants_flow = False
        self.account.flow_negotiating(self.clock.at)
        self.pump()

    def finish_flow(self, verdict: Verdict | None = None) -> None:
        """The handshake is finished: by default with a certificate that was verified."""
        host, port = self.local
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
        self.local = (host, port + 1)
        self._framer = Framer(pings=True)
        timings = {"dns": 1.0, "tcp": 2.0, "tls": 3.0}
        self.account.flow_opened(verdict or accepted(target.host), negotiated, timings, self.clock.now)
        self.pump()

    def open_flow(self, verdict: Verdict | None = None) -> None:
        """`begin_flow` and `finish_flow`."""
        self.begin_flow()
        self.finish_flow(verdict)

    def fail_flow(self, error: SipsuaError | None = None) -> None:
        """No flow came about: by default the handshake failed. A `CertificateRefused` brings its Verdict along."""
        self.account.wants_flow = False
        error = error or HandshakeFailed("the server answered with alert 40", alert=40)
        verdict = error.verdict if isinstance(error, CertificateRefused) else None
        self.account.flow_failed(error, verdict, self.clock.now, self.clock.at)
        self.pump()

    def lose_flow(self, reason: str = "the server closed the flow") -> None:
        """The flow is gone."""
        self.account.flow_lost(FlowLost(reason, fix="look at its log"), self.clock.now, self.clock.at)
        self.pump()

    def pump(self) -> None:
        """Do what the door does after each call: bytes out, flow closed where that is wished for, events collected.

        A wish for a flow stays: `open_flow` or `fail_flow` answers it.
        """
        account = self.account
        if data := account.data_to_send():
            self.wire += data
            self._framer.receive(data)
            while (frame := self._framer.next_frame()) is not None:
                self.received.append(frame)
        while (event := account.next_event()) is not None:
            self.events.append(event)
        if account.wants_close is not None:
            self.closings.append(account.wants_close)
            self.lose_flow(account.wants_close)

    # The server

    def send(self, message: Message | KeepAlive | bytes, *, split: Sequence[int] = ()) -> None:
        """Move bytes to the account: whole, or in pieces that end at the offsets of `split`."""
        data = (
            message
            if isinstance(message, bytes)
            else message.value
            if isinstance(message, KeepAlive)
            else bytes(message)
        )
        begin = 0
        for end in (*split, len(data)):
            self.account.receive_data(data[begin:end], self.clock.now)
            self.pump()
            begin = end

    def answer(
        self,
        status: int,
        reason: str | None = None,
        headers: Sequence[Header] = (),
        *,
        expires: int | None = None,
        to: Request | None = None,
        split: Sequence[int] = (),
    ) -> Response:
        """Answer the last request, or `to`. `expires` adds its first Contact, granted for so many seconds."""
        request = to or self.request
        extra = list(headers)
        if expires is not None:
            extra.append(("Contact", f"{request.values('contact')[0]};expires={expires}"))
        response = respond(request, status, reason or REASONS.get(status, "Answer"), extra, to_tag="server")
        self.send(response, split=split)
        return response

    def challenge(
        self, status: int = 401, *challenges: Challenge, nonce: str = "nonce", stale: bool = False, realm: str = "realm"
    ) -> Response:
        """Challenge the last request: with MD5 and qop=auth unless `challenges` are given. 407 for a proxy's."""
        field = "Proxy-Authenticate" if status == 407 else "WWW-Authenticate"
        offered = challenges or (Challenge.build(realm, nonce, algorithm="MD5", stale=stale),)
        return self.answer(status, headers=[(field, str(challenge)) for challenge in offered])

    # The clock

    def wait(self, seconds: float) -> None:
        """Let time pass, and fire each timer in its time."""
        self.clock.run(self.account, seconds, self.pump)

    def wait_for_timer(self) -> float:
        """Let time pass up to the next timer, fire it, and give the seconds that passed. Raises `Misuse` where none is set."""
        deadline = self.account.get_timer()
        if deadline is None:
            raise Misuse("the account has no timer set")
        passed = max(0.0, deadline - self.clock.now)
        self.wait(passed)
        return passed

    def wait_for_request(self) -> Request:
        """Let time pass until the account sends its next request. Raises `Misuse` where it has no timer that leads to one."""
        before = len(self.requests)
        while len(self.requests) == before:
            self.wait_for_timer()
        return self.request


def accepted(reference: str) -> Verdict:
    """A Verdict on a chain that was verified, made up."""
    return Verdict(
        accepted=True,
        verified=True,
        policy="rfc2818, 1 trust anchor",
        reference=reference,
        anchor="CN=Test CA",
        anchor_list="custom",
    )


def refused(reference: str) -> CertificateRefused:
    """The refusal of a certificate whose issuer nobody knows, made up."""
    problem = Problem(
        code=ProblemCode.UNKNOWN_ISSUER,
        index=0,
        rule="RFC 5280 section 6.1",
        evidence="CN=Other CA",
        fix="add the issuer to the trust list",
    )
    verdict = Verdict(
        accepted=False, verified=False, policy="rfc2818, 1 trust anchor", reference=reference, problems=(problem,)
    )
    return CertificateRefused(verdict, alert=48)
