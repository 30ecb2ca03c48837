"""The hub: what any account keeps to, whatever happens to it. No password gets out, no timer spins, nothing that a peer sends raises."""

from __future__ import annotations

import traceback
from collections.abc import Callable

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from sipsua.account.config import AccountConfig, Connection, Pongs, Target
from sipsua.account.persona import GENERIC, YEALINK, Backoff
from sipsua.errors import Misuse, SipsuaError
from sipsua.events import (
    FlowClosed,
    FlowFailed,
    FlowOpened,
    LockChanged,
    MessageDropped,
    Negotiated,
    Registered,
    RegistrationFailed,
    RequestAnswered,
    Unregistered,
)
from sipsua.sip.digest import Challenge
from sipsua.testing.pair import AccountPair, accepted, refused
from tests.account.readings import PASSWORD, to_registered

MakeConfig = Callable[..., AccountConfig]
MakePair = Callable[..., AccountPair]


def test_a_whole_life_is_told_in_order(make_pair: MakePair) -> None:
    pair = make_pair(keep_alive=None)
    pair.register()
    pair.challenge()
    pair.answer(200, expires=600)
    pair.wait_for_request()
    pair.answer(200, expires=600)
    pair.unregister()
    pair.answer(200)
    pair.lose_flow("we left")
    assert [type(event) for event in pair.events] == [
        LockChanged,
        LockChanged,
        FlowOpened,
        Registered,
        Registered,
        Unregistered,
        LockChanged,
        FlowClosed,
    ]


def test_register_while_the_binding_is_being_removed_is_misuse(make_pair: MakePair) -> None:
    pair = make_pair()
    to_registered(pair)
    pair.unregister()
    with pytest.raises(Misuse, match="wait for Unregistered"):
        pair.wish()
    pair.answer(200)
    pair.wish()


def test_a_flow_that_opens_tells_its_verdict_and_timings(make_pair: MakePair) -> None:
    pair = make_pair()
    pair.register()
    event = next(event for event in pair.events if isinstance(event, FlowOpened))
    assert event.verdict is pair.account.verdict
    assert event.timings_ms == {"dns": 1.0, "tcp": 2.0, "tls": 3.0}


def test_a_refused_certificate_leaves_its_verdict_with_the_account(make_pair: MakePair) -> None:
    pair = make_pair()
    pair.wish()
    pair.begin_flow()
    error = refused("pbx.example.com")
    pair.fail_flow(error)
    assert pair.account.verdict is error.verdict
    failed = next(event for event in pair.events if isinstance(event, FlowFailed))
    assert failed.error is error
    last = pair.events[-1]
    assert isinstance(last, RegistrationFailed)
    assert last.error is error


def test_bytes_before_a_flow_and_after_it_are_ignored(make_pair: MakePair) -> None:
    pair = make_pair()
    pair.send(b"rubbish")
    to_registered(pair)
    pair.lose_flow()
    events = len(pair.events)
    pair.send(b"rubbish")
    assert len(pair.events) == events


def test_what_was_not_sent_yet_is_not_sent_on_the_next_flow(make_pair: MakePair) -> None:
    pair = make_pair(keep_alive=None)
    to_registered(pair)
    pair.account.unregister(pair.clock.now)
    pair.lose_flow()
    pair.wire.clear()
    pair.register()
    assert bytes(pair.wire).count(b"REGISTER sips:") == 1


def test_bytes_and_events_are_given_once(make_config: Callable[..., AccountConfig]) -> None:
    pair = AccountPair(make_config())
    pair.register()
    assert pair.account.data_to_send() == b""
    assert pair.account.next_event() is None


def test_an_account_on_a_shared_flow_leaves_stream_and_pings_to_the_trunk(make_pair: MakePair) -> None:
    pair = make_pair(connection=Connection.SHARED, keep_alive=(10.0, 10.0))
    pair.register()
    request = pair.request
    response = pair.answer(200, expires=600)
    assert pair.account.registration.state == "registering"
    pair.account.receive_message(response, pair.clock.now)
    assert pair.account.registration.state == "registered"
    pair.wire.clear()
    pair.wait(100)
    assert bytes(pair.wire) == b""
    assert request.method == "REGISTER"


# No password gets out


def sweep(value: object, seen: set[int] | None = None) -> list[str]:
    """All texts that a value shows: its str and repr, and those of all it holds in public."""
    seen = set() if seen is None else seen
    if id(value) in seen:
        return []
    seen.add(id(value))
    texts = [str(value), repr(value)]
    if isinstance(value, BaseException):
        texts.append("".join(traceback.format_exception(value)))
        texts += [text for name in vars(value) for text in sweep(getattr(value, name), seen)]
    for name in getattr(type(value), "__slots__", ()) if not isinstance(value, (str, bytes, int)) else ():
        if not name.startswith("_") and name not in ("password", "dice"):
            texts += sweep(getattr(value, name, None), seen)
    if isinstance(value, dict):
        texts += [text for pair in value.items() for part in pair for text in sweep(part, seen)]
    elif isinstance(value, (list, tuple, set, frozenset)):
        texts += [text for part in value for text in sweep(part, seen)]
    return texts


