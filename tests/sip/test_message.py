"""Messages: heads cut into fields, typed values on demand, the rules for a well-formed message, answers (RFC 3261 7, 8, 18, 20)."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from operator import attrgetter

import pytest

from sipsua.errors import MalformedMessage, Misuse
from sipsua.sip.headers import COMPACT_NAMES
from sipsua.sip.message import (
    _CANONICAL,
    Message,
    Request,
    Response,
    canonical_name,
    parse_head,
    parse_message,
    respond,
)

REQUEST = (
    "OPTIONS sips:alice@10.0.0.1:40212 SIP/2.0\r\n"
    "Via: SIP/2.0/TLS pbx.example.com;branch=z9hG4bK1\r\n"
    "Max-Forwards: 70\r\n"
    "From: <sips:pbx@example.com>;tag=f1\r\n"
    "To: <sips:alice@example.com>\r\n"
    "Call-ID: c1\r\n"
    "CSeq: 7 OPTIONS\r\n"
    "Content-Length: 0\r\n"
    "\r\n"
)


def request(*changes: tuple[str, str]) -> Request:
    """REQUEST with pieces of its text replaced, as a datagram."""
    text = REQUEST
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    message = parse_message(text.encode("utf-8", "surrogateescape"))
    assert isinstance(message, Request)
    return message


def response(*changes: tuple[str, str]) -> Response:
    """The 200 to REQUEST, with pieces of its text replaced."""
    text = bytes(respond(request(), 200, "OK", to_tag="t1")).decode()
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    message = parse_message(text.encode("utf-8", "surrogateescape"))
    assert isinstance(message, Response)
    return message


def with_fields(*fields: tuple[str, str]) -> Message:
    return Response(200, "OK", fields)


# Heads


def test_fields_keep_order_and_case_and_lose_the_blanks_round_the_value() -> None:
    message = parse_head(
        "OPTIONS sip:a SIP/2.0\r\nVIA:  x \t\r\nvia:y\r\nX-Odd_1 :\tz\r\nv: w\r\nSubject:\r\nSubject: \r\n"
    )
    assert message.headers == [
        ("VIA", "x"),
        ("via", "y"),
        ("X-Odd_1", "z"),
        ("v", "w"),
        ("Subject", ""),
        ("Subject", ""),
    ]
    assert message.index == {"via": ["x", "y", "w"], "x-odd_1": ["z"], "subject": ["", ""]}
    assert message.defect is None


def test_a_plain_head_and_one_with_odd_blanks_give_the_same_fields() -> None:
    plain = parse_head("OPTIONS sip:a SIP/2.0\r\nTo: x\r\nFrom: y\r\n")
    odd = parse_head("OPTIONS sip:a SIP/2.0\r\nTo:x\r\nFrom: y \r\n")
    assert plain.headers == odd.headers
    assert plain.index == odd.index


def test_a_head_without_fields_has_none() -> None:
    message = parse_head("OPTIONS sip:a SIP/2.0\r\n")
    assert message.headers == []
    assert message.index == {}
    assert message.defect is None


def test_folded_lines_are_joined_by_one_blank() -> None:
    message = parse_head("OPTIONS sip:a SIP/2.0\r\nSubject: one\r\n  two\r\n\tthree\r\nTo :\r\n <sip:a>\r\n")
    assert message.headers == [("Subject", "one two three"), ("To", "<sip:a>")]
    assert message.defect is None


@pytest.mark.parametrize(
    "line", ["no colon", ": no name", "na me: x", "n\xe4me: x", "\x00: x", "", " folded at the beginning"]
)
def test_a_line_that_is_no_field_is_left_out_and_kept_as_the_defect(line: str) -> None:
    message = parse_head(f"OPTIONS sip:a SIP/2.0\r\n{line}\r\nTo: x\r\n")
    assert isinstance(message, Request)
    assert message.headers == [("To", "x")]
    with pytest.raises(MalformedMessage, match="no header field") as caught:
        message.check()
    assert caught.value.status == 400


@pytest.mark.parametrize("stray", ["\r", "\n", "\n\n", "\nTo: y"])
def test_a_cr_or_lf_that_stands_alone_is_a_defect_and_becomes_a_blank(stray: str) -> None:
    message = parse_head(f"OPTIONS sip:a SIP/2.0\r\nFrom: a{stray}b\r\nTo: x\r\n")
    assert message.defect is not None
    assert message.headers == [("From", "a" + stray.replace("\n", " ").replace("\r", " ") + "b"), ("To", "x")]
    bytes(message)


def test_an_answer_to_a_request_with_a_stray_lf_can_be_sent() -> None:
    faulty = request((";tag=f1", "\n;tag=f1"))
    with pytest.raises(MalformedMessage, match="CR or LF stands alone"):
        faulty.check()
    assert b"From: <sips:pbx@example.com> ;tag=f1\r\n" in bytes(respond(faulty, 400, "Bad Request", to_tag="t"))


def test_bytes_that_are_no_utf8_survive() -> None:
    data = REQUEST.encode().replace(b"Call-ID: c1", b"Call-ID: \xff\xfe")
    assert bytes(parse_message(data)) == data


@pytest.mark.parametrize("name", sorted(COMPACT_NAMES))
def test_a_compact_name_stands_for_its_long_form_in_either_case(name: str) -> None:
    assert canonical_name(name) == canonical_name(name.upper()) == COMPACT_NAMES[name]


@pytest.mark.parametrize(
    ("name", "canonical"),
    [
        ("CALL-ID", "call-id"),
        ("Call-Id", "call-id"),
        ("cALL-iD", "call-id"),
        ("X-Foo", "x-foo"),
        ("WWW-authenticate", "www-authenticate"),
    ],
)
def test_names_are_canonical_in_lower_case(name: str, canonical: str) -> None:
    assert canonical_name(name) == canonical


def test_unknown_names_are_not_remembered() -> None:
    before = len(_CANONICAL)
    parse_head("OPTIONS sip:a SIP/2.0\r\n" + "".join(f"X-{n}: y\r\n" for n in range(1000)))
    assert len(_CANONICAL) == before


# Start lines


def test_request_line_is_kept_as_written() -> None:
    message = parse_head("iNVITE sip:a;x=\u00e4 sip/2.0\r\n")
    assert isinstance(message, Request)
    assert (message.method, message.uri_text, message.version) == ("iNVITE", "sip:a;x=\u00e4", "SIP/2.0")


@pytest.mark.parametrize(
    ("line", "status", "reason"),
    [
        ("SIP/2.0 200 OK", 200, "OK"),
        ("SIP/2.0 100 ", 100, ""),
        ("SIP/2.0 100", 100, ""),
        ("sip/2.0 699 Nein, danke", 699, "Nein, danke"),
        ("SIP/2.0 200 = 2**3 * 5**2 \u043d\u043e", 200, "= 2**3 * 5**2 \u043d\u043e"),
    ],
)
def test_status_line_is_read(line: str, status: int, reason: str) -> None:
    message = parse_head(line + "\r\n")
    assert isinstance(message, Response)
    assert (message.status, message.reason, message.defect) == (status, reason, None)


@pytest.mark.parametrize("code", ["0", "099", "700", "20", "2000", "4294967301", "9" * 5000])
def test_a_status_code_out_of_range_is_a_defect(code: str) -> None:
    message = parse_head(f"SIP/2.0 {code} OK\r\n")
    assert isinstance(message, Response)
    assert message.defect is not None
    with pytest.raises(MalformedMessage, match="is no status code"):
        message.check()


@pytest.mark.parametrize(
    "line",
    [
        "",
        "OPTIONS",
        "OPTIONS sip:a",
        "OPTIONS sip:a SIP/2",
        "OPTIONS sip:a HTTP/1.1",
        "OPTIONS sip:a SIP/2.0 x",
        " OPTIONS sip:a SIP/2.0",
        "OPT\u00cfONS sip:a SIP/2.0",
        "OPTIONS sip:a \u017fIP/2.0",
        "OPTIONS sip:a SIP/\u0662.0",
        "OPTIONS sip:\ra SIP/2.0",
        "OPTIONS sip:\na SIP/2.0",
        "SIP/2.0",
        "SIP/2.0 ",
        "SIP/2.0 OK",
        "SIP/2.0 \u0662\u0660\u0660 OK",
        "\u017fIP/2.0 200 OK",
        "SIP/2.0  200 OK",
        "SIP/2.0 200OK",
        "SIP/2.0 200 O\nK",
    ],
)
def test_a_start_line_that_is_none_is_fatal(line: str) -> None:
    with pytest.raises(MalformedMessage, match="this is not SIP") as caught:
        parse_head(line + "\r\nTo: x\r\n")
    assert caught.value.fatal


# Datagrams


def test_of_a_datagram_what_follows_content_length_is_ignored_and_so_are_crlfs_before_it() -> None:
    message = parse_message(b"\r\n\r\n" + REQUEST.replace("Length: 0", "Length: 3").encode() + b"abcdef")
    assert message.body == b"abc"


def test_of_a_datagram_without_content_length_all_is_body() -> None:
    message = parse_message(REQUEST.replace("Content-Length: 0\r\n", "").encode() + b"abc")
    assert isinstance(message, Request)
    assert message.body == b"abc"
    message.check()


@pytest.mark.parametrize("data", [b"", b"\r\n\r\n", b"OPTIONS sip:a SIP/2.0\r\nTo: x\r\n"])
def test_a_datagram_whose_header_section_does_not_end_is_refused(data: bytes) -> None:
    with pytest.raises(MalformedMessage, match="does not end"):
        parse_message(data)


# Typed values


def test_each_field_that_rfc_3261_gives_a_meaning_for_registration_has_its_reader() -> None:
    message = with_fields(
        ("v", "SIP/2.0/TLS a;branch=z9hG4bK1, SIP/2.0/TLS b"),
        ("Via", "SIP/2.0/TCP c"),
        ("f", '"A, B" <sip:a@b>;tag=1'),
        ("t", "sip:c@d;tag=2"),
        ("i", "id"),
        ("CSeq", "5 REGISTER"),
        ("m", "<sip:a@x>;expires=60, <sip:a@y>;expires=120"),
        ("Contact", "sip:a@z"),
        ("Route", "<sip:r1;lr>, <sip:r2;lr>"),
        ("Record-Route", "<sip:rr;lr>"),
        ("Path", "<sip:p;lr;ob>"),
        ("Service-Route", "<sip:s1;lr>"),
        ("Service-Route", "<sip:s2;lr>"),
        ("Expires", "3600"),
        ("Min-Expires", "90"),
        ("Retry-After", "5 (busy);duration=9"),
        ("Date", "Sat, 13 Nov 2010 23:29:00 GMT"),
        ("Warning", '301 a "one, two", 399 b "three"'),
        ("WWW-Authenticate", 'Digest realm="r", nonce="n", qop="auth", algorithm=MD5'),
        ("WWW-Authenticate", 'Digest realm="r", nonce="n", algorithm=SHA-256, Basic realm="x"'),
        ("Proxy-Authenticate", 'Digest realm="p", nonce="m"'),
        ("Authentication-Info", 'nextnonce="n2", qop=auth, rspauth="00", cnonce="c", nc=00000001'),
        ("l", "0"),
    )
    assert message.via.branch == "z9hG4bK1"
    assert [via.host for via in message.vias] == ["a", "b", "c"]
    assert (message.from_.display, message.from_.uri.user, message.from_.tag) == ("A, B", "a", "1")
    assert (message.to.uri.host, message.to.tag) == ("d", "2")
    assert message.call_id == "id"
    assert message.cseq == (5, "REGISTER")
    assert [(contact.uri.host, contact.params.get("expires")) for contact in message.contacts] == [
        ("x", "60"),
        ("y", "120"),
        ("z", None),
    ]
    assert [address.uri.host for address in message.addresses("route")] == ["r1", "r2"]
    assert [address.uri.host for address in message.addresses("record-route")] == ["rr"]
    assert [address.uri.params for address in message.addresses("path")] == [{"lr": None, "ob": None}]
    assert [address.uri.host for address in message.addresses("service-route")] == ["s1", "s2"]
    assert (message.expires, message.min_expires, message.retry_after) == (3600, 90, 5)
    assert message.date == datetime(2010, 11, 13, 23, 29, tzinfo=UTC)
    assert [(warning.code, warning.text) for warning in message.warnings] == [(301, "one, two"), (399, "three")]
    assert [challenge.algorithm for challenge in message.challenges("www-authenticate")] == ["MD5", "SHA-256"]
    assert [challenge.realm for challenge in message.challenges("proxy-authenticate")] == ["p"]
    assert message.authentication_info == ("n2", "00", "auth", "c", "00000001")
    assert message.content_length == 0


@pytest.mark.parametrize("read", ["via", "from_", "to", "call_id", "cseq"])
def test_a_missing_field_that_must_be_there_is_refused(read: str) -> None:
    with pytest.raises(MalformedMessage, match="is missing"):
        attrgetter(read)(with_fields())


@pytest.mark.parametrize(
    ("read", "value"),
    [
        *[("vias", []), ("contacts", []), ("warnings", []), ("expires", None), ("min_expires", None)],
        *[("retry_after", None), ("date", None), ("authentication_info", None), ("content_length", None)],
    ],
)
def test_a_missing_field_that_need_not_be_there_is_empty_or_none(read: str, value: object) -> None:
    assert attrgetter(read)(with_fields()) == value
    assert with_fields().addresses("route") == []
    assert with_fields().challenges("www-authenticate") == []


@pytest.mark.parametrize("read", ["expires", "min_expires", "retry_after", "date"])
def test_a_malformed_field_that_may_be_missing_counts_as_missing(read: str) -> None:
    fields = [(name, "soon") for name in ("Expires", "Min-Expires", "Retry-After", "Date")]
    assert attrgetter(read)(with_fields(*fields)) is None


@pytest.mark.parametrize(
    ("name", "read"),
    [
        *[("Via", "via"), ("Via", "vias"), ("From", "from_"), ("To", "to"), ("CSeq", "cseq"), ("Contact", "contacts")],
        *[("Warning", "warnings"), ("Content-Length", "content_length")],
    ],
)
@pytest.mark.parametrize("value", ["", ",", '"', "<", ";"])
def test_a_malformed_field_that_matters_is_refused(name: str, read: str, value: str) -> None:
    with pytest.raises(MalformedMessage):
        attrgetter(read)(with_fields((name, value)))


@pytest.mark.parametrize("value", ["", ",", '"', "nextnonce=a nextnonce", "nc=1, nc=1"])
def test_a_malformed_authentication_info_is_refused(value: str) -> None:
    with pytest.raises(MalformedMessage):
        _ = with_fields(("Authentication-Info", value)).authentication_info


@pytest.mark.parametrize("value", ["", ",", "Digest", 'Digest realm="r"', 'Digest realm="r'])
def test_a_malformed_challenge_is_refused(value: str) -> None:
    with pytest.raises(MalformedMessage):
        with_fields(("WWW-Authenticate", value)).challenges("www-authenticate")


def test_the_contact_of_all_bindings_is_no_address() -> None:
    assert parse_head("REGISTER sip:a SIP/2.0\r\nContact:  * \r\n").contacts == []


def test_tokens_leave_empty_items_out() -> None:
    message = with_fields(("Allow", "INVITE,, ACK ,"), ("Supported", ""), ("k", "path"))
    assert message.tokens("allow") == ["INVITE", "ACK"]
    assert message.tokens("supported") == ["path"]
    assert message.tokens("require") == []


def test_the_top_via_of_a_comma_list_is_the_first() -> None:
    assert with_fields(("Via", 'SIP/2.0/TLS a;x="1,2", SIP/2.0/TLS b')).via.host == "a"


# What is well formed


def test_a_well_formed_request_is_returned_by_its_check() -> None:
    message = request()
    assert message.check() is message


def test_a_request_of_an_old_peer_without_max_forwards_and_tag_is_well_formed() -> None:
    request(("Max-Forwards: 70\r\n", ""), (";tag=f1", ""), (";branch=z9hG4bK1", "")).check()


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("Call-ID: c1\r\n", "", "call-id is missing"),
        ("Call-ID: c1\r\n", "Call-ID:\r\n", "Call-ID is empty"),
        ("CSeq: 7 OPTIONS\r\n", "", "cseq is missing"),
        ("CSeq: 7 OPTIONS", "CSeq: 7 INVITE", "CSeq says INVITE, the request line OPTIONS"),
        ("CSeq: 7 OPTIONS", "CSeq: 4294967296 OPTIONS", "CSeq is no number"),
        ("From: <sips:pbx@example.com>;tag=f1\r\n", "", "from is missing"),
        ("From: <sips:pbx@example.com>", "From: <sips:pbx@example.com", "address cannot be read"),
        ("To: <sips:alice@example.com>\r\n", "", "to is missing"),
        ("To: <sips:alice@example.com>", 'To: "alice <sips:alice@example.com>', "address cannot be read"),
        ("Via: SIP/2.0/TLS pbx.example.com;branch=z9hG4bK1\r\n", "", "Via is missing"),
        ("branch=z9hG4bK1", "branch=z9hG4bK1, SIP/2.0/TLS", "Via cannot be read"),
        ("Max-Forwards: 70", "Max-Forwards: 256", "Max-Forwards is no number up to 255"),
        ("Max-Forwards: 70", "Max-Forwards: -1", "Max-Forwards is no number up to 255"),
        ("Max-Forwards: 70", "Contact: ;;;;", "address cannot be read"),
        ("Max-Forwards: 70", "Contact: <sip:a>,", "list cannot be read"),
        ("Max-Forwards: 70", "To: <sip:b@c>", "to stands 2 times"),
        ("Max-Forwards: 70", "i: c2", "call-id stands 2 times"),
        ("Max-Forwards: 70", "Expires: 1\r\nExpires: 1", "expires stands 2 times"),
        ("Max-Forwards: 70", "nonsense", "no header field: 'nonsense'"),
        ("Content-Length: 0", "Content-Length: 5", "Content-Length 5, but the body has 0 bytes"),
        (" SIP/2.0\r\nVia", " SIP/2.0 \r\nVia", "blanks behind the SIP version"),
        ("OPTIONS sips:alice@10.0.0.1:40212", "OPTIONS <sips:alice@10.0.0.1:40212>", "URI"),
        ("OPTIONS sips:alice@10.0.0.1:40212", "OPTIONS sips:alice@10.0.0.1 ;lr", "URI"),
        ("OPTIONS sips:alice@10.0.0.1:40212", "OPTIONS sips:alice@10.0.0.1?x=y", "the Request-URI holds header fields"),
    ],
)
def test_a_request_that_breaks_a_rule_is_refused_with_400(old: str, new: str, words: str) -> None:
    message = request((old, new))
    with pytest.raises(MalformedMessage) as caught:
        message.check()
    assert caught.value.status == 400
    assert words in caught.value.what


def test_a_request_of_another_version_is_refused_with_505() -> None:
    with pytest.raises(MalformedMessage) as caught:
        request(("sips:alice@10.0.0.1:40212 SIP/2.0", "sips:alice@10.0.0.1:40212 SIP/7.0")).check()
    assert caught.value.status == 505


def test_a_well_formed_response_is_returned_by_its_check() -> None:
    message = response()
    assert message.check() is message


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("SIP/2.0 200", "SIP/3.0 200", "is not SIP/2.0"),
        ("branch=z9hG4bK1", "branch=z9hG4bK1, SIP/2.0/TLS b", "more than one Via"),
        ("CSeq: 7 OPTIONS\r\n", "", "cseq is missing"),
        ("CSeq: 7 OPTIONS", "CSeq: x", "CSeq cannot be read"),
        ("Call-ID: c1\r\n", "", "call-id is missing"),
        ("To: <", "To <", "no header field"),
        ("200 OK", "1200 OK", "is no status code"),
    ],
)
def test_a_response_that_breaks_a_rule_is_refused(old: str, new: str, words: str) -> None:
    message = response((old, new))
    with pytest.raises(MalformedMessage) as caught:
        message.check()
    assert words in caught.value.what


# Writing


def test_a_message_is_written_as_its_parts_say() -> None:
    message = Request("MESSAGE", "sip:a@b", [("To", "<sip:a@b>"), ("Content-Length", "2")], b"\r\n")
    assert bytes(message) == b"MESSAGE sip:a@b SIP/2.0\r\nTo: <sip:a@b>\r\nContent-Length: 2\r\n\r\n\r\n"
    assert bytes(Response(100, "")) == b"SIP/2.0 100 \r\n\r\n"


@pytest.mark.parametrize(
    "make",
    [
        lambda: Request("OPTIONS", "sip:a\r\nX: y"),
        lambda: Request("OPT\nIONS", "sip:a"),
        lambda: Response(200, "OK\n"),
        lambda: Response(200, "OK", [("To", "a\rb")]),
        lambda: Response(200, "OK", [("To\r\nX", "a")]),
    ],
)
def test_a_message_with_a_line_break_in_a_value_is_not_written(make: Callable[[], Message]) -> None:
    with pytest.raises(Misuse, match="line break"):
        bytes(make())


# Answers


def test_an_answer_copies_what_rfc_3261_names_and_adds_the_tag() -> None:
    message = request(("Max-Forwards: 70", "v: SIP/2.0/TCP next;branch=x\r\nSubject: not copied"))
    answer = respond(message, 200, "OK", [("Server", "s")], to_tag="t1")
    assert answer.headers == [
        ("Via", "SIP/2.0/TLS pbx.example.com;branch=z9hG4bK1"),
        ("Via", "SIP/2.0/TCP next;branch=x"),
        ("From", "<sips:pbx@example.com>;tag=f1"),
        ("To", "<sips:alice@example.com>;tag=t1"),
        ("Call-ID", "c1"),
        ("CSeq", "7 OPTIONS"),
        ("Server", "s"),
        ("Content-Length", "0"),
    ]


def test_an_answer_keeps_the_tag_that_is_there() -> None:
    answer = respond(request(("alice@example.com>", "alice@example.com>;x;TAG=mine")), 481, "No", to_tag="t1")
    assert answer.to.params == {"x": None, "tag": "mine"}


def test_a_100_gets_no_tag() -> None:
    assert respond(request(), 100, "Trying", to_tag="t1").to.tag is None


def test_an_answer_to_a_request_without_the_fields_leaves_them_out() -> None:
    answer = respond(Request("OPTIONS", "sip:a"), 400, "Bad Request", to_tag="t1")
    assert bytes(answer) == b"SIP/2.0 400 Bad Request\r\nContent-Length: 0\r\n\r\n"


def test_an_answer_to_a_to_that_cannot_be_read_still_gets_a_tag() -> None:
    answer = respond(request(("To: <", 'To: "open <')), 400, "Bad Request", to_tag="t1")
    assert answer.first("to") == '"open <sips:alice@example.com>;tag=t1'
