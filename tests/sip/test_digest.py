"""Digest: vectors of the RFCs and of other stacks, both sides of the arithmetic, and what servers send that is odd."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sipsua.errors import BadConfiguration, MalformedMessage, Misuse
from sipsua.sip.digest import (
    AUTHORIZATION_ORDER,
    Challenge,
    Credentials,
    DigestClient,
    expected_response,
    hash_a1,
    hash_username,
    strongest,
    verify,
)

DATA = json.loads((Path(__file__).parents[1] / "data/digest/vectors.json").read_text(encoding="utf-8"))
VECTORS: list[dict[str, Any]] = [
    vector | {"response": vector.get("computed_response", vector["response"])}
    for vector in DATA["response"]
    if vector["checked"] or "computed_response" in vector
]
PLAIN = Challenge("example.com", "n0nce", qop=("auth",))


def answering(challenge: Challenge, *, username: str = "alice", password: str = "secret") -> DigestClient:
    client = DigestClient(username, password)
    client.answer(challenge)
    return client


def register(client: DigestClient, cnonce: str = "c0ffee") -> str:
    return client.authorize("REGISTER", "sip:example.com", b"", cnonce)


# The arithmetic


SENDABLE = [vector for vector in VECTORS if len(vector.get("nc", "00000001")) == 8]
"""A nonce count of nine digits can be received, but is never sent."""


@pytest.mark.parametrize("vector", SENDABLE, ids=lambda vector: str(vector["source"]))
def test_client_comes_to_the_response_of_the_vector(vector: dict[str, Any]) -> None:
    challenge = Challenge.build(
        vector["realm"],
        vector["nonce"],
        algorithm=vector.get("algorithm"),
        qop=(vector["qop"],) if "qop" in vector else (),
        opaque=vector.get("opaque"),
    )
    client = answering(challenge, username=vector["username"], password=vector["password"])
    body = vector.get("body", "").encode()
    sent = Credentials.parse(client.authorize(vector["method"], vector["uri"], body, vector.get("cnonce", "unused")))
    assert sent.response == vector["response"]
    assert (sent.username, sent.realm, sent.nonce, sent.uri) == tuple(
        vector[name] for name in ("username", "realm", "nonce", "uri")
    )
    assert (sent.algorithm, sent.opaque, sent.qop, sent.nc, sent.cnonce) == tuple(
        vector.get(name) for name in ("algorithm", "opaque", "qop", "nc", "cnonce")
    )


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: str(vector["source"]))
def test_server_accepts_the_response_of_the_vector_and_no_other(vector: dict[str, Any]) -> None:
    def quoted(text: str) -> str:
        return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'

    fields = [
        f"{name}={vector[name] if name in ('qop', 'nc', 'algorithm') else quoted(vector[name])}"
        for name in AUTHORIZATION_ORDER
        if name in vector and name != "userhash"
    ]
    credentials = Credentials.parse("Digest " + ", ".join(fields))
    a1 = hash_a1(vector.get("algorithm"), vector["username"], vector["realm"], vector["password"])
    body = vector.get("body", "").encode()
    assert verify(credentials, a1, vector["method"], body)
    assert verify(credentials._replace(response=credentials.response.upper()), a1, vector["method"], body)
    assert not verify(credentials, a1, "OPTIONS", body)
    assert not verify(credentials._replace(response=""), a1, vector["method"], body)
    assert not verify(credentials._replace(response="ä" * 32), a1, vector["method"], body)
    wrong = hash_a1(vector.get("algorithm"), vector["username"], vector["realm"], vector["password"] + "x")
    assert not verify(credentials, wrong, vector["method"], body)


@pytest.mark.parametrize("vector", DATA["ha1"], ids=lambda vector: str(vector["realm"]))
def test_hash_of_a1_is_that_of_the_vector(vector: dict[str, str]) -> None:
    for algorithm in ("MD5", "SHA-256", "SHA-512-256"):
        if algorithm in vector:
            ours = hash_a1(algorithm, vector["username"], vector["realm"], vector["password"])
            assert ours == vector[algorithm]
            assert hash_a1(algorithm + "-sess", vector["username"], vector["realm"], vector["password"]) == ours


def test_userhash_is_that_of_the_vector_and_sent_when_asked_for() -> None:
    vector = next(vector for vector in DATA["response"] if "computed_userhash" in vector)
    challenge = Challenge.build(vector["realm"], vector["nonce"], algorithm="SHA-512-256", userhash=True)
    client = answering(challenge, username=vector["username"], password=vector["password"])
    sent = client.authorize("GET", vector["uri"], b"", vector["cnonce"])
    assert sent.endswith(", userhash=true")
    credentials = Credentials.parse(sent)
    assert credentials.userhash
    assert credentials.username == vector["computed_userhash"]
    assert hash_username("SHA-512-256", vector["username"], vector["realm"]) == vector["computed_userhash"]
    assert credentials.response == vector["computed_response"]


def test_persona_without_userhash_sends_the_plain_name() -> None:
    client = DigestClient("alice", "secret", order=[name for name in AUTHORIZATION_ORDER if name != "userhash"])
    client.answer(PLAIN._replace(userhash=True))
    assert 'username="alice"' in register(client)
    assert "userhash" not in register(client)


@pytest.mark.parametrize("algorithm", [None, "MD5", "md5-SESS", "SHA-256", "SHA-256-sess", "SHA-512-256-sess"])
@pytest.mark.parametrize("qop", [(), ("auth",), ("auth-int",), ("auth-int", "auth"), ("auth-conf", "auth-int")])
@pytest.mark.parametrize(("username", "password"), [("alice", ""), ('a"b\\c%s', 'p"\\%:ä'), ("Jäsøn Doe", "\x00\n")])
def test_server_accepts_what_the_client_sends(
    algorithm: str | None, qop: tuple[str, ...], username: str, password: str
) -> None:
    challenge = Challenge.build('re"al\\m %d', 'n"\\%', algorithm=algorithm, qop=qop, opaque='o"')
    client = answering(challenge, username=username, password=password)
    a1 = hash_a1(algorithm, username, 're"al\\m %d', password)
    for count, cnonce in enumerate(("one", "two", "three"), 1):
        credentials = Credentials.parse(client.authorize("INVITE", "sip:%25b@example.com", b"v=0\r\n", cnonce))
        assert verify(credentials, a1, "INVITE", b"v=0\r\n")
        assert verify(credentials, a1, "INVITE", b"") == (credentials.qop != "auth-int")
        assert (credentials.username, credentials.opaque) == (username, 'o"')
        assert credentials.nc == (f"{count:08x}" if credentials.qop else None)


def test_session_algorithm_keeps_its_first_cnonce_and_its_key_over_nextnonce() -> None:
    client = answering(PLAIN._replace(algorithm="MD5-sess"))
    a1 = hash_a1("MD5", "alice", "example.com", "secret")
    first, second = Credentials.parse(register(client, "one")), Credentials.parse(register(client, "two"))
    assert (first.cnonce, second.cnonce) == ("one", "one")
    session_key = hash_a1("MD5", a1, "n0nce", "one")  # H(H(A1):nonce:cnonce) has the shape of any A1
    assert client.next_nonce('nextnonce="n3xt"')
    third = Credentials.parse(register(client, "three"))
    assert (third.nonce, third.nc, third.cnonce) == ("n3xt", "00000001", "one")
    assert verify(third._replace(algorithm="MD5"), session_key, "REGISTER", b"")
    client.answer(PLAIN._replace(algorithm="MD5-sess", nonce="again"))
    assert Credentials.parse(register(client, "four")).cnonce == "four"


def test_session_algorithm_without_qop_is_answered_with_auth() -> None:
    assert "qop=auth," in register(answering(PLAIN._replace(algorithm="SHA-256-sess", qop=())))


# What the client writes


def test_authorization_value_names_its_parameters_in_the_order_of_phones() -> None:
    challenge = Challenge.parse('Digest realm="r", nonce="n", algorithm=MD5, qop="auth", opaque="o"')
    client = answering(challenge, username="1000")
    assert re.fullmatch(
        r'Digest username="1000", realm="r", nonce="n", uri="sip:example.com", response="[0-9a-f]{32}", algorithm=MD5, '
        r'cnonce="c0ffee", opaque="o", qop=auth, nc=00000001',
        register(client),
    )
    assert register(client).endswith("nc=00000002")


def test_authorization_for_an_old_server_has_no_qop_nc_and_cnonce() -> None:
    sent = register(answering(Challenge.parse('Digest realm="r", nonce="n"')))
    assert re.fullmatch(r'Digest username="alice", realm="r", nonce="n", uri="sip:example.com", response="\w+"', sent)


def test_order_of_another_persona_is_followed() -> None:
    order = ("nc", "qop", "opaque", "cnonce", "algorithm", "response", "uri", "nonce", "realm", "username")
    client = DigestClient("alice", "secret", order=order)
    client.answer(PLAIN._replace(algorithm="MD5", opaque=""))
    assert re.findall(r"(\w+)=", register(client)) == list(order)


@pytest.mark.parametrize("order", [("username",), (*AUTHORIZATION_ORDER, "charset")])
def test_order_with_other_parameters_is_refused(order: tuple[str, ...]) -> None:
    with pytest.raises(BadConfiguration):
        DigestClient("alice", "secret", order=order)


def test_realm_nonce_and_opaque_go_back_as_they_came() -> None:
    challenge = Challenge.parse(r'Digest realm="a\b \"c\" \\ ä, d", nonce="x=+/\y%s"')
    sent = register(answering(challenge))
    assert r'realm="a\b \"c\" \\ ä, d", nonce="x=+/\y%s"' in sent
    assert Credentials.parse(sent).realm == 'ab "c" \\ ä, d'
    a1 = hash_a1(None, "alice", 'ab "c" \\ ä, d', "secret")
    assert verify(Credentials.parse(sent), a1, "REGISTER", b"")


@pytest.mark.parametrize(
    "other",
    [
        PLAIN._replace(nonce="%s\\\\"),
        PLAIN._replace(nonce="other", stale=True),
        PLAIN._replace(realm="elsewhere"),
        PLAIN._replace(algorithm="MD5"),
        PLAIN._replace(algorithm="SHA-256"),
        PLAIN._replace(algorithm="MD5-sess"),
        PLAIN._replace(qop=()),
        PLAIN._replace(qop=("auth-int",)),
        PLAIN._replace(opaque="%(nc)s"),
        PLAIN._replace(opaque=""),
        PLAIN._replace(userhash=True),
    ],
)
def test_a_client_answers_each_new_challenge_as_one_that_knew_no_other(other: Challenge) -> None:
    client = answering(PLAIN)
    for challenge in (PLAIN, other, PLAIN, other, other):
        client.answer(challenge)
        assert register(client) == register(answering(challenge))
        assert client.authorize("REGISTER", "sip:b", b"", "1") != register(client, "1")


def test_password_is_in_no_repr() -> None:
    client = answering(PLAIN, password="hunter2")
    register(client)
    assert "hunter2" not in repr(client)
    assert repr(client) == "DigestClient(username='alice')"


@pytest.mark.parametrize("username", ["a\r\nX: y", "a\0", "\x7f"])
def test_user_name_with_control_characters_is_refused(username: str) -> None:
    with pytest.raises(BadConfiguration):
        DigestClient(username, "secret")


@pytest.mark.parametrize(("username", "password"), [("a\ud800", "secret"), ("alice", "secret\ud800")])
def test_text_without_a_utf8_form_is_refused_without_showing_it(username: str, password: str) -> None:
    with pytest.raises(BadConfiguration) as caught:
        DigestClient(username, password)
    assert "secret" not in str(caught.value)


def test_client_without_a_challenge_says_so() -> None:
    client = DigestClient("alice", "secret")
    assert client.challenge is None
    with pytest.raises(Misuse):
        register(client)
    with pytest.raises(Misuse):
        client.next_nonce('nextnonce="x"')


@pytest.mark.parametrize("challenge", [PLAIN._replace(algorithm="SHA-3"), PLAIN._replace(qop=("auth-conf",))])
def test_challenge_that_is_not_known_cannot_be_answered(challenge: Challenge) -> None:
    assert not challenge.is_known
    with pytest.raises(Misuse):
        DigestClient("alice", "secret").answer(challenge)
    with pytest.raises(Misuse):
        hash_a1("SHA-3", "a", "b", "c")


# Refused or stale


def test_challenge_to_a_request_without_credentials_is_no_refusal() -> None:
    assert not DigestClient("alice", "secret").is_refusal(PLAIN, None)


def test_new_challenge_after_a_fresh_nonce_is_a_refusal() -> None:
    client = answering(PLAIN)
    sent = register(client)
    assert client.is_refusal(PLAIN._replace(nonce="other"), sent)
    assert client.is_refusal(PLAIN, sent)


def test_stale_is_no_refusal() -> None:
    client = answering(PLAIN)
    assert not client.is_refusal(PLAIN._replace(nonce="other", stale=True), register(client))


@pytest.mark.parametrize("qop", [("auth",), ()])
def test_new_nonce_without_stale_after_a_reused_nonce_allows_one_retry(qop: tuple[str, ...]) -> None:
    client = answering(PLAIN._replace(qop=qop))
    register(client)
    sent = register(client)
    fresh = PLAIN._replace(qop=qop, nonce="other")
    assert not client.is_refusal(fresh, sent)
    client.answer(fresh)
    assert client.is_refusal(PLAIN._replace(nonce="third"), register(client))


def test_same_nonce_again_after_a_reused_nonce_is_a_refusal() -> None:
    client = answering(PLAIN)
    register(client)
    assert client.is_refusal(PLAIN, register(client))


def test_two_requests_that_reused_one_nonce_are_both_no_refusal() -> None:
    client = answering(PLAIN)
    register(client)
    one, two = register(client), register(client)
    assert not client.is_refusal(PLAIN._replace(nonce="for-one"), one)
    client.answer(PLAIN._replace(nonce="for-one"))
    register(client)
    assert not client.is_refusal(PLAIN._replace(nonce="for-two"), two)


def test_outdated_nextnonce_is_no_refusal() -> None:
    client = answering(PLAIN)
    register(client)
    assert client.next_nonce('qop=auth, nextnonce="later", nc=00000001')
    sent = register(client)
    assert 'nonce="later"' in sent
    assert sent.endswith("nc=00000001")
    assert not client.is_refusal(PLAIN._replace(nonce="other"), sent)


def test_a_refusal_is_told_by_the_value_that_was_sent_whatever_was_adopted_since() -> None:
    client = answering(PLAIN)
    sent = register(client)
    client.answer(PLAIN._replace(nonce="other"))
    assert client.is_refusal(PLAIN._replace(nonce="third"), sent)
    register(client)
    assert client.is_refusal(PLAIN, sent)


def test_challenge_of_another_realm_is_no_refusal() -> None:
    client = answering(PLAIN)
    assert not client.is_refusal(PLAIN._replace(realm="proxy", nonce="other"), register(client))


def test_authentication_info_without_nextnonce_changes_nothing() -> None:
    client = answering(PLAIN)
    register(client)
    assert not client.next_nonce("qop=auth")
    assert register(client).endswith("nc=00000002")


# The server proves itself


@pytest.mark.parametrize("algorithm", ["MD5", "SHA-256", "MD5-sess"])
@pytest.mark.parametrize("qop", [(), ("auth",), ("auth-int",)])
def test_rspauth_proves_the_server(algorithm: str, qop: tuple[str, ...]) -> None:
    client = answering(PLAIN._replace(algorithm=algorithm, qop=qop))
    sent = register(client)
    a1 = hash_a1(algorithm, "alice", "example.com", "secret")
    proof = expected_response(Credentials.parse(sent), a1, "", b"body")
    info = f'rspauth="{proof}", nextnonce="other"'
    assert client.verify_rspauth(info, sent, b"body")
    client.next_nonce(info)
    assert client.verify_rspauth(info, sent, b"body"), "nextnonce does not end the session"
    client.answer(PLAIN._replace(nonce="another"))
    assert client.verify_rspauth(info, sent, b"body"), "a request that was under way when a new challenge came"
    assert not client.verify_rspauth(f'rspauth="{"0" * len(proof)}"', sent, b"body")
    assert not client.verify_rspauth('nextnonce="other"', sent, b"body")
    assert not client.verify_rspauth(f'{info}, cnonce="not ours"', sent, b"body")
    assert not client.verify_rspauth(f"{info}, nc=00000007", sent, b"body")
    assert client.verify_rspauth(info, sent, b"changed") == (qop != ("auth-int",))


# What the servers send


def test_challenge_with_all_parameters() -> None:
    challenge = Challenge.parse(
        'DIGEST Realm="a, \\"b\\"",NONCE="dGVzdA==+/",qop="auth,auth-int" , algorithm=SHA-256, stale=TRUE, opaque="",'
        ' domain="sip:a sip:b", userhash=true, charset=UTF-8, x-new="1,2"'
    )
    assert challenge == Challenge(
        'a, \\"b\\"', "dGVzdA==+/", "SHA-256", ("auth", "auth-int"), "", True, "sip:a sip:b", True
    )
    assert challenge.is_known


def test_tokens_without_quotes_and_quotes_around_tokens_are_taken() -> None:
    challenge = Challenge.parse(
        'Digest realm=asterisk, nonce=dGVzdA==, algorithm="MD5", qop=auth, stale="true", opaque='
    )
    assert challenge == Challenge("asterisk", "dGVzdA==", "MD5", ("auth",), "", True)


@pytest.mark.parametrize(
    ("plain", "odd"),
    [
        ('Digest realm="r", nonce="n="', 'digest realm="r", nonce="n=",'),
        ('Digest realm="",nonce="n,m",QOP="auth"', 'Digest  realm = "", nonce="n,m" , qop="auth"'),
        (
            "Digest realm=r, nonce=a==, stale=TRUE, Algorithm=MD5",
            'DIGEST realm="r", nonce="a==", stale=TRUE, algorithm=MD5',
        ),
    ],
)
def test_a_plain_challenge_is_read_as_one_that_is_written_oddly(plain: str, odd: str) -> None:
    assert Challenge.parse(plain) == Challenge.parse(odd)


def test_backslash_in_a_token_without_quotes_stays_a_backslash() -> None:
    challenge = Challenge.parse("Digest realm=a\\, nonce=n")
    assert 'realm="a\\\\", nonce' in register(answering(challenge))


def test_blanks_around_equals_signs_and_commas_are_taken() -> None:
    assert Challenge.parse('  Digest\trealm = "r" ,, nonce ="n" , ') == Challenge("r", "n")


def test_several_challenges_and_schemes_in_one_value_are_told_apart() -> None:
    values = [
        'Digest realm="a", nonce="1", algorithm=MD5, Digest realm="a", nonce="1", algorithm=SHA-256',
        'Basic realm="x", Digest realm="b", nonce="2", NTLM, Negotiate YII/abc+==',
        'Digest realm="c", nonce="3", algorithm=SHA-512-256',
    ]
    found = Challenge.parse_all(values)
    assert [(challenge.realm, challenge.algorithm) for challenge in found] == [
        ("a", "MD5"),
        ("a", "SHA-256"),
        ("b", None),
        ("c", "SHA-512-256"),
    ]
    assert strongest(found) is found[3]
    assert strongest(found[:3]) is found[1]
    assert Challenge.parse(values[1]).realm == "b"


def test_strongest_passes_by_what_it_does_not_know_and_takes_the_topmost_of_equals() -> None:
    unknown = [PLAIN._replace(algorithm="SHA-999"), PLAIN._replace(qop=("auth-conf",)), PLAIN._replace(algorithm="")]
    equal = [PLAIN._replace(algorithm="md5"), PLAIN, PLAIN._replace(algorithm="MD5-sess")]
    assert strongest([*unknown, *equal]) is equal[0]
    assert strongest(unknown) is None
    assert strongest([]) is None


@pytest.mark.parametrize(
    "value",
    [
        "",
        " , ",
        "Digest",
        "Digest ",
        "Basic",
        'Basic realm="x"',
        'realm="x", nonce="n"',
        'Digest realm="x"',
        'Digest nonce="x"',
        'Digest realm="x, nonce="n"',
        'Digest realm="x", nonce="n',
        'Digest realm="x" nonce="n"',
        'Digest realm="x", nonce="n", realm="y"',
        'Digest realm="x", nonce="n\\"',
        'Digest realm="x\r\nVia: y", nonce="n"',
        'Digest realm="x\0", nonce="n"',
        "Digest realm=a b, nonce=n",
        'Digest ="x", nonce="n"',
    ],
)
def test_broken_challenge_is_malformed(value: str) -> None:
    with pytest.raises(MalformedMessage):
        Challenge.parse(value)


@pytest.mark.parametrize(
    "value",
    [
        "",
        "Basic dXNlcjpwYXNz",
        'Digest username="a"',
        'Digest username="a", realm="r", nonce="n", uri="u"',
        'Digest username="a", realm="r", nonce="n", uri="u", response="0", qop=auth, nc=00000001',
        'Digest username="a", realm="r", nonce="n", uri="u", response="0", qop=auth, cnonce="c"',
    ],
)
def test_broken_credentials_are_malformed(value: str) -> None:
    with pytest.raises(MalformedMessage):
        Credentials.parse(value)


@pytest.mark.parametrize("extra", [", algorithm=SHA-3", ', qop=auth-conf, nc=00000001, cnonce="c"'])
def test_credentials_of_an_unknown_kind_prove_nothing(extra: str) -> None:
    credentials = Credentials.parse('Digest username="a", realm="r", nonce="n", uri="u", response="0"' + extra)
    assert not verify(credentials, hash_a1(None, "a", "r", "p"), "REGISTER", b"")


TEXT = st.text(
    st.characters(codec="utf-8", exclude_characters="\r\n\0") | st.just("\udcff")
)  # and a byte that is no UTF-8


@given(
    TEXT,
    TEXT,
    st.sampled_from([None, "MD5", "SHA-256-sess", "token"]),
    st.sampled_from([(), ("auth",), ("auth", "auth-int")]),
    st.none() | TEXT,
    st.booleans(),
    st.booleans(),
)
@example('"', "\\", None, (), None, False, False)
def test_challenge_survives_being_written_and_read(
    realm: str, nonce: str, algorithm: str | None, qop: tuple[str, ...], opaque: str | None, stale: bool, userhash: bool
) -> None:
    challenge = Challenge.build(
        realm, nonce, algorithm=algorithm, qop=qop, opaque=opaque, stale=stale, userhash=userhash
    )
    assert Challenge.parse(str(challenge)) == challenge
    both = f"{challenge}, {challenge}"
    assert Challenge.parse_all([both]) == [challenge, challenge]
    if challenge.is_known:
        credentials = Credentials.parse(register(answering(challenge)))
        assert (credentials.realm, credentials.nonce, credentials.opaque) == (realm, nonce, opaque)
        assert (
            verify(credentials, hash_a1(algorithm, "alice", realm, "secret"), "REGISTER", b"") != userhash or userhash
        )


WHOLE = (
    'Digest realm="a, \\"b\\"", nonce="dGVzdA==+/", qop="auth,auth-int", algorithm=MD5, stale=true, opaque="o", '
    'username="u", uri="sip:x", response="0123", nc=00000001, cnonce="c", rspauth="0", nextnonce="n"'
)


@given(st.lists(st.tuples(st.integers(0, len(WHOLE)), st.integers(0, 9), st.text('Digest =",\\\r\n\0äx', max_size=4))))
def test_mutated_values_raise_nothing_but_malformed(cuts: list[tuple[int, int, str]]) -> None:
    value = WHOLE
    for start, length, replacement in cuts:
        value = value[:start] + replacement + value[start + length :]
    client = answering(PLAIN)
    sent = register(client)
    for use in (
        lambda: register(answering(strongest(Challenge.parse_all([value])) or PLAIN)),
        lambda: verify(Credentials.parse(value), "00", "REGISTER", b""),
        lambda: client.verify_rspauth(value, sent, b""),
        lambda: client.is_refusal(PLAIN, value),
        lambda: client.next_nonce(value),
    ):
        try:
            use()
        except MalformedMessage:
            pass
