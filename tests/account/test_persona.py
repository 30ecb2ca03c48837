"""Personas: their data is checked, the bytes of their REGISTER are golden, and the phone's habits are kept."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sipsua.account.config import AccountConfig
from sipsua.account.persona import GENERIC, PERSONAS, YEALINK, Backoff, Persona, Token
from sipsua.account.registration import State
from sipsua.errors import BadConfiguration, CredentialsRefused
from sipsua.testing.pair import AccountPair, refused
from sipsua.trust.verdict import CertificateRefused
from tests.account.readings import bound, failure, standing

MakeConfig = Callable[..., AccountConfig]
MakePair = Callable[..., AccountPair]


DATA = Path(__file__).parent.parent / "data" / "personas"


def dice(*rolls: int) -> Callable[[int], int]:
    """Dice that fall so, one after the other."""
    left = iter(rolls)
    return lambda bits: next(left) % 2**bits


GENERIC_ROLLS = (
    *(0x081662AC91C335F02A2ACCF6, 0x9792536614B86F3F, 0xFA73769660655B97),  # Call-ID, tag, branch
    *(0xA7F3851676AB209C, 0x57BE22656D5A5222),  # branch and cnonce of the next request
    2**31,  # where in its span the refresh lies
    *(0x0123456789ABCDEF, 0xFEDCBA9876543210),
)
YEALINK_ROLLS = (2369214377, 255071842, 3990593441, 3990593442, 0x0A4F113B, 2**31, 3990593443, 0x0A4F113C)


@pytest.mark.parametrize(
    ("persona", "rolls"), [(GENERIC, GENERIC_ROLLS), (YEALINK, YEALINK_ROLLS)], ids=lambda x: getattr(x, "name", "")
)
def test_the_bytes_of_register_are_golden(make_config: MakeConfig, persona: Persona, rolls: tuple[int, ...]) -> None:
    config = make_config(
        uri="sip:1000@pbx.example.com:5061;transport=tls", password="secret", persona=persona, keep_alive=None
    )
    pair = AccountPair(config, dice=dice(*rolls))
    for name in ("first", "credentials", "removal"):
        pair.wire.clear()
        if name == "first":
            pair.register()
        elif name == "credentials":
            pair.challenge()
        else:
            pair.answer(200, expires=600)
            pair.unregister()
        golden = DATA / f"{persona.name}-{name}.txt"
        assert bytes(pair.wire) == golden.read_bytes(), golden.name


def test_yealink_writes_line_by_line_what_the_phone_s_sample_shows(make_config: MakeConfig) -> None:
    config = make_config(
        uri="sip:11@10.2.1.48:5060;transport=tls",
        persona=YEALINK,
        user_agent="Yealink SIP-T23G 44.80.0.60",
        line=1,
        keep_alive=None,
    )
    pair = AccountPair(config, dice=dice(2369214377, 255071842, 1, 2**31, 3990593443), local=("10.3.20.14", 5060))
    pair.register()
    pair.answer(200, expires=600)
    pair.wire.clear()
    pair.unregister()
    expected = []
    for line in (DATA / "yealink-sample.txt").read_bytes().split(b"\r\n"):
        # What is another transport, or switched off by default, and nothing else.
        if line.startswith(b"Via:"):
            line = line.replace(b"SIP/2.0/UDP", b"SIP/2.0/TLS")
        elif line.startswith(b"Contact:"):
            line = line.replace(b"line=1da6aa8d7254654", b"transport=TLS")
        elif line.startswith(b"Line:"):
            continue
        expected.append(line)
    assert bytes(pair.wire).split(b"\r\n") == expected


def test_yealink_s_identifiers_have_the_phone_s_shapes(make_pair: MakePair) -> None:
    pair = make_pair(persona=YEALINK, line=3)
    pair.register()
    pair.challenge()
    for request in pair.requests:
        assert re.fullmatch(r"z9hG4bK[0-9]{1,10}", request.via.branch)
        assert re.fullmatch(r"[0-9]{1,10}", request.from_.tag or "")
        assert re.fullmatch(r"3_[0-9]{1,10}@192\.0\.2\.1", request.call_id)
    assert re.search(
        r'algorithm=MD5, cnonce="[0-9a-f]{8}", qop=auth, nc=00000001', pair.request.first("authorization") or ""
    )


def test_yealink_has_no_port_in_from_and_to_where_the_account_has_none(make_pair: MakePair) -> None:
    pair = make_pair(persona=YEALINK, uri="sip:11@pbx.example.com;transport=tls")
    pair.register()
    assert pair.request.first("to") == '"11" <sip:11@pbx.example.com>'
    assert pair.request.uri_text == "sip:pbx.example.com"


def test_a_display_name_takes_the_place_of_the_user_name(make_pair: MakePair) -> None:
    pair = make_pair(persona=YEALINK, display_name="Alice")
    pair.register()
    assert pair.request.to.display == "Alice"


def test_personas_are_found_by_name() -> None:
    assert {name: persona.name for name, persona in PERSONAS.items()} == {"generic": "generic", "yealink": "yealink"}


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        (
            {"register_fields": (*GENERIC.register_fields, "P-Asserted-Identity")},
            "has no field P-Asserted-Identity here",
        ),
        (
            {"register_fields": tuple(name for name in GENERIC.register_fields if name != "CSeq")},
            "a REGISTER without CSeq",
        ),
        ({"refresh": (0.0, 0.5)}, "refreshes after 0.0 to 0.5 of a binding's life"),
        ({"refresh": (0.9, 0.8)}, "refreshes after 0.9 to 0.8"),
        ({"refresh": (0.5, 1.0)}, "refreshes after 0.5 to 1.0"),
        ({"user_agent": "a\r\nb"}, "holds a control character"),
        ({"allow": ("INVITE\n",)}, "holds a control character"),
    ],
)
def test_a_persona_that_cannot_work_is_refused(changes: dict[str, Any], what: str) -> None:
    with pytest.raises(BadConfiguration, match=what) as caught:
        replace(GENERIC, **changes)
    assert caught.value.fix


@pytest.mark.parametrize(
    "numbers", [(0, 10, 0.5), (-1, 10, 0.5), (10, 5, 0.5), (10, 20, -0.1), (10, 20, 1.1), (float("nan"), 10, 0.5)]
)
def test_a_back_off_that_is_none_is_refused(numbers: tuple[float, float, float]) -> None:
    with pytest.raises(BadConfiguration, match="a back-off from"):
        Backoff(*numbers)


@pytest.mark.parametrize(
    ("token", "roll", "text"),
    [
        (Token(64), 0xAB, "00000000000000ab"),
        (Token(32), 2**32 - 1, "ffffffff"),
        (Token(32, decimal=True), 0, "0"),
        (Token(32, decimal=True), 2**32 - 1, "4294967295"),
    ],
)
def test_a_token_has_its_shape(token: Token, roll: int, text: str) -> None:
    assert token.make(lambda bits: roll) == text


def test_yealink_waits_a_fixed_30_s_after_every_failure(make_pair: MakePair) -> None:
    pair = make_pair(persona=YEALINK, keep_alive=None)
    pair.register()
    for status in (503, 500, 403, 404, 405, 603, 423, 302):
        pair.answer(status)
        assert failure(pair).retry_in == 30.0
        pair.wait(30)
        assert standing(pair) is State.REGISTERING
    pair.lose_flow()
    assert failure(pair).retry_in == 30.0
    pair.wait(30)
    pair.open_flow()
    pair.answer(200, expires=600)
    pair.lose_flow()
    assert failure(pair).retry_in == 30.0


def test_yealink_tries_again_after_refused_credentials_and_certificates(make_pair: MakePair) -> None:
    pair = make_pair(persona=YEALINK, keep_alive=None)
    pair.wish()
    pair.begin_flow()
    pair.fail_flow(refused("pbx.example.com"))
    assert isinstance(failure(pair).error, CertificateRefused)
    assert failure(pair).retry_in == 30.0
    pair.wait(30)
    pair.open_flow()
    pair.challenge(nonce="one")
    pair.challenge(nonce="two")
    assert isinstance(failure(pair).error, CredentialsRefused)
    assert failure(pair).retry_in == 30.0
    pair.wait(30)
    assert pair.request.first("authorization") is None


def test_yealink_refreshes_at_half_time(make_pair: MakePair) -> None:
    pair = make_pair(persona=YEALINK, keep_alive=None)
    pair.register()
    pair.answer(200, expires=3600)
    assert bound(pair).refresh_in == 1800
