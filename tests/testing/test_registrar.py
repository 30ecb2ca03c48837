"""The registrar, with a clock that is turned by hand: what it answers to whom, and what is bound for how long."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Unpack

import pytest

from sipsua.errors import BadConfiguration, Misuse
from sipsua.sip.digest import Challenge, Credentials, DigestClient, expected_response, hash_a1
from sipsua.sip.message import Request, Response, parse_message
from sipsua.testing.registrar import MAX_BINDINGS, Login, Registrar, Settings, UnknownUser, Users, users_in

URI = "sips:127.0.0.1:5061"
CONTACT = "<sips:1000@127.0.0.1:40001>"


class Phone:
    """A phone of the pocket: it counts CSeq, and answers the challenge that it saw last."""

    def __init__(self, registrar: Registrar, user: str = "1000", password: str = "secret", login: str = "") -> None:
        self.registrar = registrar
        self.user = user
        self.digest = DigestClient(login or user, password)
        self.call_id = f"call-{user}"
        self.cseq = 0
        self.flow: object = self
        self.fields: list[tuple[str, str]] = []

    def send(
        self, now: float, contacts: Sequence[str] = (CONTACT,), expires: str | None = None, **changes: str
    ) -> Response:
        self.cseq += 1
        headers = [
            ("Via", "SIP/2.0/TLS 127.0.0.1:40001;branch=z9hG4bK1"),
            ("Max-Forwards", "70"),
            ("From", f"<sips:{self.user}@127.0.0.1>;tag=a"),
            ("To", f"<sips:{self.user}@127.0.0.1>"),
            ("Call-ID", self.call_id),
            ("CSeq", f"{self.cseq} REGISTER"),
            *(("Contact", contact) for contact in contacts),
            *self.fields,
        ]
        if expires is not None:
            headers.append(("Expires", expires))
        if self.digest.challenge is not None:
            headers.append(("Authorization", self.digest.authorize("REGISTER", URI, b"", "cnonce")))
        headers = [(name, changes.get(name.lower().replace("-", "_"), value)) for name, value in headers]
        return self.answer(Request("REGISTER", URI, [header for header in headers if header[1]]), now)

    def answer(self, request: Request, now: float) -> Response:
        response = parse_message(self.registrar.answer(request, now, flow=self.flow))
        assert isinstance(response, Response)
        response.check()
        if response.status == 401:
            self.digest.answer(Challenge.parse(response.required("www-authenticate")))
        return response

    def register(self, now: float, contacts: Sequence[str] = (CONTACT,), expires: str | None = None) -> Response:
        response = self.send(now, contacts, expires)
        return self.send(now, contacts, expires) if response.status == 401 else response


def make(users: Users | None = None, **settings: Unpack[Settings]) -> Registrar:
    return Registrar({"1000": "secret"} if users is None else users, random.Random(1).getrandbits, **settings)


def test_register_without_credentials_is_challenged_and_binds_nothing() -> None:
    registrar = make(realm='the "pocket"')
    response = Phone(registrar).send(0.0)
    challenge = Challenge.parse(response.required("www-authenticate"))
    assert response.status == 401
    assert challenge.realm == r"the \"pocket\""
    assert (challenge.algorithm, challenge.qop, challenge.stale) == ("MD5", ("auth",), False)
    assert registrar.bindings(0.0) == {}


def test_register_with_credentials_binds_the_contact_to_the_flow() -> None:
    registrar = make()
    phone = Phone(registrar)
    response = phone.register(100.0, expires="60")
    assert response.status == 200
    assert response.values("contact") == [f"{CONTACT};expires=60"]
    (binding,) = registrar.bindings(100.0)["1000"]
    assert binding.contact == "sips:1000@127.0.0.1:40001"
    assert binding.expires_at == 160.0
    assert binding.flow is phone


def test_a_binding_ends_with_its_expiry() -> None:
    registrar = make()
    Phone(registrar).register(100.0, expires="60")
    assert "1000" in registrar.bindings(159.9)
    assert registrar.bindings(160.0) == {}


def test_a_binding_ends_with_its_flow_and_others_stay() -> None:
    registrar = make({"1000": "secret", "1001": "secret"})
    one, two = Phone(registrar), Phone(registrar, "1001")
    one.register(0.0)
    two.register(0.0, ["<sips:1001@127.0.0.1:40002>"])
    registrar.close_flow(one)
    registrar.close_flow("a flow that nobody registered on")
    assert list(registrar.bindings(0.0)) == ["1001"]


def test_a_binding_refreshed_through_another_flow_stays_when_the_first_closes() -> None:
    registrar = make()
    phone = Phone(registrar)
    phone.register(0.0)
    phone.flow = "second"
    assert phone.register(1.0).status == 200
    registrar.close_flow(phone)
    assert len(registrar.bindings(1.0)["1000"]) == 1


def test_a_refresh_with_the_same_nonce_needs_no_challenge() -> None:
    registrar = make()
    phone = Phone(registrar)
    phone.register(0.0, expires="60")
    assert phone.send(50.0, expires="60").status == 200
    assert registrar.bindings(50.0)["1000"][0].expires_at == 110.0
    assert registrar.responses == {401: 1, 200: 2}


def test_a_nonce_out_of_time_is_stale() -> None:
    phone = Phone(make(nonce_lifetime=30.0))
    phone.register(0.0)
    assert phone.send(30.0).status == 200
    response = phone.send(30.1)
    assert response.status == 401
    assert Challenge.parse(response.required("www-authenticate")).stale
    assert phone.send(30.1).status == 200


def test_a_nonce_of_another_registrar_is_stale() -> None:
    phone = Phone(make())
    phone.register(0.0)
    phone.registrar = Registrar({"1000": "secret"}, random.Random(2).getrandbits)
    response = phone.send(0.0)
    assert Challenge.parse(response.required("www-authenticate")).stale


def test_a_nonce_used_twice_is_stale_where_each_serves_once() -> None:
    for qop in ("auth", ""):
        phone = Phone(make(reuse_nonces=False, qop=qop))
        phone.register(0.0)
        response = phone.send(1.0)
        assert response.status == 401
        assert Challenge.parse(response.required("www-authenticate")).stale
        assert phone.send(1.0).status == 200


def test_a_nonce_count_that_does_not_rise_is_refused_as_stale() -> None:
    registrar = make()
    phone = Phone(registrar)
    phone.send(0.0)
    credentials = phone.digest.authorize("REGISTER", URI, b"", "cnonce")
    assert phone.send(0.0, authorization=credentials).status == 200
    replayed = phone.send(0.0, authorization=credentials)
    assert replayed.status == 401
    assert Challenge.parse(replayed.required("www-authenticate")).stale


def test_a_wrong_password_is_challenged_with_a_fresh_nonce_that_is_not_stale() -> None:
    registrar = make()
    phone = Phone(registrar, password="wrong")
    first = Challenge.parse(phone.send(0.0).required("www-authenticate"))
    response = phone.send(0.0)
    second = Challenge.parse(response.required("www-authenticate"))
    assert response.status == 401
    assert second.nonce != first.nonce
    assert not second.stale
    assert registrar.bindings(0.0) == {}


def test_another_user_name_in_the_credentials_is_a_wrong_login() -> None:
    registrar = make({"1000": Login("auth-1000", "secret")})
    assert Phone(registrar).register(0.0).status == 401
    assert Phone(registrar, login="auth-1000").register(0.0).status == 200


def test_a_login_does_not_show_its_password() -> None:
    assert "hidden" not in repr(Login("1000", "hidden"))


def test_credentials_for_another_realm_are_challenged() -> None:
    phone = Phone(make(realm="one"))
    phone.digest.answer(Challenge.build("other", "abc", algorithm="MD5"))
    assert phone.send(0.0).status == 401
    assert phone.send(0.0).status == 200


def test_credentials_for_another_uri_are_a_bad_request() -> None:
    phone = Phone(make())
    phone.send(0.0)
    credentials = phone.digest.authorize("REGISTER", "sips:example.com", b"", "cnonce")
    assert phone.send(0.0, authorization=credentials).status == 400


@pytest.mark.parametrize("credentials", ["Digest nonsense", "Basic abc", "Digest"])
def test_credentials_that_cannot_be_read_are_a_bad_request(credentials: str) -> None:
    phone = Phone(make())
    phone.send(0.0)
    assert phone.send(0.0, authorization=credentials).status == 400


@pytest.mark.parametrize("nc", ["1", "+0000001", "0000000g", "000000001"])
def test_a_nonce_count_of_another_form_is_a_bad_request(nc: str) -> None:
    registrar = make(qop=("auth",))
    phone = Phone(registrar)
    phone.send(0.0)
    # The proof has to be right, so the odd count goes through the client's own arithmetic.
    written = phone.digest.authorize("REGISTER", URI, b"", "cnonce")
    credentials = Credentials.parse(written)._replace(nc=nc)
    proof = expected_response(credentials, hash_a1("MD5", "1000", "pocket.pbx", "secret"), "REGISTER", b"")
    written = written.replace("nc=00000001", f"nc={nc}").replace(Credentials.parse(written).response, proof)
    assert phone.send(0.0, authorization=written).status == 400


@pytest.mark.parametrize("algorithm", ["MD5", "MD5-sess", "SHA-256", "SHA-256-sess", "SHA-512-256", "SHA-512-256-sess"])
@pytest.mark.parametrize("qop", ["auth", "auth-int", ("auth", "auth-int")])
def test_each_algorithm_and_qop_registers_and_refreshes(algorithm: str, qop: str | tuple[str, ...]) -> None:
    phone = Phone(make(algorithm=algorithm, qop=qop))
    assert phone.register(0.0).status == 200
    assert phone.send(1.0).status == 200


def test_a_registrar_without_qop_registers_and_lets_the_nonce_be_used_again() -> None:
    phone = Phone(make(qop=()))
    assert phone.register(0.0).status == 200
    assert phone.send(1.0).status == 200


def test_several_algorithms_are_offered_in_their_order_and_each_serves() -> None:
    for number, algorithm in enumerate(("SHA-256", "MD5")):
        phone = Phone(make(algorithm=("SHA-256", "MD5")))
        response = phone.send(0.0)
        challenges = Challenge.parse_all(response.index["www-authenticate"])
        assert [challenge.algorithm for challenge in challenges] == ["SHA-256", "MD5"]
        phone.digest.answer(challenges[number])
        assert phone.digest.challenge == challenges[number]
        assert phone.send(0.0).status == 200, algorithm


def test_an_algorithm_or_qop_that_was_not_offered_proves_nothing() -> None:
    phone = Phone(make(algorithm="SHA-256"))
    challenge = Challenge.parse(phone.send(0.0).required("www-authenticate"))
    phone.digest.answer(challenge._replace(algorithm="MD5"))
    assert phone.send(0.0).status == 401
    phone.digest.answer(challenge._replace(qop=()))
    assert phone.send(0.0).status == 401


def test_an_unknown_user_is_not_found_at_once() -> None:
    assert Phone(make(), "1999").send(0.0).status == 404


def test_an_unknown_user_is_not_found_after_the_challenge() -> None:
    phone = Phone(make(unknown_user=UnknownUser.AFTER_CHALLENGE), "1999")
    assert [phone.send(0.0).status, phone.send(0.0).status] == [401, 404]


def test_an_unknown_user_is_challenged_for_ever() -> None:
    phone = Phone(make(unknown_user=UnknownUser.NEVER), "1999")
    assert [phone.send(0.0).status for _ in range(3)] == [401, 401, 401]


def test_users_may_be_a_function() -> None:
    registrar = make(lambda user: "secret" if user.startswith("1") else None)
    assert Phone(registrar, "1234").register(0.0).status == 200
    assert Phone(registrar, "2234").register(0.0).status == 404


def test_register_too_brief_gets_423_with_the_minimum_and_binds_nothing() -> None:
    registrar = make(min_expires=60)
    phone = Phone(registrar)
    response = phone.register(0.0, [CONTACT, "<sips:1000@127.0.0.1:40002>;expires=59"], "120")
    assert (response.status, response.min_expires) == (423, 60)
    assert registrar.bindings(0.0) == {}
    assert phone.send(0.0, expires="60").status == 200


def test_expires_is_cut_to_the_maximum_and_has_a_default() -> None:
    registrar = make(max_expires=600, default_expires=300)
    phone = Phone(registrar)
    assert phone.register(0.0, expires="86400").values("contact") == [f"{CONTACT};expires=600"]
    assert phone.register(0.0).values("contact") == [f"{CONTACT};expires=300"]
    assert phone.register(0.0, expires="soon").values("contact") == [f"{CONTACT};expires=300"]


def test_several_contacts_each_keep_their_own_expires_and_parameters() -> None:
    registrar = make()
    contacts = [
        '"Desk" <sips:1000@127.0.0.1:1>;expires=60;q=0.5',
        '<sips:1000@127.0.0.1:2>;+sip.instance="<urn:uuid:0>";reg-id=1;ob',
        "sips:1000@127.0.0.1:3;expires=90",
    ]
    phone = Phone(registrar)
    response = phone.register(0.0, [", ".join(contacts[:2]), contacts[2]], "120")
    assert response.values("contact") == [
        "<sips:1000@127.0.0.1:1>;q=0.5;expires=60",
        '<sips:1000@127.0.0.1:2>;+sip.instance="<urn:uuid:0>";reg-id=1;ob;expires=120',
        "<sips:1000@127.0.0.1:3>;expires=90",
    ]
    assert [binding.contact[-1] for binding in registrar.bindings(60.0)["1000"]] == ["2", "3"]
    assert len(phone.send(61.0, []).values("contact")) == 2


def test_a_contact_spelled_otherwise_is_the_same_binding() -> None:
    registrar = make()
    phone = Phone(registrar)
    phone.register(0.0, ["<sips:1000@Phone.example:5061>"])
    phone.register(0.0, ["<sips:%31000@phone.EXAMPLE:5061>"])
    assert [binding.contact for binding in registrar.bindings(0.0)["1000"]] == ["sips:%31000@phone.EXAMPLE:5061"]


def test_expires_0_removes_one_binding_and_says_what_is_left() -> None:
    registrar = make()
    phone = Phone(registrar)
    phone.register(0.0, [CONTACT, "<sips:1000@127.0.0.1:2>"])
    response = phone.send(10.0, [f"{CONTACT};expires=0"])
    assert (response.status, response.values("contact")) == (200, ["<sips:1000@127.0.0.1:2>;expires=3590"])
    response = phone.send(10.0, ["<sips:1000@127.0.0.1:2>"], "0")
    assert (response.status, response.values("contact")) == (200, [])
    assert registrar.bindings(10.0) == {}


def test_expires_0_for_a_contact_that_is_not_bound_is_harmless() -> None:
    assert Phone(make()).register(0.0, expires="0").status == 200


def test_a_star_removes_all_bindings() -> None:
    registrar = make()
    phone = Phone(registrar)
    phone.register(0.0, [CONTACT, "<sips:1000@127.0.0.1:2>"])
    assert phone.send(0.0, ["*"], "0").status == 200
    assert registrar.bindings(0.0) == {}


@pytest.mark.parametrize(("contacts", "expires"), [(["*"], "60"), (["*"], None), (["*", CONTACT], "0")])
def test_a_star_that_is_not_alone_with_expires_0_is_a_bad_request(contacts: list[str], expires: str | None) -> None:
    registrar = make()
    phone = Phone(registrar)
    phone.register(0.0)
    assert phone.send(0.0, contacts, expires).status == 400
    assert len(registrar.bindings(0.0)["1000"]) == 1


@pytest.mark.parametrize("contacts", [[CONTACT], ["*"]])
def test_a_cseq_that_does_not_rise_is_refused_and_changes_nothing(contacts: list[str]) -> None:
    registrar = make()
    phone = Phone(registrar)
    phone.register(0.0, expires="60")
    response = phone.send(10.0, contacts, "0", cseq="2 REGISTER")
    assert response.status == 500
    assert registrar.bindings(10.0)["1000"][0].expires_at == 60.0


def test_a_cseq_of_a_new_call_id_may_begin_again() -> None:
    registrar = make()
    phone = Phone(registrar)
    phone.register(0.0)
    phone.cseq, phone.call_id = 0, "after the phone started again"
    assert phone.send(0.0).status == 200


def test_a_client_that_binds_without_end_is_stopped() -> None:
    registrar = make()
    phone = Phone(registrar)
    statuses = [phone.register(0.0, [f"<sips:1000@127.0.0.1:{port}>"]).status for port in range(1, MAX_BINDINGS + 2)]
    assert statuses == [200] * MAX_BINDINGS + [403]
    assert len(registrar.bindings(0.0)["1000"]) == MAX_BINDINGS


def test_register_that_requires_an_extension_is_told_which() -> None:
    phone = Phone(make())
    phone.fields = [("Require", "gruu, outbound")]
    response = phone.register(0.0)
    assert (response.status, response.tokens("unsupported")) == (420, ["gruu", "outbound"])


@pytest.mark.parametrize(
    "changes",
    [
        {"via": "nonsense"},
        {"contact": "<sips:1000@"},
        {"contact": "<http//nothing>"},
        {"cseq": "7 INVITE"},
        {"max_forwards": "many"},
        {"from": ""},
    ],
)
def test_a_malformed_register_with_good_credentials_is_a_bad_request_with_its_reason(changes: dict[str, str]) -> None:
    registrar = make()
    phone = Phone(registrar)
    phone.send(0.0)
    request = Request("REGISTER", URI)
    phone.cseq += 1
    fields = {
        "via": "SIP/2.0/TLS 127.0.0.1;branch=z9hG4bK1",
        "from": "<sips:1000@a>;tag=a",
        "to": "<sips:1000@a>",
        "call_id": "abc",
        "cseq": "2 REGISTER",
        "contact": CONTACT,
        "max_forwards": "70",
        "authorization": phone.digest.authorize("REGISTER", URI, b"", "cnonce"),
    } | changes
    request.headers = [(name.replace("_", "-"), value) for name, value in fields.items() if value]
    response = registrar.answer(request, 0.0)
    assert response.startswith(b"SIP/2.0 400 Bad Request\r\n")
    assert b'\r\nWarning: 399 pocket.pbx "' in response
    assert registrar.bindings(0.0) == {}


@pytest.mark.parametrize("name", ["via", "from", "to", "call-id", "cseq"])
def test_a_register_that_lacks_a_field_is_a_bad_request_even_without_credentials(name: str) -> None:
    fields = {
        "via": "SIP/2.0/TLS 127.0.0.1;branch=z9hG4bK1",
        "from": "<sips:1000@a>;tag=a",
        "to": "<sips:1000@a>",
        "call-id": "abc",
        "cseq": "2 REGISTER",
    }
    del fields[name]
    assert make().answer(Request("REGISTER", URI, list(fields.items())), 0.0).startswith(b"SIP/2.0 400 ")


def request_of(
    method: str, uri: str = URI, *extra: tuple[str, str], via: str = "SIP/2.0/TLS 127.0.0.1:1;branch=z9hG4bK1"
) -> Request:
    headers = [
        ("Via", via),
        ("From", "<sip:a@b>;tag=1"),
        ("To", "<sip:a@b>"),
        ("Call-ID", "x"),
        ("CSeq", f"1 {method}"),
        *extra,
    ]
    return Request(method, uri, headers)


def test_options_is_answered_with_what_is_taken() -> None:
    response = parse_message(make().answer(request_of("OPTIONS"), 0.0))
    assert isinstance(response, Response)
    assert response.check().status == 200
    assert response.tokens("allow") == ["REGISTER", "OPTIONS"]
    assert response.first("supported") == ""


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (request_of("INVITE"), 405),
        (request_of("SUBSCRIBE"), 405),
        (request_of("DANCE"), 501),
        (request_of("OPTIONS", "tel:+123"), 416),
        (request_of("OPTIONS", URI, ("Require", "100rel")), 420),
        (request_of("OPTIONS", URI, ("Max-Forwards", "x")), 400),
    ],
    ids=["INVITE", "SUBSCRIBE", "DANCE", "tel URI", "Require", "malformed"],
)
def test_other_requests_are_refused_by_the_book(request_: Request, status: int) -> None:
    response = parse_message(make().answer(request_, 0.0))
    assert isinstance(response, Response)
    assert response.check().status == status
    assert (status in (405, 501)) == ("allow" in response.index)


def test_an_ack_has_no_answer() -> None:
    registrar = make()
    assert registrar.answer(request_of("ACK"), 0.0) == b""
    assert registrar.requests == {"ACK": 1}


def test_unknown_methods_are_counted_as_one() -> None:
    registrar = make()
    for number in range(3):
        registrar.answer(request_of(f"DANCE{number}"), 0.0)
    assert registrar.requests == {"unknown": 3}


@pytest.mark.parametrize(
    ("via", "stamped"),
    [
        ("SIP/2.0/TLS 10.0.0.1:1;branch=z9hG4bK1", "SIP/2.0/TLS 10.0.0.1:1;branch=z9hG4bK1"),
        ("SIP/2.0/TLS pc.example;branch=z9hG4bK1", "SIP/2.0/TLS pc.example;branch=z9hG4bK1;received=10.0.0.1"),
        ("SIP/2.0/TLS pc.example;rport;branch=x", "SIP/2.0/TLS pc.example;received=10.0.0.1;rport=999;branch=x"),
        ("SIP/2.0/TLS a;rport, SIP/2.0/TLS b;rport", "SIP/2.0/TLS a;received=10.0.0.1;rport=999, SIP/2.0/TLS b;rport"),
        ("SIP/2.0/TLS a;rport=5", "SIP/2.0/TLS a;rport=5;received=10.0.0.1"),
    ],
)
def test_the_top_via_says_where_the_request_came_from(via: str, stamped: str) -> None:
    response = make().answer(request_of("OPTIONS", via=via), 0.0, source=("10.0.0.1", 999))
    assert f"\r\nVia: {stamped}\r\n".encode() in response


def test_a_to_tag_is_added_only_where_there_is_none() -> None:
    registrar = make()
    assert b"To: <sip:a@b>;tag=" in registrar.answer(request_of("OPTIONS"), 0.0)
    request = request_of("OPTIONS")
    request.headers = [(name, value + ";TAG=mine" if name == "To" else value) for name, value in request.headers]
    assert b"To: <sip:a@b>;TAG=mine\r\n" in registrar.answer(request, 0.0)


def test_respond_answers_whatever_the_test_wants() -> None:
    response = make(server="").respond(request_of("REGISTER"), 503, [("Retry-After", "5")])
    assert response.startswith(b"SIP/2.0 503 Service Unavailable\r\n")
    assert b"\r\nRetry-After: 5\r\nContent-Length: 0\r\n\r\n" in response


def test_settings_that_fit_nothing_are_refused() -> None:
    with pytest.raises(Misuse, match="ROT13"):
        make(algorithm="ROT13")
    with pytest.raises(BadConfiguration, match="auth-max"):
        make(qop="auth-max")
    with pytest.raises(BadConfiguration, match="100 s to 50 s"):
        make(min_expires=100, max_expires=50)


def test_users_in_reads_ranges_and_keeps_leading_zeros() -> None:
    assert list(users_in("1000-1002", "x")) == ["1000", "1001", "1002"]
    assert users_in("7, 098-101", "x") == dict.fromkeys(["7", "098", "099", "100", "101"], "x")


@pytest.mark.parametrize("text", ["", "1000-1099,", "1,,2", "a-b", "5-1", "1-", "1--2"])
def test_users_in_refuses_what_is_no_range(text: str) -> None:
    with pytest.raises(BadConfiguration, match="range of users"):
        users_in(text, "x")


@pytest.mark.parametrize("text", ["1-9999999999", "0-1000000", "0-599999,600000-1199999"])
def test_users_in_refuses_more_than_a_million(text: str) -> None:
    with pytest.raises(BadConfiguration, match="is more than 1000000 users"):
        users_in(text, "x")
