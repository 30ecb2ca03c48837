"""The account pair: what it moves, what it loses, and what it says when a test asks for what cannot be."""

from __future__ import annotations

import pytest

from sipsua.account.config import AccountConfig
from sipsua.errors import Misuse, Unreachable
from sipsua.events import Registered, RegistrationFailed
from sipsua.sip.framing import KeepAlive
from sipsua.testing.clock import Clock
from sipsua.testing.pair import AccountPair
from sipsua.trust.policy import Policy
from sipsua.trust.store import TrustList


@pytest.fixture
def pair() -> AccountPair:
    return AccountPair(
        AccountConfig(uri="sips:alice@pbx.example.com", policy=Policy(anchors=TrustList.empty()), password="secret")
    )


def test_the_example_of_the_docstring_holds(pair: AccountPair) -> None:
    pair.register()
    pair.challenge()
    pair.answer(200, expires=600)
    assert pair.account.lock.locked
    assert pair.wait_for_request() is pair.requests[2]
    pair.answer(503, headers=[("Retry-After", "120")])
    failed = pair.events[-1]
    assert isinstance(failed, RegistrationFailed)
    assert failed.retry_in == 120


def test_without_a_flow_nothing_is_on_the_wire(pair: AccountPair) -> None:
    pair.wish()
    assert pair.account.wants_flow
    assert not pair.wire
    with pytest.raises(Misuse, match="has sent no request yet"):
        _ = pair.request


def test_dice_and_ports_are_the_same_in_each_run(pair: AccountPair) -> None:
    other = AccountPair(pair.config)
    for one in (pair, other):
        one.register()
        one.challenge()
    assert pair.wire == other.wire
    assert pair.request.via.port == 40000
    pair.lose_flow()
    pair.wait(60)
    pair.open_flow()
    assert pair.request.via.port == 40001


def test_bytes_are_moved_whole_or_in_pieces(pair: AccountPair) -> None:
    pair.register()
    response = pair.challenge()
    assert len(pair.requests) == 2
    pair.answer(200, expires=600, split=(1, 10, len(bytes(response))))
    assert isinstance(pair.events[-1], Registered)


def test_an_answer_goes_to_the_request_that_is_named(pair: AccountPair) -> None:
    pair.register()
    first = pair.request
    pair.challenge()
    pair.answer(403, to=first)
    # Its transaction has had its final answer.
    assert pair.account.registration.state == "registering"


def test_pings_pongs_and_responses_are_received_too(pair: AccountPair) -> None:
    pair.register()
    pair.answer(200, expires=6000)
    pair.wait(120)
    pair.send(KeepAlive.PING)
    pair.send(b"OPTIONS sip:a SIP/2.0\r\nVia: SIP/2.0/TLS a;branch=z9hG4bK1\r\nContent-Length: 0\r\n\r\n")
    assert pair.received[1] is KeepAlive.PING
    assert [response.status for response in pair.responses] == [400]


def test_a_clock_may_be_brought_along(pair: AccountPair) -> None:
    clock = Clock(1000.0)
    late = AccountPair(pair.config, clock=clock)
    late.register()
    late.answer(200, expires=600)
    assert late.account.registration.expires_at == 1600.0
    assert late.wait_for_timer() == pytest.approx(clock.now - 1000.0)


def test_waiting_for_a_timer_that_is_not_set_is_misuse(pair: AccountPair) -> None:
    with pytest.raises(Misuse, match="no timer set"):
        pair.wait_for_timer()


def test_a_flow_may_fail_before_tls(pair: AccountPair) -> None:
    pair.wish()
    pair.fail_flow(Unreachable("nobody listens"))
    assert pair.account.lock.state == "open"
    assert pair.account.verdict is None


def test_an_answer_that_is_no_message_reaches_the_account_all_the_same(pair: AccountPair) -> None:
    pair.register()
    pair.send(b"rubbish\x00\r\n\r\n")
    assert pair.closings
    assert not pair.account.has_flow
