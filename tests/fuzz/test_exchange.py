"""Hostile phones: whatever they send through the exchange, nothing escapes but MalformedMessage of a response, what goes out is SIP, a
sound call still comes about, and nothing is kept of it all."""

from __future__ import annotations

import random

from hypothesis import given, settings
from hypothesis import strategies as st

from sipsua.errors import MalformedMessage
from sipsua.sip.message import Request, Response, parse_message
from tests.testing.by_hand import PBX, Office, Phone, call

VALUES = [
    *[
        "",
        ";",
        ",",
        "<",
        ">",
        '"',
        "*",
        "\\",
        "%",
        "\x00",
        "\udcff",
        "é",
        "a" * 3000,
        "0",
        "-1",
        "4294967296",
        "99999999999",
    ],
    *[
        "<sip:1001@127.0.0.1>;tag=1",
        "<sips:x",
        "sip:",
        "tel:+1",
        '"a" <sip:echo@b>',
        "<sip:1000@127.0.0.1:5061>, <sip:a@b>",
    ],
    *[
        "SIP/2.0/TLS a",
        "SIP/2.0/TLS a;branch=z9hG4bK",
        "SIP/2.0/UDP [::1]:99999;branch=1",
        "1 INVITE",
        "1 ACK",
        "x CANCEL",
    ],
    *[
        "<sip:pbx-1-2@127.0.0.1:5061;lr>",
        "<sip:pbx-ffffffffffff-0@x;lr>",
        "<sip:pbx-2-1@127.0.0.1:5061;transport=tls;lr>, <sip:z>",
    ],
    *["message-summary", "dialog;id=1", "Digest nonsense", 'Digest realm="pocket.pbx"', "application/sdp", "100rel"],
]
NAMES = (
    "Via v From f To t Call-ID i CSeq Contact m Max-Forwards Route Record-Route Expires Event Require Proxy-Require Content-Type "
    "Content-Length Proxy-Authorization Authorization Reason Accept X"
).split()
METHODS = [
    "INVITE",
    "ACK",
    "CANCEL",
    "BYE",
    "OPTIONS",
    "SUBSCRIBE",
    "NOTIFY",
    "MESSAGE",
    "UPDATE",
    "PRACK",
    "PUBLISH",
    "REGISTER",
]
TARGETS = [
    "sip:1001@127.0.0.1",
    "sip:1000@127.0.0.1",
    "sip:echo@127.0.0.1",
    "sip:silent@x",
    "sip:busy@x",
    "sip:1009@x",
    "sip:x",
    "tel:1",
    "sip:",
]


class Hostile:
    """What a phone may say, drawn by dice."""

    def __init__(self, dice: random.Random, office: Office, phones: list[Phone]) -> None:
        self.dice = dice
        self.office = office
        self.phones = phones
        self.seen: list[Request | Response] = []

    def act(self) -> None:
        dice = self.dice
        phone = dice.choice(self.phones)
        self.seen += phone.received
        phone.received.clear()
        what = dice.randrange(10)
        if what == 0:
            self.office.wait(dice.choice([0.1, 5.0, 40.0]))
        elif what == 1 and dice.random() < 0.2 and len(self.phones) > 2:
            self.phones.remove(phone)
            phone.hang_up_flow()
        elif what < 6 or not self.seen:
            self.say(phone, self.request(phone))
        else:
            self.say(phone, self.reply(phone, dice.choice(self.seen[-20:])))

    def request(self, phone: Phone) -> Request:
        dice = self.dice
        method, number = dice.choice(METHODS), dice.randrange(4)
        headers = [
            ("Via", f"SIP/2.0/TLS 127.0.0.1:{phone.source[1]};branch=z9hG4bK{number}"),
            ("Max-Forwards", "70"),
            ("From", f"<sip:{phone.user}@{PBX}>;tag=a"),
            ("To", f"<sip:1001@{PBX}>" + dice.choice(["", ";tag=b"])),
            ("Call-ID", f"call-{number}"),
            ("CSeq", f"1 {method}"),
            ("Contact", f"<{phone.contact}>"),
            ("Event", dice.choice(["dialog", "message-summary", "x"])),
            ("Content-Length", "0"),
        ]
        return Request(method, dice.choice(TARGETS), headers)

    def reply(self, phone: Phone, message: Request | Response) -> Request | Response:
        """An answer to a request that came, or that message sent back as it is."""
        dice = self.dice
        if isinstance(message, Response) or dice.random() < 0.2:
            return message
        status = dice.choice([100, 180, 183, 200, 200, 202, 302, 401, 407, 486, 487, 503, 600, 699])
        return Response(status, "x", [h for h in message.headers if h[0] not in ("Max-Forwards", "Event")])

    def say(self, phone: Phone, message: Request | Response) -> None:
        dice = self.dice
        headers = list(message.headers)
        for _ in range(dice.choice([0, 0, 1, 2])):
            place = dice.randrange(len(headers) + 1)
            if dice.random() < 0.3 and place < len(headers):
                del headers[place]
            elif dice.random() < 0.5 and place < len(headers):
                headers[place] = headers[place][0], dice.choice(VALUES)
            else:
                headers.insert(place, (dice.choice(NAMES), dice.choice(VALUES)))
        if isinstance(message, Request):
            data = bytes(Request(message.method, message.uri_text, headers))
        else:
            data = bytes(Response(message.status, message.reason, headers))
        if dice.random() < 0.2:
            place = dice.randrange(len(data))
            data = data[:place] + bytes([dice.randrange(256)]) + data[place + 1 :]
        try:
            heard = parse_message(data)
        except MalformedMessage:
            return
        exchange, now = self.office.exchange, self.office.now
        if isinstance(heard, Request):
            if answer := exchange.receive_request(phone, heard, now):
                phone.send(answer)
        else:
            try:
                exchange.receive_response(phone, heard, now)
            except MalformedMessage:
                pass


@settings(max_examples=200)
@given(st.integers(0, 2**32), st.booleans(), st.booleans())
def test_hostile_phones_break_nothing(seed: int, authenticate: bool, record_route: bool) -> None:
    office = Office(authenticate_calls=authenticate, record_route=record_route, ring_limit=50.0)
    phones = [office.phone(user) for user in ("1000", "1001", "1001", "1002")]
    hostile = Hostile(random.Random(seed), office, phones)
    for _ in range(60):
        hostile.act()
    office.exchange.authenticate_calls = False
    call(office.phone("1003"), office.phone("1004"), call_id="sound")
    for phone in phones:
        phone.hang_up_flow()
    office.wait(8000.0)
    exchange = office.exchange
    assert (len(exchange._forks), len(exchange._branches), len(exchange.agenda), len(exchange.notifier)) == (0, 0, 0, 0)
    assert exchange._on_line == {}
    assert exchange._calls_of == {}
    assert exchange.attendant.calls == []
    assert [call.callee for call in exchange.calls] == ["1004"]