@pytest.mark.parametrize("persona", [GENERIC, YEALINK], ids=["generic", "yealink"])
def test_no_password_is_in_any_event_error_repr_or_byte(make_pair: MakePair, persona: object) -> None:
    pair = make_pair(persona=persona, auth_user="auth")
    pair.register()
    pair.challenge(407, Challenge.build("p", "n", algorithm="SHA-256"))
    pair.challenge(401, nonce="one")
    pair.answer(200, headers=[("Authentication-Info", 'nextnonce="x"')], expires=600)
    pair.wait(540)
    pair.challenge(nonce="two")
    pair.challenge(nonce="three")
    pair.wait(60)
    pair.wish()
    pair.challenge()
    pair.answer(503)
    pair.wish()
    pair.answer(404)
    pair.send(b"OPTIONS sips:a@b SIP/2.0\r\nContent-Length: 0\r\n\r\n")
    pair.lose_flow()
    pair.wish()
    pair.begin_flow()
    pair.fail_flow(refused("pbx.example.com"))
    texts = sweep([pair.events, pair.account, pair.account.registration, pair.config, pair.account.lock])
    assert len(texts) > 100
    assert any("auth" in text for text in texts)
    secrets = [PASSWORD, PASSWORD.encode().decode("latin-1"), repr(PASSWORD.encode())[2:-1]]
    assert not [text for text in texts if any(secret in text for secret in secrets)]
    assert PASSWORD.encode() not in pair.wire


# No timer spins


MOVES = [
    "wish",
    "leave",
    "open",
    "fail",
    "lose",
    "ok",
    "401",
    "407",
    "423",
    "302",
    "404",
    "503",
    "ping",
    "pong",
    "half",
    "junk",
    "options",
    "wait",
]


def play(pair: AccountPair, moves: list[tuple[str, float]]) -> None:
    """Let things happen that can happen. `AccountPair` itself looks that no timer is due after it was handled."""
    account = pair.account
    for move, seconds in moves:
        if move == "wish" and account.registration.state != "unregistering":
            pair.wish()
        elif move == "leave":
            pair.unregister()
        elif move == "open" and account.wants_flow and not account.has_flow:
            pair.open_flow()
        elif move == "fail" and account.wants_flow and not account.has_flow:
            pair.begin_flow()
            pair.fail_flow()
        elif not account.has_flow:
            pass
        elif move == "lose":
            pair.lose_flow()
        elif move == "ping":
            pair.send(b"\r\n\r\n")
        elif move == "pong":
            pair.send(b"\r\n")
        elif move == "half":
            pair.send(b"OPTIONS sip:a@b SIP/2.0\r\n")
        elif move == "junk":
            pair.send(b"\x15\x03\x03\x00\x02\x02\x28")
        elif move == "options":
            pair.send(b"OPTIONS sip:a@b SIP/2.0\r\nVia: SIP/2.0/TLS x;branch=z9hG4bK1\r\nContent-Length: 0\r\n\r\n")
        elif pair.requests:
            if move == "ok":
                pair.answer(200, expires=int(seconds))
            elif move in ("401", "407"):
                pair.challenge(int(move), nonce=f"n{seconds}", stale=seconds > 60)
            elif move == "423":
                pair.answer(423, headers=[("Min-Expires", str(int(seconds * 100)))])
            elif move == "302":
                pair.answer(302, headers=[("Contact", f"<sips:s{int(seconds) % 3}.example.com>")])
            elif move == "503":
                pair.answer(503, headers=[("Retry-After", str(int(seconds)))])
            elif move == "404":
                pair.answer(404)
        pair.wait(seconds)
        deadline = account.get_timer()
        assert deadline is None or deadline > pair.clock.now


@given(
    moves=st.lists(
        st.tuples(st.sampled_from(MOVES), st.sampled_from([0.0, 0.0, 1.0, 10.0, 33.0, 100.0, 2000.0])), max_size=25
    ),
    phone=st.booleans(),
    pongs=st.sampled_from(Pongs),
)
@settings(max_examples=150)
def test_whatever_happens_nothing_raises_and_no_timer_that_was_handled_is_still_due(
    make_pair: MakePair, moves: list[tuple[str, float]], phone: bool, pongs: Pongs
) -> None:
    pair = make_pair(persona=YEALINK if phone else GENERIC, pongs=pongs, backoff=None if phone else Backoff(0.5, 20))
    play(pair, [("wish", 0.0), ("open", 0.0), *moves])


@pytest.mark.parametrize("state", ["registering", "registered", "waiting", "leaving"])
def test_handle_timer_before_anything_is_due_does_nothing(make_pair: MakePair, state: str) -> None:
    pair = make_pair()
    pair.register()
    if state == "registered":
        pair.answer(200, expires=600)
    elif state == "waiting":
        pair.answer(503)
    elif state == "leaving":
        pair.unregister()
    before = pair.account.get_timer(), len(pair.events), bytes(pair.wire)
    pair.clock.fire(pair.account)
    pair.pump()
    assert (pair.account.get_timer(), len(pair.events), bytes(pair.wire)) == before


