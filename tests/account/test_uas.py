"""Requests that arrive on the account's flow, and the answers that they get."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from sipsua.account.persona import GENERIC, YEALINK
from sipsua.account.uas import KNOWN_METHODS
from sipsua.events import MessageDropped, RequestAnswered
from sipsua.sip.message import Response
from sipsua.testing.pair import AccountPair

MakePair = Callable[..., AccountPair]


def request(
    method: str = "OPTIONS", *, uri: str = "sips:alice@192.0.2.1:40000", version: str = "SIP/2.0", **fields: str
) -> bytes:
    """A request as a proxy sends it. A field is named as a keyword; an empty one is left out, a body comes as `body`."""
    body = fields.pop("body", "")
    headers = {
        "Via": "SIP/2.0/TLS pbx.example.com:5061;branch=z9hG4bKabc",
        "From": "<sip:pbx@pbx.example.com>;tag=theirs",
        "To": "<sips:alice@pbx.example.com>",
        "Call-ID": "ping-1@pbx",
        "CSeq": f"7 {method}",
        "Max-Forwards": "70",
    }
    headers |= {name.replace("_", "-"): value for name, value in fields.items()}
    headers["Content-Length"] = str(len(body))
    lines = [f"{method} {uri} {version}", *(f"{name}: {value}" for name, value in headers.items() if value)]
    return ("\r\n".join(lines) + "\r\n\r\n" + body).encode()


def answered(pair: AccountPair, data: bytes) -> Response:
    """The one answer that comes of it."""
    before = len(pair.responses)
    pair.send(data)
    assert len(pair.responses) == before + 1
    return pair.responses[-1]


@pytest.fixture
def pair(make_pair: MakePair) -> AccountPair:
    pair = make_pair()
    pair.register()
    pair.answer(200, expires=600)
    return pair


@pytest.fixture
def phone(make_pair: MakePair) -> AccountPair:
    """As `pair`, a Yealink."""
    phone = make_pair(persona=YEALINK)
    phone.register()
    phone.answer(200, expires=600)
    return phone


def test_options_is_answered_with_what_we_can_do(pair: AccountPair) -> None:
    response = answered(pair, request())
    assert (response.status, response.reason) == (200, "OK")
    assert response.tokens("allow") == list(GENERIC.allow)
    assert response.first("accept") == "application/sdp"
    assert response.first("accept-encoding") == "identity"
    assert response.first("accept-language") == "en"
    assert response.tokens("supported") == ["100rel", "norefersub", "replaces", "timer"]
    assert response.first("user-agent") == "sipsua"
    assert response.first("content-length") == "0"
    assert pair.events[-1] == RequestAnswered("OPTIONS", 200)


def test_options_to_a_yealink_shows_the_phone_s_lists(phone: AccountPair) -> None:
    response = answered(phone, request())
    assert response.tokens("allow") == list(YEALINK.allow)
    assert response.first("accept") == "application/sdp"
    assert response.first("allow-events") == "talk,hold,conference,refer,check-sync"
    assert response.first("user-agent") == YEALINK.user_agent


def test_an_answer_goes_back_the_way_it_came_with_a_tag_of_ours(pair: AccountPair) -> None:
    vias = "SIP/2.0/TLS pbx.example.com:5061;branch=z9hG4bKabc;rport, SIP/2.0/UDP b.example.com;branch=z9hG4bKdef"
    response = answered(pair, request(Via=vias))
    assert response.first("via") == vias
    assert response.first("from") == "<sip:pbx@pbx.example.com>;tag=theirs"
    assert response.to.uri_text == "sips:alice@pbx.example.com"
    assert response.to.tag
    assert response.first("call-id") == "ping-1@pbx"
    assert response.first("cseq") == "7 OPTIONS"


def test_two_requests_get_two_tags(pair: AccountPair) -> None:
    tags = {answered(pair, request(Via=f"SIP/2.0/TLS p;branch=z9hG4bK{number}")).to.tag for number in range(3)}
    assert len(tags) == 3


@pytest.fixture
def ping_only(make_pair: MakePair) -> AccountPair:
    """As `pair`, one that is there to be pinged and no more."""
    pair = make_pair(persona=replace(GENERIC, name="ping only", allow=("OPTIONS",)))
    pair.register()
    pair.answer(200, expires=600)
    return pair


def test_an_account_without_calls_names_no_content_that_it_takes(ping_only: AccountPair) -> None:
    response = answered(ping_only, request())
    assert (response.first("accept"), response.first("supported")) == ("", "")


@pytest.mark.parametrize("method", sorted(KNOWN_METHODS - {"ACK", "OPTIONS"}))
def test_a_method_that_the_persona_does_not_take_is_not_allowed(ping_only: AccountPair, method: str) -> None:
    response = answered(ping_only, request(method))
    assert response.status == 405
    assert response.tokens("allow") == ["OPTIONS"]


@pytest.mark.parametrize("method", ["FETCH", "options", "x-1.%"])
def test_a_method_that_nobody_knows_is_not_implemented(ping_only: AccountPair, method: str) -> None:
    response = answered(ping_only, request(method))
    assert response.status == 501
    assert response.tokens("allow") == ["OPTIONS"]


@pytest.mark.parametrize(
    ("method", "status", "header"),
    [
        ("INVITE", 480, None),
        ("BYE", 481, None),
        ("CANCEL", 481, None),
        ("INFO", 481, None),
        ("PRACK", 481, None),
        ("UPDATE", 481, None),
        ("NOTIFY", 481, None),
        ("SUBSCRIBE", 489, "allow-events"),
        ("PUBLISH", 489, "allow-events"),
        ("REFER", 603, None),
        ("REGISTER", 405, "allow"),
    ],
)
def test_a_method_that_the_phone_takes_gets_the_answer_of_a_phone_without_calls(
    phone: AccountPair, method: str, status: int, header: str | None
) -> None:
    response = answered(phone, request(method))
    assert response.status == status
    assert header is None or header in response.index


@pytest.mark.parametrize(
    ("data", "status", "header"),
    [
        (request(uri="tel:+4930123"), 416, None),
        (request(uri="im:alice@example.com"), 416, None),
        (request(Require="gruu, timer, path"), 420, ("unsupported", "gruu, path")),
        (request(To="<sips:alice@pbx.example.com>;tag=gone"), 481, None),
        (request(version="SIP/3.0"), 505, None),
        (request(CSeq="7 INVITE"), 400, None),
        (request(CSeq="x"), 400, None),
        (request(CSeq=""), 400, None),
        (request(CSeq="4294967296 OPTIONS"), 400, None),
        (request(From=""), 400, None),
        (request(To=""), 400, None),
        (request(Call_ID=""), 400, None),
        (request(From="nobody"), 400, None),
        (request(To='"open <sip:a@b>'), 400, None),
        (request(Max_Forwards="999"), 400, None),
        (request(Contact="<<>>"), 400, None),
        (request(uri="sips:alice@192.0.2.1?Subject=x"), 400, None),
        (request(Via="rubbish"), 400, None),
        (request(Via=""), 400, None),
    ],
)
def test_a_request_that_cannot_be_served_is_answered_with_the_reason(
    pair: AccountPair, data: bytes, status: int, header: tuple[str, str] | None
) -> None:
    response = answered(pair, data)
    assert response.status == status
    assert header is None or response.first(header[0]) == header[1]
    assert pair.closings == []
    event = pair.events[-1]
    assert isinstance(event, RequestAnswered)
    assert event.status == status


def test_a_broken_request_is_told_what_is_wrong(pair: AccountPair) -> None:
    response = answered(pair, request(CSeq="7 INVITE"))
    warning = response.warnings[0]
    assert (warning.code, warning.agent) == (399, "sipsua")
    assert warning.text == "CSeq says INVITE, the request line OPTIONS"


def test_a_warning_holds_no_quote_and_no_foreign_character(pair: AccountPair) -> None:
    response = answered(pair, request(To='"a\\" \x07ü <sip:'))
    text = response.warnings[0].text
    assert text.isascii()
    assert text.isprintable()


@pytest.mark.parametrize(
    "data", [request("ACK"), request("ACK", CSeq="x"), request("ACK", Via=""), request("ACK", version="SIP/9.9")]
)
def test_an_ack_is_never_answered(pair: AccountPair, data: bytes) -> None:
    pair.send(data)
    assert pair.responses == []


@pytest.mark.parametrize("fields", [{}, {"CSeq": "7 INVITE"}, {"Require": "x"}], ids=["200", "400", "420"])
def test_a_request_that_comes_again_gets_the_same_bytes_again_and_no_event(
    pair: AccountPair, fields: dict[str, str]
) -> None:
    data = request(**fields)
    pair.wire.clear()
    pair.send(data)
    first = bytes(pair.wire)
    events = len(pair.events)
    pair.wire.clear()
    pair.send(data)
    assert bytes(pair.wire) == first
    assert len(pair.events) == events


def test_the_same_branch_of_another_method_is_another_request(phone: AccountPair) -> None:
    assert answered(phone, request("INVITE", CSeq="7 INVITE")).status == 480
    phone.send(request("ACK", CSeq="7 ACK"))
    phone.wait(0)  # Timer I
    assert answered(phone, request("CANCEL", CSeq="7 CANCEL")).status == 481


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ({"Content_Type": "application/sdp", "body": "v=0\r\n"}, 480),
        ({"Content_Type": "text/plain", "body": "hello"}, 415),
        ({"body": "v=0\r\n"}, 415),
        ({"Content_Type": "application/sdp", "Content_Encoding": "gzip", "body": "x"}, 415),
        ({"Accept": "application/sdp, text/plain"}, 480),
        ({"Accept": "application/*;q=0.5"}, 480),
        ({"Accept": "text/html"}, 406),
    ],
)
def test_the_content_of_an_invite_is_inspected(phone: AccountPair, fields: dict[str, str], status: int) -> None:
    assert answered(phone, request("INVITE", **fields)).status == status


def test_requests_are_answered_before_and_after_registration_too(make_pair: MakePair) -> None:
    pair = make_pair()
    pair.register()
    assert answered(pair, request()).status == 200
    pair.answer(404)
    assert answered(pair, request(Via="SIP/2.0/TLS p;branch=z9hG4bKx")).status == 200


def test_an_rfc_2543_peer_without_a_cookie_is_answered_once(pair: AccountPair) -> None:
    data = request(Via="SIP/2.0/TLS pbx.example.com")
    assert answered(pair, data).status == 200
    pair.wire.clear()
    pair.send(data)
    assert bytes(pair.wire).startswith(b"SIP/2.0 200 OK")


@pytest.mark.parametrize(
    "data",
    [
        b"SIP/2.0 200 OK\r\nVia: SIP/2.0/TLS a;branch=z9hG4bK1\r\nVia: SIP/2.0/TLS b\r\nCSeq: 1 REGISTER\r\nContent-Length: 0\r\n\r\n",
        b"SIP/2.0 200 OK\r\nCSeq: 1 REGISTER\r\nContent-Length: 0\r\n\r\n",
        b"SIP/2.0 200 OK\r\nVia: SIP/2.0/TLS a;branch=z9hG4bK1\r\nCSeq: x\r\nContent-Length: 0\r\n\r\n",
        b"SIP/2.0 999 OK\r\nVia: SIP/2.0/TLS a;branch=z9hG4bK1\r\nCSeq: 1 REGISTER\r\nContent-Length: 0\r\n\r\n",
        b"SIP/3.0 200 OK\r\nVia: SIP/2.0/TLS a;branch=z9hG4bK1\r\nCSeq: 1 REGISTER\r\nContent-Length: 0\r\n\r\n",
    ],
    ids=["two-vias", "no-via", "bad-cseq", "bad-status", "bad-version"],
)
def test_a_response_that_was_not_meant_for_us_is_dropped_and_told(pair: AccountPair, data: bytes) -> None:
    pair.send(data)
    assert isinstance(pair.events[-1], MessageDropped)
    assert pair.closings == []


def test_a_response_to_nothing_is_dropped(pair: AccountPair) -> None:
    events = len(pair.events)
    pair.send(b"SIP/2.0 200 OK\r\nVia: SIP/2.0/TLS a;branch=z9hG4bK1\r\nCSeq: 1 REGISTER\r\nContent-Length: 0\r\n\r\n")
    assert len(pair.events) == events
