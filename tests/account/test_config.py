"""An account's settings are held to what can work, each with the reason and the remedy, and never with the password."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sipsua.account.config import SIPS_PORT, AccountConfig, Connection, Limits, Pongs, Target
from sipsua.errors import BadConfiguration

MakeConfig = Callable[..., AccountConfig]


@pytest.mark.parametrize(
    ("uri", "server", "host", "port"),
    [
        ("sips:alice@pbx.example.com", None, "pbx.example.com", SIPS_PORT),
        ("sips:alice@pbx.example.com:5071", None, "pbx.example.com", 5071),
        ("sip:alice@pbx.example.com;transport=tls", None, "pbx.example.com", SIPS_PORT),
        ("SIP:alice@pbx.example.com:443;transport=TLS", None, "pbx.example.com", 443),
        ("sips:alice@pbx.example.com;transport=tcp", None, "pbx.example.com", SIPS_PORT),
        ("sips:alice@192.0.2.7", None, "192.0.2.7", SIPS_PORT),
        ("sips:alice@[2001:db8::7]:5071", None, "2001:db8::7", 5071),
        ("sips:alice@example.com", "edge.example.com", "edge.example.com", SIPS_PORT),
        ("sips:alice@example.com:5071", "edge.example.com:443", "edge.example.com", 443),
        ("sips:alice@example.com", "[2001:db8::7]", "2001:db8::7", SIPS_PORT),
        ("sips:alice@example.com", "192.0.2.7:5062", "192.0.2.7", 5062),
    ],
)
def test_the_flow_leads_to_the_server_or_else_to_the_domain(
    make_config: MakeConfig, uri: str, server: str | None, host: str, port: int
) -> None:
    config = make_config(uri=uri, server=server)
    assert config.target == Target(host, port)
    assert config.uri == uri


@pytest.mark.parametrize(
    ("given", "sent", "decoded"),
    [
        ("jürgen", "j%C3%BCrgen", "jürgen"),
        ("日本%20x", "%E6%97%A5%E6%9C%AC%20x", "日本 x"),
        ("%C3%BC", "%C3%BC", "ü"),
        ("\udcff", "%FF", "\udcff"),
    ],
)
def test_letters_beyond_ascii_in_the_user_are_escaped_on_the_wire(
    make_config: MakeConfig, given: str, sent: str, decoded: str
) -> None:
    config = make_config(uri=f"sips:{given}@pbx.example.com")
    assert config.uri == f"sips:{given}@pbx.example.com"
    assert str(config.aor) == f"sips:{sent}@pbx.example.com"
    assert (config.aor.user, config.aor.decoded_user) == (sent, decoded)


def test_a_target_is_written_as_it_is_read() -> None:
    for text in ("pbx.example.com:5061", "192.0.2.7:443", "[2001:db8::7]:5061"):
        assert str(Target.parse(text)) == text


@pytest.mark.parametrize(
    ("changes", "what", "fix"),
    [
        ({"uri": "alice@pbx.example.com"}, "'alice@pbx.example.com' is no SIP address", "write sips:user@host"),
        ({"uri": ""}, "'' is no SIP address", "write sips:user@host"),
        ({"uri": "tel:+4930123"}, "'tel:+4930123' is no SIP address", "write sips:user@host"),
        (
            {"uri": "sip:alice@pbx.example.com"},
            "has no transport: sipsua registers over TLS only",
            "write sips:… or add",
        ),
        (
            {"uri": "sip:alice@pbx.example.com;transport=udp"},
            "has transport=udp: sipsua registers over TLS only",
            "sips:…",
        ),
        (
            {"uri": "sips:alice@pbx.example.com;transport=udp"},
            "cannot run over TLS",
            "take its transport parameter out",
        ),
        ({"uri": "sips:alice@pbx.example.com;transport=ws"}, "cannot run over TLS", "take its transport parameter out"),
        ({"uri": "sips:pbx.example.com"}, "is no address of record", "write sips:user@host"),
        ({"uri": "sips:alice@pbx.example.com?subject=x"}, "is no address of record", "without ?headers"),
        ({"uri": "sips:alice@pbx.example.com:0"}, "has port 0", "give the server's TLS port"),
        ({"uri": "sips:alice@"}, "is no SIP address", "write sips:user@host"),
        ({"uri": "sips:a%0d%0aTo: x@pbx.example.com"}, "is no SIP address", "write sips:user@host"),
        ({"uri": "sips:a%0d%0ax@pbx.example.com"}, "the user of the URI holds a control character", "take it out"),
        ({"server": "sips:pbx.example.com"}, "is no server", "write HOST or HOST:PORT"),
        ({"server": "alice@pbx.example.com"}, "is no server", "write HOST or HOST:PORT"),
        ({"server": ""}, "is no server", "write HOST or HOST:PORT"),
        ({"server": "pbx.example.com:0"}, "is no server", "write HOST or HOST:PORT"),
        ({"server": "pbx.example.com:70000"}, "is no server", "write HOST or HOST:PORT"),
        ({"server": "2001:db8::7"}, "is no server", "an IPv6 address in brackets"),
        ({"server": "pbx.example.com;lr"}, "is no server", "write HOST or HOST:PORT"),
        ({"server": "pbx example"}, "is no server", "write HOST or HOST:PORT"),
        ({"uri": "sips:alice@bücher.example"}, "is no SIP address", "internationalized host name as xn--"),
        ({"uri": "sips:bücher.example"}, "is no SIP address", "write sips:user@host"),
        ({"uri": "sips:\ud800@pbx.example.com"}, "half a surrogate pair", "take it out"),
        ({"server": "bücher.example"}, "is no server", "internationalized host name as xn--"),
        ({"expires": 0}, "expires of 0 s", "ask for 1 s to 2147483647 s"),
        ({"expires": 2**31}, "expires of 2147483648 s", "ask for 1 s"),
        ({"display_name": "a\r\nb"}, "display_name holds a control character", "take it out"),
        ({"user_agent": "a\nb"}, "user_agent holds a control character", "take it out"),
        ({"auth_user": "a\x7f"}, "auth_user holds a control character", "take it out"),
        ({"password": "a\x00b"}, "password holds a control character", "take it out"),
        ({"password": "a\ud800b"}, "password holds a control character or half a surrogate pair", "take it out"),
        ({"keep_alive": (0.0, 0.0)}, "keep-alives after 0.0 s to 0.0 s", "more than 0 s"),
        ({"keep_alive": (120.0, 95.0)}, "keep-alives after 120.0 s to 95.0 s", "the shorter time first"),
        ({"keep_alive": (float("nan"), 95.0)}, "keep-alives after nan s", "the shorter time first"),
        ({"line": -1}, "line -1", "count the accounts of a phone from 0"),
    ],
)
def test_what_cannot_work_is_refused_with_the_reason_and_the_remedy(
    make_config: MakeConfig, changes: dict[str, Any], what: str, fix: str
) -> None:
    with pytest.raises(BadConfiguration) as caught:
        make_config(**changes)
    assert what in caught.value.what
    assert fix in caught.value.fix


@pytest.mark.parametrize(
    ("changes", "what", "wanted"),
    [
        ({"uri": 5}, "uri cannot be of type int", "str"),
        ({"policy": "ca.pem"}, "policy cannot be of type str", "Policy"),
        ({"password": b"s3cret"}, "password cannot be of type bytes", "str"),
        ({"password": None}, "password cannot be of type NoneType", "str"),
        ({"server": 5061}, "server cannot be of type int", "str | None"),
        ({"expires": 3.5}, "expires cannot be of type float", "int"),
        ({"expires": True}, "expires cannot be of type bool", "int"),
        ({"persona": "yealink"}, "persona cannot be of type str", "Persona"),
        ({"keep_alive": 30}, "keep_alive cannot be of type int", "tuple[float, float] | None"),
        ({"keep_alive": ("30", "60")}, "keep_alive cannot be of type tuple", "tuple[float, float] | None"),
        ({"limits": 5}, "limits cannot be of type int", "Limits"),
    ],
)
def test_a_value_of_another_type_is_refused_by_its_type(
    make_config: MakeConfig, changes: dict[str, Any], what: str, wanted: str
) -> None:
    with pytest.raises(BadConfiguration) as caught:
        make_config(**changes)
    assert caught.value.what == f"AccountConfig: {what}"
    assert caught.value.fix == f"give one of type {wanted}"


def test_a_limit_that_is_no_number_is_refused() -> None:
    with pytest.raises(BadConfiguration, match="Limits: connect cannot be of type str"):
        Limits(connect="5")  # type: ignore[arg-type]


def test_enumerations_are_taken_by_value_too(make_config: MakeConfig) -> None:
    config = make_config(connection="shared", pongs="ignored", keep_alive=(30, 60))
    assert config.connection is Connection.SHARED
    assert config.pongs is Pongs.IGNORED


@pytest.mark.parametrize("name", ["resolve", "connect", "handshake", "close", "message", "pong"])
@pytest.mark.parametrize("seconds", [0, -1, float("nan"), float("inf")])
def test_a_limit_that_ends_nothing_or_everything_is_refused(name: str, seconds: float) -> None:
    with pytest.raises(BadConfiguration, match=f"a limit of {seconds} s for {name}"):
        Limits(**{name: seconds})


@pytest.mark.parametrize(
    ("uri", "shown"),
    [
        ("sips:alice:s3cret@pbx.example.com", "'sips:alice:***@pbx.example.com'"),
        ("sip:alice:s3cret@pbx.example.com", "'sip:alice:***@pbx.example.com'"),
        ("SIP:alice:s3cret@x@pbx.example.com", "'SIP:alice:***@pbx.example.com'"),
        ("alice:s3cret@pbx.example.com", "'alice:***@pbx.example.com'"),
        ("sips:alice:s3cret@", "'sips:alice:***@'"),
        ("sips:alice:s3cret @pbx", "'sips:alice:***@pbx'"),
        ("tel:alice:s3cret@pbx", "'tel:alice:***@pbx'"),
        ("sips:alice:s3\ncret@pbx", "'sips:alice:***@pbx'"),
    ],
)
def test_a_password_in_the_address_is_refused_and_not_shown(make_config: MakeConfig, uri: str, shown: str) -> None:
    with pytest.raises(BadConfiguration) as caught:
        make_config(uri=uri)
    assert shown in str(caught.value)
    assert "s3" not in str(caught.value)


def test_a_password_in_the_server_is_not_shown(make_config: MakeConfig) -> None:
    with pytest.raises(BadConfiguration) as caught:
        make_config(server="alice:s3cret@pbx.example.com")
    assert "s3cret" not in str(caught.value)


def test_the_password_is_not_in_the_repr(make_config: MakeConfig) -> None:
    config = make_config(password="s3cret", auth_user="auth")
    assert "s3cret" not in repr(config)
    assert "auth_user='auth'" in repr(config)


@given(uri=st.text(max_size=60) | st.text("sip:tel@x.;=&%[]0ab \r\n", max_size=60).map("sips:a".__add__))
def test_any_text_is_an_account_or_a_bad_configuration(make_config: MakeConfig, uri: str) -> None:
    with contextlib.suppress(BadConfiguration):
        assert make_config(uri=uri).target.host


@given(text=st.text(max_size=40))
def test_any_text_is_a_server_or_a_bad_configuration(text: str) -> None:
    with contextlib.suppress(BadConfiguration):
        target = Target.parse(text)
        assert Target.parse(str(target)) == target
