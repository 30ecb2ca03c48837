"""The torture messages of RFC 4475, each judged three ways: as a datagram, on a stream, and by what a user agent answers.

What each message demands stands in tests/data/rfc4475/index.json. Where we do otherwise, a table here says so, and why.
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest

from sipsua.account.account import Account
from sipsua.account.config import AccountConfig
from sipsua.account.persona import GENERIC, YEALINK, Persona
from sipsua.errors import MalformedMessage
from sipsua.events import MessageDropped, Negotiated, RequestAnswered
from sipsua.sip.framing import Framer, KeepAlive
from sipsua.sip.message import Request, Response, parse_message
from sipsua.trust.policy import Policy
from sipsua.trust.store import TrustList
from sipsua.trust.verdict import Verdict

FOLDER = Path(__file__).parent.parent / "data" / "rfc4475"
INDEX: dict[str, dict[str, Any]] = {
    entry["file"]: entry for entry in json.loads((FOLDER / "index.json").read_text())["messages"]
}
INDEX["baddn.fixed.dat"] = INDEX["baddn.dat"] | {"file": "baddn.fixed.dat", "stream": "one message"}
"""By file. The archive's baddn lacks the empty line, so that its display name can be judged in the mended copy only."""

PROCESSED = frozenset({200, 404, 405, 415, 480, 481, 488, 489, 501, 603})
"""What `process` in the index allows: final answers of an agent that understood the request and decided by its method, its dialog,
its address or its content. None of them says that the request was ill-formed (400, 505, 513) or asked for too much (416, 420)."""

REFUSED_BY_CHECK = {
    "insuf.dat": "From, To and Call-ID are missing: the parser takes it, the check for a well-formed request says 400",
    "multi01.dat": "From, To, Call-ID and CSeq stand twice: as insuf",
    "bcast.dat": "a response with two Vias was not meant for us (RFC 3261 section 8.1.3.3)",
}
"""Messages that a parser must accept and a user agent must not: `check` is where we refuse them."""

REPAIRED = {
    "baddate.dat": "Date is in EST; no decision of a user agent depends on it, so it counts as absent",
    "badaspec.dat": "blanks inside the < > of To: the text is copied into the answer, and nothing asks for the URI in it",
}
"""Of the malformed messages that may be refused or repaired, those we take. All others are refused with 400."""

OTHER_ANSWERS: dict[tuple[str, str], tuple[list[int], str]] = {
    ("yealink", "dblreq.dat"): ([405, 480], "on a stream it is two requests"),
    ("generic", "dblreq.dat"): ([405, 480], "on a stream it is two requests"),
    ("yealink", "clerr.dat"): ([], "the stream says that the body is still to come: wait, then close"),
    ("generic", "clerr.dat"): ([], "the stream says that the body is still to come: wait, then close"),
    ("yealink", "baddn.dat"): ([], "the header section has not ended: wait, then close"),
    ("generic", "baddn.dat"): ([], "the header section has not ended: wait, then close"),
}
"""By persona and file: the answers that differ from the index, and the reason."""

CLOSED = {
    "ncl.dat": "Content-Length -999: 400, then the flow is closed, for where the next message begins cannot be known",
    "mcl01.dat": "two different Content-Lengths: as ncl",
    "inv2543.dat": "no Content-Length: RFC 3261 18.3 demands it on a stream, and RFC 2543 peers do not speak TLS: as ncl",
    "dblreq.dat": "the body of its second request is 3 bytes longer than its Content-Length: what is left is no SIP",
    "test.dat": "its start line has no version: no SIP, so no answer (it stands in no section of the RFC)",
}
"""Messages after which the framing of the stream is lost."""

UNFINISHED = {"clerr.dat", "baddn.dat"}
"""Messages that on a stream are the beginning of a longer one."""

NOW = 1000.0


def read(file: str) -> bytes:
    return (FOLDER / file).read_bytes()


def parse(file: str) -> Request | Response:
    return parse_message(read(file))


def parse_request(file: str) -> Request:
    message = parse(file)
    assert isinstance(message, Request)
    return message


