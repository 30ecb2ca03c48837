"""The REGISTER as text: what of the account stands where."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from sipsua.testing.pair import AccountPair
from tests.account.readings import own

MakePair = Callable[..., AccountPair]


@pytest.mark.parametrize(
    ("uri", "server", "request_uri", "address", "contact"),
    [
        ("sips:alice@a.example", None, "sips:a.example", "<sips:alice@a.example>", "<sips:alice@192.0.2.1:40000>"),
        (
            "sips:alice@a.example:5071",
            None,
            "sips:a.example:5071",
            "<sips:alice@a.example>",
            "<sips:alice@192.0.2.1:40000>",
        ),
        (
            *("sip:alice@a.example;transport=TLS", None, "sip:a.example;transport=tls"),
            *("<sip:alice@a.example>", "<sip:alice@192.0.2.1:40000;transport=tls>"),
        ),
        (
            *("sip:+49;ext=1@a.example;user=phone;transport=tls", "b.example", "sip:a.example;transport=tls"),
            *("<sip:+49;ext=1@a.example;user=phone>", "<sip:+49;ext=1@192.0.2.1:40000;transport=tls>"),
        ),
        (
            "sips:alice@[2001:db8::1]",
            None,
            "sips:[2001:db8::1]",
            "<sips:alice@[2001:db8::1]>",
            "<sips:alice@192.0.2.1:40000>",
        ),
    ],
)
def test_the_uri_goes_to_the_wire_as_given(
    make_pair: MakePair, uri: str, server: str | None, request_uri: str, address: str, contact: str
) -> None:
    pair = make_pair(uri=uri, server=server)
    pair.register()
    assert pair.request.uri_text == request_uri
    assert pair.request.first("to") == address
    assert pair.request.first("contact") == contact
    pair.request.check()


def test_an_ipv6_flow_has_brackets_in_via_and_contact(make_pair: MakePair) -> None:
    pair = make_pair()
    pair.local = ("2001:db8::7", 40000)
    pair.register()
    assert pair.request.via.host == "[2001:db8::7]"
    assert own(pair) == "<sips:alice@[2001:db8::7]:40000>"
    pair.request.check()


def test_a_display_name_is_quoted(make_pair: MakePair) -> None:
    pair = make_pair(display_name='Al "100%" \\ Grün')
    pair.register()
    assert pair.request.to.display == 'Al "100%" \\ Grün'
    assert pair.request.from_.display == 'Al "100%" \\ Grün'


def test_the_config_s_user_agent_takes_the_place_of_the_persona_s(make_pair: MakePair) -> None:
    pair = make_pair(user_agent="Test 100%")
    pair.register()
    assert pair.request.first("user-agent") == "Test 100%"


def test_a_user_beyond_ascii_is_escaped_in_addresses_and_plain_in_the_credentials(make_pair: MakePair) -> None:
    pair = make_pair(uri="sips:jürgen@pbx.example.com", display_name="Jürgen")
    pair.register()
    assert pair.request.first("to") == '"Jürgen" <sips:j%C3%BCrgen@pbx.example.com>'
    assert own(pair).startswith("<sips:j%C3%BCrgen@")
    pair.challenge()
    assert 'username="jürgen"' in (pair.request.first("authorization") or "")
