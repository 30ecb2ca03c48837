"""Callers at the phone's listening port, without a socket: who answers what, and when a caller is shown the door."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sipsua.account.account import Account
from sipsua.account.config import AccountConfig
from sipsua.account.inbound import Inbound, InboundLimits
from sipsua.account.persona import YEALINK
from sipsua.account.roster import Roster
from sipsua.errors import BadConfiguration
from sipsua.events import Event, RequestAnswered
from sipsua.sip.framing import Framer
from sipsua.sip.message import Message, Response
from sipsua.testing.pair import AccountPair
from sipsua.trust.policy import Policy
from sipsua.trust.store import TrustList

LIMITS = InboundLimits(first=30, idle=100, message=20)
SOURCE = "192.0.2.9:40000"

MakeConfig = Callable[..., AccountConfig]


class Phone:
    """Accounts and one caller, joined by hand-moved bytes."""

    def __init__(self, *configs: AccountConfig) -> None:
        self.roster = Roster()
        self.accounts = [Account(config, random.Random(5061).getrandbits) for config in configs]
        for account in self.accounts:
            self.roster.admit(account)
        self.inbound = self.caller()

    def caller(self, now: float = 0.0) -> Inbound:
        return Inbound(self.roster, random.Random(1).getrandbits, LIMITS, SOURCE, now)

    def receive(self, data: bytes, now: float = 0.0) -> list[Account]:
        return self.inbound.receive_data(data, now)

    def said(self) -> list[Response]:
        """The answers that the caller has got since."""
        framer = Framer()
        framer.receive(self.inbound.data_to_send())
        answers = []
        while isinstance(message := framer.next_frame(), Message):
            assert isinstance(message, Response)
            answers.append(message)
        return answers


def events(account: Account) -> list[Event]:
    seen = []
    while (event := account.next_event()) is not None:
        seen.append(event)
    return seen


def request(
    method: str = "OPTIONS",
    uri: str = "sips:alice@192.0.2.1:5061",
    to: str = "<sips:alice@pbx.example.com>",
    branch: str = "z9hG4bKcaller",
    version: str = "SIP/2.0",
    length: int | str = 0,
    **fields: str,
) -> bytes:
    lines = {
        "Via": f"SIP/2.0/TLS pbx.example.com;branch={branch}",
        "From": "<sips:pbx@pbx.example.com>;tag=theirs",
        "To": to,
        "Call-ID": "call-1@pbx",
        "CSeq": f"1 {method}",
        **fields,
        "Content-Length": str(length),
    }
    head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    return f"{method} {uri} {version}\r\n{head}\r\n".encode()


def test_request_is_answered_by_the_account_of_its_user_with_the_persona_of_that(make_config: MakeConfig) -> None:
    phone = Phone(make_config(), make_config(uri="sips:bob@pbx.example.com", persona=YEALINK))
    alice, bob = phone.accounts
    assert phone.receive(request(uri="sips:bob@192.0.2.1", to="<sips:bob@pbx.example.com>")) == [bob]
    (answer,) = phone.said()
    assert (answer.status, answer.first("user-agent")) == (200, YEALINK.user_agent)
    assert answer.tokens("allow") == list(YEALINK.allow)
    assert (events(alice), events(bob)) == ([], [RequestAnswered("OPTIONS", 200, SOURCE)])


@pytest.mark.parametrize(
    ("uri", "to", "name"),
    [
        ("sips:bob@192.0.2.1", "<sips:alice@pbx.example.com>", "bob"),
        ("sips:192.0.2.1:5061", "<sips:bob@pbx.example.com>", "bob"),
        ("sip:bob@192.0.2.1;transport=tls", "<sips:pbx.example.com>", "bob"),
        ("sips:%62o%62@192.0.2.1", "<sips:alice@pbx.example.com>", "bob"),
        ("sips:carol@192.0.2.1", "<sips:alice@pbx.example.com>", None),
        ("sips:192.0.2.1", "<sips:pbx.example.com>", None),
        ("sips:BOB@192.0.2.1", "<sips:bob@pbx.example.com>", None),
    ],
)
def test_request_is_for_whom_its_request_uri_names_or_else_its_to(
    make_config: MakeConfig, uri: str, to: str, name: str | None
) -> None:
    phone = Phone(make_config(), make_config(uri="sips:bob@pbx.example.com"))
    assert [account.config.aor.user for account in phone.receive(request(uri=uri, to=to))] == ([name] if name else [])
    assert [answer.status for answer in phone.said()] == [200 if name else 404]


def test_users_of_two_domains_with_one_name_are_told_apart_by_to(make_config: MakeConfig) -> None:
    phone = Phone(make_config(uri="sips:100@a.example"), make_config(uri="sips:100@b.example"))
    for account, domain in zip(phone.accounts, ("a.example", "B.example"), strict=True):
        to = f"<sips:100@{domain}>"
        assert phone.receive(request(uri="sips:100@192.0.2.1", to=to, branch=f"z9hG4bK{domain}")) == [account]
    phone.roster.dismiss(phone.accounts[0])
    assert phone.receive(request(uri="sips:100@192.0.2.1", branch="z9hG4bKone")) == [phone.accounts[1]]
    phone.roster.dismiss(phone.accounts[0])
    phone.roster.dismiss(phone.accounts[1])
    assert phone.receive(request(uri="sips:100@192.0.2.1", branch="z9hG4bKnone")) == []


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (request("INVITE"), 480),
        (request("BYE", to="<sips:alice@pbx.example.com>;tag=1"), 481),
        (request("NOTIFY", Event="talk"), 481),
        (request("REGISTER"), 405),
        (request("FETCH"), 501),
        (request(Require="gruu"), 420),
        (request(CSeq="1 INVITE"), 400),
        (request(Via="nonsense"), 400),
        (request(version="SIP/3.0"), 505),
    ],
)
def test_what_the_account_would_refuse_on_its_flow_it_refuses_here(
    make_config: MakeConfig, data: bytes, status: int
) -> None:
    config = make_config(persona=replace(YEALINK, name="phone"))
    phone = Phone(config)
    phone.receive(data)
    (answer,) = phone.said()
    assert answer.status == status
    assert answer.to.tag
    assert phone.inbound.wants_close is None
    pair = AccountPair(config)
    pair.register()
    pair.account.receive_data(data, 0.0)
    pair.pump()
    assert pair.responses[-1].status == status


def test_broken_request_for_nobody_is_400(make_config: MakeConfig) -> None:
    phone = Phone(make_config())
    assert phone.receive(request(uri="sips:nobody@192.0.2.1", CSeq="1 INVITE")) == []
    assert [answer.status for answer in phone.said()] == [400]


def test_ack_is_answered_by_nobody(make_config: MakeConfig) -> None:
    phone = Phone(make_config())
    phone.receive(request("ACK") + request("ACK", uri="sips:nobody@192.0.2.1"))
    assert phone.said() == []
    assert events(phone.accounts[0]) == []


@pytest.mark.parametrize("uri", ["sips:alice@192.0.2.1", "sips:nobody@192.0.2.1"])
def test_request_that_comes_again_gets_the_same_answer_again(make_config: MakeConfig, uri: str) -> None:
    phone = Phone(make_config())
    phone.receive(request(uri=uri))
    first = phone.inbound.data_to_send()
    phone.receive(request(uri=uri))
    assert phone.inbound.data_to_send() == first
    assert len(events(phone.accounts[0])) == ("alice" in uri)


def test_callers_with_the_same_branch_do_not_get_each_others_answers(make_config: MakeConfig) -> None:
    phone = Phone(make_config())
    phone.receive(request())
    other = phone.caller()
    other.receive_data(request(), 0.0)
    assert len(phone.said()) == 1
    assert other.data_to_send().startswith(b"SIP/2.0 200 ")
    assert len(events(phone.accounts[0])) == 2


def test_ping_is_answered_with_a_pong_however_it_is_split(make_config: MakeConfig) -> None:
    phone = Phone(make_config())
    for piece in (b"\r", b"\n\r", b"\n", b"\r\n\r\n", b"\r\n"):
        phone.receive(piece)
    assert phone.inbound.data_to_send() == b"\r\n\r\n"
    assert phone.inbound.wants_close is None


def test_response_goes_nowhere_even_with_the_call_id_of_the_registration(make_config: MakeConfig) -> None:
    """A caller is not the server: it must not be able to answer the REGISTER."""
    pair = AccountPair(make_config())
    pair.register()
    roster = Roster()
    roster.admit(pair.account)
    inbound = Inbound(roster, random.Random(1).getrandbits, LIMITS, SOURCE, 0.0)
    before = list(pair.events)
    asked = pair.request
    forged = "".join(f"{name}: {asked.first(name)}\r\n" for name in ("via", "from", "to", "call-id", "cseq", "contact"))
    assert inbound.receive_data(f"SIP/2.0 200 OK\r\n{forged}Content-Length: 0\r\n\r\n".encode(), 0.0) == []
    pair.pump()
    assert pair.events == before
    assert (inbound.data_to_send(), inbound.wants_close) == (b"", None)


@pytest.mark.parametrize(
    ("data", "statuses", "reason"),
    [
        (b"GET / HTTP/1.1\r\nHost: 192.0.2.1\r\n\r\n", [], "this is not SIP"),
        (b"\x16\x03\x01\x00\x05hello", [], "this is not SIP"),
        (request(length="-9"), [400], "Content-Length"),
        (request(length=2 * 1024 * 1024), [513], "body of"),
        (request() + b"\0\0\0\0 rubbish", [200], "this is not SIP"),
        (request("ACK", length="-9"), [], "Content-Length"),
    ],
)
def test_what_breaks_the_framing_ends_the_connection_after_the_answers_before(
    make_config: MakeConfig, data: bytes, statuses: list[int], reason: str
) -> None:
    phone = Phone(make_config())
    phone.receive(data)
    assert [answer.status for answer in phone.said()] == statuses
    assert phone.inbound.wants_close is not None
    assert reason in phone.inbound.wants_close
    phone.receive(request(branch="z9hG4bKlater"))
    assert phone.said() == []


PIECES = [
    request(),
    request("INVITE", branch="z9hG4bKother"),
    request(uri="sips:nobody@192.0.2.1"),
    request(CSeq="1 INVITE"),
    b"SIP/2.0 200 OK\r\nContent-Length: 0\r\n\r\n",
    b"\r\n\r\n",
    b"\r",
]


@given(st.lists(st.sampled_from(PIECES) | st.binary(max_size=40), max_size=8), st.data())
def test_whatever_a_caller_sends_nothing_but_an_answer_or_the_end_comes_of_it(
    pieces: list[bytes], data: st.DataObject
) -> None:
    wire = bytearray(b"".join(pieces))
    for at in data.draw(st.lists(st.integers(0, len(wire)), max_size=4)):
        wire[at : at + 1] = data.draw(st.binary(max_size=3))
    config = AccountConfig(uri="sips:alice@pbx.example.com", policy=Policy(anchors=TrustList.empty()))
    phone = Phone(config)
    cut = data.draw(st.integers(0, len(wire)))
    for now, piece in enumerate((bytes(wire[:cut]), bytes(wire[cut:]))):
        phone.receive(piece, float(now))
    sent = phone.inbound.data_to_send()
    assert set(sent.split(b"SIP/2.0 ", 1)[0]) <= set(b"\r\n")
    phone.inbound.handle_timer(1000.0)
    assert phone.inbound.wants_close is not None


def test_caller_that_says_nothing_is_shown_the_door(make_config: MakeConfig) -> None:
    inbound = Phone(make_config()).caller(now=1000.0)
    assert inbound.get_timer() == 1030.0
    inbound.handle_timer(1029.9)
    assert inbound.wants_close is None
    inbound.handle_timer(1030.0)
    assert inbound.wants_close == "nothing came from it any more"


@pytest.mark.parametrize("sign", [request(), b"\r\n\r\n"], ids=["request", "ping"])
def test_caller_is_kept_while_it_gives_a_sign_of_life(make_config: MakeConfig, sign: bytes) -> None:
    phone = Phone(make_config())
    for now in (29.0, 128.0, 227.0):
        phone.inbound.handle_timer(now)
        assert phone.inbound.wants_close is None
        phone.receive(sign, now)
        assert phone.inbound.get_timer() == now + LIMITS.idle
    phone.inbound.handle_timer(327.0)
    assert phone.inbound.wants_close is not None


def test_message_that_comes_an_octet_at_a_time_has_one_limit_for_all_of_it(make_config: MakeConfig) -> None:
    phone = Phone(make_config())
    for second, octet in enumerate(request()[:19]):
        phone.receive(bytes([octet]), float(second))
        phone.inbound.handle_timer(float(second))
        assert phone.inbound.get_timer() == LIMITS.message
    phone.inbound.handle_timer(LIMITS.message)
    assert phone.inbound.wants_close == "a message was begun and not finished"


def test_account_that_can_be_called_says_the_listening_port_in_via_and_contact(make_config: MakeConfig) -> None:
    pair = AccountPair(make_config(), local=("192.0.2.1", 40000))
    pair.account.listening = ("", 5061)
    pair.register()
    assert pair.request.values("contact") == ["<sips:alice@192.0.2.1:5061>"]
    assert (pair.request.via.host, pair.request.via.port) == ("192.0.2.1", 5061)


def test_address_of_its_own_at_which_it_listens_is_said_too(make_config: MakeConfig) -> None:
    pair = AccountPair(make_config(), local=("192.0.2.1", 40000))
    pair.account.listening = ("2001:db8::7", 5071)
    pair.register()
    assert pair.request.values("contact") == ["<sips:alice@[2001:db8::7]:5071>"]


@pytest.mark.parametrize("change", [{"first": 0}, {"idle": -1}, {"connections": 0}, {"message": "soon"}])
def test_limits_that_are_none_are_refused(change: dict[str, Any]) -> None:
    with pytest.raises(BadConfiguration) as caught:
        InboundLimits(**change)
    assert next(iter(change)) in caught.value.what