def opened_account(persona: Persona) -> Account:
    """An account on a flow, not registered."""
    at = datetime(2026, 1, 1, tzinfo=UTC)
    config = AccountConfig(
        uri="sips:alice@example.com", policy=Policy(anchors=TrustList.empty()), persona=persona, keep_alive=None
    )
    account = Account(config, random.Random(4475).getrandbits)
    account.flow_negotiating(at)
    negotiated = Negotiated("TLSv1.3", "x", "X25519", "example.com", "192.0.2.1:5061", ("192.0.2.2", 40000), at)
    account.flow_opened(Verdict(True, True, "rfc2818", "example.com"), negotiated, {}, NOW)
    while account.next_event():
        pass
    return account


def answers(data: bytes) -> list[Response]:
    """The responses in what an account sends."""
    framer = Framer()
    framer.receive(data)
    found = list(iter(framer.next_frame, None))
    assert all(isinstance(frame, Response) for frame in found)
    assert not framer.incomplete
    return [frame for frame in found if isinstance(frame, Response)]


def pieces(data: bytes, size: int) -> Iterator[bytes]:
    return (data[at : at + size] for at in range(0, len(data), size))


def test_the_index_names_every_file() -> None:
    assert {path.name for path in FOLDER.glob("*.dat")} == set(INDEX)
    assert len(INDEX) == 51


# As a datagram


@pytest.mark.parametrize("file", [file for file, entry in INDEX.items() if entry["parse"] == "accept"])
def test_what_a_parser_must_accept_is_parsed_without_defect_and_passes_the_check(file: str) -> None:
    message = parse(file)
    assert message.defect is None
    assert isinstance(message, Request if INDEX[file]["kind"] == "request" else Response)
    if file in REFUSED_BY_CHECK:
        with pytest.raises(MalformedMessage):
            message.check()
    else:
        message.check()


@pytest.mark.parametrize("file", [file for file, entry in INDEX.items() if entry["parse"] == "reject"])
def test_what_must_be_refused_is_refused_with_a_status_that_the_index_allows(file: str) -> None:
    allowed = INDEX[file]["uas"]
    with pytest.raises(MalformedMessage) as caught:
        parse(file).check()
    assert caught.value.status in allowed or allowed == ["drop"]


@pytest.mark.parametrize("file", [file for file, entry in INDEX.items() if entry["parse"] == "lenient"])
def test_what_may_be_repaired_is_repaired_or_refused_as_the_table_says(file: str) -> None:
    if file in REPAIRED:
        parse(file).check()
    else:
        with pytest.raises(MalformedMessage) as caught:
            parse(file).check()
        assert caught.value.status == 400


# On a stream


def stream_outcome(parts: Iterable[bytes]) -> tuple[list[bytes | KeepAlive], str]:
    """What a server's framer hands out, and how it ends: `whole`, `waits`, `lost`, or `no SIP`."""
    framer = Framer(pings=True)
    found: list[bytes | KeepAlive] = []
    for part in parts:
        framer.receive(part)
        try:
            while (frame := framer.next_frame()) is not None:
                found.append(frame if isinstance(frame, KeepAlive) else bytes(frame))
        except MalformedMessage:
            return found, "lost" if framer.broken else "no SIP"
    return found, "waits" if framer.incomplete else "whole"


@pytest.mark.parametrize("size", [1, 7, 100_000])
@pytest.mark.parametrize("file", INDEX)
def test_on_a_stream_it_is_what_the_index_says_however_it_comes(file: str, size: int) -> None:
    data = read(file)
    found, end = stream_outcome(pieces(data, size))
    match INDEX[file]["stream"]:
        case "one message" if file == "test.dat":
            assert (found, end) == ([], "no SIP")
        case "one message":
            assert (len(found), end) == (1, "whole")
        case "two messages on a stream, one in a datagram":
            assert [isinstance(frame, bytes) for frame in found] == [True, False, True]
            assert end == "no SIP", CLOSED[file]
        case "wait for more, then close after a time limit" | "incomplete: no empty line ends the archived file":
            assert (found, end) == ([], "waits")
        case "error, then close: framing is lost":
            assert (found, end) == ([], "lost")
        case other:
            assert other.startswith("no Content-Length: cannot be framed on a stream")
            assert (found, end) == ([], "lost")


