"""Challenges: 401 and 407, wrong credentials told apart from an old nonce, and the nonces of later requests."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from sipsua.account.registration import MAX_ROUNDS, State
from sipsua.errors import CredentialsRefused, Refused
from sipsua.sip.digest import Challenge
from sipsua.testing.pair import AccountPair
from tests.account.readings import bound, credentials, failure, proves, standing

MakePair = Callable[..., AccountPair]


@pytest.mark.parametrize(
    ("status", "field"), [(401, "authorization"), (407, "proxy-authorization")], ids=["registrar", "proxy"]
)
def test_a_challenge_is_answered_with_a_proof_of_the_password(make_pair: MakePair, status: int, field: str) -> None:
    pair = make_pair()
    pair.register()
    assert pair.request.first(field) is None
    pair.challenge(status)
    assert proves(pair.request, field)
    assert pair.request.cseq.number == 2
    assert pair.request.call_id == pair.requests[0].call_id
    assert pair.request.via.branch != pair.requests[0].via.branch
    pair.answer(200, expires=600)
    assert bound(pair).status == 200


def test_challenges_of_proxy_and_registrar_are_both_answered_and_kept(make_pair: MakePair) -> None:
    pair = make_pair()
    pair.register()
    pair.challenge(407, realm="proxy")
    pair.challenge(401, realm="registrar")
    request = pair.request
    assert proves(request, "proxy-authorization")
    assert proves(request, "authorization")
    assert (credentials(request, "proxy-authorization").realm, credentials(request).realm) == ("proxy", "registrar")
    pair.answer(200, expires=600)
    assert standing(pair) is State.REGISTERED


def test_the_credentials_have_their_own_user_name_where_one_is_configured(make_pair: MakePair) -> None:
    pair = make_pair(auth_user="auth-1000")
    pair.register()
    pair.challenge()
    assert proves(pair.request, user="auth-1000")


def test_an_escaped_user_of_the_uri_proves_itself_unescaped(make_pair: MakePair) -> None:
    pair = make_pair(uri="sips:al%20ice@pbx.example.com")
    pair.register()
    pair.challenge()
    assert proves(pair.request, user="al ice")
    assert "<sips:al%20ice@" in (pair.request.first("contact") or "")


def test_a_fresh_nonce_that_was_answered_at_once_and_challenged_again_means_wrong_credentials(
    make_pair: MakePair,
) -> None:
    pair = make_pair()
    pair.register()
    pair.challenge(nonce="one")
    pair.challenge(nonce="two")
    error = failure(pair).error
    assert isinstance(error, CredentialsRefused)
    assert error.status == 401
    assert "the registrar at pbx.example.com:5061 refused user name 'alice' or its password" in error.what
    assert "realm 'realm'" in error.what
    assert error.fix == "check the user name of the credentials and the password"
    assert failure(pair).retry_in is None
    assert len(pair.requests) == 2


def test_wrong_credentials_at_a_proxy_name_the_proxy(make_pair: MakePair) -> None:
    pair = make_pair()
    pair.register()
    pair.challenge(407, nonce="one")
    pair.challenge(407, nonce="two")
    error = failure(pair).error
    assert isinstance(error, CredentialsRefused)
    assert "the proxy at " in error.what


def test_credentials_without_a_password_are_refused_with_that_as_the_remedy(make_pair: MakePair) -> None:
    pair = make_pair(password="")
    pair.register()
    pair.challenge(nonce="one")
    pair.challenge(nonce="two")
    assert failure(pair).error.fix == "give the account its password: it has none"


def test_a_nonce_that_the_server_calls_stale_is_replaced_by_the_new_one(make_pair: MakePair) -> None:
    pair = make_pair()
    pair.register()
    pair.challenge(nonce="one")
    pair.challenge(nonce="two", stale=True)
    assert credentials(pair.request).nonce == "two"
    assert credentials(pair.request).nc == "00000001"
    assert proves(pair.request)
    pair.answer(200, expires=600)
    assert standing(pair) is State.REGISTERED


def test_a_server_that_calls_every_nonce_stale_is_asked_no_more_than_the_limit(make_pair: MakePair) -> None:
    pair = make_pair()
    pair.register()
    for number in range(MAX_ROUNDS):
        pair.challenge(nonce=f"nonce{number}", stale=True)
    assert len(pair.requests) == MAX_ROUNDS
    error = failure(pair).error
    assert isinstance(error, Refused)
    assert "it is not satisfied after 6 requests" in error.what
    assert failure(pair).retry_in is None


def test_a_refresh_uses_the_nonce_again_and_counts_its_uses(make_pair: MakePair) -> None:
    pair = make_pair()
    pair.register()
    pair.challenge()
    pair.answer(200, expires=600)
    for count in (2, 3, 4):
        requests = len(pair.requests)
        while len(pair.requests) == requests:
            pair.wait_for_timer()
        assert len(pair.requests) == requests + 1
        assert credentials(pair.request).nonce == "nonce"
        assert credentials(pair.request).nc == f"{count:08x}"
        assert proves(pair.request)
        pair.answer(200, expires=600)
        assert bound(pair).challenge_ms is None


def test_an_aged_nonce_that_is_challenged_without_stale_is_no_refusal(make_pair: MakePair) -> None:
    pair = make_pair()
    pair.register()
    pair.challenge(nonce="one")
    pair.answer(200, expires=600)
    pair.wait_for_request()
    # Kamailio says nothing of stale here.
    pair.challenge(nonce="two")
    assert credentials(pair.request).nonce == "two"
    assert proves(pair.request)
    pair.answer(200, expires=600)
    assert bound(pair).refreshed


def test_a_password_that_was_changed_at_the_server_is_refused_at_the_second_challenge(make_pair: MakePair) -> None:
    pair = make_pair()
    pair.register()
    pair.challenge(nonce="one")
    pair.answer(200, expires=600)
    pair.wait_for_request()
    pair.challenge(nonce="two")
    pair.challenge(nonce="three")
    assert isinstance(failure(pair).error, CredentialsRefused)


def test_after_a_refusal_the_next_wish_begins_without_credentials(make_pair: MakePair) -> None:
    pair = make_pair()
    pair.register()
    pair.challenge(nonce="one")
    pair.challenge(nonce="two")
    pair.register()
    assert pair.request.first("authorization") is None
    pair.challenge(nonce="three")
    assert proves(pair.request)
    pair.answer(200, expires=600)
    assert standing(pair) is State.REGISTERED


@pytest.mark.parametrize(
    ("status", "field"), [(401, "Authentication-Info"), (407, "Proxy-Authentication-Info")], ids=["registrar", "proxy"]
)
def test_the_next_nonce_of_authentication_info_is_used_by_the_next_request(
    make_pair: MakePair, status: int, field: str
) -> None:
    pair = make_pair()
    pair.register()
    pair.challenge(status, nonce="one")
    pair.answer(200, headers=[(field, 'nextnonce="two"')], expires=600)
    pair.wait_for_request()
    credentials_field = "authorization" if status == 401 else "proxy-authorization"
    assert credentials(pair.request, credentials_field).nonce == "two"
    assert credentials(pair.request, credentials_field).nc == "00000001"
    assert proves(pair.request, credentials_field)


def test_a_next_nonce_that_aged_until_the_refresh_is_no_refusal(make_pair: MakePair) -> None:
    pair = make_pair()
    pair.register()
    pair.challenge(nonce="one")
    pair.answer(200, headers=[("Authentication-Info", 'nextnonce="two"')], expires=600)
    pair.wait_for_request()
    pair.challenge(nonce="three")
    assert credentials(pair.request).nonce == "three"


@pytest.mark.parametrize(
    "info", ["rspauth", 'nextnonce="', "", 'qop=auth, rspauth="00", cnonce="x", nc=00000001'], ids=repr
)
def test_an_authentication_info_that_names_no_nonce_leaves_success_and_nonce_as_they_are(
    make_pair: MakePair, info: str
) -> None:
    pair = make_pair()
    pair.register()
    pair.challenge(nonce="one")
    pair.answer(200, headers=[("Authentication-Info", info)], expires=600)
    assert standing(pair) is State.REGISTERED
    pair.wait_for_request()
    assert credentials(pair.request).nonce == "one"


def test_an_authentication_info_without_credentials_of_ours_is_ignored(make_pair: MakePair) -> None:
    pair = make_pair()
    pair.register()
    pair.answer(200, headers=[("Authentication-Info", 'nextnonce="two"')], expires=600)
    assert standing(pair) is State.REGISTERED


def test_sha256_alone_is_answered(make_pair: MakePair) -> None:
    pair = make_pair()
    pair.register()
    pair.challenge(401, Challenge.build("realm", "n", algorithm="SHA-256"))
    assert credentials(pair.request).algorithm == "SHA-256"
    assert proves(pair.request)


def test_of_several_challenges_the_strongest_known_one_is_answered(make_pair: MakePair) -> None:
    pair = make_pair()
    pair.register()
    pair.challenge(
        401,
        Challenge.build("realm", "a", algorithm="MD5"),
        Challenge.build("realm", "b", algorithm="SHA-3"),
        Challenge.build("realm", "c", algorithm="SHA-256"),
    )
    assert credentials(pair.request).nonce == "c"
    assert proves(pair.request)


@pytest.mark.parametrize(
    ("challenges", "named"),
    [
        ([Challenge.build("r", "n", algorithm="SHA-3")], "it asks for SHA-3 with qop auth"),
        ([Challenge.build("r", "n", algorithm="MD5", qop=("auth-conf",))], "it asks for MD5 with qop auth-conf"),
        ([Challenge.build("r", "n", algorithm="X", qop=()), Challenge.build("r", "n", algorithm="Y", qop=())], "X, Y"),
    ],
)
def test_challenges_of_unknown_kinds_only_are_refused_and_named(
    make_pair: MakePair, challenges: list[Challenge], named: str
) -> None:
    pair = make_pair()
    pair.register()
    pair.challenge(401, *challenges)
    assert named in failure(pair).error.what
    assert "SHA-256" in failure(pair).error.fix
    assert failure(pair).retry_in is None


@pytest.mark.parametrize("headers", [[], [("WWW-Authenticate", "Bearer realm=x")]], ids=["none", "Bearer"])
def test_a_challenge_without_digest_is_refused(make_pair: MakePair, headers: list[tuple[str, str]]) -> None:
    pair = make_pair()
    pair.register()
    pair.answer(401, headers=headers)
    assert "it asks for no Digest" in failure(pair).error.what


def test_a_challenge_that_cannot_be_read_is_tried_again_later(make_pair: MakePair) -> None:
    pair = make_pair()
    pair.register()
    pair.answer(401, headers=[("WWW-Authenticate", 'Digest realm="x')])
    assert "the answer cannot be read" in failure(pair).error.what
    assert failure(pair).retry_in is not None
