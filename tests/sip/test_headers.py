"""Header field values: what is read, what is repaired, what is refused (RFC 3261 sections 20 and 25.1)."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from sipsua.errors import MalformedMessage
from sipsua.sip.headers import (
    CSeq,
    NameAddr,
    Via,
    Warning,
    bounded,
    parse_date,
    parse_params,
    parse_retry_after,
    parse_seconds,
    quote,
    split_list,
    unquote,
)

# Via


def test_via_of_the_common_shape_is_split_into_its_parts() -> None:
    via = Via.parse("SIP/2.0/TLS 10.0.0.1:40212;branch=z9hG4bK7d3f;rport=40212;received=10.0.0.1")
    assert via.branch == "z9hG4bK7d3f"
    assert via == ("TLS", "10.0.0.1", 40212, {"branch": "z9hG4bK7d3f", "rport": "40212", "received": "10.0.0.1"})


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("SIP/2.0/TLS pbx.example.com", ("TLS", "pbx.example.com", None, {})),
        ("SIP/2.0/tls pbx.example.com;rport", ("tls", "pbx.example.com", None, {"rport": None})),
        ("sip/2.0/TLS-SCTP a-b_c:5061", ("TLS-SCTP", "a-b_c", 5061, {})),
        ("SIP/2.0/TLS [2001:db8::1]:5061;branch=1", ("TLS", "[2001:db8::1]", 5061, {"branch": "1"})),
        ("SIP/2.0/TLS [2001:db8::1]", ("TLS", "[2001:db8::1]", None, {})),
        ("SIP  /  2.0 / \t UDP  h :\t7 ; branch = x", ("UDP", "h", 7, {"branch": "x"})),
        ("SIP/2.0/TLS h;Branch=Q;RPORT", ("TLS", "h", None, {"branch": "Q", "rport": None})),
        ("SIP/2.0/TLS h:0", ("TLS", "h", 0, {})),
        ("SIP/2.0/TLS h:65535", ("TLS", "h", 65535, {})),
        ('SIP/2.0/TLS h;x="a;b, \\"c\\""', ("TLS", "h", None, {"x": 'a;b, "c"'})),
        ("SIP/2.0/TLS h;received=2001:db8::9", ("TLS", "h", None, {"received": "2001:db8::9"})),
    ],
)
def test_via_is_read(text: str, parts: tuple[object, ...]) -> None:
    assert Via.parse(text) == parts


def test_via_without_branch_has_an_empty_one() -> None:
    assert Via.parse("SIP/2.0/TLS h").branch == ""
    assert Via.parse("SIP/2.0/TLS h;branch").branch == ""


@pytest.mark.parametrize(
    "text",
    [
        "",
        "SIP/2.0/TLS",
        "SIP/2.0 TLS h",
        "SIP/3.0/TLS h",
        "HTTP/1.1/TLS h",
        "SIP/2.0/TLS h:",
        "SIP/2.0/TLS h:65536",
        "SIP/2.0/TLS h:123456",
        "SIP/2.0/TLS h:\u00b2",
        "SIP/2.0/TLS h:\u0665",
        "SIP/2.0/T\u00e9 h",
        "SIP/2.0/TLS h\u00f6st",
        "SIP/2.0/TLS 2001:db8::1",
        "SIP/2.0/TLS h h",
        "SIP/2.0/TLS h;",
        "SIP/2.0/TLS h;;branch=x",
        "SIP/2.0/TLS h;branch=",
        "SIP/2.0/TLS h;=x",
        "SIP/2.0/TLS h;branch=x,",
        "SIP/2.0/TLS h ;; , ;,,",
        'SIP/2.0/TLS h;x="open',
    ],
)
def test_via_that_breaks_the_grammar_is_refused(text: str) -> None:
    with pytest.raises(MalformedMessage) as caught:
        Via.parse(text)
    assert caught.value.status == 400
    assert not caught.value.fatal


# Addresses


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("<sips:a@b>", ("", "sips:a@b", {})),
        ("<sips:a@b>;tag=1a.B-_", ("", "sips:a@b", {"tag": "1a.B-_"})),
        ("<sips:a@b>;Tag=X", ("", "sips:a@b", {"tag": "X"})),
        ("<sips:a@b>;tag=a~b", ("", "sips:a@b", {"tag": "a~b"})),
        ("<sip:a@b;transport=tls>;expires=60;q=0.5", ("", "sip:a@b;transport=tls", {"expires": "60", "q": "0.5"})),
        ('"Alice" <sip:a@b>', ("Alice", "sip:a@b", {})),
        ('"Alice"<sip:a@b>;tag=1', ("Alice", "sip:a@b", {"tag": "1"})),
        ('"" <sip:a@b>', ("", "sip:a@b", {})),
        ('"A \\"B\\" \\\\ C" <sip:a@b>', ('A "B" \\ C', "sip:a@b", {})),
        ('"a, <b>; c" <sip:a@b>', ("a, <b>; c", "sip:a@b", {})),
        ("Alice Liddell <sip:a@b>", ("Alice Liddell", "sip:a@b", {})),
        ("Alice<sip:a@b>", ("Alice", "sip:a@b", {})),
        ("Jäsøn <sip:a@b>", ("Jäsøn", "sip:a@b", {})),
        (" \t<sip:a@b> ; tag = x", ("", "sip:a@b", {"tag": "x"})),
        ("<sip:a@b?Route=%3Csip:c%3E>", ("", "sip:a@b?Route=%3Csip:c%3E", {})),
        ('<sip:a@b>;x="p;q,\'";lr', ("", "sip:a@b", {"x": "p;q,'", "lr": None})),
        ("sip:a@b", ("", "sip:a@b", {})),
        ("sip:a@b;tag=1", ("", "sip:a@b", {"tag": "1"})),
        ("sip:a@b ; tag = 1", ("", "sip:a@b", {"tag": "1"})),
        ("tel:+1-201;x", ("", "tel:+1-201", {"x": None})),
        ("<>", ("", "", {})),
    ],
)
def test_address_is_read(text: str, parts: tuple[object, ...]) -> None:
    assert NameAddr.parse(text) == parts


def test_parameters_without_brackets_belong_to_the_header_field() -> None:
    bare, inside = NameAddr.parse("sip:a@b;unknownparam"), NameAddr.parse("<sip:a@b;unknownparam>")
    assert (bare.params, bare.uri.params) == ({"unknownparam": None}, {})
    assert (inside.params, inside.uri.params) == ({}, {"unknownparam": None})


def test_tag_is_none_where_there_is_none() -> None:
    assert NameAddr.parse("<sip:a@b>").tag is None
    assert NameAddr.parse("<sip:a@b>;tag=7").tag == "7"


def test_uri_of_an_address_is_parsed_when_it_is_asked_for() -> None:
    address = NameAddr.parse("< sip:a@b>")
    with pytest.raises(MalformedMessage):
        _ = address.uri


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Alice",
        "sip",
        "a@b",
        '"Mr. J. User <sip:j.user@example.com>',
        "Bell, Alexander <sip:a.g.bell@example.com>",
        "<sip:a@b",
        "sip:a@b>",
        "<sip:a@b>>",
        "<<sip:a@b>>",
        "<sip:a@b> x",
        "<sip:a@b>;",
        "<sip:a@b>;;;;",
        "<sip:a@b>;tag=",
        '<sip:a@b>;tag="1',
        "sip:a@b?Route=%3Csip:c%3E",
        "sip:a@b,c",
        '"a" "b" <sip:a@b>',
        "*",
    ],
)
def test_address_that_breaks_the_grammar_is_refused(text: str) -> None:
    with pytest.raises(MalformedMessage):
        NameAddr.parse(text)


# CSeq


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("1 REGISTER", (1, "REGISTER")),
        ("0009 INVITE", (9, "INVITE")),
        ("4294967295 OPTIONS", (4294967295, "OPTIONS")),
        ("00000000000000000000007 OPTIONS", (7, "OPTIONS")),
        (" 3 \t !interesting-Method0123456789_*+`.%indeed'~", (3, "!interesting-Method0123456789_*+`.%indeed'~")),
    ],
)
def test_cseq_is_read(text: str, parts: tuple[int, str]) -> None:
    assert CSeq.parse(text) == parts


@pytest.mark.parametrize(
    "text",
    [
        "",
        "1",
        "REGISTER",
        "1REGISTER",
        "-1 A",
        "1 A B",
        "4294967296 A",
        "9" * 5000 + " A",
        "\u0661 A",
        "\u00b2 A",
        "1 Ä",
    ],
)
def test_cseq_that_breaks_the_grammar_or_the_bound_is_refused(text: str) -> None:
    with pytest.raises(MalformedMessage):
        CSeq.parse(text)


# Warning


def test_warning_is_read_with_its_escapes_undone() -> None:
    assert Warning.parse('399 pbx.example.com:5061 "say \\"no\\""') == (399, "pbx.example.com:5061", 'say "no"')


@pytest.mark.parametrize("text", ["", "399", "399 x", "399 x y", '1812 x "y"', '39 x "y"', '399 x "y', '399 x "y" z'])
def test_warning_that_breaks_the_grammar_is_refused(text: str) -> None:
    with pytest.raises(MalformedMessage):
        Warning.parse(text)


# Parameters and lists


def test_parameters_keep_order_and_take_blanks_and_quotes() -> None:
    assert list(parse_params(' ; B = 1 ;a;\tc = "x \\" ;y"').items()) == [("b", "1"), ("a", None), ("c", 'x " ;y')]
    assert list(parse_params(";B=1;a;c=x%20y").items()) == [("b", "1"), ("a", None), ("c", "x%20y")]


def test_of_a_parameter_given_twice_the_last_counts() -> None:
    assert parse_params(";a=1;A=2") == parse_params("; a=1; A=2") == {"a": "2"}


@pytest.mark.parametrize("text", [";", ";;a", ";a;", ";a=", ";=1", ";a=1,b", "x;a", ";a=b c"])
def test_an_empty_parameter_or_a_stray_separator_is_refused_with_and_without_blanks(text: str) -> None:
    with pytest.raises(MalformedMessage):
        parse_params(text)
    with pytest.raises(MalformedMessage):
        parse_params(text.replace(";", " ; ").replace("=", " = "))


def test_a_list_is_split_at_its_commas_but_not_in_quotes_and_brackets() -> None:
    text = '"a, b" <sip:x,y@h>;p="q,r" , <sip:z>,sip:w'
    assert split_list(text) == ['"a, b" <sip:x,y@h>;p="q,r"', "<sip:z>", "sip:w"]
    assert split_list("one") == ["one"]


@pytest.mark.parametrize("text", [",", "a,", ",a", "a,,b", "a, ,b", 'a,"b', "a,<b", 'a,"b\\",c'])
def test_a_list_with_an_empty_item_or_an_open_quote_is_refused(text: str) -> None:
    with pytest.raises(MalformedMessage):
        split_list(text)


@pytest.mark.parametrize("text", ["", "plain", 'a "b"', "back\\slash", "\\", '"'])
def test_quote_and_unquote_are_inverse(text: str) -> None:
    assert unquote(quote(text)) == text


# Numbers and dates


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("0", 0),
        ("3600", 3600),
        (" 3600 ", 3600),
        ("0" * 50 + "7", 7),
        ("4294967295", 4294967295),
        (None, None),
        ("", None),
        ("4294967296", None),
        ("99999999999999999999", None),
        ("-1", None),
        ("1.5", None),
        ("soon", None),
        ("\u0663", None),
        ("1_0", None),
    ],
)
def test_seconds_out_of_range_or_malformed_count_as_absent(text: str | None, value: int | None) -> None:
    assert parse_seconds(text) == value


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("120", 120),
        ("120 (I'm in a meeting)", 120),
        ("18000;duration=3600", 18000),
        ("5 (a (b) c) ;duration=7", 5),
        (None, None),
        ("", None),
        ("later", None),
        ("949302838503028349304023988", None),
        ("5 minutes", None),
        ("5 (open", None),
    ],
)
def test_retry_after_is_read_with_comment_and_parameters(text: str | None, value: int | None) -> None:
    assert parse_retry_after(text) == value


def test_bounded_names_the_field_and_shows_no_more_than_its_beginning() -> None:
    with pytest.raises(MalformedMessage, match=r"Max-Forwards is no number up to 255: '9{40}'$"):
        bounded("9" * 10_000, 255, "Max-Forwards")
    assert bounded("0068", 255, "Max-Forwards") == 68


def test_date_is_utc() -> None:
    assert parse_date("Sat, 13 Nov 2010 23:29:00 GMT") == datetime(2010, 11, 13, 23, 29, tzinfo=UTC)
    assert parse_date("sat, 3 nov 2010 23:29:00 gmt") == datetime(2010, 11, 3, 23, 29, tzinfo=UTC)


@pytest.mark.parametrize(
    "text",
    [
        None,
        "",
        "Fri, 01 Jan 2010 16:00:00 EST",
        "Fri, 32 Jan 2010 16:00:00 GMT",
        "Fri, 01 Foo 2010 16:00:00 GMT",
        "Fri, 01 Jan 0000 16:00:00 GMT",
        "Fri, 01 Jan 2010 24:00:00 GMT",
        "Fri, 01 Jan 2010 23:59:60 GMT",
        "2010-01-01T00:00:00Z",
        "Fri, \u0661 Jan 2010 16:00:00 GMT",
    ],
)
def test_a_date_that_is_none_counts_as_absent(text: str | None) -> None:
    assert parse_date(text) is None