@pytest.mark.parametrize("file", [file for file in INDEX if file not in {*CLOSED, *UNFINISHED}])
def test_on_a_stream_a_message_does_not_touch_the_one_behind_it(file: str) -> None:
    found, end = stream_outcome([read(file) + read("transports.dat")])
    assert (len(found), end) == (2, "whole")
    assert found[1] == bytes(parse("transports.dat"))


# What a user agent answers


@pytest.mark.parametrize("size", [1, 100_000])
@pytest.mark.parametrize("persona", [YEALINK, GENERIC], ids=lambda persona: persona.name)
@pytest.mark.parametrize("file", INDEX)
def test_a_user_agent_answers_what_the_index_allows(file: str, persona: Persona, size: int) -> None:
    account = opened_account(persona)
    for piece in pieces(read(file), size):
        account.receive_data(piece, NOW)
    sent = answers(account.data_to_send())
    statuses = [response.status for response in sent]

    allowed = INDEX[file]["uas"]
    if (persona.name, file) in OTHER_ANSWERS:
        expected, _ = OTHER_ANSWERS[persona.name, file]
        assert statuses == expected
    elif INDEX[file]["kind"] == "response" or file == "test.dat":
        assert "drop" in allowed
        assert statuses == []
    else:
        (status,) = statuses
        assert status in allowed or ("process" in allowed and status in PROCESSED)

    assert (account.wants_close is not None) == (file in CLOSED)
    events = list(iter(account.next_event, None))
    assert [event.status for event in events if isinstance(event, RequestAnswered)] == statuses
    assert any(isinstance(event, MessageDropped) for event in events) == (
        file in CLOSED or INDEX[file]["uas"] == ["drop"]
    )


@pytest.mark.parametrize("file", sorted(UNFINISHED))
def test_a_message_that_does_not_go_on_closes_the_flow_after_its_time_limit(file: str) -> None:
    account = opened_account(YEALINK)
    account.receive_data(read(file), NOW)
    limit = account.config.limits.message
    assert account.get_timer() == NOW + limit
    account.handle_timer(NOW + limit)
    assert account.wants_close is not None
    assert account.data_to_send() == b""


@pytest.mark.parametrize(
    ("file", "name", "value"),
    [
        (
            "intmeth.dat",
            "allow",
            "INVITE, INFO, PRACK, ACK, BYE, CANCEL, OPTIONS, NOTIFY, SUBSCRIBE, REFER, PUBLISH, UPDATE, MESSAGE",
        ),
        (
            "regaut01.dat",
            "allow",
            "INVITE, INFO, PRACK, ACK, BYE, CANCEL, OPTIONS, NOTIFY, SUBSCRIBE, REFER, PUBLISH, UPDATE, MESSAGE",
        ),
        ("bext01.dat", "unsupported", "nothingSupportsThis, nothingSupportsThisEither"),
        ("invut.dat", "accept", "application/sdp"),
        ("mpart01.dat", "accept", "text/plain"),
        ("transports.dat", "accept", "application/sdp"),
    ],
)
def test_an_answer_explains_itself_in_the_field_that_rfc_3261_names(file: str, name: str, value: str) -> None:
    account = opened_account(YEALINK)
    account.receive_data(read(file), NOW)
    (response,) = answers(account.data_to_send())
    assert response.first(name) == value


def test_an_answer_copies_what_the_request_says_octet_by_octet() -> None:
    account = opened_account(YEALINK)
    account.receive_data(read("intmeth.dat"), NOW)
    (response,) = answers(account.data_to_send())
    asked = parse_request("intmeth.dat")
    for name in ("via", "from", "call-id", "cseq"):
        assert response.index[name] == asked.index[name]
    assert response.index["to"][0].startswith(asked.index["to"][0])


# What the notes of the RFC say of single values


def test_wsinv_is_read_through_folding_blanks_and_compact_names() -> None:
    message = parse_request("wsinv.dat")
    assert message.cseq == (9, "INVITE")
    assert message.first("max-forwards") == "0068"
    assert (message.from_.display, message.from_.tag) == ('J Rosenberg \\"', "98asjd8")
    assert message.to.tag == "1918181833n"
    assert message.first("subject") == ""
    assert [(via.transport, via.host, via.branch) for via in message.vias] == [
        ("UDP", "192.0.2.2", "390skdjuw"),
        ("TCP", "spindle.example.com", "z9hG4bK9ikj8"),
        ("UDP", "192.168.255.111", "z9hG4bK30239"),
    ]
    assert message.contacts[0] == (
        'Quoted string ""',
        "sip:jdrosen@example.com",
        {"newparam": "newvalue", "secondparam": None, "q": "0.33"},
    )
    assert message.first("newfangledheader") == "newfangled value continued newfangled value"
    assert message.first("unknownheaderwithunusualvalue") == ";;,,;;,;"
    assert message.addresses("route")[0].uri.params == {"lr": None, "unknownwith": "value", "unknown-no-value": None}


