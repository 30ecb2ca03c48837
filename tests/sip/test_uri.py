"""URIs: what is taken, what is refused, what is equal (RFC 3261 19.1, RFC 4475, RFC 3966)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sipsua.errors import BadConfiguration, MalformedMessage
from sipsua.sip.uri import Uri


def test_plain_uri_is_split_into_its_parts() -> None:
    uri = Uri.parse("sip:1000@10.0.0.1:5061;transport=TLS;lr")
    assert (uri.scheme, uri.user, uri.host, uri.port) == ("sip", "1000", "10.0.0.1", 5061)
    assert uri.params == {"transport": "TLS", "lr": None}
    assert uri.transport == "tls"
    assert uri.is_sip
    assert uri.password is None
    assert uri.headers == ""


def test_password_headers_and_ipv6_are_taken() -> None:
    uri = Uri.parse("SIPS:alice:s%3Acret@[2001:DB8::1]:5061;Lr;x=?subject=project%20x&priority=urgent")
    assert uri[1:] == (
        "sips", "alice", "s%3Acret", "[2001:DB8::1]", 5061, {"lr": None, "x": ""},
        "subject=project%20x&priority=urgent",
    )  # fmt: skip


def test_host_alone_has_no_user() -> None:
    uri = Uri.parse("sip:example.com:5060")
    assert (uri.user, uri.host, uri.port, uri.transport) == (None, "example.com", 5060, None)
    assert uri.decoded_user is None


def test_user_part_holds_semicolon_question_mark_and_slash() -> None:
    uri = Uri.parse("sip:user;par=u%40example.net@example.com")
    assert (uri.user, uri.host, uri.params) == ("user;par=u%40example.net", "example.com", {})
    assert uri.decoded_user == "user;par=u@example.net"
    unusual = (
        "sip:1_unusual.URI~(to-be!sure)&isn't+it$/crazy?,/;;*:&it+has=1,weird!*pas$wo~d_too.(doesn't-it)@example.com"
    )
    uri = Uri.parse(unusual)
    assert uri.user == "1_unusual.URI~(to-be!sure)&isn't+it$/crazy?,/;;*"
    assert uri.password == "&it+has=1,weird!*pas$wo~d_too.(doesn't-it)"
    assert str(uri) == unusual


@pytest.mark.parametrize(
    ("user", "decoded"),
    [
        ("%2541", "%41"),
        ("null-%00-null", "null-\0-null"),
        ("%75se%72", "user"),
        ("J%C3%A4s%C3%B8n", "Jäsøn"),
        ("%FF", "\udcff"),
    ],
)
def test_escapes_decode_exactly_once(user: str, decoded: str) -> None:
    uri = Uri.parse(f"sip:{user}@example.com")
    assert uri.user == user
    assert uri.decoded_user == decoded
    assert Uri.build("example.com", user=decoded).decoded_user == decoded


def test_first_of_two_equal_parameters_counts_and_empty_ones_are_skipped() -> None:
    assert Uri.parse("sip:a@b.example;;transport=tls;Transport=udp;").params == {"transport": "tls"}


@pytest.mark.parametrize(
    "text", ["nobodyKnowsThisScheme:totallyopaquecontent", "soap.beep://192.0.2.103:3002", "urn:service:sos"]
)
def test_unknown_scheme_is_taken_as_it_is(text: str) -> None:
    uri = Uri.parse(text)
    assert not uri.is_sip
    assert uri.scheme == text.partition(":")[0].lower()
    assert str(uri) == text
    assert uri.equivalent(Uri.parse(text.replace(uri.text[:3], uri.text[:3].upper(), 1)))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "sip",
        "sip:",
        ":a@b",
        "1sip:a@b",
        "<sip:a@b>",
        "sip:a@b>",
        "sip:a<b@c",
        'sip:"a"@b',
        "sip:a@b ",
        " sip:a@b",
        "sip:a b@c",
        "sip:a@b; lr",
        "sip:a@b\n",
        "sip:a@b\r\nVia: x",
        "sip:a\0@b",
        "sip:a\u00a0@b",
        "sip:a@",
        "sip:a@:5060",
        "sip:a@;lr",
        "sip:a@?x=y",
        "sip:@b",
        "sip::secret@b",
        "sip:a@b@c",
        "sip:a@b:",
        "sip:a@b:port",
        "sip:a@b:65536",
        "sip:a@b:" + "9" * 5000,
        "sip:a@b:٣",
        "sip:a@bü",
        "sip:a@[::1",
        "sip:a@[::1::2]",
        "sip:a@[]",
        "sip:a@::1",
        "sip:a%4@b",
        "sip:a%zz@b",
        "sip:a@b;x=%",
        "tel:",
        "tel:+",
        "tel:+12a",
        "tel:bob",
        "unknown:",
        "unknown:a b",
        "://",
    ],
)
def test_malformed_uri_is_refused_with_400(text: str) -> None:
    with pytest.raises(MalformedMessage) as caught:
        Uri.parse(text)
    assert caught.value.status == 400


def test_password_is_in_no_repr_and_in_no_error() -> None:
    assert "secret" not in repr(Uri.parse("sip:alice:secret@example.com"))
    with pytest.raises(MalformedMessage) as caught:
        Uri.parse("sip:alice:secret@example.com:0x")
    assert "secret" not in str(caught.value)
    with pytest.raises(BadConfiguration) as refused:
        Uri.build("a b", user="alice", password="secret")
    assert "secret" not in str(refused.value)


EQUAL = [
    ("sip:%61lice@atlanta.com;transport=TCP", "sip:alice@AtLanTa.CoM;Transport=tcp"),
    ("sip:carol@chicago.com", "sip:carol@chicago.com;newparam=5"),
    ("sip:carol@chicago.com", "sip:carol@chicago.com;security=on"),
    ("sip:carol@chicago.com;newparam=5", "sip:carol@chicago.com;security=on"),
    ("sip:carol@chicago.com", "sip:carol@chicago.com;security=off"),
    (
        "sip:biloxi.com;transport=tcp;method=REGISTER?to=sip:bob%40biloxi.com",
        "sip:biloxi.com;method=REGISTER;transport=tcp?to=sip:bob%40biloxi.com",
    ),
    (
        "sip:alice@atlanta.com?subject=project%20x&priority=urgent",
        "sip:alice@atlanta.com?priority=urgent&subject=project%20x",
    ),
    ("sip:a%5bb@host", "sip:a%5Bb@host"),
    ("sip:a@host;x=[1]", "sip:a@host;%78=%5B1%5D"),
    ("sip:ä@host", "sip:%c3%a4@host"),
    ("sip:a@[2001:db8::9:1]", "sip:a@[2001:DB8:0:0:0:0:9:01]"),
    ("tel:+1-201-555-0123", "tel:+1(201)5550123"),
    ("tel:7042;phone-context=Example.com", "tel:70-42;Phone-Context=example.com"),
    ("tel:863;phone-context=+1-914-555", "TEL:863;phone-context=+1914555"),
]

UNEQUAL = [
    ("SIP:ALICE@AtLanTa.CoM;Transport=udp", "sip:alice@AtLanTa.CoM;Transport=UDP"),
    ("sip:bob@biloxi.com", "sip:bob@biloxi.com:5060"),
    ("sip:bob@biloxi.com", "sip:bob@biloxi.com;transport=udp"),
    ("sip:bob@biloxi.com", "sip:bob@biloxi.com:6000;transport=tcp"),
    ("sip:carol@chicago.com", "sip:carol@chicago.com?Subject=next%20meeting"),
    ("sip:bob@phone21.boxesbybob.com", "sip:bob@192.0.2.4"),
    ("sip:carol@chicago.com;security=on", "sip:carol@chicago.com;security=off"),
    ("sip:bob@biloxi.com", "sips:bob@biloxi.com"),
    ("sip:bob@biloxi.com", "sip:biloxi.com"),
    ("sip:bob@biloxi.com", "sip:bob:@biloxi.com"),
    ("sip:bob:a@biloxi.com", "sip:bob:A@biloxi.com"),
    ("sip:bob@biloxi.com;user=ip", "sip:bob@biloxi.com"),
    ("sip:bob@biloxi.com;ttl=1", "sip:bob@biloxi.com"),
    ("sip:bob@biloxi.com;maddr=10.0.0.1", "sip:bob@biloxi.com"),
    ("sip:bob@biloxi.com;method=INVITE", "sip:bob@biloxi.com;method=invite"),
    ("sip:bob%3Bx@biloxi.com", "sip:bob;x@biloxi.com"),
    ("sip:%2541@biloxi.com", "sip:%41@biloxi.com"),
    ("sip:+1@biloxi.com", "tel:+1"),
    ("tel:+12015550123", "tel:12015550123"),
    ("tel:+12015550123", "tel:+12015550123;ext=1"),
    ("tel:7042;phone-context=example.com", "tel:7042;phone-context=examplecom"),
    ("urn:a", "urn:b"),
]


@pytest.mark.parametrize(("one", "two"), EQUAL)
def test_equivalent_uris_of_the_rfc(one: str, two: str) -> None:
    assert Uri.parse(one).equivalent(Uri.parse(two))
    assert Uri.parse(two).equivalent(Uri.parse(one))


@pytest.mark.parametrize(("one", "two"), UNEQUAL)
def test_uris_that_differ_by_rule(one: str, two: str) -> None:
    assert not Uri.parse(one).equivalent(Uri.parse(two))
    assert not Uri.parse(two).equivalent(Uri.parse(one))


def test_uri_is_a_dictionary_key_by_its_text() -> None:
    assert {Uri.parse("sip:a@b;lr"): 1}[Uri.parse("sip:a@b;lr")] == 1
    assert Uri.parse("sip:a@b") != Uri.parse("sip:a@B")


def test_build_escapes_each_part_for_its_place() -> None:
    uri = Uri.build(
        "::1",
        user="a@b:c",
        password="p/w",
        port=5061,
        scheme="sips",
        params={"lr": None, "x": "a;b"},
        headers={"To": "<sip:x@y>"},
    )
    assert str(uri) == "sips:a%40b%3Ac:p%2Fw@[::1]:5061;lr;x=a%3Bb?To=%3Csip:x%40y%3E"
    assert (uri.decoded_user, uri.host, uri.port, uri.params["x"]) == ("a@b:c", "[::1]", 5061, "a%3Bb")


@pytest.mark.parametrize("host", ["", "a b", "x@y", "a;lr", "a?b", "a:b", "a:5060", "[::1", "é"])
def test_build_refuses_what_is_no_host(host: str) -> None:
    with pytest.raises(BadConfiguration):
        Uri.build(host)


def test_build_refuses_an_empty_user_a_bad_port_and_a_foreign_scheme() -> None:
    with pytest.raises(BadConfiguration):
        Uri.build("a", user="")
    with pytest.raises(BadConfiguration):
        Uri.build("a", port=70000)
    with pytest.raises(BadConfiguration):
        Uri.build("a", scheme="http")
    with pytest.raises(BadConfiguration):
        Uri.build("a", user="\ud800")


@given(
    st.text(min_size=1),
    st.none() | st.text(),
    st.none() | st.integers(0, 65535),
    st.dictionaries(st.text(min_size=1), st.none() | st.text()),
)
def test_build_and_parse_round_trip_any_user(
    user: str, password: str | None, port: int | None, params: dict[str, str | None]
) -> None:
    uri = Uri.build("example.com", user=user, password=password, port=port, params=params)
    assert Uri.parse(str(uri)) == uri
    assert uri.decoded_user == user
    assert uri.port == port
    assert (uri.password is None) == (password is None)
    assert uri.equivalent(uri)


@given(st.text(alphabet='sipteluri:@;?&=%[].+-<>" \r\n0aAé', max_size=60) | st.text(max_size=30).map("sip:".__add__))
def test_any_text_is_parsed_and_kept_or_refused(text: str) -> None:
    try:
        uri = Uri.parse(text)
    except MalformedMessage:
        return
    assert str(uri) == text
    assert uri.equivalent(Uri.parse(text))


PIECES = ["a", "1", "@", ":", ";", "=", "?", "&", ".", "-", "%41", "5060", "65536", "lr", "transport", "Tls", "[::1]"]


@given(st.lists(st.sampled_from(PIECES), min_size=1, max_size=10).map("".join))
def test_fast_and_strict_way_agree(rest: str) -> None:
    """A scheme in capitals always goes the strict way."""

    def parts(text: str) -> tuple[object, ...] | None:
        try:
            return Uri.parse(text)[1:]
        except MalformedMessage:
            return None

    assert parts("sip:" + rest) == parts("SIP:" + rest)
