"""An exchange and its phones without a socket: each phone is driven by hand, message by message."""

from __future__ import annotations

import itertools
import random
from collections.abc import Sequence
from typing import Any

from sipsua.sip.digest import Challenge, DigestClient
from sipsua.sip.message import Header, Request, Response, parse_message
from sipsua.testing.exchange import Exchange
from sipsua.testing.registrar import Registrar, users_in

PBX = "127.0.0.1:5061"


class Office:
    """An exchange with users 1000 to 1009, and a clock that is turned by hand."""

    def __init__(self, *, authenticate_calls: bool = False, **options: Any) -> None:
        self.now = 0.0
        self.ports = itertools.count(40000)
        dice = random.Random(5061).getrandbits
        self.registrar = Registrar(users_in("1000-1009", "secret"), dice)
        self.exchange = Exchange(self.registrar, dice, authenticate_calls=authenticate_calls, **options)

    def phone(self, user: str, *, bound: bool = True, params: str = "") -> Phone:
        phone = Phone(self, user)
        if bound:
            phone.register(params=params)
        return phone

    def wait(self, seconds: float) -> None:
        """Let time pass, and fire each timer in its time."""
        end = self.now + seconds
        while (deadline := self.exchange.agenda.deadline) is not None and deadline <= end:
            self.now = max(self.now, deadline)
            self.exchange.handle_timer(self.now)
        self.now = end


