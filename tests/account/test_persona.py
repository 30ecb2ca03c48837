"""Personas: their data is checked, the bytes of their REGISTER are golden, and the phone's habits are kept."""

from __future__ import annotations

from collections.abc import Callable

from sipsua.account.persona import YEALINK
from sipsua.account.registration import State
from sipsua.errors import CredentialsRefused
from sipsua.testing.pair import AccountPair, refused
from sipsua.trust.verdict import CertificateRefused
from tests.account.readings import bound, failure, standing

MakePair = Callable[..., AccountPair]


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