def test_a_loop_that_wakes_late_does_once_what_was_due(make_pair: MakePair) -> None:
    pair = make_pair(keep_alive=(10.0, 10.0))
    pair.register()
    pair.answer(200, expires=600)
    pair.wire.clear()
    pair.clock.advance(100_000)
    pair.clock.fire(pair.account)
    pair.pump()
    assert bytes(pair.wire).count(b"REGISTER sips:") == 1
    assert bytes(pair.wire).count(b"\r\n\r\n") == 2
    deadline = pair.account.get_timer()
    assert deadline is not None
    assert deadline > pair.clock.now


# Nothing that a peer sends raises


REQUEST = (
    b"OPTIONS sips:alice@192.0.2.1:40000 SIP/2.0\r\nVia: SIP/2.0/TLS pbx.example.com:5061;branch=z9hG4bKabc\r\n"
    b'From: "P" <sip:pbx@pbx.example.com>;tag=x\r\nTo: <sips:alice@pbx.example.com>\r\nCall-ID: 1@pbx\r\nCSeq: 1 OPTIONS\r\n'
    b"Max-Forwards: 70\r\nContact: <sip:pbx@pbx.example.com>\r\nRequire: x\r\nContent-Length: 0\r\n\r\n"
)


def mutated(data: bytes, cuts: list[tuple[float, int, bytes]]) -> bytes:
    """The bytes with pieces of them replaced: where (share of the length), how many, by what."""
    for place, length, piece in cuts:
        at = int(place * len(data))
        data = data[:at] + piece + data[at + length :]
    return data


CUTS = st.lists(
    st.tuples(
        st.floats(0, 1),
        st.integers(0, 12),
        st.binary(max_size=6) | st.sampled_from([b"\r\n", b"\n", b"\r", b'"', b"<", b";", b",", b"\x00"]),
    ),
    min_size=1,
    max_size=4,
)


@given(cuts=CUTS)
@example(cuts=[(0.4, 0, b"\n")])
@example(cuts=[(0.4, 0, b"\r")])
@settings(max_examples=200)
def test_a_broken_request_is_answered_or_dropped_and_never_raises(
    make_pair: MakePair, cuts: list[tuple[float, int, bytes]]
) -> None:
    pair = make_pair()
    to_registered(pair)
    pair.send(mutated(REQUEST, cuts))
    for event in pair.events:
        if isinstance(event, MessageDropped):
            assert event.reason
        elif isinstance(event, RequestAnswered):
            assert 200 <= event.status <= 699


@given(cuts=CUTS, status=st.sampled_from([200, 302, 401, 407, 423, 503]))
@settings(max_examples=200)
def test_a_broken_answer_never_raises(make_pair: MakePair, cuts: list[tuple[float, int, bytes]], status: int) -> None:
    pair = make_pair(keep_alive=None)
    pair.register()
    request = pair.request
    pair.challenge(401)
    headers = [
        ("Contact", f"{request.first('contact')};expires=60"),
        ("WWW-Authenticate", 'Digest realm="r", nonce="m", algorithm=SHA-256, qop="auth"'),
        ("Proxy-Authenticate", 'Digest realm="r", nonce="m", qop="auth,auth-int"'),
        ("Authentication-Info", 'nextnonce="n", qop=auth'),
        ("Min-Expires", "7200"),
        ("Retry-After", "60"),
    ]
    peer = AccountPair(pair.config)
    peer.register()
    peer.challenge(401)
    answer = bytes(peer.answer(status, headers=headers))
    assert bytes(peer.wire).startswith(pair.wire)
    pair.send(mutated(answer, cuts))
    pair.wait(60)
    for event in pair.events:
        if isinstance(event, RegistrationFailed):
            assert isinstance(event.error, SipsuaError)
            assert event.error.fix


def test_a_flow_that_leads_elsewhere_than_is_wanted_now_is_given_up_for_the_right_one(make_pair: MakePair) -> None:
    pair = make_pair(keep_alive=None)
    pair.wish()
    account = pair.account
    account.wants_flow = False
    pair.begin_flow()
    at = pair.clock.at
    negotiated = Negotiated("TLSv1.3", "x", "x25519", "other.example", "192.0.2.9:5061", ("192.0.2.1", 40000), at)
    account.flow_opened(accepted("other.example"), negotiated, {}, pair.clock.now, Target("other.example", 5061))
    assert account.data_to_send() == b""
    assert account.wants_flow
    assert account.wants_close is not None


def test_the_zone_of_a_link_local_address_stays_out_of_the_request(make_config: MakeConfig) -> None:
    pair = AccountPair(make_config(), local=("fe80::1%eth0", 40000))
    pair.register()
    assert pair.request.via.host == "[fe80::1]"
    assert pair.request.contacts[0].uri.host == "[fe80::1]"


def test_credentials_do_not_follow_a_redirect_to_another_server(make_pair: MakePair) -> None:
    pair = make_pair(keep_alive=None)
    pair.register()
    pair.challenge()
    assert pair.request.first("authorization")
    pair.answer(302, headers=[("Contact", "<sips:other.example.com>")])
    pair.open_flow()
    assert pair.request.first("authorization") is None