class Phone:
    """A phone on a flow of its own; what comes to it is in `received` until it is taken."""

    def __init__(self, office: Office, user: str) -> None:
        self.office = office
        self.user = user
        self.address = PBX
        self.source = ("127.0.0.1", next(office.ports))
        self.is_closing = False
        self.received: list[Request | Response] = []
        self.contact = f"sip:{user}@127.0.0.1:{self.source[1]};transport=tls"
        self.tag = f"tag-{user}-{self.source[1]}"
        self.digest = DigestClient(user, "secret")
        self.cseq = 0
        self.branches = 0

    def __repr__(self) -> str:
        return f"<Phone {self.user} on port {self.source[1]}>"

    # The line, as the exchange sees it

    def send(self, data: bytes) -> None:
        message = parse_message(data)
        # What goes out must be well-formed, whatever came in.
        assert bytes(message) == data
        self.received.append(message)

    # The phone

    def register(self, *, params: str = "") -> None:
        office, uri = self.office, f"sip:{PBX}"
        registrar = Registrar.answer
        status = 401
        while status == 401:
            self.cseq += 1
            headers: list[Header] = [
                ("Via", f"SIP/2.0/TLS 127.0.0.1:{self.source[1]};branch=z9hG4bKr{self.cseq}"),
                ("From", f"<sip:{self.user}@{PBX}>;tag=r"),
                ("To", f"<sip:{self.user}@{PBX}>"),
                ("Call-ID", f"register-{self.source[1]}"),
                ("CSeq", f"{self.cseq} REGISTER"),
                ("Contact", f"<{self.contact}>{params}"),
            ]
            if self.digest.challenge is not None:
                headers.append(("Authorization", self.digest.authorize("REGISTER", uri, b"", "cnonce")))
            request = Request("REGISTER", uri, headers)
            response = parse_message(registrar(office.registrar, request, office.now, source=self.source, flow=self))
            assert isinstance(response, Response)
            status = response.status
            if status == 401:
                self.digest.answer(Challenge.parse(response.required("www-authenticate")))
        assert status == 200

    def request(
        self,
        method: str,
        uri: str,
        *,
        call_id: str = "call",
        cseq: int | None = None,
        to: str | None = None,
        routes: Sequence[str] = (),
        headers: Sequence[Header] = (),
        branch: str | None = None,
        body: bytes = b"",
        forwards: str | None = "70",
        from_: str | None = None,
    ) -> Request:
        """Send a request, and return it."""
        if cseq is None:
            self.cseq += 1
            cseq = self.cseq
        if branch is None:
            self.branches += 1
            branch = f"z9hG4bK-{self.source[1]}-{self.branches}"
        fields: list[Header] = [
            ("Via", f"SIP/2.0/TLS 127.0.0.1:{self.source[1]};branch={branch};rport"),
            *(("Route", route) for route in routes),
            ("From", from_ or f"<sip:{self.user}@{PBX}>;tag={self.tag}"),
            ("To", to or f"<{uri}>"),
            ("Call-ID", call_id),
            ("CSeq", f"{cseq} {method}"),
            ("Contact", f"<{self.contact}>"),
            *headers,
            ("Content-Length", str(len(body))),
        ]
        if forwards is not None:
            fields.insert(1, ("Max-Forwards", forwards))
        request = Request(method, uri, fields, body)
        self.say(bytes(request))
        return request

    def say(self, data: bytes) -> None:
        """Send bytes."""
        message = parse_message(data)
        exchange, now = self.office.exchange, self.office.now
        if isinstance(message, Request):
            if answer := exchange.receive_request(self, message, now):
                self.send(answer)
        else:
            exchange.receive_response(self, message, now)

    def invite(self, user: str, **options: Any) -> Request:
        return self.request("INVITE", f"sip:{user}@{PBX};transport=tls", **options)

    def answer(self, request: Request, status: int, *headers: Header, reason: str = "Said", body: bytes = b"") -> None:
        """Answer a request as a phone does."""
        copied: list[Header] = []
        for name, value in request.headers:
            if name in ("Via", "From", "Call-ID", "CSeq", "Record-Route"):
                copied.append((name, value))
            elif name == "To":
                copied.append((name, value if ";tag=" in value or status == 100 else f"{value};tag={self.tag}"))
        fields = [*copied, ("Contact", f"<{self.contact}>"), *headers, ("Content-Length", str(len(body)))]
        self.say(bytes(Response(status, reason, fields, body)))

    def hang_up_flow(self) -> None:
        """The flow is gone."""
        self.is_closing = True
        self.office.registrar.close_flow(self)
        self.office.exchange.close_flow(self, self.office.now)

    # What has come

    def taken(self) -> Request | Response:
        """The oldest message that has come."""
        return self.received.pop(0)

    def asked(self, method: str) -> Request:
        """The oldest message, which must be a request of this method."""
        message = self.taken()
        assert isinstance(message, Request), message
        assert message.check().method == method
        return message

    def told(self, status: int) -> Response:
        """The oldest message, which must be a response of this status, for this phone alone."""
        message = self.taken()
        assert isinstance(message, Response), message
        assert message.check().status == status, message.start_line
        assert message.via.port == self.source[1]
        return message

    def in_dialog(self, method: str, other: Request | Response, **options: Any) -> Request:
        """A request inside the dialog that a 2xx to us, or an INVITE that we took, has made."""
        if isinstance(other, Response):
            to, from_ = other.required("to"), other.required("from")
            routes = list(reversed(other.values("record-route")))
        else:
            to = other.required("from")
            from_ = f"{other.required('to')};tag={self.tag}"
            routes = other.values("record-route")
        target = other.contacts[0].uri_text
        return self.request(method, target, to=to, from_=from_, routes=routes, call_id=other.call_id, **options)


def call(caller: Phone, callee: Phone, **options: Any) -> tuple[Request, Response]:
    """A call that stands: the INVITE as the callee got it, and the 200 as the caller did."""
    caller.invite(callee.user, **options)
    caller.told(100)
    invite = callee.asked("INVITE")
    callee.answer(invite, 180)
    caller.told(180)
    callee.answer(invite, 200)
    answer = caller.told(200)
    caller.in_dialog("ACK", answer, cseq=answer.cseq.number)
    assert callee.asked("ACK").cseq.number == answer.cseq.number
    return invite, answer