def test_intmeth_keeps_every_odd_character() -> None:
    message = parse_request("intmeth.dat")
    assert message.method == "!interesting-Method0123456789_*+`.%indeed'~"
    assert message.cseq.method == message.method
    assert message.via.branch == "z9hG4bK-.!%66*_+`'~"
    assert message.to.display == "BEL:\\\x07 NUL:\\\x00 DEL:\\\x7f".replace("\\", "")
    assert message.from_.tag == "_token~1'+`*%!-."
    assert message.uri.user == "1_unusual.URI~(to-be!sure)&isn't+it$/crazy?,/;;*"


def test_esc01_is_decoded_once() -> None:
    message = parse_request("esc01.dat")
    assert message.uri.decoded_user == "sips:user@example.com"
    assert message.contacts[0].uri.decoded_user == "caller"
    (parameters,) = [contact.uri.params for contact in message.contacts]
    assert {unquote(name): unquote(value or "") for name, value in parameters.items()} == {"lr": "", "name": "value%41"}


def test_escnull_and_esc02_hold_two_contacts() -> None:
    assert [contact.uri.decoded_user for contact in parse("escnull.dat").contacts] == ["\0", "\0\0"]
    message = parse_request("esc02.dat")
    assert message.method == "RE%47IST%45R"
    assert message.to.display == "%Z%45"
    assert len(message.contacts) == 2


def test_lwsdisp_needs_no_blank_before_the_bracket() -> None:
    assert parse("lwsdisp.dat").from_ == ("caller", "sip:caller@example.com", {"tag": "323"})


def test_longreq_is_kept_whole() -> None:
    message = parse_request("longreq.dat")
    assert len(message.vias) == 34
    assert re.fullmatch(r"12982(982){49}424", message.from_.tag or "")
    assert len(message.vias[-1].branch) == 215
    assert len(message.call_id) == 141
    assert message.to.display == f"I have a user name of {'extreme' * 10} proportion"
    assert message.contacts[0].uri.user == "amazinglylongcallername" * 5


def test_semiuri_has_its_semicolon_in_the_user() -> None:
    uri = parse_request("semiuri.dat").uri
    assert (uri.decoded_user, uri.params) == ("user;par=u@example.net", {})


def test_transports_of_all_names_are_read() -> None:
    assert [via.transport for via in parse("transports.dat").vias] == ["UDP", "SCTP", "TLS", "UNKNOWN", "TCP"]


def test_mpart01_is_framed_by_its_length_with_nul_and_lf_in_its_body() -> None:
    body = parse("mpart01.dat").body
    assert len(body) == 553
    assert b"\0" in body


def test_reason_phrases_may_be_odd_or_empty() -> None:
    odd, empty = parse("unreason.dat"), parse("noreason.dat")
    assert isinstance(odd, Response)
    assert isinstance(empty, Response)
    assert odd.reason.startswith("= 2**3 * 5**2 \u043d\u043e ")
    assert (empty.status, empty.reason) == (100, "")


def test_a_parameter_outside_the_brackets_belongs_to_the_contact_and_inside_to_the_uri() -> None:
    (outside,), (inside,) = parse("cparam01.dat").contacts, parse("cparam02.dat").contacts
    assert (outside.params, outside.uri.params) == ({"unknownparam": None}, {})
    assert (inside.params, inside.uri.params) == ({}, {"unknownparam": None})


def test_an_escaped_header_in_a_contact_is_kept() -> None:
    (contact,) = parse("regescrt.dat").contacts
    assert contact.uri.headers == "Route=%3Csip:sip.example.com%3E"


def test_a_date_in_another_zone_counts_as_absent() -> None:
    assert parse("baddate.dat").date is None
